//! What representations make of real music: the figures that the documentation names.

use bachdist_test_support::tools::shared;

use super::notes::{Notes, NotesOptions};
use super::voices::{Polyphony, Voices, VoicesGrid, VoicesOptions};
use super::{Changes, Representation, pitches};
use crate::midi::{Instrument, Note, Song, read, write};

fn voices(grid: VoicesGrid, polyphony: Polyphony) -> Voices {
    Voices::new(VoicesOptions { voices: 4, grid, polyphony })
}

/// The chorales of `jsb16`: for each piece the four pitches of each sixteenth, -1 for a rest.
fn chorales() -> Option<Vec<Vec<[i16; 4]>>> {
    let text = std::fs::read_to_string(shared("data/jsb16/trainvalid.json")?).unwrap();
    let mut splits: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pieces = ["train", "valid"].map(|split| serde_json::from_value(splits[split].take()).unwrap());
    Some(pieces.into_iter().flat_map(|pieces: Vec<Vec<[i16; 4]>>| pieces).collect())
}

/// Equal pitches in a row are one note.
fn song_of(frames: &[[i16; 4]]) -> Song {
    let instrument = |voice: usize| {
        let mut notes: Vec<Note> = Vec::new();
        for (frame, pitches) in (0..).zip(frames) {
            let is_held = frame > 0 && frames[frame as usize - 1][voice] == pitches[voice];
            match (u8::try_from(pitches[voice]), notes.last_mut()) {
                (Ok(_), Some(note)) if is_held => note.end_tick = frame + 1,
                (Ok(pitch), _) => notes.push(Note::in_ticks(pitch, 80, frame, frame + 1)),
                (Err(_), _) => {}
            }
        }
        Instrument { program: 52, is_drum: false, name: String::new(), notes }
    };
    Song::at_tempo((0..4).map(instrument).collect(), 4, 600_000)
}

fn frames_of(song: &Song, count: usize) -> Vec<[i16; 4]> {
    let mut frames = vec![[-1; 4]; count];
    let steps_per_frame = u32::from(song.resolution) / 4;
    for (voice, instrument) in song.instruments.iter().enumerate() {
        for note in &instrument.notes {
            for frame in note.start_tick / steps_per_frame..note.end_tick / steps_per_frame {
                frames[frame as usize][voice] = note.pitch.into();
            }
        }
    }
    frames
}

#[test]
#[ignore = "needs shared"]
fn voices_are_a_bijection_with_the_sixteenths_of_the_chorales() {
    let Some(pieces) = chorales() else { return };
    let voices = voices(VoicesGrid::Sixteenth, Polyphony::Refuse);
    let (mut tokens, mut frames) = (0, 0);
    for piece in &pieces {
        let song = song_of(piece);
        let encoded = voices.encode(&song, usize::MAX);
        assert_eq!((encoded.problems.len(), encoded.altered), (0, 0));
        let decoded = voices.decode(&encoded.tokens);
        assert_eq!(&frames_of(&decoded, piece.len()), piece);
        // A file loses nothing, and with a note in every voice not even the tempo and the names.
        let read = read(&write(&decoded, &[])).unwrap();
        assert_eq!(voices.encode(&read, usize::MAX).tokens, encoded.tokens);
        if decoded.instruments.iter().all(|instrument| !instrument.notes.is_empty()) {
            assert_eq!(read, decoded);
        }
        let runs = voices.frames(&encoded.tokens).unwrap();
        assert_eq!(runs.iter().map(|run| run.frames).sum::<u64>(), piece.len() as u64);
        (tokens, frames) = (tokens + encoded.tokens.len(), frames + piece.len());
    }
    println!("{} chorales: {tokens} tokens, {frames} frames", pieces.len());
    assert_eq!((pieces.len(), frames), (305, 73_636));
    let tokens_per_frame = tokens as f64 / frames as f64;
    assert!((1.37..1.41).contains(&tokens_per_frame), "{tokens_per_frame}");
}

