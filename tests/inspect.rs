//! `bachdist data inspect`: what is in music files, and what is wrong with them.

use bachdist_portable::midi::{Instrument, Note, write};
use serde_json::{Value, json};

use bachdist_test_support::harness::{Place, bachdist, ended, link_cello};

/// A MIDI file of these pitches, one after another.
pub fn melody(pitches: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let note = |(i, pitch): (usize, u8)| {
        let start = i as f64 * 0.25;
        Note { pitch, velocity: 90, start, end: start + 0.25 }
    };
    let notes = pitches.into_iter().enumerate().map(note).collect();
    write(&[Instrument { program: 42, is_drum: false, name: "Cello".into(), notes }], &[])
}

/// The pitches that a MIDI file has, read by the program.
pub fn pitches(place: &Place, file: &str) -> Vec<u8> {
    let found = place.bachdist(&format!("data inspect {file} --json --notes")).ok().json();
    let notes = found["files"][0]["instruments"][0]["notes"].as_array().expect("notes").clone();
    notes.iter().map(|note| note[0].as_u64().expect("a pitch") as u8).collect()
}

fn good_and_broken() -> Place {
    let place = Place::new();
    place.write("music/a.mid", melody((0..30).map(|i| 40 + i % 12)));
    place.write("music/deeper/b.MIDI", melody((0..25).map(|i| 50 + i % 3)));
    place.write("music/broken.mid", &melody(0..30)[..40]);
    place.write("music/empty.mid", "");
    place.write("music/high.mid", melody((0..30).map(|i| if i == 7 { 80 } else { 60 })));
    place.write("music/notes.txt", "no music: words about it");
    place.write("music/.hidden.mid", "");
    place
}

#[test]
fn broken_files_do_not_hide_the_others() {
    let place = good_and_broken();
    let ended = place.bachdist("data inspect music --json").with_code(3);
    assert_eq!(ended.error(), "music: 2 of 5 files cannot be read");
    let found = ended.json();
    let files = found["files"].as_array().expect("files");
    let paths: Vec<_> = files.iter().map(|file| file["path"].as_str().expect("a path")).collect();
    assert_eq!(paths, ["a.mid", "broken.mid", "deeper/b.MIDI", "empty.mid", "high.mid"]);
    assert_eq!(files[0], json!({"path": "a.mid", "notes": 30, "windows": 10, "error": null, "problems": []}));
    assert_eq!((&files[2]["notes"], &files[2]["windows"]), (&json!(25), &json!(5)));
    for broken in [&files[1], &files[3]] {
        let error = broken["error"].as_str().expect("an error");
        assert!(error.contains("byte"), "no offset: {error}");
    }
    assert_eq!(files[4]["error"], Value::Null);
    let problems = files[4]["problems"].as_array().expect("problems");
    assert!(problems.len() == 1 && problems[0].as_str().is_some_and(|p| p.contains("80")), "{problems:?}");

    let totals = ["pieces", "notes", "notes_used", "windows", "pitch_min", "pitch_max", "distinct_pitches"];
    assert_eq!(totals.map(|key| found[key].as_u64()), [3, 85, 84, 24, 40, 60, 14].map(Some));
}

#[test]
fn the_table_says_the_same() {
    let place = good_and_broken();
    let ended = place.bachdist("data inspect music").with_code(3);
    assert_eq!(ended.error(), "music: 2 of 5 files cannot be read");
    for part in [
        "a.mid ",
        "deeper/b.MIDI ",
        "broken.mid ",
        "cannot be read: ",
        "3 pieces, 85 notes, 84 used, 24 windows",
    ] {
        assert!(ended.stdout.contains(part), "no {part:?} in\n{}", ended.stdout);
    }
}

#[test]
fn notes_are_printed_as_they_are() {
    let place = Place::new();
    place.write("a.mid", melody([40, 43, 47]));
    let found = place.bachdist("data inspect a.mid --json --notes").ok().json();
    let instrument = &found["files"][0]["instruments"][0];
    assert_eq!(instrument["program"], 42);
    assert_eq!(instrument["notes"], json!([[40, 0.0, 0.25, 90], [43, 0.25, 0.5, 90], [47, 0.5, 0.75, 90]]));
    // Without --json there is nothing to print them in.
    place.bachdist("data inspect a.mid --notes").with_code(2);
}

