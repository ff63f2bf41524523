//! All of bachdist that needs neither libtorch nor MPI: MIDI, corpus, configuration, storage, checkpoints,
//! inference, rendering, and the `sample` program.
//!
//! Imports point one way: `sample` uses `network`, `render`, `certificate` and `checkpoint`; `checkpoint` uses
//! `store`, `config` and `network`; `certificate`, `evaluation` and `style` use `corpus`, and `evaluation` also
//! `network`; `network` uses `compute`; `corpus` uses `midi`; `harmony` and `render` use `midi`'s notes and nothing else.

#![warn(missing_docs)]

// Test helpers that the application includes too name this crate as it does.
#[cfg(test)]
extern crate self as bachdist_portable;

pub mod backend;
pub mod certificate;
pub mod checkpoint;
pub mod compute;
pub mod config;
pub mod corpus;
pub mod environment;
pub mod evaluation;
pub mod exit;
pub mod failure;
pub mod fault;
pub mod harmony;
pub mod key;
pub mod lanes;
pub mod location;
pub mod metrics;
pub mod midi;
pub mod network;
pub mod optimizer;
pub mod parallel;
pub mod print;
pub mod process;
pub mod random;
pub mod render;
pub mod representation;
pub mod sample;
pub mod schedule;
pub mod store;
pub mod style;
mod text;
pub mod write;

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
