//! The verdict on every object under a run's URL that is a checkpoint or looks like one.

use super::catalog::{CheckpointEntry, CheckpointName, STEP_PREFIX};
use super::identity::{CheckpointFilter, IdentityMismatch};
use super::read::{CheckpointProblem, read_matching};
use crate::store::{Store, StoreError, StoreErrorKind, StoredObject};

/// An object and the verdict on it.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedObject {
    /// Its name.
    pub name: String,
    /// The step in its name, if that is the name of a checkpoint.
    pub step: Option<u64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The verdict.
    pub verdict: ObjectVerdict,
}

/// The verdict on an object.
#[derive(Debug, Clone, PartialEq)]
pub enum ObjectVerdict {
    /// A valid checkpoint.
    Valid,
    /// What is wrong with it.
    Invalid(String),
    /// Something that is not a checkpoint and does no harm.
    Note(String),
}

/// Verifies everything under a URL: checkpoints, oldest first, then objects with similar names.
pub fn verify<E: From<StoreError>>(
    store: &Store,
    mut found: impl FnMut(VerifiedObject) -> Result<(), E>,
) -> Result<(), E> {
    let (mut checkpoints, mut others) = (Vec::new(), Vec::new());
    for entry in store.list(STEP_PREFIX)? {
        match entry.name.parse::<CheckpointName>() {
            Ok(name) => checkpoints.push(CheckpointEntry { name, bytes: entry.size }),
            Err(_) => others.push(misnamed(entry)),
        }
    }
    checkpoints.sort_by(|a, b| a.name.cmp(&b.name));
    let filter = CheckpointFilter::last_attempted(store)?;
    for CheckpointEntry { name, bytes } in checkpoints {
        if let Some(verdict) = judge(store, &name, &filter)? {
            found(VerifiedObject { name: name.to_string(), step: Some(name.step), bytes, verdict })?;
        }
    }
    let unfinished = store.partial_writes()?.into_iter().map(half_written);
    others.into_iter().chain(unfinished).try_for_each(found)
}

/// `None` for a checkpoint that a running launch has pruned since it was listed.
fn judge(
    store: &Store,
    name: &CheckpointName,
    filter: &CheckpointFilter,
) -> Result<Option<ObjectVerdict>, StoreError> {
    let problem = match read_matching(store, name, filter) {
        Ok(Ok(valid)) => CheckpointProblem::of_windows(&valid.checkpoint),
        Ok(Err(problem)) => Some(problem),
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(match problem {
        None => ObjectVerdict::Valid,
        // The run went on by another backend (`train --change-backend`).
        Some(CheckpointProblem::Foreign(IdentityMismatch::Backend(values))) => {
            ObjectVerdict::Note(format!("is from before a change of backend: {values}"))
        }
        Some(problem) => ObjectVerdict::Invalid(problem.to_string()),
    }))
}

fn misnamed(StoredObject { name, size }: StoredObject) -> VerifiedObject {
    let reason = "is not named like a checkpoint, so nothing reads it";
    let verdict = if name.ends_with(".safetensors") {
        // Someone may rely on it.
        ObjectVerdict::Invalid(format!("{reason} (step-<8 digits>-<16 hexadecimal digits>.safetensors)"))
    } else {
        ObjectVerdict::Note(reason.into())
    };
    VerifiedObject { name, step: None, bytes: size, verdict }
}

fn half_written(StoredObject { name, size }: StoredObject) -> VerifiedObject {
    let says = "is half-written, by a running launch or one that crashed; nothing reads it, and a launch an hour later \
                removes it";
    VerifiedObject { name, step: None, bytes: size, verdict: ObjectVerdict::Note(says.into()) }
}
