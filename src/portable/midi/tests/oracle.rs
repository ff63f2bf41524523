//! The 36 files of the cello suites, against what pretty_midi 0.2.11 reads from them: every note of the
//! first instrument, and facts about the rest. The expected times have six decimals.

use serde_json::Value;

use super::super::{Song, all_voices, read};
use super::shared;

fn close(ours: f64, theirs: &Value) -> bool {
    (ours - theirs.as_f64().unwrap()).abs() <= 1e-6
}

fn assert_song_is(song: &Song, expected: &Value, file: &str) {
    let instruments = &song.instruments;
    let counts: Vec<_> = instruments.iter().map(|i| i.notes.len()).collect();
    assert_eq!(instruments.len(), expected["n_instruments"], "{file}");
    assert_eq!(serde_json::json!(counts), expected["notes_per_instrument"], "{file}");
    let programs: Vec<_> = instruments.iter().map(|i| i.program).collect();
    assert_eq!(serde_json::json!(programs), expected["programs"], "{file}");
    let drums: Vec<_> = instruments.iter().map(|i| i.is_drum).collect();
    assert_eq!(serde_json::json!(drums), expected["is_drum"], "{file}");
    let names: Vec<_> = instruments.iter().map(|i| &i.name).collect();
    assert_eq!(serde_json::json!(names), expected["names"], "{file}");
    assert_eq!(song.resolution, expected["resolution"], "{file}");
    assert!(close(song.end, &expected["end_time"]), "{file}: {} for {}", song.end, expected["end_time"]);
    assert_tempi_are(song, expected, file);
    assert_eq!(all_voices(song).len(), counts.iter().sum::<usize>(), "{file}");

    let notes = &instruments[0].notes;
    let list = |field: &str| expected[field].as_array().unwrap().clone();
    assert_eq!(notes.len(), list("pitches").len(), "{file}");
    let rows = list("pitches").into_iter().zip(list("velocities")).zip(list("starts")).zip(list("ends"));
    for (index, (note, (((pitch, velocity), start), end))) in notes.iter().zip(rows).enumerate() {
        let same = note.pitch == pitch
            && note.velocity == velocity
            && close(note.start, &start)
            && close(note.end, &end);
        assert!(same, "{file}, note {index}: {note:?} for {pitch} {velocity} {start} {end}");
    }
}

fn assert_tempi_are(song: &Song, expected: &Value, file: &str) {
    let tempi: Vec<f64> = song.tempo_changes.iter().map(|change| change.quarters_per_minute).collect();
    assert_eq!(tempi.len(), expected["n_tempo_changes"], "{file}");
    let smallest = tempi.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = tempi.iter().copied().fold(0.0, f64::max);
    for (ours, field) in [(tempi[0], "tempo_first"), (smallest, "tempo_min"), (largest, "tempo_max")] {
        let theirs = expected[field].as_f64().unwrap();
        assert!((ours - theirs).abs() <= 1e-3, "{file}: {field} {ours} for {theirs}");
    }
}

#[test]
#[ignore = "needs shared"]
fn the_36_cello_files_are_read_as_pretty_midi_reads_them() {
    let Some(oracle) = shared("oracles/cello_pretty_midi.json") else { return };
    let Some(folder) = shared("data/cello") else { return };
    let oracle: Value = serde_json::from_slice(&std::fs::read(oracle).unwrap()).unwrap();
    let files = oracle.as_object().unwrap();
    let mut notes = 0;
    for (file, expected) in files {
        let song = read(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        assert_song_is(&song, expected, file);
        notes += song.instruments[0].notes.len();
    }
    assert_eq!((files.len(), notes), (36, 25_867));
    println!("{} files, {notes} notes: all equal", files.len());
}
