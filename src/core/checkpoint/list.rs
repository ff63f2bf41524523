//! The checkpoints under a URL, by their names alone.

use super::Name;
use crate::store::{Store, StoreError};

/// What the names of checkpoints begin with.
pub(super) const STEP: &str = "step-";

/// A checkpoint in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// Its size in bytes.
    pub bytes: u64,
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
