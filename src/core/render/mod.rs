//! Sound and pictures of notes.
//!
//! Two ways to hear notes, [`synthesize`] (sine waves, sample for sample what pretty_midi makes) and
//! [`synthesize_soundfont`] (a recorded instrument), both turned into a file's bytes by [`wav()`]. Three
//! ways to see them, [`piano_roll`], [`probabilities`] and [`shared_runs()`], all PNG bytes.
//!
//! Everything here is a function from notes and plain slices to samples or bytes: it opens no file, knows no
//! checkpoint, needs no font of the system, and gives the same bytes for the same input.

mod picture;
mod sound;
mod soundfont;
#[cfg(test)]
mod test_tools;
mod wav;

pub use picture::{Novelty, RunLosses, SharedRun, losses, piano_roll, probabilities, shared_runs};
pub use sound::synthesize;
pub use soundfont::{SoundFontError, synthesize_soundfont};
pub use wav::{TooLong, wav};
