//! bachdist: distributed data-parallel training of LSTM language models of music.
//!
//! The program is [`run`], and nothing else is public: what is of use elsewhere is in the crate `bachdist_portable`.
//!
//! # A tour of a run
//!
//! `mpirun -n 8 bachdist train configs/cello.toml` starts eight processes. Each joins the others ([`comm::launch`]), reads
//! the configuration and its part of the music files ([`train::plan`]), gets the notes of all files
//! ([`comm::collectives`]), and is assigned its lanes ([`bachdist_portable::lanes`]). Rank 0 finds the newest valid checkpoint
//! and broadcasts it ([`train::start`]).
//!
//! Then the loop ([`mod@train`]) makes one step after another ([`train::step`]): each rank finds its windows by
//! arithmetic, runs the network forward and backward on each of its lanes ([`backend`]), and the lanes' gradients
//! are summed through MPI along one fixed tree. Every rank makes the same update ([`bachdist_portable::optimizer`]), so that all
//! have the same weights, with the same bits for any number of ranks.
//!
//! Rank 0 reports ([`report`]) and saves beside training (`train::recorder`). A signal sets a flag ([`stop`]); all ranks
//! learn of it in the same step, save, and exit with code 75.
//!
//! `replay` re-runs steps from a checkpoint and compares the bits with what the run saved ([`commands::replay`]).
//!
//! A rank that fails prints its error and aborts the others. A rank that waits too long in a collective finds out which
//! rank is missing and names it ([`comm`]); [`phase`] holds what the process is doing, for such messages. If the storage
//! does not take the last checkpoint, it goes into a folder of its own. `BACHDIST_FAULT` injects any of these failures
//! ([`bachdist_portable::fault`]).
//!
//! [`mod@bench`] times the parts of a step, and measures what the machine could do at most.
//!
//! What needs neither libtorch nor MPI (music files, configuration, storage, checkpoints, the network, pictures and sound,
//! `sample`) is in `bachdist_portable`.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the tour is read with --document-private-items, as CI makes it"
)]

mod application;
mod backend;
mod bench;
mod cli;
mod comm;
mod commands;
mod export;
#[cfg(feature = "torch")]
mod failure;
#[cfg(not(feature = "torch"))]
mod failure {
    //! Exit codes and lines of errors where there is no libtorch.
    pub use bachdist_portable::exit::code_of;
    pub use bachdist_portable::failure::line_of;
}
mod phase;
mod report;
mod stop;
// `tests/golden` compares it with PyTorch and Keras. It is no interface.
#[cfg(feature = "torch")]
#[doc(hidden)]
pub mod torch;
mod train;

pub use application::run;
