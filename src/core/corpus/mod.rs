//! Pieces: where notes come from, and how they become what the network sees.

pub mod notation;
