//! MIDI files to notes and back. [`read()`] finds in a file what pretty_midi 0.2.11 finds in it; [`write()`] makes files
//! that pretty_midi and synthesizers read. What notes mean for training and sampling is not known here.
//!
//! Invariant: no file can make reading panic, hang, or use more memory than a small multiple of the file's size.

mod error;
mod events;
pub mod grid;
mod read;
mod tempo;
#[cfg(test)]
mod tests;
mod write;

pub use error::{MidiError, MidiProblem};
pub use read::read;
pub use write::write;

/// From this tick on pretty_midi rejects a file as corrupt: 2.9 hours at the usual 480 ticks per quarter note and 120
/// quarter notes per minute, but 2.5 minutes at 32,767 ticks. We read such files all the same, and never write one.
pub const MAX_TICK: u32 = 10_000_000;

/// The General MIDI program of a cello.
pub const CELLO: u8 = 42;

/// The velocity of notes without dynamics: loud enough for any synthesizer, with room above.
pub const DEFAULT_VELOCITY: u8 = 100;

/// The names of the pitch classes, C first; keys with two names have the sharp one.
pub const PITCH_CLASSES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];

/// "C3 (48)": the note in scientific pitch notation (60 is C4) and its MIDI key.
pub fn pitch_name(pitch: u8) -> String {
    format!("{}{} ({pitch})", PITCH_CLASSES[usize::from(pitch % 12)], i32::from(pitch / 12) - 1)
}

/// A note with its times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Note {
    /// MIDI key, 0 to 127; 60 is middle C.
    pub pitch: u8,
    /// 1 to 127.
    pub velocity: u8,
    /// Seconds from the start of the file.
    pub start: f64,
    /// Seconds from the start of the file; later than `start`.
    pub end: f64,
    /// Ticks from the start of the file.
    pub start_tick: u32,
    /// Ticks from the start of the file; later than `start_tick`.
    pub end_tick: u32,
}

impl Note {
    /// A note of music that has seconds and no beats. Its ticks are milliseconds.
    pub fn in_seconds(pitch: u8, velocity: u8, start: f64, end: f64) -> Note {
        let [start_tick, end_tick] = [start, end].map(|time| (1000.0 * time).round() as u32);
        Note { pitch, velocity, start, end, start_tick, end_tick }
    }

    /// A note of music that has beats. [`Song::at_tempo`] sets its seconds.
    pub fn in_ticks(pitch: u8, velocity: u8, start_tick: u32, end_tick: u32) -> Note {
        Note { pitch, velocity, start: 0.0, end: 0.0, start_tick, end_tick }
    }
}

/// The notes of one program on one channel of one track, in the order of their end events.
#[derive(Debug, Clone, PartialEq)]
pub struct Instrument {
    /// MIDI program, 0 to 127; 42 is a cello.
    pub program: u8,
    /// On channel 10, where keys are percussion sounds.
    pub is_drum: bool,
    /// Its track's name.
    pub name: String,
    /// In pretty_midi's order: by note-off.
    pub notes: Vec<Note>,
}

/// A piece of music: what a MIDI file or a score holds, and what tokens are decoded to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Song {
    /// In the order in which their first notes end.
    pub instruments: Vec<Instrument>,
    /// Ticks per quarter note; 0 if the music has seconds and no beats, and its ticks are milliseconds. A MIDI file that
    /// counts in SMPTE frames has none either, and is accepted only if it has no notes.
    pub resolution: u16,
    /// Seconds until the last note-off, text, signature, tempo change, or controller of an instrument: pretty_midi's
    /// `get_end_time`.
    pub end: f64,
    /// From the first track; the first one is at 0 seconds.
    pub tempo_changes: Vec<TempoChange>,
    /// From the first track, in its order.
    pub meters: Vec<Meter>,
    /// Why pretty_midi would reject this file, if it would.
    pub refused_by_pretty_midi: Option<&'static str>,
}

impl Song {
    /// Music that has seconds and no beats.
    pub fn in_seconds(instruments: Vec<Instrument>) -> Song {
        let ends = instruments.iter().flat_map(|instrument| &instrument.notes).map(|note| note.end);
        Song { end: ends.fold(0.0, f64::max), instruments, ..Song::default() }
    }
}

impl Song {
    /// The time of a tick in seconds.
    pub fn time_at(&self, tick: u32) -> f64 {
        if self.resolution == 0 {
            return f64::from(tick) / 1000.0;
        }
        let default = TempoChange { tick: 0, time: 0.0, quarters_per_minute: 120.0 };
        let last = self.tempo_changes.iter().rfind(|change| change.tick <= tick).unwrap_or(&default);
        let quarters = f64::from(tick - last.tick) / f64::from(self.resolution);
        last.time + quarters * 60.0 / last.quarters_per_minute
    }

    /// The ticks at which bars begin, up to the end of the last note; none in music without beats.
    pub fn bars(&self) -> Vec<u32> {
        let notes = self.instruments.iter().flat_map(|instrument| &instrument.notes);
        let end = notes.map(|note| note.end_tick).max().unwrap_or(0);
        let mut bars = Vec::new();
        for (index, meter) in self.meters.iter().enumerate() {
            let Meter { tick, beats_per_bar, beat_unit } = *meter;
            let next = self.meters.get(index + 1).map_or(end, |next| next.tick.min(end));
            let bar = 4 * u32::from(self.resolution) * u32::from(beats_per_bar) / u32::from(beat_unit.max(1));
            if bar > 0 && tick < next {
                bars.extend((tick..next).step_by(bar as usize));
            }
        }
        bars
    }

    /// The tick nearest to a time in seconds.
    pub fn tick_at(&self, time: f64) -> u64 {
        if self.resolution == 0 {
            return (1000.0 * time).round() as u64;
        }
        let default = TempoChange { tick: 0, time: 0.0, quarters_per_minute: 120.0 };
        let last = self.tempo_changes.iter().rfind(|change| change.time <= time).unwrap_or(&default);
        let quarters = (time - last.time) * last.quarters_per_minute / 60.0;
        u64::from(last.tick) + (quarters * f64::from(self.resolution)).round() as u64
    }
}

/// When the tempo changes, and to what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TempoChange {
    /// Ticks from the start of the file.
    pub tick: u32,
    /// Seconds from the start of the file.
    pub time: f64,
    /// Quarter notes per minute.
    pub quarters_per_minute: f64,
}

/// A time signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meter {
    /// Where a bar begins in it, in ticks from the start of the file.
    pub tick: u32,
    /// Its upper number; at least 1.
    pub beats_per_bar: u16,
    /// Its lower number, the fraction of a whole note that a beat is: 4 is a quarter note.
    pub beat_unit: u16,
}

/// The first instrument's notes; empty without an instrument.
pub fn first_voice(instruments: &[Instrument]) -> &[Note] {
    instruments.first().map_or(&[], |instrument| &instrument.notes)
}

/// The notes of all instruments, drums included, by onset, then by pitch; equal ones stay in the order of their
/// instruments.
#[must_use]
pub fn all_voices(song: &Song) -> Vec<Note> {
    let mut notes: Vec<Note> = song.instruments.iter().flat_map(|i| &i.notes).copied().collect();
    notes.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.pitch.cmp(&b.pitch)));
    notes
}
