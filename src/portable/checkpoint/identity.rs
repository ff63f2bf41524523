//! Run identity: decides whether a checkpoint belongs to a run.

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Checkpoint, TrainingCorpus};
use crate::config::identity::differences as value_differences;
use crate::config::{BackendChoice, Config};
use crate::failure::{ExitCode, Failure};

/// What distinguishes a run from others: its configuration's identity and its corpus.
#[derive(Debug, Clone, PartialEq)]
pub struct RunIdentity {
    /// [`Config::identity`].
    identity: Value,
    /// [`TrainingCorpus::fingerprint`].
    fingerprint: String,
    pieces: usize,
}

/// Which checkpoints are accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckpointFilter {
    /// All.
    Any,
    /// Those of this run.
    Run(RunIdentity),
    /// Those of this run, and of the run that differs from it in nothing but the backend.
    AnyBackend(RunIdentity),
    /// Those of the run of this attempt.
    Attempt {
        /// Its number.
        number: u64,
        /// Its run's [`RunIdentity::digest`].
        run: String,
    },
}

/// Why a checkpoint does not belong to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum IdentityMismatch {
    /// The values that differ, by key.
    Identity(Vec<String>),
    /// `train.backend`, and nothing else: its two values.
    Backend(String),
    /// Other music.
    Music {
        /// What it was trained on.
        theirs: CorpusSummary,
        /// What this run learns.
        ours: CorpusSummary,
    },
    /// Its run is not that of this attempt.
    Attempt(u64),
}

/// A corpus, as messages name it.
#[derive(Debug, Clone, PartialEq)]
pub struct CorpusSummary {
    pieces: usize,
    fingerprint: String,
}

impl RunIdentity {
    /// The identity of a run with this configuration and corpus.
    pub fn new(config: &Config, training: &TrainingCorpus) -> Self {
        Self::from_parts(config.identity(), training)
    }

    /// The identity of a checkpoint's run.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self::from_parts(checkpoint.identity.clone(), &checkpoint.corpus)
    }

    fn from_parts(identity: Value, training: &TrainingCorpus) -> Self {
        RunIdentity { identity, fingerprint: training.fingerprint.clone(), pieces: training.pieces.len() }
    }

    /// 16 hexadecimal digits that identify the run.
    pub fn digest(&self) -> String {
        run_digest(&self.identity, &self.fingerprint)
    }

    /// The backends of this run and of the one with this digest, if they differ in nothing else.
    fn by_other_backend(&self, digest: &str) -> Option<String> {
        let others = [BackendChoice::Native, BackendChoice::Torch].into_iter().map(|backend| {
            let mut other = self.clone();
            other.identity["train"]["backend"] = json!(backend);
            other
        });
        let other = others.into_iter().find(|other| other.digest() == digest)?;
        match other.difference(self)? {
            IdentityMismatch::Backend(values) => Some(values),
            _ => None,
        }
    }

    /// How another run's identity differs from this one, if it does.
    fn difference(&self, theirs: &RunIdentity) -> Option<IdentityMismatch> {
        let has_same_music = theirs.fingerprint == self.fingerprint;
        let differences = value_differences(&theirs.identity, &self.identity);
        let described: Vec<String> =
            differences.iter().map(|difference| difference.describe(["there", "here"])).collect();
        match &differences[..] {
            [] => {}
            [only] if only.key == BACKEND_KEY && has_same_music => {
                return Some(IdentityMismatch::Backend(described.concat()));
            }
            _ => return Some(IdentityMismatch::Identity(described)),
        }
        let music = |origin: &RunIdentity| CorpusSummary {
            pieces: origin.pieces,
            fingerprint: origin.fingerprint.clone(),
        };
        (!has_same_music).then(|| IdentityMismatch::Music { theirs: music(theirs), ours: music(self) })
    }
}

const BACKEND_KEY: &str = "train.backend";

/// The digest of a run with this identity and the corpus of this fingerprint.
pub(super) fn run_digest(identity: &Value, fingerprint: &str) -> String {
    // JSON objects are written with sorted keys.
    let text = json!({ "corpus": fingerprint, "identity": identity }).to_string();
    let mut digits = crate::hex(&Sha256::digest(text));
    digits.truncate(16);
    digits
}

