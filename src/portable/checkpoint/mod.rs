//! Checkpoints: everything needed to continue a run or to compose, as one immutable object.
//!
//! [`Checkpoint`] is the contents, and [`CheckpointName`] names it: `step-<8 digits>-<content hash>.safetensors`, so that its
//! bytes can be checked against its name. `format` turns it into bytes and back, `read` finds the newest valid one and judges
//! all, `identity` decides whether one belongs to a run, `claim` is the only code that writes or deletes them, and `diff`
//! compares two. `docs/checkpoints.md` has the state diagram.
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

pub mod claim;
pub mod diff;
mod format;
pub mod identity;
pub mod read;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::corpus::Piece;
use crate::network::Architecture;
use crate::network::batch::EpochSums;
use crate::representation::RepresentationConfig;
use crate::schedule::{Batches, Sequences, WindowAudit};
use crate::store::{Store, StoreError};
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
    /// With `train.carry_state`, the state of every row of a batch (lanes, members, layers, 2, rows, units): outputs and
    /// cells; otherwise empty.
    pub carried: Vec<f32>,
    /// Loss and accuracy of the epoch so far.
    pub epoch: EpochSums,
    /// The windows loaded since step 0.
    pub audit: WindowAudit,
    /// What was trained on.
    pub corpus: TrainingCorpus,
    /// Of a checkpoint in format 1, the digest by which attempts of that time name its run.
    pub run_of_format_1: Option<String>,
}

/// The pieces that a checkpoint was trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingCorpus {
    /// What tells the corpus from others.
    pub fingerprint: String,
    /// The pieces, sorted by name.
    pub pieces: Arc<[Piece]>,
}

impl TrainingCorpus {
    /// These pieces with their fingerprint.
    pub fn new(pieces: Arc<[Piece]>) -> Self {
        TrainingCorpus { fingerprint: crate::corpus::fingerprint(&pieces), pieces }
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
        let sequences = Sequences::of_training(&config, &self.corpus.pieces);
        let batches = Batches::new(sequences.windows(), train);
        // The count first: it keeps an absurd step number from being counted up to.
        let fits = batches.windows > 0 && batches.windows_before(self.step) == Some(self.audit.windows);
        Ok(fits.then(|| WindowAudit::expected(&sequences, &batches, train.seed, self.step)))
    }
}

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
    use crate::representation::Token;

    /// A checkpoint of a small network; its numbers stand for trained ones.
    pub(super) fn checkpoint(layers: usize, pieces: &[(&str, &[Token])]) -> Checkpoint {
        let mut config = Config::default();
        (config.model.layers, config.model.units, config.model.dense) = (layers, 16, 17);
        let architecture = Architecture::new(&config.model, config.representation.build().shape());
        let pieces = pieces.iter().map(|&(name, tokens)| Piece { name: name.into(), tokens: tokens.into() });
        Checkpoint {
            step: 12,
            identity: config.identity(),
            representation: config.representation,
            run_of_format_1: None,
            architecture,
            parameters: (0..architecture.len()).map(|i| i as f32 * 0.1).collect(),
            mean_square: (0..architecture.len()).map(|i| i as f32 * 0.3).collect(),
            // A sum with all digits, and a number beyond those that an f64 holds.
            carried: Vec::new(),
            epoch: EpochSums { loss: 0.1 + 0.2, correct: 3, predictions: 7 },
            audit: WindowAudit { windows: 7, digest: u64::MAX },
            corpus: TrainingCorpus::new(pieces.collect()),
        }
    }

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