#[test]
#[ignore = "needs shared"]
fn the_articles_36_files() {
    let place = Place::new();
    if !link_cello(&place) {
        return;
    }
    let found = place.bachdist("data inspect cello --json").ok().json();
    let expected = [
        ("pieces", 36),
        ("notes", 25_867),
        ("notes_used", 24_501),
        ("windows", 23_781),
        ("distinct_pitches", 43),
        ("pitch_min", 36),
        ("pitch_max", 79),
    ];
    for (key, figure) in expected {
        assert_eq!(found[key], figure, "{key}");
    }
    let table = place.bachdist("data inspect cello").ok().stdout;
    assert!(table.contains("36 pieces, 25,867 notes, 24,501 used, 23,781 windows"), "{table}");
}

#[test]
fn a_piano_roll_is_drawn() {
    let place = Place::new();
    place.bachdist("data inspect embedded --plot roll.png").ok();
    assert_eq!(&place.read("roll.png")[..8], b"\x89PNG\r\n\x1a\n");
    let ended = place.bachdist("data inspect embedded --plot no/such/folder/roll.png").with_code(4);
    assert!(ended.error().contains("no/such/folder/roll.png"), "{}", ended.stderr);
}

#[test]
fn paths_without_music() {
    let place = Place::new();
    place.write("words/a.txt", "no music");
    let missing = place.bachdist("data inspect nowhere").with_code(3);
    assert!(missing.error().starts_with("nowhere: no such file or folder"), "{}", missing.stderr);
    let empty = place.bachdist("data inspect words").with_code(3);
    assert!(empty.error().starts_with("words: holds no .mid"), "{}", empty.stderr);
}

/// Piece 7 of 30 notes has a pitch that the article's network has no class for.
fn train(place: &Place, options: &str) -> bachdist_test_support::harness::Ended {
    place.bachdist(&format!("train tiny.toml --set data.midi=music --set train.max_steps=1 {options}"))
}

#[test]
fn pitches_outside_the_range_are_refused_dropped_or_transposed() {
    let place = Place::with_tiny();
    place.write("music/high.mid", melody((0..30).map(|i| if i == 7 { 80 } else { 60 })));
    place.write("music/low.mid", melody((0..30).map(|i| if i == 3 { 0 } else { 60 })));
    let refused = train(&place, "").with_code(3);
    let errors = refused.errors();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("high.mid: note 7") && errors[0].contains("80"), "{errors:?}");
    assert!(errors[1].starts_with("low.mid: note 3") && errors[1].contains('0'), "{errors:?}");
    assert!(place.checkpoints("run").is_empty());

    let dropped = train(&place, "--set representation.out_of_range=drop --set checkpoint.url=drop").ok();
    assert!(dropped.stdout.contains("music: 2 pieces, 58 notes"), "{}", dropped.stdout);
    let transposed =
        train(&place, "--set representation.out_of_range=transpose --set checkpoint.url=transpose").ok();
    assert!(transposed.stdout.contains("music: 2 pieces, 60 notes"), "{}", transposed.stdout);

    // What was learnt from stands in the checkpoint: an octave down and up, or left out.
    let begin = |folder: &str, start: usize| {
        let json = place.sample(&format!("{folder} --json --notes 1 --start {start}")).ok().json();
        json["pieces"][0]["start_classes"]
            .as_array()
            .expect("classes")
            .iter()
            .map(|c| c.as_u64().expect("a class") + 1)
            .collect::<Vec<_>>()
    };
    assert_eq!(begin("transpose", 0), [60, 60, 60, 60, 60, 60, 60, 68]);
    assert_eq!(begin("transpose", 22), [60, 60, 60, 12, 60, 60, 60, 60]);
    assert_eq!(begin("drop", 0), [60; 8]);
}

