//! bachdist: distributed data-parallel training of LSTM language models of music.
//!
//! # A tour of a run
//!
//! `mpirun -n 8 bachdist train configs/cello.toml` starts eight processes. Each joins the others
//! ([`comm::launch`]), reads the configuration and its part of the music files, whose notes all then have
//! ([`train::plan`], [`comm::collectives`]), and takes its share of the lanes ([`bachdist_core::lanes`]). Rank 0 looks for the newest
//! good checkpoint and gives it to all ([`train::start`]).
//!
//! Then the loop ([`mod@train`]) makes one step after another ([`train::step`]): each rank finds its windows by
//! arithmetic, runs the network forward and backward on each of its lanes ([`model`]), and the lanes' gradients
//! are summed through MPI along one fixed tree. Every rank makes the same update ([`bachdist_core::optimizer`]), so all have the
//! same weights, with the same bits for any number of ranks.
//!
//! Rank 0 reports ([`report`]) and saves beside training ([`train::saver`]). A signal sets a flag ([`stop`]);
//! all ranks learn of it in the same step, save, and end with exit code 75.
//!
//! Whether all that comes out with the same bits again, anybody can see: [`train::replay`] makes steps of a run once
//! more from one of its checkpoints, and [`commands::replay`] compares.
//!
//! A rank that fails ends all of them with its line. One that waits too long asks who is missing and names it
//! ([`comm`]); [`phase`] says where everybody stands. Where storage does not take the last checkpoint, it goes into a
//! folder beside it. `BACHDIST_FAULT` makes any of this happen on purpose (`bachdist_core::fault`).
//!
//! [`mod@bench`] times the parts of a step, and what the machine could do at most.
//!
//! What needs no libtorch (music files, configuration, storage, checkpoints, the network in plain Rust,
//! pictures and sound, `sample`) is in the crate `bachdist_core`.

pub mod bench;
pub mod cli;
pub mod comm;
pub mod commands;
pub mod evaluate;
pub mod failure;
pub mod model;
pub mod phase;
pub mod predict;
pub mod report;
pub mod stop;
pub mod torch;
pub mod train;
