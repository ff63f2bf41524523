//! Copies in memory, far beyond the caches and at the size of the parameters.

use serde::Serialize;

use super::statistics::seconds_of;
use super::together::{barrier, slowest};
use crate::comm::Communicator;

/// A copy, on all ranks at once, the slowest rank's.
#[derive(Debug, Clone, Serialize)]
pub struct Copy {
    /// Bytes copied: read once, written once.
    pub bytes: usize,
    /// Seconds.
    pub seconds: f64,
    /// Bytes copied a second.
    pub bytes_per_second: f64,
}

/// Both kinds of copy.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryCopy {
    /// Far larger than caches.
    pub large: Copy,
    /// The parameters.
    pub parameters: Copy,
}

/// Larger than any cache that a rank has for itself.
const LARGE: usize = 128 << 20;

/// Times both.
pub fn memory_copy(comm: &dyn Communicator, parameters: usize) -> MemoryCopy {
    MemoryCopy { large: copy(comm, LARGE), parameters: copy(comm, parameters) }
}

fn copy(comm: &dyn Communicator, bytes: usize) -> Copy {
    // Ones: pages of zeros may be one and the same.
    let (from, mut to) = (vec![1_u8; bytes], vec![1_u8; bytes]);
    barrier(comm);
    let seconds = slowest(comm, &[seconds_of(|| to.copy_from_slice(std::hint::black_box(&from)))])[0];
    Copy { bytes, seconds, bytes_per_second: bytes as f64 / seconds }
}