/// What has another name until it is whole is never half there.
#[test]
fn a_picture_that_cannot_be_written_leaves_what_was_there() {
    let place = Place::new();
    place.write("roll.png", "mine");
    let mut command = place.command("sh");
    let bachdist = bachdist().display().to_string();
    command.args(["-c", &format!("ulimit -f 1; exec {bachdist} data inspect embedded --plot roll.png")]);
    let ended = ended(&mut command).with_code(4);
    assert!(ended.error().starts_with("cannot write roll.png: File too large"), "{}", ended.stderr);
    assert_eq!(place.read("roll.png"), b"mine");
    assert_eq!(
        std::fs::read_dir(place.path("")).expect("a folder").count(),
        1,
        "something is left beside it"
    );

    let ended = place.bachdist("data inspect embedded --plot /dev/full").with_code(4);
    assert!(ended.error().starts_with("cannot write /dev/full: No space left"), "{}", ended.stderr);
    place.bachdist("data inspect embedded --plot roll.png").ok();
    assert_eq!(&place.read("roll.png")[..8], b"\x89PNG\r\n\x1a\n");
}

#[test]
fn a_title_that_the_font_lacks_is_told() {
    let place = Place::new();
    place.write("音楽.mid", melody(40..60));
    let ended = place.bachdist("data inspect 音楽.mid --plot roll.png").ok();
    let note = "note: in the picture boxes stand for letters that its font lacks ('楽', '音')";
    assert_eq!(ended.stderr.lines().last(), Some(note));
}

#[test]
fn what_is_passed_over_is_told_by_kind() {
    let place = good_and_broken();
    place.write("music/cover.png", "");
    place.write("music/words.txt", "My list\ntitle: no score\n");
    std::os::unix::fs::symlink("..", place.path("music/deeper/up")).expect("a new link");
    let found = place.bachdist("data inspect music --json").with_code(3).json();
    let count = |why: &str, what: &str| found["passed_over"][why][what].as_u64();
    assert_eq!((count("not_music", "files"), count("hidden", "files")), (Some(1), Some(1)));
    assert_eq!((count("repeated", "folders"), count("not_score", "files")), (Some(1), Some(2)));
    assert_eq!(found["passed_over"]["not_score"]["details"], json!({"notes.txt": 1, "words.txt": 1}));
    let table = place.bachdist("data inspect music").with_code(3).stdout;
    let line = "skipped 4 files and 1 folder: 1 not music (.png), 2 text without a score (notes.txt, words.txt), \
                1 hidden (.hidden.mid), 1 reached under another name (deeper/up)";
    assert!(table.lines().any(|printed| printed == line), "{table}");
}

#[test]
fn drums_and_files_for_us_alone_have_remarks() {
    let place = Place::new();
    let notes = vec![Note { pitch: 40, velocity: 90, start: 0.0, end: 0.25 }];
    let drums = Instrument { program: 0, is_drum: true, name: String::new(), notes };
    place.write("music/drums.mid", write(&[drums], &[]));
    let mut long = melody([40]);
    // The delta before the end-of-track event becomes one of four bytes, and the track three bytes longer.
    let (end, length) = (long.len() - 4, long.len() - 26);
    let track = long.windows(4).rposition(|window| window == b"MTrk").expect("a track");
    assert!(track < length);
    let bytes = u32::from_be_bytes(long[track + 4..track + 8].try_into().expect("four bytes")) + 3;
    long[track + 4..track + 8].copy_from_slice(&bytes.to_be_bytes());
    long.splice(end..=end, [0xff, 0xff, 0xff, 0x7f]);
    place.write("music/long.mid", long);
    let found = place.bachdist("data inspect music --json").ok().json();
    let remarks = |file: usize| found["files"][file]["remarks"][0].as_str().unwrap_or_default().to_owned();
    assert_eq!(remarks(0), "its first instrument is a drum track, whose keys are no melody");
    assert_eq!(remarks(1), "pretty_midi would not read it: it has events after 10,000,000 ticks");
}
