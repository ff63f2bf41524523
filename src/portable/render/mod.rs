//! Sound and pictures of notes.
//!
//! Two kinds of sound, [`Sound::sines`] (sample for sample what pretty_midi makes) and [`Sound::recorded`] (an
//! instrument of a [`SoundFont`]), both written by [`wav()`]. Four pictures of notes, [`piano_roll`], [`probabilities`],
//! [`score()`] and [`shared_runs()`], and one of training runs, [`losses()`], all PNG; and one page
//! that shows and plays a piece, [`pieces_page`].
//!
//! Invariant: everything here is a function from notes and plain slices to samples or bytes. It opens no file, knows
//! no checkpoint, needs no system font, and gives the same bytes for the same input.

mod page;
mod picture;
mod sound;
mod soundfont;

pub use page::{PageCertificate, PageNote, PageRun, PiecePage, page, pieces_page};
pub use picture::{
    Novelty, Picture, RunLosses, ScoreNote, SharedRun, losses, piano_roll, probabilities, score, shared_runs,
};
pub use sound::{Sound, WavError, wav};
pub use soundfont::{SoundFont, SoundFontError};
