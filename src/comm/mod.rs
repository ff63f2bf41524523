//! What ranks say to each other: a handful of collectives over slices, by MPI or by nobody in a world of one.
//!
//! Every rank must make the same calls in the same order, with the same lengths. [`bachdist_core::lanes`] says which lanes a
//! rank owns and in which order their numbers are summed.

pub mod agree;
pub mod gather;
#[cfg(feature = "mpi")]
pub mod launcher;
pub mod meanwhile;
#[cfg(feature = "mpi")]
pub mod mpi;

pub mod solo;
pub mod world;

use std::time::Duration;

/// A rank among its peers.
pub trait Comm {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// This rank among those on the same host, from 0.
    fn local_rank(&self) -> usize;

    /// How many ranks share this host.
    fn local_size(&self) -> usize;

    /// The host's name.
    fn host(&self) -> String;

    /// How long this rank waits for others in a collective before it looks for the one that is missing and ends
    /// the run with [`bachdist_core::failure::Code::Peer`]. For ever until it is set.
    fn set_patience(&self, patience: Duration);

    /// Sends slice j of `send` to rank j, and receives into slice i what rank i sent here. Slices are equally
    /// long: both lengths are the same multiple of the number of ranks.
    fn all_to_all(&self, send: &[f32], receive: &mut [f32]);

    /// Receives every rank's `send`, in rank order.
    fn all_gather(&self, send: &[f32], receive: &mut [f32]);

    /// The same for 64-bit words.
    fn all_gather_words(&self, send: &[u64], receive: &mut [u64]);

    /// Gives every rank the bytes of rank 0.
    fn broadcast(&self, bytes: &mut Vec<u8>);

    /// Ends all ranks with an exit code, without waiting for any of them.
    fn abort(&self, code: i32) -> !;
}
