//! Validation on held-out pieces: the same figures on any number of ranks, whatever stops it.

use serde_json::Value;

use bachdist_test_support::harness::{Place, assert_begin, ended};
use bachdist_test_support::snapshot::Transcript;

fn validations(place: &Place, folder: &str) -> Vec<Value> {
    place.metrics(folder).into_iter().filter(|line| line["kind"] == "validation").collect()
}

#[test]
#[ignore = "needs mpi"]
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
        let printed = ended.ok().stdout;
        assert!(
            expected.iter().all(|line| printed.contains(&format!("{:.4}", line["loss"].as_f64().unwrap())))
        );
        assert_eq!(validations(&place, &url), expected, "{url}");
        assert_eq!(place.checkpoints(&url), place.checkpoints("run"), "{url}");
    }
}

#[test]
fn every_second_epoch_or_fifth_step_and_the_last() {
    let place = Place::with_holdout();
    place.bachdist("train tiny.toml --set train.validate_every_epochs=2").ok();
    let steps: Vec<_> = validations(&place, "run").iter().map(|line| line["step"].clone()).collect();
    assert_eq!(steps, [8, 12]);
    place.bachdist("train tiny.toml --set train.validate_every_steps=5 --set checkpoint.url=steps").ok();
    let steps: Vec<_> = validations(&place, "steps").iter().map(|line| line["step"].clone()).collect();
    assert_eq!(steps, [5, 10, 12]);
}

#[test]
#[ignore = "needs mpi"]
fn a_validation_that_was_interrupted_is_repeated() {
    let place = Place::with_holdout();
    place.bachdist("train tiny.toml --set checkpoint.url=whole").ok();
    let Some(mut launch) = place.launch(2, "train tiny.toml") else { return };
    // The second batch of the second validation.
    ended(launch.env("BACHDIST_FAULT", "validate@1#4=usr1")).with_code(75);
    assert_eq!(place.stopped_at("run"), (8, "signal".into()));
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
#[ignore = "needs mpi"]
fn early_stop_ends_the_run_and_keeps_the_best_checkpoint() {
    let place = Place::with_holdout();
    let mut said = Transcript::default();
    said.messages("bachdist train --set train.early_stop=2", &place.bachdist(RESTLESS).ok());
    let (last, reason) = place.stopped_at("run");
    assert_eq!(reason, "early");
    let validations = validations(&place, "run");
    let losses: Vec<f64> = validations.iter().map(|line| line["loss"].as_f64().unwrap()).collect();
    let (_, rest) = losses.split_at(losses.len() - 3);
    assert!(rest[0] <= rest[1].min(rest[2]) && losses.iter().all(|&loss| loss >= rest[0]), "{losses:?}");

    // Its checkpoint is kept beside the newest.
    let best = validations[validations.len() - 3]["step"].as_u64().unwrap();
    assert_eq!(validations[validations.len() - 1]["step"], last);
    let steps: Vec<String> = [best, last].map(|step| format!("step-{step:08}-")).into();
    let names = place.checkpoints("run");
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().zip(&steps).all(|(name, step)| name.starts_with(step)), "{names:?} {steps:?}");
    let composed = place.sample("run --best --only midi").ok();
    assert!(composed.stdout.contains(&names[0]), "{}", composed.stdout);

    // An ended run stays ended, on any number of ranks.
    said.messages("the same again", &place.bachdist(RESTLESS).ok());
    said.check("train-early-stop");
    assert_eq!(place.stopped_at("run"), (last, "early".into()));
    assert_eq!(place.checkpoints("run"), names);
    let Some(ended) = place.on_ranks(3, &format!("{RESTLESS} --set checkpoint.url=3-ranks")) else { return };
    ended.ok();
    assert_eq!(place.checkpoints("3-ranks"), names);
}

