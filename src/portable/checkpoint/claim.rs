//! A launch's claim to a run: the only code that writes or deletes checkpoints. The parent module explains the protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::identity::{CheckpointFilter, RunIdentity};
use super::read::{Recovery, read_matching};
use super::{Checkpoint, CheckpointEntry, CheckpointName, list};
use crate::failure::{ExitCode, Failure};
use crate::fault::{self, FaultPoint};
use crate::process::host_name;
use crate::store::{Creation, Store, StoreError, StoreErrorKind};

/// Attempts at replacing `metrics.jsonl` before it is written unconditionally. Each failure means that another launch wrote
/// in between, or that a server's answer was lost; four in a row mean that the server's versions cannot be trusted.
const MAX_REPLACE_ATTEMPTS: u32 = 4;

/// A launch's claim to a run.
#[derive(Debug, Clone)]
pub struct RunClaim {
    store: Store,
    identity: RunIdentity,
    attempt: u64,
    /// No other launch can have claimed the same attempt.
    guarded: bool,
    ownership: Arc<OwnershipCache>,
}

/// A saved checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Its name and size.
    pub listed: CheckpointEntry,
    /// Why old checkpoints could not be pruned, if so; the next save tries again.
    pub note: Option<String>,
}

impl RunClaim {
    /// Claims the next attempt. `found` is what recovery found, so that it is not read again for pruning.
    pub fn claim(store: Store, identity: RunIdentity, found: &Recovery) -> Result<RunClaim, StoreError> {
        let (attempt, guarded) = AttemptRecord::here(&identity).claim(&store)?;
        Ok(RunClaim { store, identity, attempt, guarded, ownership: Arc::new(OwnershipCache::from(found)) })
    }

    /// Counts the launches of the run, from 1.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// A warning about the storage, if it has no create-only writes.
    pub fn note(&self) -> Option<String> {
        let url = self.store.url();
        (!self.guarded).then(|| {
            format!(
                "the server of {url} does not support create-only writes; if two launches start at the same moment, the one \
                 that wrote last continues"
            )
        })
    }

    /// The run's storage.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Saves a checkpoint, then prunes old ones.
    pub fn save(&self, checkpoint: &Checkpoint, retention: Retention) -> anyhow::Result<StoredCheckpoint> {
        let bytes = checkpoint.encode();
        let listed =
            CheckpointEntry { name: CheckpointName::of(checkpoint.step, &bytes), bytes: bytes.len() as u64 };
        self.put(&listed.name, bytes)?;
        fault::at(FaultPoint::Uploaded);
        // The checkpoint is saved, so a storage error is only noted. Another launch still stops this one.
        let note = match self.prune(&listed.name, retention) {
            Err(error) if error.is::<StoreError>() => Some(error.to_string()),
            result => result.map(|()| None)?,
        };
        Ok(StoredCheckpoint { listed, note })
    }

    /// Writes a checkpoint, unless another launch has taken over.
    pub fn put(&self, name: &CheckpointName, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.still_latest()?;
        fault::at(FaultPoint::Upload);
        self.store.put(&name.to_string(), bytes)?;
        self.ownership.learn(name, true);
        Ok(())
    }

    /// Replaces an object that changes, like `metrics.jsonl`, unless another launch has taken over.
    pub fn publish(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        for _ in 0..MAX_REPLACE_ATTEMPTS {
            // The order matters: if another launch claims after `still_latest`, it also writes a newer version than this
            // one, and the replacement fails.
            let version = self.store.version(name)?;
            self.still_latest()?;
            fault::at(FaultPoint::Metrics);
            if self.store.replace(name, bytes.clone(), version.as_ref())? {
                return Ok(());
            }
            // An earlier launch wrote late, or this one did and the server's answer was lost.
        }
        self.still_latest()?;
        Ok(self.store.put(name, bytes)?)
    }

    fn prune(&self, saved: &CheckpointName, retention: Retention) -> anyhow::Result<()> {
        let listed = list(&self.store)?;
        for name in to_prune(&listed, saved, retention, |name| self.is_own(name))? {
            self.still_latest()?;
            fault::at(FaultPoint::Prune);
            self.store.delete(&name.to_string())?;
            fault::at(FaultPoint::Pruned);
            self.ownership.forget(&name);
        }
        Ok(())
    }

