//! All integration tests as one program, so that libtorch is linked once.

// A panic is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]

mod cli;
mod golden;
mod harness;
mod inspect;
mod ranks;
mod resume;
mod sample;
mod terminal;
