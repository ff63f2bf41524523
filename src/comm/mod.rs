//! How ranks talk to each other: a handful of collectives over slices, by MPI ([`mpi`]) or, in a single process, by
//! copying. [`collectives`] builds larger ones on them, [`launch`] joins the ranks that were launched together.
//!
//! Every rank must make the same calls in the same order, with the same lengths. [`bachdist_portable::lanes`] says which lanes
//! a rank owns and in which order their numbers are summed.

pub mod collectives;
pub mod launch;
#[cfg(feature = "mpi")]
pub mod mpi;

use std::time::Duration;

/// A rank among the ranks that train together.
pub trait Communicator {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// This rank among those on the same host, from 0.
    fn local_rank(&self) -> usize;

    /// The number of ranks on this host.
    fn local_size(&self) -> usize;

    /// The name of the host of every rank.
    fn hosts(&self) -> Vec<String>;

    /// The name of this rank's host.
    fn host(&self) -> String {
        self.hosts().swap_remove(self.rank())
    }

    /// How long this rank waits in a collective before it looks for the missing rank and ends the run with
    /// [`ExitCode::Peer`](bachdist_portable::failure::ExitCode::Peer). Until it is set, it waits without a limit.
    fn set_collective_timeout(&self, timeout: Duration);

    /// Sends slice j of `send` to rank j, and receives into slice i what rank i sent here. Slices are equally
    /// long: both lengths are the same multiple of the number of ranks.
    ///
    /// # Collective
    ///
    /// All ranks call this together.
    fn all_to_all(&self, send: &[f32], receive: &mut [f32]);

    /// Receives every rank's `send`, in rank order.
    ///
    /// # Collective
    ///
    /// All ranks call this together.
    fn all_gather(&self, send: &[f32], receive: &mut [f32]);

    /// [`Communicator::all_gather`] for 64-bit words.
    ///
    /// # Collective
    ///
    /// All ranks call this together.
    fn all_gather_words(&self, send: &[u64], receive: &mut [u64]);

    /// Gives every rank the bytes of rank 0.
    ///
    /// # Collective
    ///
    /// All ranks call this together.
    fn broadcast(&self, bytes: &mut Vec<u8>);

    /// Ends all ranks with an exit code, without waiting for any of them.
    fn abort(&self, code: i32) -> !;

    /// Whether this is rank 0, which alone reports, reads storage and saves.
    fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// `rank 1 on host: `, to begin a message with; empty in a single process.
    fn rank_prefix(&self) -> String {
        if self.size() == 1 { String::new() } else { rank_prefix(self.rank(), &self.host()) }
    }
}

/// `rank 1 on host: `, to begin a message with.
pub fn rank_prefix(rank: usize, host: &str) -> String {
    format!("rank {rank} on {host}: ")
}

/// The communicator of a process without peers.
#[derive(Debug, Clone, Copy)]
pub struct SingleProcess;

impl Communicator for SingleProcess {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn local_rank(&self) -> usize {
        0
    }

    fn local_size(&self) -> usize {
        1
    }

    fn hosts(&self) -> Vec<String> {
        vec![bachdist_portable::process::host_name()]
    }

    fn set_collective_timeout(&self, _timeout: Duration) {}

    fn all_to_all(&self, send: &[f32], receive: &mut [f32]) {
        receive.copy_from_slice(send);
    }

    fn all_gather(&self, send: &[f32], receive: &mut [f32]) {
        receive.copy_from_slice(send);
    }

    fn all_gather_words(&self, send: &[u64], receive: &mut [u64]) {
        receive.copy_from_slice(send);
    }

    fn broadcast(&self, _bytes: &mut Vec<u8>) {}

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