    /// Whether a checkpoint is valid and belongs to this run.
    fn is_own(&self, name: &CheckpointName) -> Result<bool, StoreError> {
        if let Some(own) = self.ownership.is_own(name) {
            return Ok(own);
        }
        let own = match read_matching(&self.store, name, &CheckpointFilter::Run(self.identity.clone())) {
            Ok(read) => read.is_ok(),
            // Deleted since it was listed.
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        self.ownership.learn(name, own);
        Ok(own)
    }

    /// Fails if another launch has taken over.
    fn still_latest(&self) -> anyhow::Result<()> {
        let latest = latest_attempt(&self.store)?;
        // Without create-only writes two launches may claim one number; the object names the one that wrote last.
        let is_own = || -> Result<bool, StoreError> {
            let said = AttemptRecord::read(&self.store, latest)?;
            Ok(said.is_none_or(|said| said == AttemptRecord::here(&self.identity)))
        };
        if latest < self.attempt || latest == self.attempt && (self.guarded || is_own()?) {
            return Ok(());
        }
        // Naming the other launch helps, but is not necessary.
        let (of, holder) = match AttemptRecord::read(&self.store, latest) {
            Ok(Some(AttemptRecord { host, pid, run_digest })) => {
                let of = if run_digest == self.identity.digest() { "this run" } else { "another run" };
                (of, format!(" (host {host}, process {pid})"))
            }
            _ => ("this run", String::new()),
        };
        let message = format!(
            "attempt {latest} of {of}{holder} has taken over {} (this is attempt {}); stopping without writing",
            self.store.url(),
            self.attempt
        );
        Err(Failure::new(ExitCode::Storage, message).into())
    }
}

const ATTEMPT_PREFIX: &str = "attempt-";

/// The contents of an attempt's object: which run it is of, and, for people, which process made it. Field order is the order
/// of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The host of rank 0.
    pub host: String,
    /// Rank 0's process id.
    pub pid: u32,
    /// [`RunIdentity::digest`]. Earlier versions wrote a field `run` instead, a digest over other key names; their attempts
    /// count as attempts at an unknown run.
    pub run_digest: String,
}

impl AttemptRecord {
    /// This process's attempt at a run.
    pub(super) fn here(identity: &RunIdentity) -> Self {
        AttemptRecord { host: host_name(), pid: std::process::id(), run_digest: identity.digest() }
    }

    /// Creates the object of the next attempt. Returns its number, and whether it is certain that no other launch has the
    /// same one; without create-only writes it is not.
    pub(super) fn claim(&self, store: &Store) -> Result<(u64, bool), StoreError> {
        let contents = serde_json::to_vec(self).expect("plain data becomes JSON");
        let mut number = 0;
        loop {
            // If another launch claims the number first, or a folder has its name, try the next number.
            number = latest_attempt(store)?.max(number) + 1;
            match store.create(&attempt_name(number), contents.clone())? {
                Creation::Created => return Ok((number, true)),
                Creation::Unguarded => return Ok((number, false)),
                Creation::Exists => {}
            }
        }
    }

    /// Reads an attempt; `None` if it is gone or cannot be understood.
    pub(super) fn read(store: &Store, number: u64) -> Result<Option<AttemptRecord>, StoreError> {
        let bytes = store.get_if_present(&attempt_name(number))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

impl CheckpointFilter {
    /// Accepts checkpoints of the run that was attempted last under a URL, or any checkpoint if that run is unknown.
    pub fn last_attempted(store: &Store) -> Result<CheckpointFilter, StoreError> {
        Ok(last_attempt(store)?.map_or(CheckpointFilter::Any, |(number, attempt)| {
            CheckpointFilter::Attempt { number, run: attempt.run_digest }
        }))
    }
}

/// The newest attempt under a URL and its number, if there is one that can be understood.
pub fn last_attempt(store: &Store) -> Result<Option<(u64, AttemptRecord)>, StoreError> {
    let number = latest_attempt(store)?;
    let attempt = if number == 0 { None } else { AttemptRecord::read(store, number)? };
    Ok(attempt.map(|attempt| (number, attempt)))
}

fn attempt_name(number: u64) -> String {
    format!("{ATTEMPT_PREFIX}{number:06}")
}

/// The number of the newest attempt, or 0.
fn latest_attempt(store: &Store) -> Result<u64, StoreError> {
    let attempts = store.list(ATTEMPT_PREFIX)?.into_iter();
    let numbers = attempts.filter_map(|entry| entry.name.strip_prefix(ATTEMPT_PREFIX)?.parse().ok());
    Ok(numbers.max().unwrap_or(0))
}

/// Which checkpoints are kept: the union of these.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// This many of the newest, at least 1.
    pub keep: usize,
    /// Those whose step is a multiple of this.
    pub keep_every_steps: Option<u64>,
    /// The one of this step, the best in validation.
    pub best: Option<u64>,
}

/// For each checkpoint that was read or saved: whether it is valid and belongs to this run. Names alone do not say so, and
/// every checkpoint is read at most once.
#[derive(Debug, Default)]
pub(super) struct OwnershipCache(Mutex<BTreeMap<CheckpointName, bool>>);

impl OwnershipCache {
    pub(super) fn from(recovery: &Recovery) -> Self {
        let own = recovery.newest.iter().map(|(name, _)| (name.clone(), true));
        let others = recovery.skipped.iter().map(|(name, _)| (name.clone(), false));
        OwnershipCache(Mutex::new(own.chain(others).collect()))
    }

