//! A launch's hold on a run's objects under one URL: claiming an attempt, saving, retiring.
//!
//! There is no "latest" pointer that could be stale: recovery lists, and takes the newest object whose bytes fit
//! its name. Every launch claims `attempt-<N>`; one that finds a higher number stops before it writes or
//! deletes anything. A launch that was halted between that look and its write, and goes on when another has
//! taken over, harms nothing either: equal steps have equal bytes, a checkpoint that it deletes was to go before
//! the other began, and `metrics.jsonl` is written only in place of the version that was there before the look.

use std::sync::Arc;

use super::attempt::{self, Attempt};
use super::list::{Listed, list};
use super::origin::{Origin, Whose};
use super::recover::{Recovery, read_of};
use super::retention::{Known, Retention, retired};
use super::{Checkpoint, Name};
use crate::failure::{Code, Failure};
use crate::fault;
use crate::store::{Kind, Store, StoreError};

/// So often another writer may come in between before a server is no longer believed.
const REPLACEMENTS: u32 = 4;

/// A launch's hold on a run.
#[derive(Debug, Clone)]
pub struct Run {
    store: Store,
    origin: Origin,
    attempt: u64,
    /// No other launch can have claimed the same attempt.
    guarded: bool,
    known: Arc<Known>,
}

/// A saved checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its name and size.
    pub listed: Listed,
    /// Why old ones could not be retired, if they could not; the next save tries again.
    pub note: Option<String>,
}

impl Run {
    /// Claims the next attempt at a run, of which this was found.
    pub fn claim(store: Store, origin: Origin, found: &Recovery) -> Result<Run, StoreError> {
        let (attempt, guarded) = Attempt::here(&origin).claim(&store)?;
        Ok(Run { store, origin, attempt, guarded, known: Arc::new(Known::from(found)) })
    }

    /// Which launch of the run this is, from 1.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// What the user should know of the storage.
    pub fn note(&self) -> Option<String> {
        let url = self.store.url();
        (!self.guarded).then(|| {
            format!(
                "the server of {url} knows no create-only writes; of two launches in the same moment the one that wrote last \
                 goes on"
            )
        })
    }

    /// Where the run is kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Saves a checkpoint and retires old ones.
    pub fn save(&self, checkpoint: &Checkpoint, retention: Retention) -> anyhow::Result<Saved> {
        let bytes = checkpoint.encode();
        let listed = Listed { name: Name::of(checkpoint.step, &bytes), bytes: bytes.len() as u64 };
        self.put(&listed.name, bytes)?;
        fault::at("uploaded");
        // The checkpoint is safe: only another launch is a reason to stop now.
        let note = match self.retire(&listed.name, retention) {
            Err(error) if error.is::<StoreError>() => Some(error.to_string()),
            result => result.map(|()| None)?,
        };
        Ok(Saved { listed, note })
    }

    /// Writes a checkpoint of the run.
    pub fn put(&self, name: &Name, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.still_latest()?;
        fault::at("upload");
        self.store.put(&name.to_string(), bytes)?;
        self.known.learn(name, true);
        Ok(())
    }

    /// Writes an object that changes, in place of the version that this attempt may replace.
    pub fn publish(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        for _ in 0..REPLACEMENTS {
            // In this order: a later launch writes after the look, and so another version than this one.
            let version = self.store.version(name)?;
            self.still_latest()?;
            fault::at("metrics");
            if self.store.replace(name, bytes.clone(), version.as_ref())? {
                return Ok(());
            }
            // An earlier launch wrote late, or this one did and the server's answer was lost: look again.
        }
        self.still_latest()?;
        Ok(self.store.put(name, bytes)?)
    }

    fn retire(&self, saved: &Name, retention: Retention) -> anyhow::Result<()> {
        let listed = list(&self.store)?;
        for name in retired(&listed, saved, retention, |name| self.is_own(name))? {
            self.still_latest()?;
            fault::at("retire");
            self.store.delete(&name.to_string())?;
            fault::at("retired");
            self.known.forget(&name);
        }
        Ok(())
    }

    /// Whether a checkpoint is a good one of this run.
    fn is_own(&self, name: &Name) -> Result<bool, StoreError> {
        if let Some(own) = self.known.is_own(name) {
            return Ok(own);
        }
        let own = match read_of(&self.store, name, &Whose::Run(self.origin.clone())) {
            Ok(read) => read.is_ok(),
            // Gone since it was listed.
            Err(error) if error.kind == Kind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        self.known.learn(name, own);
        Ok(own)
    }

    /// An error if another launch has taken over.
    fn still_latest(&self) -> anyhow::Result<()> {
        let latest = attempt::latest(&self.store)?;
        // Of two that claimed the same number the last one's name stays there.
        let is_own = || -> Result<bool, StoreError> {
            let said = Attempt::read(&self.store, latest)?;
            Ok(said.is_none_or(|said| said == Attempt::here(&self.origin)))
        };
        if latest < self.attempt || latest == self.attempt && (self.guarded || is_own()?) {
            return Ok(());
        }
        // Whose it is helps, but is no condition.
        let (of, holder) = match Attempt::read(&self.store, latest) {
            Ok(Some(Attempt { host, pid, run_digest })) => {
                let of = if run_digest == self.origin.digest() { "this run" } else { "another run" };
                (of, format!(" (host {host}, process {pid})"))
            }
            _ => ("this run", String::new()),
        };
        let message = format!(
            "attempt {latest} of {of}{holder} has taken over {} (this is attempt {}); stopping without writing",
            self.store.url(),
            self.attempt
        );
        Err(Failure::new(Code::Storage, message).into())
    }
}
