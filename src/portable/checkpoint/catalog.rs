//! What lies under a run's URL: the names of checkpoints, and lists of them.
//!
//! A checkpoint is named `step-<8 digits>-<content hash>.safetensors`, so that its bytes can be checked against its name.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::store::{Store, StoreError};

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

/// What the name of every checkpoint begins with.
pub(super) const STEP_PREFIX: &str = "step-";

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
