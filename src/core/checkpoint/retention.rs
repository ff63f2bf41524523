//! Which checkpoints are kept: the newest few, the best and every nth, of this run alone.
//!
//! Names do not say whose a checkpoint is, nor whether it is whole. So before one is deleted, or counted as a
//! reason to delete others, it is known to be a good one of this run: because this attempt saved it or went on
//! from it, or because it was read, once. From the newest backward no more are read than are kept or deleted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Name;
use super::list::Listed;
use super::recover::Recovery;
use crate::store::StoreError;

/// Which checkpoints to keep.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// The newest so many, at least 1.
    pub keep: usize,
    /// And those whose step is a multiple of this.
    pub keep_every: Option<u64>,
    /// And that of this step, the best in validation.
    pub best: Option<u64>,
}

/// What is known of checkpoints: whether they are good ones of this run.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<Name, bool>>);

impl Known {
    /// What a recovery found out.
    pub(super) fn from(recovery: &Recovery) -> Self {
        let own = recovery.newest.iter().map(|(name, _)| (name.clone(), true));
        let others = recovery.passed_over.iter().map(|(name, _)| (name.clone(), false));
        Known(Mutex::new(own.chain(others).collect()))
    }

    /// Adds what was learnt of one.
    pub(super) fn learn(&self, name: &Name, own: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), own);
    }

    pub(super) fn is_own(&self, name: &Name) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Forgets one that is deleted.
    pub(super) fn forget(&self, name: &Name) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// The checkpoints that are not kept, oldest first, given all of them, oldest first, and the one just saved.
/// `is_own` tells those of this run that are good. Those of later steps are of an attempt that got further: they
/// are neither counted nor deleted.
pub(super) fn retired(
    listed: &[Listed],
    saved: &Name,
    retention: Retention,
    mut is_own: impl FnMut(&Name) -> Result<bool, StoreError>,
) -> Result<Vec<Name>, StoreError> {
    let so_far = &listed[..listed.partition_point(|listed| listed.name.step <= saved.step)];
    let every_nth = |step: u64| retention.keep_every.is_some_and(|every| step.is_multiple_of(every));
    let stays = |step: u64| every_nth(step) || retention.best == Some(step);
    let (mut newer, mut names) = (0, Vec::new());
    for Listed { name, .. } in so_far.iter().rev() {
        let among_the_newest = newer < retention.keep;
        if !among_the_newest && (name == saved || stays(name.step)) || !is_own(name)? {
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

    fn name(step: u64) -> Name {
        Name { step, hash: String::new() }
    }

    /// Of the steps 0, 50, ... 450, of which 200 is the best, those retired after this one; and those that were asked about.
    fn retire(saved: u64, keep: usize, keep_every: Option<u64>, foreign: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let listed: Vec<Listed> = (0..10).map(|i| Listed { name: name(i * 50), bytes: 1 }).collect();
        let mut asked = Vec::new();
        let is_own = |name: &Name| {
            asked.push(name.step);
            Ok(!foreign.contains(&name.step))
        };
        let names =
            retired(&listed, &name(saved), Retention { keep, keep_every, best: Some(200) }, is_own).unwrap();
        (names.iter().map(|name| name.step).collect(), asked)
    }

    fn retired_steps(saved: u64, keep: usize, keep_every: Option<u64>) -> Vec<u64> {
        retire(saved, keep, keep_every, &[]).0
    }

    #[test]
    fn the_newest_the_best_and_every_nth_are_kept() {
        assert_eq!(retired_steps(450, 3, None), [0, 50, 100, 150, 250, 300]);
        assert_eq!(retired_steps(450, 2, Some(100)), [50, 150, 250, 350]);
        assert!(retired_steps(450, 10, None).is_empty() && retired_steps(450, 99, None).is_empty());
    }

    #[test]
    fn what_lies_ahead_of_a_run_that_began_anew_is_no_reason_to_delete_its_own() {
        assert_eq!(retired_steps(100, 1, None), [0, 50]);
        assert!(retired_steps(0, 1, None).is_empty());
    }

    #[test]
    fn what_is_foreign_or_damaged_is_neither_counted_nor_deleted() {
        let (retired, asked) = retire(450, 3, Some(100), &[400, 150]);
        assert_eq!(retired, [50, 250]);
        // Those that stay in any case are not read for it.
        assert_eq!(asked, [450, 400, 350, 300, 250, 150, 50]);
    }
}
