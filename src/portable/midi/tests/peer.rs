//! The real pretty_midi against ours, on hundreds of generated files and damaged copies of them: whatever
//! it reads, we read, with equal instruments, notes and times, bit for bit.

use std::path::Path;
use std::process::Command;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::super::{Instrument, Note, Song, read, write};
use super::generated;
use bachdist_test_support::tools::peer_python;

/// What pretty_midi says of each file, in order; `None` without pretty_midi.
fn pretty_midi(files: &[Vec<u8>]) -> Option<Vec<Value>> {
    let python = peer_python()?;
    let folder = tempfile::tempdir().unwrap();
    for (index, bytes) in files.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{index:06}.mid")), bytes).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("midi/tests/peer.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), files.len());
    Some(answers)
}

/// A song in the form of `peer.py`.
fn describe(song: &Song) -> Value {
    let note = |n: &Note| json!([n.pitch, n.velocity, n.start.to_bits(), n.end.to_bits()]);
    let instrument = |i: &Instrument| {
        let notes: Vec<_> = i.notes.iter().map(note).collect();
        json!({"program": i.program, "is_drum": i.is_drum, "name": i.name, "notes": notes})
    };
    let instruments: Vec<_> = song.instruments.iter().map(instrument).collect();
    let tempi: Vec<_> =
        song.tempo_changes.iter().map(|c| [c.time.to_bits(), c.quarters_per_minute.to_bits()]).collect();
    json!({
        "instruments": instruments, "resolution": song.resolution, "end": song.end.to_bits(), "tempi": tempi,
    })
}

/// Counts of files that pretty_midi reads and refuses, and of notes; panics where we differ.
fn compare(files: &[Vec<u8>]) -> Option<(usize, usize, usize)> {
    let (mut accepted, mut refused, mut notes) = (0, 0, 0);
    for (index, (bytes, mut theirs)) in files.iter().zip(pretty_midi(files)?).enumerate() {
        let ours = read(bytes);
        if theirs.get("error").is_some() {
            refused += 1;
            continue;
        }
        let song =
            ours.unwrap_or_else(|error| panic!("file {index}: {error}, but it can be read: {bytes:x?}"));
        theirs.as_object_mut().unwrap().remove("file");
        if theirs["resolution"].as_i64().unwrap() < 0 {
            // Film frames without a note: time runs backwards there, and only "no notes" has a meaning.
            assert_eq!((theirs["instruments"].clone(), song), (json!([]), Song::default()));
        } else {
            assert_eq!(song.refused_by_pretty_midi, None, "file {index}: {bytes:x?}");
            let ours = describe(&song);
            assert_eq!(ours, theirs, "file {index}: {bytes:x?}");
        }
        accepted += 1;
        notes += song_notes(&theirs);
    }
    Some((accepted, refused, notes))
}

fn song_notes(song: &Value) -> usize {
    song["instruments"].as_array().unwrap().iter().map(|i| i["notes"].as_array().unwrap().len()).sum()
}

fn samples<S: Strategy>(count: usize, strategy: &S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
#[ignore = "needs pretty_midi"]
fn generated_files_are_read_as_pretty_midi_reads_them() {
    let files = samples(500, &generated::file());
    let Some((accepted, refused, notes)) = compare(&files) else { return };
    println!("generated: {accepted} files equal with {notes} notes, {refused} refused by pretty_midi");
    assert!(accepted >= 450 && notes >= 5000, "the files are too dull to test anything");
}

#[test]
#[ignore = "needs pretty_midi"]
fn damaged_files_are_read_where_pretty_midi_reads_them() {
    let files = samples(1500, &generated::damaged(generated::file()));
    let Some((accepted, refused, notes)) = compare(&files) else { return };
    println!("damaged: {accepted} files equal with {notes} notes, {refused} refused by pretty_midi");
    assert!(accepted >= 100 && refused >= 100, "the damage is too small or too large to test anything");
}

#[test]
#[ignore = "needs pretty_midi"]
fn pretty_midi_reads_what_we_write() {
    let pitches = [43, 50, 59, 57, 59, 50, 59, 50].repeat(25);
    let melody = |index: usize, &pitch: &u8| {
        let start = index as f64 * 0.3;
        Note::in_seconds(pitch, 100, start, start + 0.3)
    };
    let notes: Vec<_> = pitches.iter().enumerate().map(|(index, pitch)| melody(index, pitch)).collect();
    let cello = Instrument { program: 42, is_drum: false, name: "Cello".into(), notes };
    let Some(answers) = pretty_midi(&[write(&Song::in_seconds(vec![cello.clone()]), &[(1.5, "seed 1")])])
    else {
        return;
    };
    let instruments = answers[0]["instruments"].as_array().unwrap();
    assert_eq!(instruments.len(), 1);
    assert_eq!((&instruments[0]["program"], &instruments[0]["name"]), (&json!(42), &json!("Cello")));
    let time = |bits: &Value| f64::from_bits(bits.as_u64().unwrap());
    let found = instruments[0]["notes"].as_array().unwrap();
    assert_eq!(found.len(), cello.notes.len());
    for (ours, theirs) in cello.notes.iter().zip(found) {
        assert_eq!((json!(ours.pitch), json!(ours.velocity)), (theirs[0].clone(), theirs[1].clone()));
        let error = (ours.start - time(&theirs[2])).abs().max((ours.end - time(&theirs[3])).abs());
        assert!(error < 1e-9, "{ours:?} came back as {theirs}");
    }
}
