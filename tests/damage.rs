//! Damaged and foreign checkpoints, as a user meets them: at a launch, and in `checkpoint verify`.

use std::fs;

use bachdist_test_support::harness::{Place, assert_begin, trained, trained_copy};
use bachdist_test_support::snapshot::Transcript;

/// A copy of the trained run whose newest checkpoint is another run's of the same step; its name.
fn with_a_foreign_newest() -> (Place, String) {
    let place = trained_copy();
    let newest = place.checkpoints("run").pop().expect("a checkpoint");
    fs::remove_file(place.path("run").join(newest)).expect("a checkpoint");
    place.bachdist("train tiny.toml --set train.seed=4 --set checkpoint.url=other").ok();
    let foreign = place.checkpoints("other").pop().expect("a checkpoint");
    place.write(&format!("run/{foreign}"), place.read(&format!("other/{foreign}")));
    (place, foreign)
}

#[test]
fn another_runs_newer_checkpoint_is_passed_over_and_kept() {
    let (place, foreign) = with_a_foreign_newest();
    let mut said = Transcript::default();
    let run = "bachdist train tiny.toml --set checkpoint.every_steps=1 --set checkpoint.keep=1";
    let ended = said.ok(&place, run);
    let notes = ended.notes();
    assert!(notes[0].contains(&foreign) && notes[0].contains("train.seed "), "{notes:?}");
    said.check("another-runs-newer-checkpoint");
    assert_eq!(place.resumed_after("run"), [10]);
    let right = trained().checkpoints("run").pop().expect("a checkpoint");
    let mut left = vec![right, foreign.clone()];
    left.sort();
    assert_eq!(place.checkpoints("run"), left);
    assert_eq!(place.read(&format!("run/{foreign}")), place.read(&format!("other/{foreign}")));
    assert_eq!(place.recorded_steps("run"), (1..=12).collect::<Vec<_>>());
    // What composes takes the run's too.
    let sampled = place.sample("run --notes 1 --only midi").ok();
    assert!(sampled.stdout.contains(&left.into_iter().find(|name| *name != foreign).expect("the run's")));
}

#[test]
fn where_only_another_runs_checkpoints_are_good_nothing_is_claimed_or_written() {
    let (place, foreign) = with_a_foreign_newest();
    for name in place.checkpoints("run").iter().filter(|name| **name != foreign) {
        place.write(&format!("run/{name}"), "");
    }
    let all = || {
        let entries =
            fs::read_dir(place.path("run")).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut all: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect();
        all.sort();
        all
    };
    let before = all();
    let mut said = Transcript::default();
    for resume in ["auto", "never"] {
        let run = format!("bachdist train tiny.toml --resume {resume}");
        let ended = said.fails(&place, &run, 2, &foreign);
        assert!(ended.error().contains("train.seed "), "{}", ended.stderr);
    }
    said.check("another-runs-checkpoints-alone");
    assert!(all() == before, "something was written");
}

#[test]
fn verify_lists_which_are_bad_and_why() {
    let (place, foreign) = with_a_foreign_newest();
    let names = place.checkpoints("run");
    let bytes = place.read(&format!("run/{}", names[0]));
    place.write(&format!("run/{}", names[0]), &bytes[..bytes.len() - 1]);
    let aside = format!("{}#1", names[1]);
    place.write(&format!("run/{aside}"), "half");

    let mut said = Transcript::default();
    let verified = said.fails(&place, "bachdist checkpoint verify run", 4, "2");
    let lines: Vec<_> = verified.stdout.lines().collect();
    let note = format!("note: {aside} ");
    assert_begin(&lines, &[&names[0], &names[1], &foreign, &note]);
    said.check("checkpoint-verify-damaged-foreign-half-written");

    let json = place.bachdist("checkpoint verify run --json").with_code(4).json();
    let field =
        |key: &str| -> Vec<_> { json.as_array().expect("a list").iter().map(|o| o[key].clone()).collect() };
    assert_eq!(field("ok"), [false, true, false, true]);
    assert_eq!(field("step"), [5.into(), 10.into(), 12.into(), serde_json::Value::Null]);
    assert_eq!(field("name")[3], aside.as_str());
    assert_eq!(field("bytes")[3], 4);
    let problems: Vec<_> = field("problem").iter().map(serde_json::Value::is_string).collect();
    assert_eq!(problems, [true, false, true, false]);

    // What is half-written harms nothing.
    place.write(&format!("run/{}", names[0]), bytes);
    fs::remove_file(place.path("run").join(foreign)).expect("a checkpoint");
    place.bachdist("checkpoint verify run").ok();
}

#[test]
fn another_runs_checkpoint_beside_the_storage_is_left_there() {
    let (place, foreign) = with_a_foreign_newest();
    let own = trained().checkpoints("run").remove(1);
    let beside = |name: &str| format!("runs/tiny.unsaved/{name}");
    place.write(&beside(&own), trained().read(&format!("run/{own}")));
    place.write(&beside(&foreign), place.read(&format!("other/{foreign}")));
    let mut said = Transcript::default();
    let ended = said.ok(&place, "bachdist train tiny.toml --set checkpoint.url=new");
    let notes = ended.notes();
    for name in [&foreign, &own] {
        assert!(notes.iter().any(|note| note.contains(&beside(name))), "{notes:?}");
    }
    said.check("another-runs-checkpoint-beside-the-storage");
    assert_eq!(place.checkpoints("runs/tiny.unsaved"), [foreign]);
    assert_eq!(place.checkpoints("new").last(), trained().checkpoints("run").last());
}
