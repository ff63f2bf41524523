//! Where the last checkpoint goes if the storage does not take it: a folder on rank 0's host, in which the next
//! launch looks too.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use bachdist_core::checkpoint::list::{Listed, list};
use bachdist_core::checkpoint::origin::{Origin, Whose};
use bachdist_core::checkpoint::recover::{Recovery, read_of, recover};
use bachdist_core::checkpoint::{Checkpoint, Name};
use bachdist_core::store::{Store, StoreError};

use super::plan::Plan;

/// A folder that exists only while something is in it. Another run's checkpoints there are left alone.
#[derive(Debug, Clone)]
pub struct Fallback {
    store: Store,
    whose: Whose,
}

impl Fallback {
    /// The folder of a plan's run; nothing is made or read yet.
    pub fn new(plan: &Plan) -> Result<Self, StoreError> {
        let whose = Whose::Run(Origin::new(&plan.config, &plan.training));
        Ok(Fallback { store: Store::open(&plan.fallback)?, whose })
    }

    /// Keeps a checkpoint, in place of older ones, and gives back its path.
    pub fn keep(&self, checkpoint: &Checkpoint) -> Result<String> {
        let bytes = checkpoint.encode();
        let name = Name::of(checkpoint.step, &bytes);
        self.store.put(&name.to_string(), bytes)?;
        if let Some(older) = name.step.checked_sub(1) {
            self.delete_until(older)?;
        }
        Ok(self.store.url_of(&name.to_string()))
    }

    /// What is there.
    pub fn recover(&self) -> Result<Recovery, StoreError> {
        recover(&self.store, &self.whose)
    }

    /// A line for each checkpoint that a recovery passed over.
    pub fn notes(&self, recovery: &Recovery) -> Vec<String> {
        recovery.notes(&self.store)
    }

    /// The path of a checkpoint here.
    pub fn path(&self, name: &Name) -> String {
        self.store.url_of(&name.to_string())
    }

    /// Removes what is safe elsewhere by now: this checkpoint and older ones.
    pub fn forget(&self, step: u64) -> Result<()> {
        self.delete_until(step)?;
        let folder = self.store.local_path("").context("a fallback is a folder")?;
        remove_if_empty(&folder);
        Ok(())
    }

    fn delete_until(&self, step: u64) -> Result<()> {
        for Listed { name, .. } in list(&self.store)? {
            if name.step <= step && read_of(&self.store, &name, &self.whose)?.is_ok() {
                self.store.delete(&name.to_string())?;
            }
        }
        Ok(())
    }
}

fn remove_if_empty(folder: &Path) {
    // It refuses a folder that is not empty.
    let _ = fs::remove_dir(folder);
}
