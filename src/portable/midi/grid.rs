//! Music on a grid: which pitches sound in each of many frames of equal length.
//!
//! A frame does not tell a held note from a repeated one. Here a pitch that is in consecutive frames is one held note, so that
//! frames are read back exactly, and no onset is invented.

use serde::{Deserialize, Serialize};

use super::{DEFAULT_VELOCITY, Instrument, Note, Song, TempoChange};

/// Ticks per quarter note of music that is decoded from frames or from lengths in fractions of a beat: 16ths and triplets are
/// whole numbers of them.
pub const TICKS_PER_QUARTER: u16 = 24;

/// Quarter notes per minute of songs on a grid: MIDI's default, as frames have no tempo.
const TEMPO: f64 = 120.0;

/// How long a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoteValue {
    /// A quarter note.
    #[serde(rename = "quarter")]
    Quarter,
    /// An eighth note.
    #[serde(rename = "8th")]
    Eighth,
    /// A sixteenth note.
    #[serde(rename = "16th")]
    Sixteenth,
}

impl NoteValue {
    /// How many are as long as a quarter note.
    pub fn per_quarter(self) -> u16 {
        match self {
            NoteValue::Quarter => 1,
            NoteValue::Eighth => 2,
            NoteValue::Sixteenth => 4,
        }
    }

    /// In ticks of songs on a grid.
    pub fn ticks(self) -> u32 {
        u32::from(TICKS_PER_QUARTER / self.per_quarter())
    }
}

/// The step of a grid that is nearest to a tick, of two the later one. `resolution`, the ticks per quarter note, is not 0.
pub fn nearest_step(tick: u64, steps_per_quarter: u16, resolution: u16) -> u64 {
    let resolution = u64::from(resolution);
    (2 * tick * u64::from(steps_per_quarter) + resolution) / (2 * resolution)
}

/// The pitches that sound in a frame, each a bit.
pub type PitchSet = u128;

/// The notes of frames, by end, and those that end together by pitch.
pub fn held_notes(frames: impl IntoIterator<Item = PitchSet>, frame: NoteValue) -> Vec<Note> {
    let (mut notes, mut sounding, mut starts) = (Vec::new(), 0, [0; 128]);
    for (number, now) in (0..).zip(frames.into_iter().chain([0])) {
        let tick = number * frame.ticks();
        let mut changed: PitchSet = sounding ^ now;
        while changed != 0 {
            let pitch = changed.trailing_zeros() as u8;
            changed &= changed - 1;
            let start_tick = &mut starts[usize::from(pitch)];
            if now & 1 << pitch != 0 {
                *start_tick = tick;
                continue;
            }
            notes.push(Note {
                pitch,
                velocity: DEFAULT_VELOCITY,
                start: seconds(*start_tick),
                end: seconds(tick),
                start_tick: *start_tick,
                end_tick: tick,
            });
        }
        sounding = now;
    }
    notes
}

/// A song of so many frames. It may end in silence.
pub fn song(instruments: Vec<Instrument>, frames: usize, frame: NoteValue) -> Song {
    Song {
        instruments,
        resolution: TICKS_PER_QUARTER,
        end: seconds(frames as u32 * frame.ticks()),
        tempo_changes: vec![TempoChange { tick: 0, time: 0.0, quarters_per_minute: TEMPO }],
        meters: Vec::new(),
        refused_by_pretty_midi: None,
    }
}

fn seconds(tick: u32) -> f64 {
    60.0 / TEMPO * f64::from(tick) / f64::from(TICKS_PER_QUARTER)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Tracks of notes: pitch, first and last sixteenth.
    pub fn song_of_tracks(tracks: &[&[(u8, u32, u32)]]) -> Song {
        let mut instruments = Vec::new();
        for notes in tracks {
            let notes = notes.iter().map(|&(pitch, start, end)| Note::in_ticks(pitch, 80, start, end));
            let (program, is_drum, name) = (0, false, "organ".into());
            instruments.push(Instrument { program, is_drum, name, notes: notes.collect() });
        }
        Song::at_tempo(instruments, 4, 500_000)
    }

    #[test]
    fn the_nearest_step_is_the_later_one_of_two() {
        let sixteenths = [0, 2, 3, 5, 6, 9].map(|tick| nearest_step(tick, 4, 24));
        assert_eq!(sixteenths, [0, 0, 1, 1, 1, 2]);
        // Of an odd resolution no tick lies in the middle.
        assert_eq!([0, 1, 2, 3].map(|tick| nearest_step(tick, 1, 3)), [0, 0, 1, 1]);
        assert_eq!(nearest_step(u32::MAX.into(), 24, 1), 24 * u64::from(u32::MAX));
    }

    #[test]
    fn a_pitch_in_consecutive_frames_is_one_note() {
        let frames = [0b11, 0b10, 0, 0b10];
        let notes = held_notes(frames, NoteValue::Eighth);
        let found: Vec<_> = notes.iter().map(|note| (note.pitch, note.start_tick, note.end_tick)).collect();
        assert_eq!(found, [(0, 0, 12), (1, 0, 24), (1, 36, 48)]);
        assert_eq!((notes[2].start, notes[2].end), (0.75, 1.0));
        assert_eq!(song(Vec::new(), 3, NoteValue::Quarter).end, 1.5);
    }
}
