//! Notes and predictions as pictures: PNG bytes.
//!
//! A few pictures, one look. `canvas` holds the pixels and becomes a PNG, `text` writes on it with an embedded
//! font, `colours` is the palette, `chart` draws what the pictures share (title, pitch axis, time axis,
//! colour bar), `pitches` names its rows, `columns` places notes of equal length, `layers` finds what is seen of many; `piano_roll`, `probabilities`
//! and `shared_runs`, with `novelty` beneath, draw the data; `losses` draws curves of runs instead of notes. The
//! invariant: the bytes are a function of the arguments, and no font of the system is asked for.

mod canvas;
mod chart;
mod colours;
mod columns;
mod layers;
mod losses;
mod novelty;
mod piano_roll;
mod pitches;
mod probabilities;
mod shared_runs;
mod text;

#[cfg(test)]
mod tests;

pub use canvas::Picture;
pub use losses::{RunLosses, losses};
pub use novelty::Novelty;
pub use piano_roll::piano_roll;
pub use probabilities::probabilities;
pub use shared_runs::{SharedRun, shared_runs};