impl CheckpointFilter {
    /// Why a checkpoint is not accepted, if it is not.
    pub fn difference(&self, checkpoint: &Checkpoint) -> Option<IdentityMismatch> {
        let theirs = RunIdentity::of(checkpoint);
        match self {
            CheckpointFilter::Any => None,
            CheckpointFilter::Run(ours) => ours.difference(&theirs),
            CheckpointFilter::AnyBackend(ours) => {
                let difference = ours.difference(&theirs);
                difference.filter(|difference| !matches!(difference, IdentityMismatch::Backend(_)))
            }
            CheckpointFilter::Attempt { number, run } => {
                let is_theirs = theirs.digest() == *run || checkpoint.run_of_format_1.as_ref() == Some(run);
                let mismatch = match theirs.by_other_backend(run) {
                    Some(backend) => IdentityMismatch::Backend(backend),
                    None => IdentityMismatch::Attempt(*number),
                };
                (!is_theirs).then_some(mismatch)
            }
        }
    }
}

impl IdentityMismatch {
    /// The error of a run that was asked to resume from the checkpoint at this location, or to share its folder.
    pub fn refusal(&self, location: &str) -> Failure {
        let (code, otherwise) = match self {
            IdentityMismatch::Music { .. } => (ExitCode::Data, "or set that music back"),
            IdentityMismatch::Backend(_) => {
                (ExitCode::Usage, "set that value back, or resume with --change-backend")
            }
            _ => (ExitCode::Usage, "or set those values back"),
        };
        Failure::new(code, format!("{location} {self}; give this run its own checkpoint.url, {otherwise}"))
    }
}

impl fmt::Display for IdentityMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityMismatch::Identity(keys) => write!(f, "belongs to another run: {}", keys.join(", ")),
            IdentityMismatch::Backend(values) => write!(f, "belongs to another run: {values}"),
            IdentityMismatch::Music { theirs, ours } => write!(
                f,
                "belongs to another run: it was trained on different music ({} pieces, fingerprint {:.12}) from what \
                 data.midi holds now ({} pieces, {:.12})",
                theirs.pieces, theirs.fingerprint, ours.pieces, ours.fingerprint
            ),
            IdentityMismatch::Attempt(number) => {
                write!(f, "belongs to a different run from attempt {number}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Piece;

    fn origin(config: &Config, tokens: &[u16]) -> RunIdentity {
        let piece = Piece { name: "a".into(), tokens: tokens.to_vec() };
        RunIdentity::new(config, &TrainingCorpus::new([piece].into()))
    }

    #[test]
    fn differences_are_named_by_key() {
        let (a, mut b) = (Config::default(), Config::default());
        b.model.units = 128;
        b.data.holdout = vec!["x".into()];
        let (a, b) = (origin(&a, &[1]), origin(&b, &[1]));
        let expected = ["data.holdout is [] there and [\"x\"] here", "model.units is 256 there and 128 here"];
        assert_eq!(b.difference(&a), Some(IdentityMismatch::Identity(expected.map(str::to_owned).into())));
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn another_backend_alone_is_accepted_when_asked() {
        let (mut native, mut torch) = (Config::default(), Config::default());
        native.train.backend = BackendChoice::Native;
        torch.train.backend = BackendChoice::Torch;
        let (ours, theirs) = (origin(&torch, &[1]), origin(&native, &[1]));
        assert!(matches!(ours.difference(&theirs), Some(IdentityMismatch::Backend(_))));
        // Beside anything else it is one of the values that differ.
        native.train.seed += 1;
        let more = ours.difference(&origin(&native, &[1]));
        assert!(matches!(more, Some(IdentityMismatch::Identity(keys)) if keys.len() == 2));
        assert!(matches!(ours.difference(&origin(&torch, &[2])), Some(IdentityMismatch::Music { .. })));
    }

    #[test]
    fn music_makes_a_run_too_and_its_length_does_not() {
        let (a, mut longer) = (Config::default(), Config::default());
        longer.train.epochs = 999;
        assert_eq!(origin(&a, &[1]).digest(), origin(&longer, &[1]).digest());
        assert_eq!(origin(&a, &[1]).difference(&origin(&longer, &[1])), None);
        assert_ne!(origin(&a, &[1]).digest(), origin(&a, &[2]).digest());
        let refusal = origin(&a, &[1]).difference(&origin(&a, &[2])).unwrap().refusal("x");
        assert_eq!(refusal.code, ExitCode::Data);
    }
}
