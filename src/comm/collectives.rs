//! Collectives that are built on those of [`Communicator`]. Each says so under the heading "Collective": all ranks call it
//! together, in the same order, or those that do wait for those that do not.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Error, Result};

use super::Communicator;
use crate::failure::{code_of, line_of};

/// An error that every rank knows of: one of them reports it, all end with its exit code, and MPI can be finalized.
#[derive(Debug)]
pub struct CollectiveError {
    /// The exit code of all ranks.
    pub code: u8,
    /// The message, on the one rank that reports it.
    pub message: Option<String>,
}

impl fmt::Display for CollectiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or("another rank failed"))
    }
}

impl std::error::Error for CollectiveError {}

/// This rank's result if every rank has one; otherwise a [`CollectiveError`] on every rank, which the lowest rank that
/// failed reports. Where all ranks failed, the message names none.
///
/// # Collective
///
/// All ranks call this together, those that failed too.
pub fn collective_result<T>(comm: &dyn Communicator, result: Result<T>) -> Result<T> {
    let own = result.as_ref().err().map_or(0, |error| code_of(error) as u64);
    let mut codes = vec![0; comm.size()];
    comm.all_gather_words(&[own], &mut codes);
    let Some(first) = codes.iter().position(|&code| code != 0) else { return result };
    let failed_everywhere = codes.iter().all(|&code| code != 0);
    let message = match result {
        Err(error) if first == comm.rank() && failed_everywhere => Some(line_of(&error)),
        Err(error) if first == comm.rank() => Some(with_rank_prefix(comm, &error)),
        _ => None,
    };
    Err(Error::new(CollectiveError { code: codes[first] as u8, message }))
}

/// The message of an error that only this rank has, with the rank.
pub fn with_rank_prefix(comm: &dyn Communicator, error: &Error) -> String {
    format!("{}{}", comm.rank_prefix(), line_of(error))
}

/// Time between two heartbeats. Much shorter than any collective timeout, and long enough to cost nothing.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Runs rank 0's work, such as reading from storage, in a thread of its own, while all ranks meet every second, so that
/// waiting ranks can distinguish a slow rank 0 from a dead one. Only rank 0 has `work`, and only it gets the result.
///
/// # Collective
///
/// All ranks call this together.
pub fn run_on_root_with_heartbeat<T: Send>(
    comm: &dyn Communicator,
    work: Option<impl FnOnce() -> T + Send>,
) -> Option<T> {
    thread::scope(|scope| {
        let (report, done) = channel();
        let worker = work.map(|work| {
            scope.spawn(move || {
                let result = work();
                let _ = report.send(());
                result
            })
        });
        loop {
            // Disconnected means that it has ended, or panicked, or that there was no work here.
            let working = match &worker {
                Some(_) => done.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout),
                None => false,
            };
            let mut all = vec![0; comm.size()];
            comm.all_gather_words(&[u64::from(working)], &mut all);
            if all.iter().all(|&working| working == 0) {
                break;
            }
        }
        worker.map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// The items that this rank works on, when they are distributed round-robin: of n ranks, rank r has the items r, r + n,
/// r + 2n and so on.
pub fn round_robin<'a, T>(comm: &dyn Communicator, items: &'a [T]) -> Vec<&'a T> {
    items.iter().skip(comm.rank()).step_by(comm.size()).collect()
}

/// The results of all ranks for `items` items, in the items' order. `own` has this rank's, for its [`round_robin`] items.
///
/// # Collective
///
/// All ranks call this together.
pub fn gather_round_robin(comm: &dyn Communicator, own: Vec<Vec<u8>>, items: usize) -> Vec<Vec<u8>> {
    let ranks = comm.size();
    if ranks == 1 {
        return own;
    }
    let own_lengths = padded_lengths(&own, items, ranks);
    let mut lengths = vec![0; own_lengths.len() * ranks];
    comm.all_gather_words(&own_lengths, &mut lengths);
    let own_words = padded_words(own, max_words_per_rank(&lengths, ranks));
    let mut words = vec![0; own_words.len() * ranks];
    comm.all_gather_words(&own_words, &mut words);
    in_item_order(&lengths, &words, items, ranks)
}

/// The length of each of a rank's items in bytes. Zeros at the end make it equally long on every rank, as a gather wants.
fn padded_lengths(own: &[Vec<u8>], items: usize, ranks: usize) -> Vec<u64> {
    let mut lengths: Vec<u64> = own.iter().map(|item| item.len() as u64).collect();
    lengths.resize(items.div_ceil(ranks), 0);
    lengths
}

/// 64-bit words that hold the items of any one rank.
fn max_words_per_rank(lengths: &[u64], ranks: usize) -> usize {
    let per_rank = lengths.len() / ranks;
    let bytes = (0..ranks).map(|rank| lengths[rank * per_rank..][..per_rank].iter().sum::<u64>());
    bytes.max().unwrap_or(0).div_ceil(8) as usize
}

/// A rank's items one after another, padded to `length` words.
fn padded_words(own: Vec<Vec<u8>>, length: usize) -> Vec<u64> {
    let mut bytes = own.concat();
    bytes.resize(8 * length, 0);
    bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect()
}

/// Undoes the distribution.
fn in_item_order(lengths: &[u64], words: &[u64], items: usize, ranks: usize) -> Vec<Vec<u8>> {
    let (per_rank, length) = (lengths.len() / ranks, words.len() / ranks);
    let mut all = vec![Vec::new(); items];
    for rank in 0..ranks {
        let mut bytes = words[rank * length..][..length].iter().flat_map(|word| word.to_le_bytes());
        for (item, &length) in all.iter_mut().skip(rank).step_by(ranks).zip(&lengths[rank * per_rank..]) {
            *item = bytes.by_ref().take(length as usize).collect();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn distributed_items_come_back_in_order(
            items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..40),
            ranks in 1usize..9,
        ) {
            let count = items.len();
            let own = |rank: usize| -> Vec<Vec<u8>> { items.iter().skip(rank).step_by(ranks).cloned().collect() };
            let lengths: Vec<u64> = (0..ranks).flat_map(|rank| padded_lengths(&own(rank), count, ranks)).collect();
            let length = max_words_per_rank(&lengths, ranks);
            let words: Vec<u64> = (0..ranks).flat_map(|rank| padded_words(own(rank), length)).collect();
            prop_assert_eq!(words.len(), ranks * length);
            prop_assert_eq!(in_item_order(&lengths, &words, count, ranks), items);
        }
    }
}
