//! What computes the steps of a rank: one trait, and its implementation in our own arithmetic ([`native`]).
//!
//! The other implementation, libtorch's, needs libtorch and lives in the trainer. Both keep this promise: **the state
//! after a step has the same bits for any number of ranks.** An implementation keeps it by making the shape of every
//! library call a function of the batch size and the number of lanes alone, by never summing over the rows of two lanes
//! in one call, and by summing lanes along the tree of [`crate::lanes`]. Between two implementations numbers agree to
//! 1e-5, and bits do not.

pub mod native;
#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::Result;

use crate::compute::functions::{exp, ln};
use crate::config::{BackendChoice, OptimizerConfig};
use crate::network::batch::{EpochSums, LaneBatch, NO_TARGET, score_predictions};
use crate::network::dropout::{Dropout, WeightDrop};
use crate::parallel::vectorized;
use crate::schedule::WindowAudit;

/// Which implementation computes a run; part of its identity, because it decides the bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendName {
    /// [`native`].
    Native,
    /// libtorch.
    Torch,
}

impl From<BackendName> for BackendChoice {
    fn from(name: BackendName) -> Self {
        match name {
            BackendName::Native => BackendChoice::Native,
            BackendName::Torch => BackendChoice::Torch,
        }
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendName::Native => "native",
            BackendName::Torch => "torch",
        })
    }
}

/// Where a rank computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The cores that the rank may run on.
    Cpu,
    /// The CUDA GPU of this index, among those that the rank sees.
    Cuda(usize),
}

/// As the configuration names it.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// All that training changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingState {
    /// Laid out as [`crate::network::Architecture::parameters`] says.
    pub parameters: Vec<f32>,
    /// RMSprop's running mean of squared gradients, in the same layout.
    pub mean_square: Vec<f32>,
}

/// A rank's part of a step's batch.
#[derive(Debug, Clone)]
pub struct StepBatch {
    /// The step, from 0.
    pub step: u64,
    /// For each ensemble member the rank's lanes: every member transposes the windows for itself.
    pub lanes: Vec<Vec<LaneBatch>>,
    /// The step's masks; each member's differ.
    pub dropout: Dropout,
    /// For each lane the windows that were read for it.
    pub audits: Vec<WindowAudit>,
}

/// Makes a rank's part of the batch of any step. It is a function of the step alone, so a backend may ask for the next
/// one while it computes this one.
pub trait BatchSource {
    /// The rank's part of this step's batch.
    fn batch(&self, step: u64) -> StepBatch;
}

/// All ranks of the run, as far as a backend needs them.
pub trait RankSum {
    /// How many ranks there are.
    fn ranks(&self) -> usize;

    /// Replaces every rank's `gradient`, whose length is a multiple of the number of ranks, by the sum over all ranks along
    /// the tree of lanes. Each rank sums one slice and hands it to `finish_slice` before all slices go to all ranks.
    ///
    /// # Collective
    /// All ranks call this together.
    fn sum(&mut self, gradient: &mut [f32], finish_slice: &mut dyn FnMut(&mut [f32]));
}

/// A rank's network and all that training it changes, with the same bits on every rank.
///
/// A step calls [`Backend::load_weights`], [`Backend::load_batch`], [`Backend::gradient`], [`Backend::exchange`] and
/// [`Backend::update`] in this order.
pub trait Backend {
    /// Replaces the state.
    fn set_state(&mut self, state: TrainingState) -> Result<()>;

    /// A copy of the state.
    fn state(&self) -> Result<TrainingState>;

    /// Gives the network the weights that take part in a step; those of [`WeightDrop::default`] are all of them.
    fn load_weights(&mut self, weight_drop: &WeightDrop) -> Result<()>;

    /// Loads a step's batch, unless that was done ahead. Returns, for each lane, the windows that were read.
    fn load_batch(&mut self, step: u64, source: &dyn BatchSource) -> Result<Vec<WindowAudit>>;

    /// Forward and backward on the loaded batch: loss and correct predictions of each lane, summed over all ensemble
    /// members. Keeps the sum of the lanes' gradients. May load the next batch from `source` while a device computes.
    fn gradient(&mut self, source: &dyn BatchSource) -> Result<Vec<EpochSums>>;

    /// Turns each rank's gradient into the mean over the `predictions` of the whole batch.
    ///
    /// # Collective
    /// All ranks call this together.
    fn exchange(&mut self, predictions: usize, ranks: &mut dyn RankSum) -> Result<()>;

    /// Updates the weights by the mean gradient. Returns false, and updates nothing, if that is not finite; the whole
    /// gradient is examined, so that all ranks decide alike.
    fn update(&mut self, settings: &OptimizerConfig, step: u64) -> Result<bool>;

    /// The states of the rows of this rank's lanes, where they are streams that are trained on: (lanes, members, layers, 2,
    /// rows, units), outputs and cells. Empty otherwise.
    fn carried(&self) -> Result<Vec<f32>>;

    /// Replaces the states of the rows of this rank's lanes by those that [`Backend::carried`] returned.
    fn set_carried(&mut self, lanes: usize, states: &[f32]) -> Result<()>;

    /// Log-probs of each prediction of each lane, without dropout: (predictions, C). Of windows, lanes have one
    /// prediction each.
    fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>>;

    /// Blocks until queued work is done; nothing to wait for on a CPU. For clocks: a step needs no such wait.
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    /// Loss and correct predictions of each lane, without dropout.
    fn evaluate(&mut self, lanes: &[LaneBatch]) -> Result<Vec<EpochSums>> {
        let log_probs = self.predict(lanes)?;
        let of_lane = |lane: &LaneBatch| lane.targets.iter().filter(|&&target| target != NO_TARGET).count();
        let predictions: usize = lanes.iter().map(of_lane).sum();
        let classes = log_probs.len() / predictions.max(1);
        let mut rows = log_probs.chunks_exact(classes.max(1));
        Ok(lanes.iter().map(|lane| score_predictions(&mut rows, lane)).collect())
    }
}

/// Log-probs of an ensemble from those of its members, at least one: of the mean of their probabilities.
pub fn average_log_probs(members: Vec<Vec<f32>>) -> Vec<f32> {
    let count = members.len() as f32;
    let [only] = &members[..] else {
        let sums =
            (0..members[0].len()).map(|index| members.iter().map(|log_probs| exp(log_probs[index])).sum());
        return sums.map(|sum: f32| ln(sum / count)).collect();
    };
    only.clone()
}

/// Whether all of a gradient is finite.
pub fn is_finite(gradient: &[f32]) -> bool {
    vectorized(
        #[inline(always)]
        || gradient.iter().fold(true, |all, x| all & x.is_finite()),
    )
}
