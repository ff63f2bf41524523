//! Validation on held-out pieces: the same figures on any number of ranks, whatever stops it.

use serde_json::Value;

use crate::harness::{Place, ended};

fn validations(place: &Place, folder: &str) -> Vec<Value> {
    place.metrics(folder).into_iter().filter(|line| line["kind"] == "validation").collect()
}

#[test]
fn the_same_figures_on_any_number_of_ranks() {
    let place = Place::with_holdout();
    place.bachdist("train tiny.toml").ok();
    let expected = validations(&place, "run");
    let epochs: Vec<_> = expected.iter().map(|line| line["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [1, 2, 3]);
    // 60 notes are 52 windows of 8 and the note after them.
    assert!(expected.iter().all(|line| line["windows"] == 52), "{expected:?}");
    assert!(expected[0]["loss"] != expected[2]["loss"]);
    for ranks in [2, 3, 8] {
        let url = format!("{ranks}-ranks");
        let run = format!("train tiny.toml --set checkpoint.url={url}");
        let Some(ended) = place.on_ranks(ranks, &run) else { return };
        assert!(ended.ok().stdout.contains("epoch 3/3  held out: loss "));
        assert_eq!(validations(&place, &url), expected, "{url}");
        assert_eq!(place.checkpoints(&url), place.checkpoints("run"), "{url}");
    }
}

#[test]
fn every_second_epoch_or_fifth_step_and_the_last() {
    let place = Place::with_holdout();
    place.bachdist("train tiny.toml --set train.validate_every=2").ok();
    let steps: Vec<_> = validations(&place, "run").iter().map(|line| line["step"].clone()).collect();
    assert_eq!(steps, [8, 12]);
    place.bachdist("train tiny.toml --set train.validate_every_steps=5 --set checkpoint.url=steps").ok();
    let steps: Vec<_> = validations(&place, "steps").iter().map(|line| line["step"].clone()).collect();
    assert_eq!(steps, [5, 10, 12]);
}

#[test]
fn stopped_in_a_validation_it_is_made_again() {
    let place = Place::with_holdout();
    place.bachdist("train tiny.toml --set checkpoint.url=whole").ok();
    let Some(mut launch) = place.launch(2, "train tiny.toml") else { return };
    // The second batch of the second validation.
    let stopped = ended(launch.env("BACHDIST_FAULT", "validate@1#4=usr1")).with_code(75);
    assert!(stopped.stdout.contains("stopped as asked after step 8"), "{}", stopped.stdout);
    assert_eq!(validations(&place, "run").len(), 1);
    assert!(place.checkpoints("run").last().unwrap().starts_with("step-00000008-"));
    place.on_ranks(3, "train tiny.toml").unwrap().ok();
    assert_eq!(validations(&place, "run"), validations(&place, "whole"));
    assert_eq!(place.checkpoints("run").last(), place.checkpoints("whole").last());
}

/// Steps large enough for the held-out loss to go up and down.
const RESTLESS: &str = "train tiny.toml --set train.epochs=30 --set train.early_stop=2 --set optimizer.learning_rate=0.02 \
                        --set checkpoint.keep=1 --set checkpoint.every_steps=3";

#[test]
fn it_ends_early_and_keeps_the_best() {
    let place = Place::with_holdout();
    let ended = place.bachdist(RESTLESS).ok();
    assert!(
        ended.stdout.contains("2 validations without a better one; the best is step "),
        "{}",
        ended.stdout
    );
    let validations = validations(&place, "run");
    let losses: Vec<f64> = validations.iter().map(|line| line["loss"].as_f64().unwrap()).collect();
    let (_, rest) = losses.split_at(losses.len() - 3);
    assert!(rest[0] <= rest[1].min(rest[2]) && losses.iter().all(|&loss| loss >= rest[0]), "{losses:?}");

    // Its checkpoint is kept beside the newest.
    let best = validations[validations.len() - 3]["step"].as_u64().unwrap();
    let last = validations[validations.len() - 1]["step"].as_u64().unwrap();
    let steps: Vec<String> = [best, last].map(|step| format!("step-{step:08}-")).into();
    let names = place.checkpoints("run");
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().zip(&steps).all(|(name, step)| name.starts_with(step)), "{names:?} {steps:?}");
    let composed = place.sample("run --best --only midi").ok();
    assert!(composed.stdout.contains(&names[0]), "{}", composed.stdout);

    // An ended run stays ended, on any number of ranks.
    assert!(place.bachdist(RESTLESS).ok().stdout.contains("2 validations without a better one"));
    assert_eq!(place.checkpoints("run"), names);
    let Some(ended) = place.on_ranks(3, &format!("{RESTLESS} --set checkpoint.url=3-ranks")) else { return };
    ended.ok();
    assert_eq!(place.checkpoints("3-ranks"), names);
}

#[test]
fn stopped_before_it_ends_early_it_ends_in_the_same_place() {
    let place = Place::with_holdout();
    place.bachdist(&format!("{RESTLESS} --set checkpoint.url=whole")).ok();
    // A few steps after the first validation.
    let mut stopped = place.alone(RESTLESS);
    ended(stopped.env("BACHDIST_FAULT", "step@0#7=usr1")).with_code(75);
    place.bachdist(RESTLESS).ok();
    assert_eq!(validations(&place, "run"), validations(&place, "whole"));
    assert_eq!(place.checkpoints("run").last(), place.checkpoints("whole").last());
}

#[test]
fn without_a_validation_none_is_the_best() {
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml").ok();
    let ended = place.bachdist("sample run --best").with_code(4);
    assert!(ended.error().contains("metrics.jsonl there tells of no validation"), "{}", ended.stderr);
}
