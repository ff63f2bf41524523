//! A run's objects under one URL: finding the newest good checkpoint, claiming an attempt, saving, retiring.
//!
//! There is no "latest" pointer that could be stale: recovery lists, and takes the newest object whose bytes fit
//! its name. Every launch claims `attempt-<N>`; one that finds a higher number stops before it writes or
//! deletes anything. Since equal steps have equal bytes, two writers cannot harm even in between.

use super::{Checkpoint, Name};
use crate::failure::{Code, Failure};
use crate::store::{Creation, Kind, Store, StoreError};

const ATTEMPT: &str = "attempt-";
const STEP: &str = "step-";

/// A launch's hold on a run.
#[derive(Debug, Clone)]
pub struct Run {
    store: Store,
    attempt: u64,
    /// Checkpoints that recovery found damaged: no reason to delete good ones.
    damaged: Vec<Name>,
}

/// A saved checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its name and size.
    pub listed: Listed,
    /// Why old ones could not be retired, if they could not; the next save tries again.
    pub note: Option<String>,
}

/// Which checkpoints are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many.
    pub keep: usize,
    /// And those whose step is a multiple of this.
    pub keep_every: Option<u64>,
}

/// A checkpoint in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What recovery found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The newest checkpoint whose bytes fit its name, as they are stored.
    pub newest: Option<(Name, Vec<u8>)>,
    /// Newer ones that are damaged, with what is wrong.
    pub damaged: Vec<(Name, String)>,
}

impl Recovery {
    /// A line for each checkpoint passed over.
    pub fn notes(&self, store: &Store) -> Vec<String> {
        let note = |(name, problem): &(Name, String)| {
            format!("passed over {}: {problem}", store.url_of(&name.to_string()))
        };
        self.damaged.iter().map(note).collect()
    }
}

/// All checkpoints under a URL, oldest first.
pub fn list(store: &Store) -> Result<Vec<Listed>, StoreError> {
    let entries = store.list(STEP)?.into_iter();
    let mut listed: Vec<Listed> = entries
        .filter_map(|entry| Some(Listed { name: entry.name.parse().ok()?, bytes: entry.size }))
        .collect();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listed)
}

/// Reads one checkpoint, or says what is wrong with it. One that a running training has retired since it was
/// listed is [`Kind::NotFound`].
pub fn verify(store: &Store, name: &Name) -> Result<Result<Vec<u8>, String>, StoreError> {
    let bytes = store.get(&name.to_string())?;
    if bytes.is_empty() {
        return Ok(Err("is empty".into()));
    }
    if !name.fits(&bytes) {
        return Ok(Err("its bytes do not have the hash in its name: damaged or cut short".into()));
    }
    Ok(match Checkpoint::decode(&bytes) {
        Ok(checkpoint) if checkpoint.step != name.step => Err(format!("is of step {}", checkpoint.step)),
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    })
}

/// The newest good checkpoint under a URL.
pub fn recover(store: &Store) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery::default();
    for Listed { name, .. } in list(store)?.into_iter().rev() {
        match verify(store, &name) {
            Ok(Ok(bytes)) => {
                recovery.newest = Some((name, bytes));
                break;
            }
            Ok(Err(problem)) => recovery.damaged.push((name, problem)),
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(recovery)
}

impl Run {
    /// Claims the next attempt, after a recovery that found these damaged.
    pub fn claim(store: Store, damaged: Vec<Name>) -> Result<Run, StoreError> {
        loop {
            let attempt = latest_attempt(&store)? + 1;
            // Another launch may claim the same number first: then the next one is ours.
            if store.create(&format!("{ATTEMPT}{attempt:06}"), Vec::new())? == Creation::Created {
                return Ok(Run { store, attempt, damaged });
            }
        }
    }

    /// Which launch of the run this is, from 1.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Where the run is kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Saves a checkpoint and retires old ones.
    pub fn save(&self, checkpoint: &Checkpoint, retention: Retention) -> anyhow::Result<Saved> {
        let bytes = checkpoint.encode();
        let listed = Listed { name: Name::of(checkpoint.step, &bytes), bytes: bytes.len() as u64 };
        self.publish(&listed.name.to_string(), bytes)?;
        // The checkpoint is safe: only another launch is a reason to stop now.
        let note = match self.retire(&listed.name, retention) {
            Err(error) if error.is::<StoreError>() => Some(error.to_string()),
            result => result.map(|()| None)?,
        };
        Ok(Saved { listed, note })
    }

    /// Writes another object of the run.
    pub fn publish(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.still_latest()?;
        Ok(self.store.put(name, bytes)?)
    }

    fn retire(&self, saved: &Name, retention: Retention) -> anyhow::Result<()> {
        let mut listed = list(&self.store)?;
        listed.retain(|listed| !self.damaged.contains(&listed.name));
        for name in retired(&listed, saved, retention) {
            self.still_latest()?;
            self.store.delete(&name.to_string())?;
        }
        Ok(())
    }

    /// An error if another launch has taken over.
    fn still_latest(&self) -> anyhow::Result<()> {
        let latest = latest_attempt(&self.store)?;
        if latest > self.attempt {
            let message = format!(
                "attempt {} of this run has taken over {} (this is attempt {}); stopping without writing",
                latest,
                self.store.url(),
                self.attempt
            );
            return Err(Failure::new(Code::Storage, message).into());
        }
        Ok(())
    }
}

fn latest_attempt(store: &Store) -> Result<u64, StoreError> {
    let attempts = store.list(ATTEMPT)?.into_iter();
    let numbers = attempts.filter_map(|entry| entry.name.strip_prefix(ATTEMPT)?.parse().ok());
    Ok(numbers.max().unwrap_or(0))
}

/// The checkpoints that are not kept, given all of them, oldest first, and the one just saved. Those of later
/// steps are of an attempt that got further: they are neither counted nor deleted.
fn retired(listed: &[Listed], saved: &Name, retention: Retention) -> Vec<Name> {
    let so_far = &listed[..listed.partition_point(|listed| listed.name.step <= saved.step)];
    let old = &so_far[..so_far.len().saturating_sub(retention.keep)];
    let kept = |step: u64| retention.keep_every.is_some_and(|every| step.is_multiple_of(every));
    let names = old.iter().map(|listed| &listed.name);
    names.filter(|name| *name != saved && !kept(name.step)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(step: u64) -> Name {
        Name { step, hash: String::new() }
    }

    fn retired_steps(saved: u64, keep: usize, keep_every: Option<u64>) -> Vec<u64> {
        let listed: Vec<Listed> = (0..10).map(|i| Listed { name: name(i * 50), bytes: 1 }).collect();
        let names = retired(&listed, &name(saved), Retention { keep, keep_every });
        names.iter().map(|name| name.step).collect()
    }

    #[test]
    fn the_newest_and_every_nth_are_kept() {
        assert_eq!(retired_steps(450, 3, None), [0, 50, 100, 150, 200, 250, 300]);
        assert_eq!(retired_steps(450, 2, Some(100)), [50, 150, 250, 350]);
        assert!(retired_steps(450, 10, None).is_empty() && retired_steps(450, 99, None).is_empty());
    }

    #[test]
    fn what_lies_ahead_of_a_run_that_began_anew_is_no_reason_to_delete_its_own() {
        assert_eq!(retired_steps(100, 1, None), [0, 50]);
        assert!(retired_steps(0, 1, None).is_empty());
    }
}
