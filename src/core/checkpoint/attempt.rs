//! Attempts: one object for each launch, made once, by which launches know who was the last.
//!
//! The object says whose run it is, and which process holds it. The latter is for people: an attempt is no
//! checkpoint, whose bytes must not depend on such things.

use serde::{Deserialize, Serialize};

use super::origin::{Origin, Whose};
use crate::store::{Creation, Kind, Store, StoreError};

const ATTEMPT: &str = "attempt-";

/// What an attempt's object says. Field order is the order of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Where rank 0 runs.
    pub host: String,
    /// Rank 0's process there.
    pub pid: u32,
    /// The [`Origin::digest`] of its run. Version 0.1 wrote `run`, a digest over other key names: such an attempt names no
    /// run.
    pub run_digest: String,
}

impl Attempt {
    /// This process's attempt at a run.
    pub(super) fn here(origin: &Origin) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Attempt { host: host.trim().into(), pid: std::process::id(), run_digest: origin.digest() }
    }

    /// Makes the object of the next attempt, and gives back its number, and whether no other launch can have claimed it
    /// too: a server without create-only writes cannot say.
    pub(super) fn claim(&self, store: &Store) -> Result<(u64, bool), StoreError> {
        let contents = serde_json::to_vec(self).expect("plain data becomes JSON");
        let mut number = 0;
        loop {
            // Another launch may claim the same number first, or something that is no file have its name: then the next
            // one is ours.
            number = latest(store)?.max(number) + 1;
            match store.create(&name(number), contents.clone())? {
                Creation::Created => return Ok((number, true)),
                Creation::Unguarded => return Ok((number, false)),
                Creation::Exists => {}
            }
        }
    }

    /// What an attempt says; `None` where it is gone, or says nothing that can be read.
    pub(super) fn read(store: &Store, number: u64) -> Result<Option<Attempt>, StoreError> {
        match store.get(&name(number)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Whose {
    /// Checkpoints of the run that was last attempted under a URL; anybody's where nobody says whose it is.
    pub fn last_attempted(store: &Store) -> Result<Whose, StoreError> {
        let number = latest(store)?;
        let attempt = if number == 0 { None } else { Attempt::read(store, number)? };
        Ok(attempt.map_or(Whose::Anyones, |attempt| Whose::Attempt { number, run: attempt.run_digest }))
    }
}

fn name(number: u64) -> String {
    format!("{ATTEMPT}{number:06}")
}

/// The newest attempt's number; 0 where there was none.
pub(super) fn latest(store: &Store) -> Result<u64, StoreError> {
    let attempts = store.list(ATTEMPT)?.into_iter();
    let numbers = attempts.filter_map(|entry| entry.name.strip_prefix(ATTEMPT)?.parse().ok());
    Ok(numbers.max().unwrap_or(0))
}
