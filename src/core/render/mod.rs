//! Sound and pictures of notes.
//!
//! Two ways to hear notes, [`Sound::sines`] (sample for sample what pretty_midi makes) and [`Sound::recorded`] (an
//! instrument of a [`SoundFont`]), both turned into a file by [`wav()`]. Three ways to see them, [`piano_roll`],
//! [`probabilities`] and [`shared_runs()`], all PNG.
//!
//! Everything here is a function from notes and plain slices to samples or bytes: it opens no file, knows no
//! checkpoint, needs no font of the system, and gives the same bytes for the same input.

mod picture;
mod sound;
mod soundfont;

pub use picture::{Novelty, Picture, RunLosses, SharedRun, losses, piano_roll, probabilities, shared_runs};
pub use sound::{Sound, WavError, wav};
pub use soundfont::{SoundFont, SoundFontError};
