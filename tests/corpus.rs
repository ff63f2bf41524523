//! Music read together: the same corpus and the same messages about bad files on any number of ranks.

use std::fs;

use bachdist_portable::midi::{Instrument, Note, Song, write};

use bachdist_test_support::harness::{Ended, Place, assert_begin, bachdist, ended, melody};
use bachdist_test_support::snapshot::Transcript;

/// The tiny run on a folder of music.
const TRAIN: &str = "train tiny.toml --set data.midi=music --set train.max_steps=2";

/// Pieces of different lengths, in two folders, the first of them held out.
fn music(place: &Place, pieces: u32) {
    for piece in 0..pieces {
        let folder = if piece % 3 == 1 { "music/deeper" } else { "music" };
        place.write(&format!("{folder}/{piece:02}.mid"), melody(20 + 17 * (piece % 5), piece + 1));
    }
}

/// Without a launcher, then on 1, 2 and 3 ranks; nothing without mpirun.
fn on_all(place: &Place, arguments: impl Fn(usize) -> String) -> Vec<Ended> {
    let alone = place.bachdist(&arguments(0));
    let launched = (1..=3).map_while(|ranks| place.on_ranks(ranks, &arguments(ranks)));
    std::iter::once(alone).chain(launched).collect()
}

/// Checkpoints carry their corpus: equal names mean equal pieces in an equal order.
#[test]
#[ignore = "needs mpi"]
fn equal_corpora_on_any_number_of_ranks() {
    for pieces in [2, 3, 11] {
        let place = Place::with_tiny();
        music(&place, pieces);
        let run = |ranks| format!("{TRAIN} --set data.holdout=['00'] --set checkpoint.url=on-{ranks}");
        let all = on_all(&place, run);
        let data =
            |ended: &Ended| ended.stdout.lines().find(|line| line.starts_with("data ")).map(str::to_owned);
        let expected = data(&all[0]);
        assert!(
            expected.as_ref().is_some_and(|line| line.contains(&format!(" {} piece", pieces - 1))),
            "{expected:?}"
        );
        let names = place.checkpoints("on-0");
        assert!(!names.is_empty());
        for (ranks, ended) in all.into_iter().enumerate() {
            assert_eq!(data(&ended.ok()), expected, "{ranks} ranks, {pieces} pieces");
            assert_eq!(place.checkpoints(&format!("on-{ranks}")), names, "{ranks} ranks, {pieces} pieces");
        }
    }
}

