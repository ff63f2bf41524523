//! Equal identity means equal checkpoint names: on any number of ranks and threads that lanes can share.
//!
//! A name holds the hash of all weights and of the optimizer's state, so one different bit shows.

use bachdist_core::midi::{Instrument, Note, write};

use crate::harness::{Ended, Place, bachdist, ended};

/// A checkpoint after each of six steps, the fourth of which is ragged and ends an epoch.
const EVERY_STEP: &str = "train tiny.toml --set checkpoint.every_steps=1 --set train.max_steps=6";

fn names(
    place: &Place,
    folder: &str,
    options: &str,
    how: impl FnOnce(&str) -> Option<Ended>,
) -> Option<Vec<String>> {
    how(&format!("{EVERY_STEP} --set checkpoint.url={folder} {options}"))?.ok();
    let names = place.checkpoints(folder);
    assert_eq!(names.len(), 6, "{names:?}");
    Some(names)
}

fn alone(place: &Place, folder: &str, options: &str) -> Vec<String> {
    names(place, folder, options, |arguments| Some(place.bachdist(arguments))).expect("it was run")
}

#[test]
fn equal_names_on_any_number_of_ranks_and_threads() {
    let place = Place::with_tiny();
    let expected = alone(&place, "alone", "");
    for (threads, numbers) in [("1", &[1, 2, 3, 4, 5, 8][..]), ("2", &[1, 2, 3])] {
        for &ranks in numbers {
            let folder = format!("{ranks}-ranks-{threads}-threads");
            let on_ranks = |arguments: &str| {
                let mut command = place.launch(ranks, arguments)?;
                Some(crate::harness::ended(command.env("OMP_NUM_THREADS", threads)))
            };
            let Some(found) = names(&place, &folder, "", on_ranks) else { return };
            assert_eq!(found, expected, "{folder}");
        }
    }
}

#[test]
fn equal_names_where_most_lanes_of_the_ragged_batch_are_empty() {
    // 115 windows: three batches of 37 and one of 4, which one lane takes alone.
    let options = "--set data.max_notes=123";
    let place = Place::with_tiny();
    let expected = alone(&place, "alone", options);
    for ranks in [3, 8] {
        let folder = format!("{ranks}-ranks");
        let on_ranks = |arguments: &str| place.on_ranks(ranks, arguments);
        let Some(found) = names(&place, &folder, options, on_ranks) else { return };
        assert_eq!(found, expected, "{folder}");
    }
}

#[test]
fn equal_names_with_batches_smaller_than_the_lanes() {
    let options = "--set train.batch_size=3 --set train.lanes=4";
    let place = Place::with_tiny();
    let expected = alone(&place, "alone", options);
    let on_ranks = |arguments: &str| place.on_ranks(4, arguments);
    let Some(found) = names(&place, "4-ranks", options, on_ranks) else { return };
    assert_eq!(found, expected);
}

/// Large products take other paths through libtorch than small ones.
#[test]
fn equal_names_of_the_articles_network() {
    let place = Place::new();
    place.write("cello.toml", include_str!("../configs/cello.toml"));
    let run = |folder: &str| {
        format!(
            "train cello.toml --set data.midi=embedded --set train.max_steps=2 --set checkpoint.url={folder}"
        )
    };
    let mut command = place.command(crate::harness::bachdist());
    let two_threads = command.env("OMP_NUM_THREADS", "2").args(run("alone").split_whitespace());
    crate::harness::ended(two_threads).ok();
    for ranks in [2, 8] {
        let folder = format!("{ranks}-ranks");
        let Some(ended) = place.on_ranks(ranks, &run(&folder)) else { return };
        ended.ok();
        assert_eq!(place.checkpoints(&folder), place.checkpoints("alone"), "{folder}");
    }
}

#[test]
fn another_seed_gives_other_names() {
    let place = Place::with_tiny();
    let (one, two) = (alone(&place, "1", ""), alone(&place, "2", "--set train.seed=2"));
    assert!(one.iter().zip(&two).all(|(a, b)| a != b), "{one:?} {two:?}");
}

#[test]
fn where_and_how_long_are_not_in_the_names() {
    let place = Place::with_tiny();
    place.write("moved/other.toml", crate::harness::TINY.replace("epochs = 3", "epochs = 2"));
    place.bachdist("train tiny.toml --set checkpoint.url=a --set train.max_steps=3").ok();
    place.bachdist("train moved/other.toml --set checkpoint.url=b --set checkpoint.every_steps=3").ok();
    assert_eq!(place.checkpoints("a")[0], place.checkpoints("b")[0]);
}

#[test]
fn more_ranks_than_lanes_is_one_line() {
    let place = Place::with_tiny();
    let Some(ended) = place.on_ranks(3, "train tiny.toml --set train.lanes=2") else { return };
    let ended = ended.with_code(2);
    assert!(ended.error().starts_with("3 ranks cannot share 2 lanes: "), "{}", ended.stderr);
    assert!(place.checkpoints("run").is_empty());
}

#[test]
fn ranks_with_other_music_are_found_before_the_first_step() {
    let place = Place::with_tiny();
    let note = |number: u8| Note {
        pitch: 40 + number % 20,
        velocity: 90,
        start: f64::from(number),
        end: f64::from(number) + 0.5,
    };
    let notes = (0..60).map(note).collect();
    let song = Instrument { program: 42, is_drum: false, name: String::new(), notes };
    place.write("other.mid", write(&[song], &[]));
    let Some(mut launch) = place.launch(1, "train tiny.toml") else { return };
    launch.args([":", "-n", "1"]).arg(bachdist()).args([
        "train",
        "tiny.toml",
        "--set",
        "data.midi=other.mid",
    ]);
    let ended = ended(&mut launch).with_code(3);
    assert!(ended.error().starts_with("rank 1 on "), "{}", ended.stderr);
    assert!(ended.error().contains("other music than rank 0"), "{}", ended.stderr);
    assert!(place.checkpoints("run").is_empty());
}

#[test]
fn what_is_wrong_everywhere_is_said_once() {
    let place = Place::with_tiny();
    let Some(ended) = place.on_ranks(3, "train tiny.toml --set train.epoch=2") else { return };
    assert_eq!(ended.with_code(2).error(), "--set train.epoch: unknown key; the nearest is train.epochs");
    let Some(ended) = place.on_ranks(2, "train tiny.toml --set data.midi=nowhere") else { return };
    assert!(ended.with_code(3).error().starts_with("nowhere: no such file or folder"));
    let Some(ended) = place.on_ranks(2, "trian tiny.toml") else { return };
    let ended = ended.with_code(2);
    assert_eq!(ended.stderr.matches("unrecognized subcommand").count(), 1, "{}", ended.stderr);
}

#[test]
fn a_loss_that_is_not_finite_ends_all_ranks() {
    let place = Place::with_tiny();
    let run = "train tiny.toml --set optimizer.learning_rate=1e30 --set checkpoint.every_steps=1";
    let alone = place.bachdist(run).with_code(6);
    assert!(alone.error().contains("is not finite"), "{}", alone.stderr);
    assert!(alone.error().contains("step "), "{}", alone.stderr);
    let Some(ended) = place.on_ranks(3, &format!("{run} --set checkpoint.url=3-ranks")) else { return };
    assert_eq!(ended.with_code(6).error(), alone.error());
    assert_eq!(place.checkpoints("3-ranks"), place.checkpoints("run"));
}
