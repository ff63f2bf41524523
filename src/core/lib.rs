//! What bachdist knows without libtorch or MPI: MIDI, corpus, configuration, storage, checkpoints,
//! inference, rendering, and the `sample` program.
//!
//! Imports point one way: `sample` uses `infer`, `render` and `checkpoint`; `checkpoint` uses `store` and
//! `config`; `corpus` uses `midi`; `render` uses `midi`'s notes and nothing else.

pub mod corpus;
pub mod midi;
pub mod render;
pub mod store;
