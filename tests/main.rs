//! All integration tests as one program, so that libtorch is linked once.

// A panic is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]

mod bench;
mod bits;
mod cli;
mod corpus;
mod crash;
mod damage;
mod doctor;
mod eval;
mod export;
mod failure;
#[cfg(feature = "torch")]
mod golden;
mod imports;
mod inspect;
mod preempt;
mod ranks;
mod replay;
mod report;
mod resume;
mod sample;
mod snapshots;
mod storage;
mod terminal;
mod validation;
mod writers;
