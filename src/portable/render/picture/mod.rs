//! Notes and predictions as pictures: PNG bytes.
//!
//! `canvas` holds the pixels, with colors and text, and becomes a PNG; `chart` draws what the pictures share: title, axes,
//! color bar, and notes of equal length in columns. `piano_roll`, `score` and `shared_runs` draw
//! notes; `losses` draws curves of runs.
//!
//! Invariant: the bytes are a function of the arguments; no font of the system is used.

mod canvas;
mod chart;
mod losses;
mod piano_roll;
mod score;
mod shared_runs;

#[cfg(test)]
mod tests;

pub use canvas::Picture;
pub use losses::{RunLosses, losses};
pub use piano_roll::{piano_roll, probabilities};
pub use score::{ScoreNote, score};
pub use shared_runs::{Novelty, SharedRun, shared_runs};
