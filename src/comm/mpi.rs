//! The collectives by MPI. All calls stay on the thread that initialized it.

use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use super::Comm;

/// A rank of `MPI_COMM_WORLD`. Dropping it finalizes MPI, which waits for the other ranks; dropping it while
/// panicking aborts them instead, because they would wait for this one for ever.
pub struct Mpi {
    world: SimpleCommunicator,
    local_rank: usize,
    local_size: usize,
    // Dropped last: it finalizes MPI.
    _universe: Universe,
}

/// MPI's counts are C ints.
const LARGEST_MESSAGE: usize = 1 << 30;

impl Mpi {
    /// Initializes MPI; `None` if it was before.
    pub fn initialize() -> Option<Self> {
        let (universe, _) = mpi::initialize_with_threading(mpi::Threading::Funneled)?;
        let world = universe.world();
        let here = world.split_shared(world.rank());
        let (local_rank, local_size) = (here.rank() as usize, here.size() as usize);
        Some(Mpi { world, local_rank, local_size, _universe: universe })
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.world.abort(1);
        }
    }
}

impl Comm for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn local_size(&self) -> usize {
        self.local_size
    }

    fn host(&self) -> String {
        mpi::environment::processor_name().unwrap_or_else(|_| "an unnamed host".into())
    }

    fn all_to_all(&self, send: &[f32], receive: &mut [f32]) {
        self.world.all_to_all_into(send, receive);
    }

    fn all_gather(&self, send: &[f32], receive: &mut [f32]) {
        self.world.all_gather_into(send, receive);
    }

    fn all_gather_words(&self, send: &[u64], receive: &mut [u64]) {
        self.world.all_gather_into(send, receive);
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        let root = self.world.process_at_rank(0);
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        for part in bytes.chunks_mut(LARGEST_MESSAGE) {
            root.broadcast_into(part);
        }
    }

    fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }
}
