//! Music read together: the same corpus and the same words about bad files on any number of ranks.

use std::fs;

use bachdist_portable::midi::{Instrument, Note, write};

use bachdist_test_support::harness::{Ended, Place, bachdist, ended, melody};

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
        assert!(expected.as_ref().is_some_and(|line| line.ends_with("; 1 more held out")), "{expected:?}");
        let names = place.checkpoints("on-0");
        assert!(!names.is_empty());
        for (ranks, ended) in all.into_iter().enumerate() {
            assert_eq!(data(&ended.ok()), expected, "{ranks} ranks, {pieces} pieces");
            assert_eq!(place.checkpoints(&format!("on-{ranks}")), names, "{ranks} ranks, {pieces} pieces");
        }
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
fn one_bad_file_among_many_is_one_line_on_any_number_of_ranks() {
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
    assert!(alone[0].starts_with("20.mid: ") && alone[1].starts_with("21.mid: "), "{alone:?}");
    assert!(alone[10].starts_with("and more; files that cannot be used: 20 "), "{alone:?}");
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

    let said = |expected: &str| {
        let ended = on_two_hosts(&place, ["a", "b"]).expect("mpirun was there").with_code(3);
        let error = ended.error();
        assert!(error.starts_with("rank 1 on ") && error.contains(expected), "{error}");
        assert!(place.checkpoints("a/run").is_empty());
    };
    place.write("b/music/3.mid", melody(41, 9));
    said("has other music than rank 0: 3.mid has ");
    fs::remove_file(place.path("b/music/3.mid")).expect("a file");
    said("has other music than rank 0: 3.mid is missing here; every host needs the same files");
    fs::remove_dir_all(place.path("b/music")).expect("a folder");
    said("music: no such file or folder");
}

#[test]
#[ignore = "slow"]
fn made_up_music_is_as_much_as_asked_for_and_comes_among_no_other() {
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

    let again = place.bachdist("data synthesize many --files 3").with_code(2);
    assert!(again.error().starts_with("many is not empty"), "{}", again.stderr);
}

#[test]
#[ignore = "needs mpi"]
fn what_is_not_as_it_seems_is_told_once_on_any_number_of_ranks() {
    let place = Place::with_tiny();
    music(&place, 4);
    place.write("music/scan.pdf", "");
    place.write("music/short.mid", melody(5, 3));
    let notes =
        (0..20).map(|i| Note { pitch: 40 + i, velocity: 90, start: i.into(), end: f64::from(i) + 0.5 });
    let drums = Instrument { program: 0, is_drum: true, name: String::new(), notes: notes.collect() };
    place.write("music/drums.mid", write(&[drums], &[]));
    let run = |ranks| format!("{TRAIN} --set checkpoint.url=on-{ranks}");
    for ended in on_all(&place, run) {
        let notes: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with("note: ")).collect();
        let expected = [
            "note: skipped 1 file: 1 not music (.pdf)",
            "note: drums are taken for a melody in drums.mid: they are the first track with notes",
            "note: short.mid not trained on: too short for a window of 8 notes",
        ];
        assert_eq!(notes, expected, "{}", ended.stdout);
    }
}

#[test]
#[ignore = "slow"]
fn notes_left_out_or_moved_are_counted() {
    let place = Place::with_tiny();
    let notes =
        (0..30).map(|i| Note { pitch: 70 + i, velocity: 90, start: i.into(), end: f64::from(i) + 0.5 });
    let high = Instrument { program: 0, is_drum: false, name: String::new(), notes: notes.collect() };
    place.write("music/high.mid", write(&[high], &[]));
    let said = |how: &str| {
        place.bachdist(&format!("{TRAIN} --set representation.out_of_range={how} --set checkpoint.url={how}"))
    };
    let moved = "note: representation.out_of_range = \"transpose\" moves notes outside 1..=79 by octaves: 20, of high.mid";
    assert!(said("transpose").ok().stdout.contains(moved));
    let left_out =
        "note: representation.out_of_range = \"drop\" leaves out notes outside 1..=79: 20, of high.mid";
    assert!(said("drop").ok().stdout.contains(left_out));
}
