//! MIDI files to notes and back. [`read()`] finds in a file what pretty_midi 0.2.11 finds in it, [`write()`]
//! makes files that pretty_midi and synthesizers read; what notes mean for training and sampling is left
//! to `corpus` and `sample`. Nothing that a file says can make reading panic, hang, or take more memory than
//! a small multiple of the file.

mod error;
mod events;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use error::{MidiError, MidiProblem};
pub use read::read;
pub use write::write;

/// The first tick at which pretty_midi takes a file for a corrupt one: 2.9 hours at the usual 480 ticks a quarter note
/// and 120 quarter notes a minute, but 2.5 minutes at 32,767 ticks. Such files are read here all the same, and none
/// are written.
pub const MAX_TICK: u32 = 10_000_000;

/// One note: what sounds, how hard it is struck, and from when to when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Note {
    /// MIDI key, 0 to 127; 60 is the middle C.
    pub pitch: u8,
    /// 1 to 127.
    pub velocity: u8,
    /// Seconds from the beginning of the file.
    pub start: f64,
    /// Seconds from the beginning of the file, after `start`.
    pub end: f64,
}

/// The notes of one program on one channel of one track, in the order of their end events.
#[derive(Debug, Clone, PartialEq)]
pub struct Instrument {
    /// MIDI program, 0 to 127; 42 is a cello.
    pub program: u8,
    /// Channel 10: keys are percussion sounds.
    pub is_drum: bool,
    /// The name of its track.
    pub name: String,
    /// In pretty_midi's order.
    pub notes: Vec<Note>,
}

/// What a MIDI file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Song {
    /// In the order in which their first notes end.
    pub instruments: Vec<Instrument>,
    /// Ticks a quarter note; 0 if the file counts in film frames, which is only read without notes.
    pub resolution: u16,
    /// Seconds to the last note end, text, signature, tempo change, or controller of an instrument:
    /// pretty_midi's `get_end_time`.
    pub end: f64,
    /// Of the first track, from 0 seconds on.
    pub tempo_changes: Vec<TempoChange>,
    /// Why pretty_midi does not read this file, if that is so.
    pub refused_by_pretty_midi: Option<&'static str>,
}

/// When the tempo changes, and to what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TempoChange {
    /// Seconds from the beginning of the file.
    pub time: f64,
    /// Quarter notes a minute.
    pub quarters_per_minute: f64,
}

/// The notes of the first instrument, the one that is learnt from; none if there is no instrument.
pub fn first_voice(instruments: &[Instrument]) -> &[Note] {
    instruments.first().map_or(&[], |instrument| &instrument.notes)
}

/// The notes of all instruments, drums too, by onset; of equal onsets, the lower pitch comes first, and
/// equal pitches stay in the order of their instruments.
#[must_use]
pub fn all_voices(song: &Song) -> Vec<Note> {
    let mut notes: Vec<Note> = song.instruments.iter().flat_map(|i| &i.notes).copied().collect();
    notes.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.pitch.cmp(&b.pitch)));
    notes
}
