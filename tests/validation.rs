//! Validation on held-out pieces: the same figures on any number of ranks, whatever stops it.

use serde_json::Value;

use bachdist_test_support::harness::{Place, ended};

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
        assert!(ended.ok().stdout.contains("epoch 3/3  held out: loss "));
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
fn stopped_in_a_validation_it_is_made_again() {
    let place = Place::with_holdout();
    place.bachdist("train tiny.toml --set checkpoint.url=whole").ok();
    let Some(mut launch) = place.launch(2, "train tiny.toml") else { return };
    // The second batch of the second validation.
    let stopped = ended(launch.env("BACHDIST_FAULT", "validate@1#4=usr1")).with_code(75);
    assert!(stopped.stdout.contains("stopped by a signal after step 8"), "{}", stopped.stdout);
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
fn it_ends_early_and_keeps_the_best() {
    let place = Place::with_holdout();
    let ended = place.bachdist(RESTLESS).ok();
    assert!(
        ended.stdout.contains("2 validations without improvement; the best is step "),
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
    assert!(place.bachdist(RESTLESS).ok().stdout.contains("2 validations without improvement"));
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
    assert!(ended.error().contains("metrics.jsonl has no validations"), "{}", ended.stderr);
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
    for (options, said) in [
        (
            "--set train.max_steps=13",
            "train.max_steps = 13 has no effect: train.epochs = 3 ends the run after 12 steps",
        ),
        ("--set train.early_stop=2", "train.early_stop = 2 has no effect: the run has only 3 validations"),
        (
            "--set train.validate_every_epochs=2 --set train.validate_every_steps=3",
            "train.validate_every_epochs has no effect: train.validate_every_steps is set",
        ),
        (
            "--set train.validate_every_steps=20",
            "the only validation is the one at the end; the first regular one would come after 20 steps",
        ),
        ("--set optimizer.decay_steps=9", "optimizer.decay_steps = 9: the last 3 steps change no weight"),
        (
            "--set optimizer.warmup_steps=12",
            "optimizer.warmup_steps = 12: the run ends after 12 steps, before the learning rate reaches its full value",
        ),
        (
            "--set checkpoint.keep_every_steps=7",
            "checkpoint.keep_every_steps = 7 matches no checkpoint: there is one every 5 steps, and the run has 12 steps",
        ),
        (
            "--set checkpoint.max_unsaved_steps=4",
            "checkpoint.max_unsaved_steps = 4 is less than every_steps = 5: the first checkpoint that \
             cannot be saved ends the run",
        ),
        (
            "--set checkpoint.retry_seconds=4",
            "checkpoint.timeout_seconds and retry_seconds have no effect on a folder",
        ),
        ("--set data.holdout=['b.mid','b.mid']", "data.holdout: \"b.mid\" is listed twice"),
        (
            "--set train.collective_timeout_seconds=5",
            "train.collective_timeout_seconds has no effect in a single process",
        ),
        ("--set checkpoint.fallback=run", "checkpoint.fallback is the place of the checkpoints themselves"),
    ] {
        assert_eq!(notes(&place, options), [said], "{options}");
    }
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
fn a_batch_takes_no_more_than_there_is() {
    let place = Place::with_holdout();
    let said = notes(&place, "--set train.batch_size=1000000");
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0], "train.batch_size = 1000000: every step uses all 142 windows");
    assert!(said[1].starts_with("train.lanes = 8: a batch of 142 windows fills only 1 of them"), "{said:?}");
    // It trains, and validates on more windows than it trains on, in a fraction of what was declared: a million
    // windows of 8 notes through 18 units would take gigabytes.
    let run = "train tiny.toml --set train.batch_size=1000000 --set data.holdout=['a.mid']";
    let ended = place.bachdist(run).ok();
    assert!(ended.stdout.contains("done: 3 steps"), "{}", ended.stdout);
    assert_eq!(validations(&place, "run")[0]["windows"], 142);
    let Some(ended) = place.on_ranks(3, &format!("{run} --set checkpoint.url=3-ranks")) else { return };
    ended.ok();
    assert_eq!(place.checkpoints("3-ranks"), place.checkpoints("run"));
}

#[test]
fn what_does_not_fit_into_memory_is_said_before_anything_is_allocated() {
    let place = Place::with_tiny();
    for (options, key) in [
        ("--set model.units=1000000", "model.units = 1000000: "),
        ("--set model.dense=1000000 --set model.ensemble_size=100000", "model.units = 18: "),
    ] {
        for dry in ["", "--dry-run"] {
            let ended = place.bachdist(&format!("train tiny.toml {dry} {options}")).with_code(2);
            let error = ended.error();
            assert!(error.starts_with(key) && error.contains(" TB of memory, and "), "{error}");
        }
    }
}

#[test]
fn early_stop_without_a_validation_is_refused() {
    let place = Place::with_holdout();
    place.write("music/c.mid", bachdist_test_support::harness::melody(8, 3));
    let refused =
        |options: &str| place.bachdist(&format!("train tiny.toml {options}")).with_code(2).error().to_owned();
    let none = refused("--set train.early_stop=2 --set data.holdout=[]");
    assert_eq!(
        none,
        "train.early_stop needs validations, and there are none: data.holdout holds out no piece"
    );
    let short = refused("--set train.early_stop=2 --set data.holdout=['c']");
    assert!(short.ends_with(": no held-out piece has a window of 8 notes"), "{short}");
    let noted = notes(&place, "--set data.holdout=['c'] --set train.validate_every_epochs=2");
    let expected = [
        "data.holdout: c.mid held out, but too short to validate on: no window of 8 notes",
        "train.validate_every_epochs has no effect: no held-out piece has a window of 8 notes",
    ];
    assert_eq!(noted, expected);
    let all = place.bachdist("train tiny.toml --set data.holdout=['*']").with_code(3);
    assert_eq!(all.error(), "music: data.holdout holds all 3 pieces out, so there is none to train on");
}
