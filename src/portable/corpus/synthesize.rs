//! Synthetic music in any amount, for load tests. A piece is a chain of phrases of the built-in Prelude, each from a random
//! position and transposed by a random interval, at a random tempo per piece.
//!
//! A piece is a function of the seed and its number, so that pieces can be made in any order, by any thread.

use std::sync::LazyLock;

use super::files::PRELUDE;
use super::notation;
use crate::midi::{CELLO, Instrument, Note, Song, write};
use crate::random::{Purpose, RandomStream};

/// Notes in a phrase: a bar of the Prelude's sixteenths.
const PHRASE_NOTES: usize = 16;

/// Phrases are transposed by at most an octave, up or down, which keeps the Prelude's pitches inside the vocabulary.
const MAX_SEMITONES: u64 = 12;

static PRELUDE_NOTES: LazyLock<Vec<Note>> = LazyLock::new(|| {
    notation::parse(PRELUDE.1)
        .expect("the embedded notation is right, as a test makes sure")
        .voices
        .remove(0)
        .notes
});

/// A MIDI file with a monophonic piece of `notes` notes.
pub fn midi_file(notes: usize, seed: u64, number: u64) -> Vec<u8> {
    let random = RandomStream::new(seed, Purpose::Synthesis, &[number]);
    let below = |n: u64, index: u64| random.bits(index) % n;
    // From half to twice the Prelude's note lengths.
    let time_factor = 0.5 + 1.5 * random.uniform(0);
    let mut now = 0.0;
    let mut melody = Vec::with_capacity(notes);
    for (number, first) in (0..notes).step_by(PHRASE_NOTES).enumerate() {
        let index = 2 * number as u64 + 1;
        let from = below((PRELUDE_NOTES.len() - PHRASE_NOTES) as u64, index) as usize;
        let up = below(2 * MAX_SEMITONES + 1, index + 1);
        for note in &PRELUDE_NOTES[from..from + PHRASE_NOTES.min(notes - first)] {
            let end = now + (note.end - note.start) * time_factor;
            let pitch = note.pitch + up as u8 - MAX_SEMITONES as u8;
            melody.push(Note::in_seconds(pitch, note.velocity, now, end));
            now = end;
        }
    }
    write(
        &Song::in_seconds(vec![Instrument {
            program: CELLO,
            is_drum: false,
            name: "made up".into(),
            notes: melody,
        }]),
        &[],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::midi::{first_voice, read};
    use crate::representation::RepresentationConfig;
    use std::collections::HashSet;

    fn pitches(file: &[u8]) -> Vec<u8> {
        let song = read(file).unwrap();
        first_voice(&song.instruments).iter().map(|note| note.pitch).collect()
    }

    #[test]
    fn as_many_notes_as_asked_for_that_the_default_representation_can_spell() {
        for notes in [0, 1, 16, 17, 700] {
            let song = read(&midi_file(notes, 1, 3)).unwrap();
            let encoded = RepresentationConfig::default().build().encode(&song, usize::MAX);
            assert_eq!((encoded.tokens.len(), encoded.problems), (notes, Vec::new()));
        }
    }

    #[test]
    fn every_number_and_every_seed_has_its_own_music() {
        let all = (0..200).map(|i| pitches(&midi_file(50, i / 100, i % 100)));
        assert_eq!(all.collect::<HashSet<_>>().len(), 200);
    }

    #[test]
    fn the_same_again() {
        assert_eq!(midi_file(100, 7, 8), midi_file(100, 7, 8));
    }
}
