//! Checkpoints: everything needed to continue a run or to compose, as one immutable object.
//!
//! [`Checkpoint`] is the contents, `format` turns it into bytes and back, `name` ties bytes to names by their
//! hash. In a [`crate::store::Store`], `run` claims, saves and retires, `recover` finds the newest good one, and
//! `verify` looks at all; `origin` tells whose they are, `problem` what is wrong with them, and `diff` compares two. The bytes are a
//! function of identity, corpus and step alone: nothing about an attempt is in them.

mod attempt;
pub mod diff;
mod format;
pub mod list;
mod name;
pub mod open;
pub mod origin;
pub mod problem;
pub mod recover;
pub mod retention;
pub mod run;
pub mod verify;

use std::sync::Arc;

use crate::config::Config;
use crate::corpus::Piece;
use crate::corpus::audit::Seen;
use crate::corpus::batches::Batches;
use crate::corpus::windows::Windows;
use crate::network::Architecture;

pub use format::FormatError;
pub use name::Name;

/// A run after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Optimizer updates made.
    pub step: u64,
    /// [`Config::identity`] of the run.
    pub identity: serde_json::Value,
    /// The network's shape.
    pub architecture: Architecture,
    /// Its weights, laid out as [`Architecture::parameters`] says.
    pub parameters: Vec<f32>,
    /// RMSprop's running mean of squared gradients, laid out likewise.
    pub mean_square: Vec<f32>,
    /// Loss and accuracy of the epoch so far.
    pub epoch: EpochSums,
    /// The windows loaded since step 0.
    pub seen: Seen,
    /// What was trained on.
    pub corpus: Training,
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

/// Sums over the predictions of an epoch so far, one for each window or, where every note is learnt from, for each
/// note of it; what Keras shows is their quotient.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct EpochSums {
    /// Sum of the losses, in nats.
    pub loss: f64,
    /// Predictions whose most probable class was right.
    pub correct: u64,
    /// Predictions.
    pub predictions: u64,
}

impl EpochSums {
    /// Adds a batch.
    pub fn add(&mut self, other: EpochSums) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.predictions += other.predictions;
    }

    /// Mean loss of a prediction, in nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.predictions.max(1) as f64
    }

    /// Share of predictions whose most probable class was right.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.predictions.max(1) as f64
    }
}

impl Checkpoint {
    /// The configuration, as far as it decides the weights; the rest has its defaults.
    pub fn config(&self) -> Result<Config, FormatError> {
        Config::from_identity(&self.identity).map_err(FormatError::Identity)
    }

    /// The windows that its steps must have loaded, by arithmetic; `None` if its corpus has no window, or its
    /// number of windows alone shows that they are others.
    pub fn expected_windows(&self) -> Result<Option<Seen>, FormatError> {
        let config = self.config()?;
        let Config { train, .. } = &config;
        let windows = Windows::new(&self.corpus.pieces, config.training_length());
        let batches = Batches::new(&windows, train);
        // The count first: it keeps an absurd step number from being counted up to.
        let fits = !windows.is_empty() && batches.windows_before(self.step) == Some(self.seen.windows);
        Ok(fits.then(|| Seen::expected(&windows, &batches, train.seed, self.step)))
    }
}
