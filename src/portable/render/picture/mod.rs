//! Notes and predictions as pictures: PNG bytes.
//!
//! `canvas` holds the pixels and becomes a PNG, `palette` has the colors, `text` the embedded font, and `chart` draws
//! what the pictures share: title, axes, color bar, and notes of equal length in columns. `piano_roll`,
//! `probabilities` and `shared_runs` draw notes; `losses` draws curves of runs.
//!
//! Invariant: the bytes are a function of the arguments; no font of the system is used.

mod canvas;
mod chart;
mod losses;
mod palette;
mod piano_roll;
mod probabilities;
mod shared_runs;
mod text;

#[cfg(test)]
mod tests;

pub use canvas::Picture;
pub use losses::{RunLosses, losses};
pub use piano_roll::piano_roll;
pub use probabilities::probabilities;
pub use shared_runs::{Novelty, SharedRun, shared_runs};
