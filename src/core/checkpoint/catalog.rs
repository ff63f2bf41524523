//! What lies under a run's URL: the names of checkpoints, and lists of them.
//!
//! A checkpoint is named `step-<8 digits>-<content hash>.safetensors`, so that its bytes can be checked against its name.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::identity::CheckpointFilter;
use super::read::{CheckpointProblem, read_matching};
use crate::store::{Store, StoreError, StoreErrorKind, StoredObject};

/// The name of a checkpoint's object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointName {
    /// Optimizer updates made.
    pub step: u64,
    /// The first 16 hexadecimal digits of the SHA-256 of its bytes.
    pub hash: String,
}

const HASH_DIGITS: usize = 16;

impl CheckpointName {
    /// The name under which these bytes are saved.
    pub fn of(step: u64, bytes: &[u8]) -> Self {
        CheckpointName { step, hash: content_hash(bytes) }
    }

    /// Whether bytes have the hash in this name.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.hash == content_hash(bytes)
    }
}

fn content_hash(bytes: &[u8]) -> String {
    let mut digits = crate::hex(&Sha256::digest(bytes));
    digits.truncate(HASH_DIGITS);
    digits
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step-{:08}-{}.safetensors", self.step, self.hash)
    }
}

/// A text is not the name of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCheckpointName;

impl FromStr for CheckpointName {
    type Err = InvalidCheckpointName;

    fn from_str(text: &str) -> Result<Self, InvalidCheckpointName> {
        let inner = text
            .strip_prefix("step-")
            .and_then(|t| t.strip_suffix(".safetensors"))
            .ok_or(InvalidCheckpointName)?;
        let (step, hash) = inner.split_once('-').ok_or(InvalidCheckpointName)?;
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let digits = step.len() >= 8 && step.chars().all(|c| c.is_ascii_digit());
        if !digits || hash.len() != HASH_DIGITS || !hash.chars().all(hex) {
            return Err(InvalidCheckpointName);
        }
        let name =
            CheckpointName { step: step.parse().map_err(|_| InvalidCheckpointName)?, hash: hash.into() };
        // One spelling for each name: ours never have more than eight digits with a leading zero.
        if name.to_string() == text { Ok(name) } else { Err(InvalidCheckpointName) }
    }
}

const STEP_PREFIX: &str = "step-";

/// A checkpoint in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// Its name.
    pub name: CheckpointName,
    /// Its size in bytes.
    pub bytes: u64,
}

/// All checkpoints under a URL, oldest first.
pub fn list(store: &Store) -> Result<Vec<CheckpointEntry>, StoreError> {
    let entries = store.list(STEP_PREFIX)?.into_iter();
    let mut listed: Vec<CheckpointEntry> = entries
        .filter_map(|entry| Some(CheckpointEntry { name: entry.name.parse().ok()?, bytes: entry.size }))
        .collect();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listed)
}

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
    Ok(Some(problem.map_or(ObjectVerdict::Valid, |problem| ObjectVerdict::Invalid(problem.to_string()))))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for step in [0, 7, 99_999_999, 123_456_789_012] {
            let name = CheckpointName::of(step, b"bytes");
            assert_eq!(name.to_string().parse(), Ok(name.clone()));
            assert!(name.matches(b"bytes") && !name.matches(b"other"));
        }
        assert_eq!(CheckpointName::of(500, b"abc").to_string(), "step-00000500-ba7816bf8f01cfea.safetensors");
    }

    #[test]
    fn other_names_are_not() {
        for text in [
            "",
            "attempt-3",
            "step-500-ba7816bf8f01cfea.safetensors",
            "step-00000500-ba7816bf8f01cfe.safetensors",
            "step-00000500-BA7816BF8F01CFEA.safetensors",
            "step-000000500-ba7816bf8f01cfea.safetensors",
            "step-00000500-ba7816bf8f01cfea.safetensors.part",
            "step-99999999999999999999-ba7816bf8f01cfea.safetensors",
        ] {
            assert_eq!(text.parse::<CheckpointName>(), Err(InvalidCheckpointName), "{text}");
        }
    }
}
