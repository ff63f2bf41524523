//! A recorded instrument: one preset of a SoundFont (`.sf2`), played by rustysynth.
//!
//! The file comes from the user and may be anything. rustysynth rejects a whole font for one odd sample, even an unused
//! one, and indexes out of bounds on some others. So it never sees the file: `chunks` finds the file's tables, and
//! `preset` builds a font from the playable parts of the requested preset.
//!
//! Invariant: whatever the bytes, the caller gets an instrument, with a note of whatever was skipped, or an error that
//! says what is wrong; and memory stays a small multiple of the file's size.

use std::sync::Arc;

use rustysynth::{Synthesizer, SynthesizerSettings};

use crate::midi::Note;

mod chunks;
mod preset;

pub use chunks::SoundFontError;

/// An instrument, ready to be played.
pub struct SoundFont {
    font: Arc<rustysynth::SoundFont>,
    program: u8,
    notes: Vec<String>,
}

impl SoundFont {
    /// Whether a file that begins with these bytes may be a SoundFont.
    ///
    /// # Errors
    /// If it is of another format, naming it.
    pub fn recognize(bytes: &[u8]) -> Result<(), SoundFontError> {
        match chunks::other_kind(bytes) {
            Some(other) => Err(SoundFontError::OtherFormat(other)),
            None => Ok(()),
        }
    }

    /// The instrument `program` (42 is a cello) of a SoundFont file's content, or its first one if it lacks that.
    ///
    /// # Errors
    /// If the bytes are not a SoundFont, or no part of that instrument can be played.
    pub fn read(bytes: &[u8], program: u8) -> Result<Self, SoundFontError> {
        Self::recognize(bytes)?;
        let chunks = chunks::FontChunks::find(bytes)?;
        let (mut font, notes) = preset::only_playable(&chunks, program)?;
        let font = rustysynth::SoundFont::new(&mut font)
            .map_err(|error| SoundFontError::Unusable(error.to_string()))?;
        Ok(SoundFont { font: Arc::new(font), program, notes })
    }

    /// What the user should know: a substituted instrument, skipped parts.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The requested MIDI program.
    pub fn program(&self) -> u8 {
        self.program
    }

    pub(super) fn check_rate(&self, rate: u32) -> Result<(), SoundFontError> {
        if (16_000..=192_000).contains(&rate) { Ok(()) } else { Err(SoundFontError::Rate(rate)) }
    }

    /// A player at the start of `notes`; the rate must have been checked.
    pub(super) fn player(&self, notes: &[Note], rate: u32) -> Player {
        const PROGRAM_CHANGE: i32 = 0xC0;
        let settings = SynthesizerSettings::new(i32::try_from(rate).expect("the rate was checked"));
        let mut synthesizer = Synthesizer::new(&self.font, &settings).expect("the rate was checked");
        for channel in CHANNELS {
            synthesizer.process_midi_message(channel, PROGRAM_CHANGE, i32::from(self.program), 0);
        }
        Player { synthesizer, events: events(notes, rate), next: 0, done: 0, right: Vec::new() }
    }
}

/// The player's channels, but for that of drums. A channel has one note of each pitch, so unisons need several.
const CHANNELS: [i32; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15];

/// Plays notes, a block of samples at a time.
pub(super) struct Player {
    synthesizer: Synthesizer,
    events: Vec<KeyEvent>,
    next: usize,
    /// Samples made so far.
    done: usize,
    /// A buffer for the right channel.
    right: Vec<f32>,
}

impl Player {
    pub(super) fn render(&mut self, block: &mut [f32]) {
        self.right.resize(block.len(), 0.0);
        let mut made = 0;
        while made < block.len() {
            let until = match self.events.get(self.next) {
                Some(event) => (event.sample - self.done).clamp(made, block.len()),
                None => block.len(),
            };
            self.synthesizer.render(&mut block[made..until], &mut self.right[made..until]);
            made = until;
            while let Some(event) = self.events.get(self.next)
                && event.sample <= self.done + made
                && made < block.len()
            {
                match event.velocity {
                    0 => self.synthesizer.note_off(event.channel, event.pitch),
                    velocity => self.synthesizer.note_on(event.channel, event.pitch, velocity),
                }
                self.next += 1;
            }
        }
        self.done += block.len();
        for (left, right) in block.iter_mut().zip(&self.right) {
            *left = (*left + right) / 2.0;
        }
    }
}

/// A note-on, or a note-off if the velocity is 0.
struct KeyEvent {
    sample: usize,
    channel: i32,
    pitch: i32,
    velocity: i32,
}

/// In order of time; at the same sample note-offs come first, so that a repeated note sounds again. Of notes of one pitch that
/// sound together each has a channel, as long as there are channels.
fn events(notes: &[Note], rate: u32) -> Vec<KeyEvent> {
    let sample = |seconds: f64| (f64::from(rate) * seconds) as usize;
    let mut by_onset: Vec<&Note> = notes.iter().collect();
    by_onset.sort_by_key(|note| sample(note.start));
    // For each pitch, when each channel is free.
    let mut free: Vec<[usize; CHANNELS.len()]> = vec![[0; CHANNELS.len()]; 256];
    let mut events = Vec::with_capacity(2 * notes.len());
    for note in by_onset {
        let (start, end) = (sample(note.start), sample(note.end));
        let ends = &mut free[usize::from(note.pitch)];
        let number = ends.iter().position(|&end| end <= start).unwrap_or(0);
        ends[number] = end;
        for (sample, velocity) in [(start, i32::from(note.velocity)), (end, 0)] {
            events.push(KeyEvent {
                sample,
                channel: CHANNELS[number],
                pitch: i32::from(note.pitch),
                velocity,
            });
        }
    }
    events.sort_by_key(|event| (event.sample, event.velocity > 0));
    events
}

#[cfg(test)]
mod tests;
