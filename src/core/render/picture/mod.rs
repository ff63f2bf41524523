//! Notes and predictions as pictures: PNG bytes.
//!
//! Two pictures, one look. `canvas` holds the pixels and becomes a PNG, `text` writes on it with an embedded
//! font, `colours` is the palette, `chart` draws what both pictures share (title, pitch axis, time axis,
//! colour bar); `piano_roll` and `probabilities` draw the data. The invariant: the bytes are a function of the
//! arguments, and no font of the system is asked for.

mod canvas;
mod chart;
mod colours;
mod piano_roll;
mod probabilities;
mod text;

#[cfg(test)]
mod tests;

pub use piano_roll::piano_roll;
pub use probabilities::probabilities;