    pub(super) fn learn(&self, name: &CheckpointName, own: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), own);
    }

    pub(super) fn is_own(&self, name: &CheckpointName) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    pub(super) fn forget(&self, name: &CheckpointName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// The checkpoints to delete, oldest first, given all that are `listed`, oldest first, and the one just saved. Only those
/// for which `is_own` is true are counted or deleted. Later steps than the saved one belong to an attempt that got further:
/// they are neither counted nor deleted. From the newest backward, no more are asked about than necessary.
pub(super) fn to_prune(
    listed: &[CheckpointEntry],
    saved: &CheckpointName,
    retention: Retention,
    mut is_own: impl FnMut(&CheckpointName) -> Result<bool, StoreError>,
) -> Result<Vec<CheckpointName>, StoreError> {
    let so_far = &listed[..listed.partition_point(|listed| listed.name.step <= saved.step)];
    let (mut newer, mut names) = (0, Vec::new());
    for CheckpointEntry { name, .. } in so_far.iter().rev() {
        let among_the_newest = newer < retention.keep;
        let is_multiple = retention.keep_every_steps.is_some_and(|every| name.step.is_multiple_of(every));
        let is_kept = name == saved || is_multiple || retention.best == Some(name.step);
        if !among_the_newest && is_kept || !is_own(name)? {
            continue;
        }
        newer += 1;
        if !among_the_newest {
            names.push(name.clone());
        }
    }
    names.reverse();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(step: u64) -> CheckpointName {
        CheckpointName { step, hash: String::new() }
    }

    /// Of the steps 0, 50, ... 450, of which 200 is the best, those pruned after this one, and those that were asked about.
    fn pruned(
        saved: u64,
        keep: usize,
        keep_every_steps: Option<u64>,
        foreign: &[u64],
    ) -> (Vec<u64>, Vec<u64>) {
        let listed: Vec<CheckpointEntry> =
            (0..10).map(|i| CheckpointEntry { name: name(i * 50), bytes: 1 }).collect();
        let mut asked = Vec::new();
        let is_own = |name: &CheckpointName| {
            asked.push(name.step);
            Ok(!foreign.contains(&name.step))
        };
        let names =
            to_prune(&listed, &name(saved), Retention { keep, keep_every_steps, best: Some(200) }, is_own)
                .unwrap();
        (names.iter().map(|name| name.step).collect(), asked)
    }

    fn pruned_steps(saved: u64, keep: usize, keep_every_steps: Option<u64>) -> Vec<u64> {
        pruned(saved, keep, keep_every_steps, &[]).0
    }

    #[test]
    fn the_newest_the_best_and_every_nth_are_kept() {
        assert_eq!(pruned_steps(450, 3, None), [0, 50, 100, 150, 250, 300]);
        assert_eq!(pruned_steps(450, 2, Some(100)), [50, 150, 250, 350]);
        assert!(pruned_steps(450, 10, None).is_empty() && pruned_steps(450, 99, None).is_empty());
    }

    #[test]
    fn what_lies_ahead_of_a_run_that_began_anew_is_no_reason_to_delete_its_own() {
        assert_eq!(pruned_steps(100, 1, None), [0, 50]);
        assert!(pruned_steps(0, 1, None).is_empty());
    }

    #[test]
    fn what_is_foreign_or_damaged_is_neither_counted_nor_deleted() {
        let (pruned_steps, asked) = pruned(450, 3, Some(100), &[400, 150]);
        assert_eq!(pruned_steps, [50, 250]);
        // Those that stay in any case are not read for it.
        assert_eq!(asked, [450, 400, 350, 300, 250, 150, 50]);
    }
}
