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
fn every_second_epoch_and_the_last() {
    let place = Place::with_holdout();
    place.bachdist("train tiny.toml --set train.validate_every=2").ok();
    let steps: Vec<_> = validations(&place, "run").iter().map(|line| line["step"].clone()).collect();
    assert_eq!(steps, [8, 12]);
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
