//! `bachdist data inspect`: what is in music files, and what is wrong with them.

use bachdist_portable::midi::{Instrument, Note, Song, write};
use serde_json::{Value, json};

use bachdist_test_support::harness::{Place, assert_begin, bachdist, ended, link_cello};
use bachdist_test_support::snapshot::Transcript;

/// A MIDI file of these pitches, one after another.
pub fn melody(pitches: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let note = |(i, pitch): (usize, u8)| {
        let start = i as f64 * 0.25;
        Note::in_seconds(pitch, 90, start, start + 0.25)
    };
    let notes = pitches.into_iter().enumerate().map(note).collect();
    write(
        &Song::in_seconds(vec![Instrument { program: 42, is_drum: false, name: "Cello".into(), notes }]),
        &[],
    )
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
    let found = place.bachdist("data inspect music --json").with_code(3).json();
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
fn the_table_has_every_file() {
    let place = good_and_broken();
    let mut said = Transcript::default();
    let ended = said.fails(&place, "bachdist data inspect music", 3, "music: ");
    for file in ["a.mid ", "deeper/b.MIDI ", "broken.mid ", "empty.mid ", "high.mid "] {
        assert!(ended.stdout.lines().any(|line| line.starts_with(file)), "no {file:?} in\n{}", ended.stdout);
    }
    said.check("inspect-broken-files");
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
    for figure in ["36", "25,867", "24,501", "23,781"] {
        assert!(table.contains(figure), "no {figure} in {table}");
    }
    // With rhythm, on a grid of 24 a beat; another program found 60 moved, 12 merged and 4 cut.
    let notes = "data inspect cello --max-notes 100000 --set representation.kind=notes";
    let changes = &place.bachdist(&format!("{notes} --json")).ok().json()["changes"];
    let counted =
        ["moved_onsets", "merged", "cut", "left_out"].map(|change| changes[change].as_u64().unwrap());
    assert_eq!(counted, [62, 12, 4, 0], "{changes}");
    let table = place.bachdist(notes).ok().stdout;
    assert!(
        table.contains("of them 62 begin at another time, ") && table.contains(", 12 are merged, 4 are cut")
    );
}

/// Figures stay in their columns.
#[test]
fn a_long_name_has_a_line_of_its_own() {
    let place = Place::new();
    place.write(&format!("music/{}.mid", "long".repeat(8)), melody([40, 43, 47]));
    place.write("music/short.mid", melody([40, 43, 47]));
    place.write(&format!("music/{}.mid", "ö".repeat(32)), melody([40, 43, 47]));
    let table = place.bachdist("data inspect music").ok().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        (lines[1], lines[2].trim_start()),
        (&*format!("{}.mid", "long".repeat(8)), lines[3]["short.mid".len()..].trim_start())
    );
    assert_eq!(lines[2].len(), lines[3].len());
    assert_eq!((lines[4], lines[5]), (&*format!("{}.mid", "ö".repeat(32)), lines[2]));
}

#[test]
fn a_piano_roll_is_drawn() {
    let place = Place::new();
    place.bachdist("data inspect embedded --plot roll.png").ok();
    assert_eq!(&place.read("roll.png")[..8], b"\x89PNG\r\n\x1a\n");
    let mut said = Transcript::default();
    let nowhere = "bachdist data inspect embedded --plot no/such/folder/roll.png";
    said.fails(&place, nowhere, 4, "no/such/folder/roll.png");
    said.check("inspect-plot-nowhere");
}

#[test]
fn paths_without_music_are_refused() {
    let place = Place::new();
    place.write("words/a.txt", "no music");
    let mut said = Transcript::default();
    said.fails(&place, "bachdist data inspect nowhere", 3, "nowhere: ");
    said.fails(&place, "bachdist data inspect words", 3, "words: ");
    said.check("inspect-without-music");
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
    assert_begin(&refused.errors(), &["high.mid: note 7: ", "low.mid: note 3: "]);
    assert!(place.checkpoints("run").is_empty());

    let mut said = Transcript::default();
    said.messages("train tiny.toml", &refused);
    said.check("train-out-of-range");
    for (how, notes) in [("drop", "58"), ("transpose", "60")] {
        let used =
            train(&place, &format!("--set representation.out_of_range={how} --set checkpoint.url={how}"))
                .ok();
        let data = used.stdout.lines().find(|line| line.starts_with("data "));
        assert!(data.is_some_and(|line| line.contains(&format!(" {notes} "))), "{}", used.stdout);
    }

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
    assert!(ended.error().contains("roll.png"), "{}", ended.stderr);
    let mut said = Transcript::default();
    said.messages("ulimit -f 1; bachdist data inspect embedded --plot roll.png", &ended);
    assert_eq!(place.read("roll.png"), b"mine");
    assert_eq!(
        std::fs::read_dir(place.path("")).expect("a folder").count(),
        1,
        "something is left beside it"
    );

    said.fails(&place, "bachdist data inspect embedded --plot /dev/full", 4, "/dev/full");
    said.check("inspect-plot-cannot-be-written");
    place.bachdist("data inspect embedded --plot roll.png").ok();
    assert_eq!(&place.read("roll.png")[..8], b"\x89PNG\r\n\x1a\n");
}

