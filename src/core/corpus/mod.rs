//! The pieces that a network learns from.

pub mod fetch;
