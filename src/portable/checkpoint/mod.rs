//! Checkpoints: everything needed to continue a run or to compose, as one immutable object.
//!
//! [`Checkpoint`] is the contents; `format` turns it into bytes and back. `catalog` names and lists checkpoints under a
//! URL, `read` reads them and finds the newest valid one, `verify` judges all of them, `identity` decides whether one belongs to a run, `claim` is the
//! only code that writes or deletes them, and `diff` compares two. `docs/checkpoints.md` has the state diagram.
//!
//! Invariant: a checkpoint's bytes are a function of the run's identity, its corpus and the step. Nothing about the launch
//! is in them: no time, host or number of ranks. Two launches that reach the same step write the same bytes.
//!
//! # The save protocol
//!
//! Only rank 0 uses the storage of checkpoints.
//!
//! 1. *Recover.* List the checkpoints and take the newest one that is valid: its bytes have the hash in its name, it can be
//!    decoded, and it belongs to this run. There is no pointer to a latest checkpoint that could be stale.
//! 2. *Claim.* Create `attempt-<N>` with the next free number, by a write that fails if the object exists.
//! 3. *Save.* Look for a higher attempt number; if there is one, another launch has taken over, and this one stops without
//!    writing. Otherwise write the checkpoint, one object in one request: it is complete or absent.
//! 4. *Prune.* Delete checkpoints that [`Retention`](claim::Retention) does not keep, each after another look for a higher
//!    attempt. Only valid checkpoints of this run are counted or deleted: those that this launch saved or resumed from are
//!    known, others are read once.
//! 5. *Publish* `metrics.jsonl`: note its version, look for a higher attempt, replace that version.
//!
//! Invariant: of two launches on one URL the later claim wins, and the earlier cannot do harm even if it is halted between
//! its look and its write: equal steps have equal bytes; what it deletes would have been pruned before the later launch
//! began; and it replaces only the version of `metrics.jsonl` that was there before its look.

pub mod catalog;
pub mod claim;
pub mod diff;
mod format;
pub mod identity;
pub mod read;
pub mod verify;

use std::sync::Arc;

use crate::config::Config;
use crate::corpus::Piece;
use crate::corpus::windows::Windows;
use crate::network::Architecture;
use crate::network::score::EpochSums;
use crate::representation::RepresentationConfig;
use crate::schedule::Batches;
use crate::schedule::WindowAudit;

pub use catalog::CheckpointName;
pub use format::FormatError;

/// A run after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Optimizer updates made.
    pub step: u64,
    /// [`Config::identity`] of the run.
    pub identity: serde_json::Value,
    /// What the tokens of its corpus and network mean.
    pub representation: RepresentationConfig,
    /// The network's shape.
    pub architecture: Architecture,
    /// Its weights, laid out as [`Architecture::parameters`] says.
    pub parameters: Vec<f32>,
    /// RMSprop's running mean of squared gradients, laid out likewise.
    pub mean_square: Vec<f32>,
    /// Loss and accuracy of the epoch so far.
    pub epoch: EpochSums,
    /// The windows loaded since step 0.
    pub seen: WindowAudit,
    /// What was trained on.
    pub corpus: Training,
    /// Of a checkpoint in format 1, the digest by which attempts of that time name its run.
    pub run_of_format_1: Option<String>,
}

/// The pieces that a checkpoint was trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// What tells the corpus from others.
    pub fingerprint: String,
    /// The pieces, sorted by name.
    pub pieces: Arc<[Piece]>,
}

impl Training {
    /// These pieces with their fingerprint.
    pub fn new(pieces: Arc<[Piece]>) -> Self {
        Training { fingerprint: crate::corpus::fingerprint(&pieces), pieces }
    }
}

impl Checkpoint {
    /// The configuration, as far as it decides the weights; the rest has its defaults.
    pub fn config(&self) -> Result<Config, FormatError> {
        Config::from_identity(&self.identity).map_err(FormatError::Identity)
    }

    /// The windows that its steps must have loaded, by arithmetic; `None` if its corpus has no window, or its
    /// number of windows alone shows that they are others.
    pub fn expected_windows(&self) -> Result<Option<WindowAudit>, FormatError> {
        let config = self.config()?;
        let Config { train, .. } = &config;
        let windows = Windows::new(&self.corpus.pieces, config.training_length());
        let batches = Batches::new(&windows, train);
        // The count first: it keeps an absurd step number from being counted up to.
        let fits = !windows.is_empty() && batches.windows_before(self.step) == Some(self.seen.windows);
        Ok(fits.then(|| WindowAudit::expected(&windows, &batches, train.seed, self.step)))
    }
}
