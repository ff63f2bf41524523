//! Errors that all ranks learn of together, so that one of them reports it and all end in order.

use std::fmt;

use anyhow::{Error, Result};

use super::Comm;
use crate::failure::{code_of, line_of};

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
    let everywhere = codes.iter().all(|&code| code != 0);
    let line = match result {
        Err(error) if first == comm.rank() && everywhere => Some(line_of(&error)),
        Err(error) if first == comm.rank() => Some(located(comm, &error)),
        _ => None,
    };
    Err(Error::new(Agreed { code: codes[first] as u8, line }))
}

/// The line of an error that is one rank's, and which rank's.
pub fn located(comm: &dyn Comm, error: &Error) -> String {
    format!("{}{}", place(comm), line_of(error))
}

/// `rank 1 on host: `, to begin a line with; nothing in a single process.
pub fn place(comm: &dyn Comm) -> String {
    if comm.size() == 1 { String::new() } else { of_rank(comm.rank(), &comm.host()) }
}

/// The same of a rank among several.
pub fn of_rank(rank: usize, host: &str) -> String {
    format!("rank {rank} on {host}: ")
}