/// The songs of a folder of MIDI files, in the order of their names.
fn songs(folder: &str) -> Option<Vec<(String, Song)>> {
    let entries = std::fs::read_dir(shared(folder)?).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "mid")).collect();
    paths.sort();
    let song = |path: &std::path::PathBuf| {
        (path.display().to_string(), read(&std::fs::read(path).unwrap()).unwrap())
    };
    Some(paths.iter().map(song).collect())
}

#[test]
#[ignore = "needs shared"]
fn voices_spell_the_files_of_machine_made_chorales() {
    let Some(songs) = songs("data/jsfakes") else { return };
    let voices = voices(VoicesGrid::Sixteenth, Polyphony::Refuse);
    let (mut tokens, mut notes) = (0, 0);
    for (name, song) in &songs {
        let encoded = voices.encode(song, usize::MAX);
        assert_eq!((encoded.problems.first(), encoded.altered), (None, 0), "{name}");
        tokens += encoded.tokens.len();
        notes += pitches(&voices, &encoded.tokens).len();
        // Times are in the ticks of both files: a sixteenth is six of ours.
        let decoded = voices.decode(&encoded.tokens);
        for (theirs, ours) in song.instruments.iter().zip(&decoded.instruments) {
            let sixteenths = |notes: &[Note], sixteenth: u32| -> Vec<(u8, u32, u32)> {
                notes.iter().map(|n| (n.pitch, n.start_tick / sixteenth, n.end_tick / sixteenth)).collect()
            };
            let resolution = u32::from(song.resolution);
            assert_eq!(sixteenths(&theirs.notes, resolution / 4), sixteenths(&ours.notes, 6), "{name}");
        }
    }
    println!("{} files, {notes} notes, {tokens} tokens", songs.len());
    assert_eq!((songs.len(), notes), (500, 105_624));
    assert!((1.33..1.37).contains(&(tokens as f64 / notes as f64)));
}

/// Tokens, notes, and what was changed of all notes of a folder.
fn notes_of(folder: &str) -> Option<(usize, usize, usize, Changes)> {
    let notes = Notes::new(NotesOptions {});
    let (mut tokens, mut spelled, mut all, mut changes) = (0, 0, 0, Changes::default());
    for (name, song) in songs(folder)? {
        let encoded = notes.encode(&song, usize::MAX);
        assert!(encoded.problems.is_empty(), "{name}: {}", encoded.problems[0]);
        all += song.instruments.iter().map(|instrument| instrument.notes.len()).sum::<usize>();
        tokens += encoded.tokens.len();
        spelled += pitches(&notes, &encoded.tokens).len();
        let Changes { moved_onsets, changed_lengths, merged, cut, left_out } = encoded.changes;
        changes.moved_onsets += moved_onsets;
        changes.changed_lengths += changed_lengths;
        changes.merged += merged;
        changes.cut += cut;
        changes.left_out += left_out;
    }
    println!("{folder}: {tokens} tokens, {spelled} of {all} notes, {changes:?}");
    Some((tokens, spelled, all, changes))
}

#[test]
#[ignore = "needs shared"]
fn notes_of_the_cello_suites() {
    let Some((tokens, notes, all, changes)) = notes_of("data/cello") else { return };
    // 99.8% of the onsets and 99.6% of the lengths are exact.
    let expected = Changes { moved_onsets: 62, changed_lengths: 130, merged: 12, cut: 4, left_out: 0 };
    assert_eq!((all, notes, changes), (30_259, 30_247, expected));
    assert!((1.30..1.35).contains(&(tokens as f64 / all as f64)));
}

#[test]
#[ignore = "needs shared"]
fn notes_of_machine_made_chorales() {
    let Some((tokens, notes, all, changes)) = notes_of("data/jsfakes") else { return };
    // Unisons of two voices are one note.
    let expected = Changes { merged: 1753, cut: 239, ..Changes::default() };
    assert_eq!((all, notes, changes), (105_624, 105_624 - 1753, expected));
    assert!((2.10..2.13).contains(&(tokens as f64 / all as f64)));
}