/// A file of piano rolls is read by one rank, and all have its pieces.
#[test]
#[ignore = "needs mpi"]
fn equal_piano_rolls_on_any_number_of_ranks() {
    let place = Place::with_tiny();
    music(&place, 2);
    let valid = "[60],[62],[],".repeat(8);
    let rolls = format!(r#"{{"train": [[[60, 64], [60]], [[62], [64, 67]]], "valid": [[{valid}[65]]]}}"#);
    place.write("music/rolls.json", rolls);
    let run = |ranks| {
        format!(
            "{TRAIN} --set data.holdout=['rolls.json/valid/*'] --set representation.kind=frames \
             --set checkpoint.url=on-{ranks}"
        )
    };
    let all = on_all(&place, run);
    let names = place.checkpoints("on-0");
    assert!(!names.is_empty());
    for (ranks, ended) in all.into_iter().enumerate() {
        let stdout = ended.ok().stdout;
        assert!(stdout.contains(" 4 pieces"), "{stdout}");
        assert_eq!(place.checkpoints(&format!("on-{ranks}")), names, "{ranks} ranks");
    }
}

#[test]
fn equal_corpora_on_any_number_of_threads() {
    let place = Place::with_tiny();
    music(&place, 9);
    for threads in ["1", "2"] {
        let mut run = place.alone(&format!("{TRAIN} --set checkpoint.url=by-{threads}"));
        ended(run.env("OMP_NUM_THREADS", threads)).ok();
    }
    assert_eq!(place.checkpoints("by-1"), place.checkpoints("by-2"));
}

#[test]
#[ignore = "needs mpi"]
fn a_bad_file_is_one_line_on_any_number_of_ranks() {
    let place = Place::with_tiny();
    music(&place, 12);
    place.write("music/deeper/07.mid", &melody(30, 1)[..50]);
    for ended in on_all(&place, |_| TRAIN.into()) {
        let ended = ended.with_code(3);
        assert!(ended.error().starts_with("deeper/07.mid: byte "), "{}", ended.stderr);
    }
    assert!(place.checkpoints("run").is_empty());
}

#[test]
#[ignore = "needs mpi"]
fn many_bad_files_are_the_same_lines_on_any_number_of_ranks() {
    let place = Place::with_tiny();
    music(&place, 5);
    for piece in 20..40 {
        place.write(&format!("music/{piece}.mid"), if piece % 2 == 0 { "no MIDI" } else { "" });
    }
    let all = on_all(&place, |_| TRAIN.into());
    let alone: Vec<String> = all[0].errors().iter().map(|line| (*line).to_owned()).collect();
    assert_eq!(alone.len(), 11, "{alone:?}");
    let named: Vec<String> = (20..30).map(|piece| format!("{piece}.mid: ")).collect();
    assert_begin(&alone[..10], &named.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(alone[10].contains(" 20 "), "{alone:?}");
    let mut said = Transcript::default();
    said.messages("bachdist train tiny.toml", &all[0]);
    said.check("many-bad-files");
    for ended in all {
        assert_eq!(ended.with_code(3).errors(), alone);
    }
}

/// Two ranks in folders of their own, like two hosts without a common file system.
fn on_two_hosts(place: &Place, folders: [&str; 2]) -> Option<Ended> {
    let [first, second] = folders.map(|folder| place.path(folder));
    let mut launch = place.launch(1, TRAIN)?;
    launch.args([":", "-n", "1", "-wdir"]).arg(second).arg(bachdist()).args(TRAIN.split_whitespace());
    Some(ended(launch.current_dir(first)))
}

#[test]
#[ignore = "slow"]
fn a_host_without_a_file_or_with_another_one_is_named() {
    let place = Place::new();
    for host in ["a", "b"] {
        place.write(&format!("{host}/tiny.toml"), bachdist_test_support::harness::TINY);
        for piece in 0..4 {
            place.write(&format!("{host}/music/{piece}.mid"), melody(40, piece + 1));
        }
    }
    let Some(ended) = on_two_hosts(&place, ["a", "b"]) else { return };
    ended.ok();
    fs::remove_dir_all(place.path("a/run")).expect("a run");

    let mut said = Transcript::default();
    let mut fails = |what: &str, names: &str| {
        let ended = on_two_hosts(&place, ["a", "b"]).expect("mpirun was there").with_code(3);
        let error = ended.error();
        assert!(error.starts_with("rank 1 on ") && error.contains(names), "{error}");
        said.messages(what, &ended);
        assert!(place.checkpoints("a/run").is_empty());
    };
    place.write("b/music/3.mid", melody(41, 9));
    fails("other contents", "3.mid");
    fs::remove_file(place.path("b/music/3.mid")).expect("a file");
    fails("no such file", "3.mid");
    fs::remove_dir_all(place.path("b/music")).expect("a folder");
    fails("no such folder", "music");
    said.check("hosts-with-other-music");
}

#[test]
#[ignore = "slow"]
fn synthetic_music_is_as_much_as_asked_for_and_comes_into_empty_folders_only() {
    let place = Place::new();
    place.bachdist("data synthesize many --files 12 --notes 30").ok();
    let found = place.bachdist("data inspect many --json").ok().json();
    let figures = ["pieces", "notes", "windows"].map(|key| found[key].as_u64());
    assert_eq!(figures, [12, 360, 120].map(Some));
    let bytes = fs::read_dir(place.path("many")).expect("a folder").flatten();
    let bytes: u64 = bytes.map(|entry| entry.metadata().expect("a file").len()).sum();
    assert_eq!(found["bytes"], bytes);
    assert!(
        found["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0)
            && found["threads"].as_u64() >= Some(1)
    );

    place.bachdist("data synthesize same --files 12 --notes 30 --seed 1").ok();
    place.bachdist("data synthesize other --files 12 --notes 30 --seed 2").ok();
    let file = |folder: &str| place.read(&format!("{folder}/made-up-00012.mid"));
    assert_eq!(file("many"), file("same"));
    assert_ne!(file("many"), file("other"));

    let mut said = Transcript::default();
    said.fails(&place, "bachdist data synthesize many --files 3", 2, "many");
    said.ok(&place, "bachdist data synthesize new --files 3 --notes 30");
    said.check("data-synthesize");
}

#[test]
#[ignore = "needs mpi"]
fn unusual_files_are_noted_once_on_any_number_of_ranks() {
    let place = Place::with_tiny();
    music(&place, 4);
    place.write("music/scan.pdf", "");
    place.write("music/short.mid", melody(5, 3));
    let notes = (0..20).map(|i| Note::in_seconds(40 + i, 90, i.into(), f64::from(i) + 0.5));
    let drums = Instrument { program: 0, is_drum: true, name: String::new(), notes: notes.collect() };
    place.write("music/drums.mid", write(&Song::in_seconds(vec![drums]), &[]));
    let run = |ranks| format!("{TRAIN} --set checkpoint.url=on-{ranks}");
    let all = on_all(&place, run);
    let alone = all[0].notes();
    let mut said = Transcript::default();
    said.notes("bachdist train tiny.toml", &alone);
    said.check("unusual-files");
    for (note, names) in alone.iter().zip([".pdf", "drums.mid", "short.mid"]) {
        assert!(note.contains(names), "{note}");
    }
    for ended in &all {
        assert_eq!(ended.notes(), alone, "{}", ended.stdout);
        assert_eq!((ended.code, alone.len()), (0, 3));
    }
}

#[test]
#[ignore = "slow"]
fn notes_left_out_or_moved_are_counted() {
    let place = Place::with_tiny();
    let notes = (0..30).map(|i| Note::in_seconds(70 + i, 90, i.into(), f64::from(i) + 0.5));
    let high = Instrument { program: 0, is_drum: false, name: String::new(), notes: notes.collect() };
    place.write("music/high.mid", write(&Song::in_seconds(vec![high]), &[]));
    let mut said = Transcript::default();
    for how in ["transpose", "drop"] {
        let run =
            format!("bachdist {TRAIN} --set representation.out_of_range={how} --set checkpoint.url={how}");
        let ended = said.ok(&place, &run);
        let notes = ended.notes();
        assert!(notes.iter().any(|note| note.contains(" 20, ") && note.contains("high.mid")), "{notes:?}");
    }
    said.check("train-out-of-range-notes");
}