#[test]
fn letters_that_the_font_lacks_are_noted() {
    let place = Place::new();
    place.write("音楽.mid", melody(40..60));
    let ended = place.bachdist("data inspect 音楽.mid --plot roll.png").ok();
    let notes = ended.notes();
    let note = notes.last().expect("a note");
    assert!(note.contains("'楽', '音'"), "{note}");
    let mut said = Transcript::default();
    said.line("data inspect 音楽.mid --plot roll.png", note);
    said.check("inspect-letters-that-the-font-lacks");
}

#[test]
fn what_is_passed_over_is_listed_by_kind() {
    let place = good_and_broken();
    place.write("music/cover.png", "");
    place.write("music/words.txt", "My list\ntitle: no score\n");
    std::os::unix::fs::symlink("..", place.path("music/deeper/up")).expect("a new link");
    let found = place.bachdist("data inspect music --json").with_code(3).json();
    let count = |why: &str, what: &str| found["passed_over"][why][what].as_u64();
    assert_eq!((count("not_music", "files"), count("hidden", "files")), (Some(1), Some(1)));
    assert_eq!((count("repeated", "folders"), count("not_score", "files")), (Some(1), Some(2)));
    assert_eq!(found["passed_over"]["not_score"]["details"], json!({"notes.txt": 1, "words.txt": 1}));
    let mut said = Transcript::default();
    said.fails(&place, "bachdist data inspect music", 3, "music: ");
    said.check("inspect-passed-over");
}

#[test]
fn drums_and_files_that_pretty_midi_refuses_have_remarks() {
    let place = Place::new();
    let notes = vec![Note::in_seconds(40, 90, 0.0, 0.25)];
    let drums = Instrument { program: 0, is_drum: true, name: String::new(), notes };
    place.write("music/drums.mid", write(&Song::in_seconds(vec![drums]), &[]));
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
    let mut said = Transcript::default();
    for (number, path) in [(0, "drums.mid"), (1, "long.mid")] {
        let file = &found["files"][number];
        assert_eq!((&file["path"], file["remarks"].as_array().map(Vec::len)), (&json!(path), Some(1)));
        said.line(path, file["remarks"][0].as_str().expect("text"));
    }
    said.check("inspect-remarks");
}

#[test]
fn the_pieces_of_piano_rolls_are_listed() {
    let place = Place::new();
    place.write("rolls/a.json", r#"{"train": [[[60, 64], [60]]], "valid": [[[62], [], [64]]]}"#);
    place.write("rolls/info.json", r#"{"composer": "Bach"}"#);
    let as_frames = "--set representation.kind=frames";
    let found = place.bachdist(&format!("data inspect rolls --json {as_frames}")).ok().json();
    let names: Vec<_> = found["files"].as_array().expect("a list").iter().map(|file| &file["path"]).collect();
    assert_eq!(names, ["a.json/train/0", "a.json/valid/0"]);
    let totals =
        ["pieces", "notes", "notes_used", "tokens", "notes_altered"].map(|what| found[what].as_u64());
    assert_eq!(totals, [2, 4, 5, 10, 0].map(Some));
    assert_eq!(found["passed_over"]["not_music"]["details"], json!({".json": 1}));
    let text = place.bachdist(&format!("data inspect rolls/a.json --tokens {as_frames}")).ok().stdout;
    let lines: Vec<_> = text.lines().take(2).collect();
    assert_eq!(lines, ["train/0", "Pitch 64, Pitch 60, End of frame, Pitch 60, End of frame"]);
    // Whatever is wrong with a file is a line.
    place.write("rolls/b.json", "[[[60, 200]]]");
    let broken = place.bachdist("data inspect rolls/b.json").with_code(3).stdout;
    assert!(
        broken.lines().nth(1).is_some_and(|line| line.contains("cannot be read: no piano rolls: ")),
        "{broken}"
    );
}
