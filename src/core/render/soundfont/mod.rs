//! A recorded instrument: one preset of a SoundFont (`.sf2`), played by rustysynth.
//!
//! The file comes from the user and may be anything. The player refuses a font for one odd sample, even where nobody
//! plays it, and indexes out of bounds on some others. So it never sees the file: `chunks` finds the tables in
//! it, and `preset` makes a font of the one preset that is wanted and of the parts of it that can be played. The
//! invariant: whatever the bytes, the caller gets an instrument, with a note of what is left out, or an error that
//! says what is wrong, and memory stays a small multiple of the file.

use std::sync::Arc;

use rustysynth::{Synthesizer, SynthesizerSettings};

use crate::midi::Note;

mod chunks;
mod preset;

/// Why a SoundFont cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum SoundFontError {
    /// A chunk is longer than the rest of the file: typically a download that was cut short.
    #[error(
        "the SoundFont is cut short: the chunk '{chunk}' at byte {offset} should have {claimed} bytes, \
         {left} are left"
    )]
    CutShort {
        /// Its four letters.
        chunk: String,
        /// Where it begins in the file.
        offset: usize,
        /// The length it claims, in bytes.
        claimed: usize,
        /// What the file still holds after its header, in bytes.
        left: usize,
    },
    /// Another kind of file.
    #[error("it is not a SoundFont (.sf2) but {0}")]
    Other(&'static str),
    /// A SoundFont that lacks something, or contradicts itself.
    #[error("not a usable SoundFont: {0}")]
    Unusable(String),
    /// Nothing of the preset that is wanted can be played.
    #[error("the SoundFont's preset {name} (program {program}) cannot play: {reason}")]
    Preset {
        /// Its name, in quotes.
        name: String,
        /// Its MIDI program.
        program: u16,
        /// What is wrong with the first of its parts.
        reason: String,
    },
    /// The player works between 16,000 and 192,000 samples a second.
    #[error("the SoundFont cannot be played at {0} samples a second, only at 16,000 to 192,000")]
    Rate(u32),
    /// There are notes, and none of them sounded.
    #[error("the SoundFont has no sound for program {program} in the range of these notes")]
    Silent {
        /// The MIDI program that was asked for.
        program: u8,
    },
}

/// An instrument, ready to be played.
pub struct SoundFont {
    font: Arc<rustysynth::SoundFont>,
    program: u8,
    notes: Vec<String>,
}

impl SoundFont {
    /// Whether a file that begins so may be a SoundFont.
    ///
    /// # Errors
    /// What it is else.
    pub fn recognize(bytes: &[u8]) -> Result<(), SoundFontError> {
        match chunks::other_kind(bytes) {
            Some(other) => Err(SoundFontError::Other(other)),
            None => Ok(()),
        }
    }

    /// The instrument `program` (42 is a cello) of a SoundFont file's content; where the file lacks it, its first.
    ///
    /// # Errors
    /// Bytes that are no SoundFont, or one in which nothing of that instrument can be played.
    pub fn read(bytes: &[u8], program: u8) -> Result<Self, SoundFontError> {
        Self::recognize(bytes)?;
        let chunks = chunks::Chunks::find(bytes)?;
        let (mut font, notes) = preset::only_playable(&chunks, program)?;
        let font = rustysynth::SoundFont::new(&mut font)
            .map_err(|error| SoundFontError::Unusable(error.to_string()))?;
        Ok(SoundFont { font: Arc::new(font), program, notes })
    }

    /// What the user should know: another instrument than asked for, parts that are left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The MIDI program that was asked for.
    pub fn program(&self) -> u8 {
        self.program
    }

    pub(super) fn check_rate(&self, rate: u32) -> Result<(), SoundFontError> {
        if (16_000..=192_000).contains(&rate) { Ok(()) } else { Err(SoundFontError::Rate(rate)) }
    }

    /// A player at the beginning of these notes, at a rate that was checked.
    pub(super) fn player(&self, notes: &[Note], rate: u32) -> Player {
        const PROGRAM_CHANGE: i32 = 0xC0;
        let settings = SynthesizerSettings::new(i32::try_from(rate).expect("the rate was checked"));
        let mut synthesizer = Synthesizer::new(&self.font, &settings).expect("the rate was checked");
        synthesizer.process_midi_message(CHANNEL, PROGRAM_CHANGE, i32::from(self.program), 0);
        Player { synthesizer, events: events(notes, rate), next: 0, done: 0, right: Vec::new() }
    }
}

/// The player's channel for all notes.
const CHANNEL: i32 = 0;

/// Plays notes from their beginning, some samples at a time.
pub(super) struct Player {
    synthesizer: Synthesizer,
    events: Vec<Event>,
    /// The next event.
    next: usize,
    /// Samples made.
    done: usize,
    /// Room for the right channel.
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
                    0 => self.synthesizer.note_off(CHANNEL, event.pitch),
                    velocity => self.synthesizer.note_on(CHANNEL, event.pitch, velocity),
                }
                self.next += 1;
            }
        }
        self.done += block.len();
        block.iter_mut().zip(&self.right).for_each(|(left, right)| *left = (*left + right) / 2.0);
    }
}

/// A key goes down, or up where the velocity is 0.
struct Event {
    sample: usize,
    pitch: i32,
    velocity: i32,
}

/// All events in the order of time; at one sample, releases first, so that a repeated note sounds again.
fn events(notes: &[Note], rate: u32) -> Vec<Event> {
    let event = |seconds: f64, pitch: u8, velocity: u8| Event {
        sample: (f64::from(rate) * seconds) as usize,
        pitch: i32::from(pitch),
        velocity: i32::from(velocity),
    };
    let mut events: Vec<Event> = notes
        .iter()
        .flat_map(|note| [event(note.start, note.pitch, note.velocity), event(note.end, note.pitch, 0)])
        .collect();
    events.sort_by_key(|event| (event.sample, event.velocity > 0));
    events
}

#[cfg(test)]
mod tests;
