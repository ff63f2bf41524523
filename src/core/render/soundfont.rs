//! Notes on a recorded instrument: a SoundFont (`.sf2`) played by rustysynth.
//!
//! The file comes from the user and may be anything. rustysynth checks most of it and indexes out of bounds on
//! some of the rest, so this module first compares the sizes the file claims with the bytes there are, and
//! turns a panic of the player into an error. The invariant: whatever the bytes, the caller gets sound or an
//! error that says what is wrong, and memory stays a small multiple of the file and the sound.

use std::cmp::Ordering;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use rustysynth::{SoundFont, Synthesizer, SynthesizerSettings};

use super::sound::{normalize, silence};
use crate::midi::Note;

mod chunks;
mod quiet;

/// Why a SoundFont could not be played.
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
    /// Not a SoundFont 2 file, or one that contradicts itself.
    #[error("not a usable SoundFont: {0}")]
    Unusable(String),
    /// The player works between 16,000 and 192,000 samples a second.
    #[error("the SoundFont cannot be played at this rate: {0}")]
    Rate(String),
    /// There are notes, and none of them sounded.
    #[error("the SoundFont has no sound for program {program} in the range of these notes")]
    Silent {
        /// The MIDI program that was asked for.
        program: u8,
    },
}

/// The sound of `notes` on the SoundFont's instrument `program` (42 is a cello), in −1 to 1, at `rate` samples
/// a second: left and right mixed, with the player's reverb, scaled so that the peak is 1, ending one second
/// after the last note like [`synthesize`](super::synthesize).
///
/// `soundfont` is the content of an `.sf2` file. Where it lacks the program, the player takes its first one.
/// Notes begin and end at the player's blocks of 64 samples (1.5 ms at 44.1 kHz).
///
/// # Errors
/// Bytes that are no sound SoundFont, a rate the player cannot do, or notes out of the instrument's range.
pub fn synthesize_soundfont(
    notes: &[Note],
    program: u8,
    soundfont: &[u8],
    rate: u32,
) -> Result<Vec<f32>, SoundFontError> {
    chunks::check_sizes(soundfont)?;
    let play = AssertUnwindSafe(|| play(notes, program, soundfont, rate));
    let mut samples = quiet::catch_panic(play)
        .unwrap_or_else(|| Err(SoundFontError::Unusable("it contradicts itself".into())))?;
    if normalize(&mut samples) == 0.0 && !notes.is_empty() {
        return Err(SoundFontError::Silent { program });
    }
    Ok(samples)
}

fn play(notes: &[Note], program: u8, soundfont: &[u8], rate: u32) -> Result<Vec<f32>, SoundFontError> {
    const CHANNEL: i32 = 0;
    const PROGRAM_CHANGE: i32 = 0xC0;

    let soundfont =
        SoundFont::new(&mut &soundfont[..]).map_err(|error| SoundFontError::Unusable(error.to_string()))?;
    let settings = SynthesizerSettings::new(i32::try_from(rate).unwrap_or(i32::MAX));
    let mut player = Synthesizer::new(&Arc::new(soundfont), &settings)
        .map_err(|error| SoundFontError::Rate(error.to_string()))?;
    player.process_midi_message(CHANNEL, PROGRAM_CHANGE, i32::from(program), 0);

    let mut left = silence(notes, f64::from(rate));
    let mut right = left.clone();
    let mut done = 0;
    for event in events(notes, rate) {
        let until = event.sample.clamp(done, left.len());
        player.render(&mut left[done..until], &mut right[done..until]);
        done = until;
        match event.velocity {
            0 => player.note_off(CHANNEL, event.pitch),
            velocity => player.note_on(CHANNEL, event.pitch, velocity),
        }
    }
    player.render(&mut left[done..], &mut right[done..]);

    left.iter_mut().zip(right).for_each(|(left, right)| *left = (*left + right) / 2.0);
    Ok(left)
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
    events.sort_by(|a, b| match a.sample.cmp(&b.sample) {
        Ordering::Equal => (a.velocity > 0).cmp(&(b.velocity > 0)),
        order => order,
    });
    events
}

#[cfg(test)]
mod tests;