#[test]
fn a_resumed_run_stops_early_at_the_same_step() {
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
fn best_needs_a_validation() {
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml").ok();
    let mut said = Transcript::default();
    said.fails(&place, "bachdist sample run --best", 4, "metrics.jsonl");
    said.check("sample-best-without-a-validation");
}

/// What a dry run notes of settings.
fn notes(place: &Place, options: &str) -> Vec<String> {
    let plan = place.bachdist(&format!("train tiny.toml --dry-run {options}")).ok().stdout;
    plan.lines().filter_map(|line| line.strip_prefix("# note: ")).map(str::to_owned).collect()
}

#[test]
#[ignore = "slow"]
fn settings_without_effect_are_noted() {
    let place = Place::with_holdout();
    assert_eq!(notes(&place, ""), [""; 0]);
    // The run has 12 steps, 4 an epoch, on 142 windows, with a validation after each epoch.
    let mut said = Transcript::default();
    for (options, names) in [
        ("--set train.max_steps=13", "train.max_steps"),
        ("--set train.early_stop=2", "train.early_stop"),
        (
            "--set train.validate_every_epochs=2 --set train.validate_every_steps=3",
            "train.validate_every_epochs",
        ),
        ("--set train.validate_every_steps=20", "20 steps"),
        ("--set optimizer.decay_steps=9", "optimizer.decay_steps"),
        ("--set optimizer.warmup_steps=12", "optimizer.warmup_steps"),
        ("--set checkpoint.keep_every_steps=7", "checkpoint.keep_every_steps"),
        ("--set checkpoint.max_unsaved_steps=4", "checkpoint.max_unsaved_steps"),
        ("--set checkpoint.retry_seconds=4", "checkpoint.timeout_seconds"),
        ("--set data.holdout=['b.mid','b.mid']", "data.holdout"),
        ("--set train.collective_timeout_seconds=5", "train.collective_timeout_seconds"),
        ("--set checkpoint.fallback=run", "checkpoint.fallback"),
    ] {
        let notes = notes(&place, options);
        assert!(notes.len() == 1 && notes[0].contains(names), "{options}: {notes:?}");
        said.line(options, &notes[0]);
    }
    said.check("settings-without-effect");
    // One that stops by it, keeps by it, decays to its end.
    for options in [
        "--set train.early_stop=1",
        "--set checkpoint.keep_every_steps=10",
        "--set checkpoint.keep_every_steps=12",
        "--set optimizer.decay_steps=12",
        "--set train.max_steps=12",
    ] {
        assert_eq!(notes(&place, options), [""; 0], "{options}");
    }
}

#[test]
#[ignore = "needs mpi"]
fn a_batch_is_no_larger_than_the_music() {
    let place = Place::with_holdout();
    let said = notes(&place, "--set train.batch_size=1000000");
    assert_begin(&said, &["train.batch_size = 1000000: ", "train.lanes = 8: "]);
    let mut transcript = Transcript::default();
    transcript.notes("--set train.batch_size=1000000", &said);
    transcript.check("batch-larger-than-the-music");
    // It trains, and validates on more windows than it trains on, in a fraction of what was declared: a million
    // windows of 8 notes through 18 units would take gigabytes.
    let run = "train tiny.toml --set train.batch_size=1000000 --set data.holdout=['a.mid']";
    place.bachdist(run).ok();
    assert_eq!(place.stopped_at("run"), (3, "done".into()));
    assert_eq!(validations(&place, "run")[0]["windows"], 142);
    let Some(ended) = place.on_ranks(3, &format!("{run} --set checkpoint.url=3-ranks")) else { return };
    ended.ok();
    assert_eq!(place.checkpoints("3-ranks"), place.checkpoints("run"));
}

#[test]
fn what_does_not_fit_into_memory_is_refused_before_anything_is_allocated() {
    let place = Place::with_tiny();
    let mut said = Transcript::default();
    for (options, key) in [
        ("--set model.units=1000000", "model.units = 1000000: "),
        ("--set model.dense=1000000 --set model.ensemble_size=100000", "model.units = 18: "),
    ] {
        for dry in ["", "--dry-run"] {
            let ended = place.bachdist(&format!("train tiny.toml {dry} {options}")).with_code(2);
            let error = ended.error();
            assert!(error.starts_with(key) && error.contains(" TB "), "{error}");
            // The rest is about this machine.
            said.line(format!("{dry} {options}"), error.split(", and ").next().expect("text"));
        }
    }
    said.check("more-than-the-memory");
}

#[test]
fn early_stop_without_a_validation_is_refused() {
    let place = Place::with_holdout();
    place.write("music/c.mid", bachdist_test_support::harness::melody(8, 3));
    let mut said = Transcript::default();
    let stop = "bachdist train tiny.toml --set train.early_stop=2";
    said.fails(&place, &format!("{stop} --set data.holdout=[]"), 2, "train.early_stop ");
    said.fails(&place, &format!("{stop} --set data.holdout=['c']"), 2, "train.early_stop ");
    let all = said.fails(&place, "bachdist train tiny.toml --set data.holdout=['*']", 3, "data.holdout ");
    assert!(all.error().starts_with("music: "), "{}", all.stderr);
    let short = "--set data.holdout=['c'] --set train.validate_every_epochs=2";
    let noted = notes(&place, short);
    assert_begin(&noted, &["data.holdout: c.mid ", "train.validate_every_epochs "]);
    said.notes(short, &noted);
    said.check("validation-without-windows");
}
