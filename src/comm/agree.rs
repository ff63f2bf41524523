//! Errors that all ranks learn of together, so that one of them reports it and all end in order.

use std::fmt;

use anyhow::{Error, Result};
use bachdist_core::failure::{Code, code_of, line_of};

use super::Comm;

/// An error that every rank knows of; MPI can be finalized.
#[derive(Debug)]
pub struct Agreed {
    /// The exit code of all ranks.
    pub code: u8,
    /// The line, on the one rank that reports it.
    pub line: Option<String>,
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.line.as_deref().unwrap_or("another rank failed"))
    }
}

impl std::error::Error for Agreed {}

/// Gives back this rank's result if every rank has one; otherwise every rank gets an [`Agreed`] error, and the
/// lowest rank that failed is the one that reports. All ranks must call this together.
pub fn agree<T>(comm: &dyn Comm, result: Result<T>) -> Result<T> {
    let own = result.as_ref().err().map_or(0, |error| code_of(error) as u64);
    let mut codes = vec![0; comm.size()];
    comm.all_gather_words(&[own], &mut codes);
    let Some(first) = codes.iter().position(|&code| code != 0) else { return result };
    let line = match result {
        Err(error) if first == comm.rank() => Some(located(comm, &error)),
        _ => None,
    };
    Err(Error::new(Agreed { code: codes[first] as u8, line }))
}

/// An error's line; beyond rank 0 it says where.
pub fn located(comm: &dyn Comm, error: &Error) -> String {
    // What is wrong with a configuration is wrong everywhere.
    match comm.rank() {
        0 => line_of(error),
        _ if code_of(error) == Code::Usage => line_of(error),
        rank => format!("rank {rank} on {}: {}", comm.host(), line_of(error)),
    }
}
