//! Where a rank trains: the network, its weights, RMSprop's state and the gradient, in the host's memory ([`host`]) or
//! on a GPU ([`device`]). Both do the same; a GPU is only told what to do, until something is asked of it.

mod device;
mod host;

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::compute::vectorized;
use bachdist_core::config::OptimizerConfig;
use bachdist_core::network::Architecture;

use crate::comm::Communicator;
use crate::model::Model;
use bachdist_core::lanes::LaneAssignment;
use bachdist_core::network::batch::LaneBatch;
use bachdist_core::network::dropout::Dropout;
use bachdist_core::network::weight_drop::WeightDrop;

/// Weights and RMSprop's running mean of squared gradients.
pub type State = (Vec<f32>, Vec<f32>);

/// A rank's network and all that training it changes.
pub enum Engine {
    /// On the cores of the host.
    Host(Box<host::Engine>),
    /// On a GPU, or as on one.
    Device(Box<device::Engine>),
}

impl Engine {
    /// One of so many ranks, with the state to start from. It works where the model's members are.
    pub fn new(mut model: Model, architecture: Architecture, state: State, ranks: usize) -> Result<Self> {
        match model.autograd() {
            None => Ok(Engine::Host(Box::new(host::Engine::new(model, architecture, state, ranks)))),
            Some(_) => Ok(Engine::Device(Box::new(device::Engine::new(model, architecture, state, ranks)?))),
        }
    }

    /// Gives the network the weights that take part in a step.
    pub fn load(&mut self, weight_drop: &WeightDrop) -> Result<()> {
        match self {
            Engine::Host(engine) => engine.load(weight_drop),
            Engine::Device(engine) => engine.load(weight_drop),
        }
    }

    /// Whether a later step's lanes can be brought closer while one is computed.
    pub fn stages(&self) -> bool {
        matches!(self, Engine::Device(_))
    }

    /// Brings the lanes of a step closer, as every member gets them.
    pub fn stage(&mut self, lanes: &[Vec<LaneBatch>], dropout: &Dropout) -> Result<()> {
        match self {
            Engine::Host(_) => Ok(()),
            Engine::Device(engine) => engine.stage(lanes, dropout),
        }
    }

    /// Forward and backward on the rank's lanes. A GPU only begins.
    pub fn begin(&mut self, lanes: &[Vec<LaneBatch>], dropout: &Dropout) -> Result<()> {
        match self {
            Engine::Host(engine) => engine.begin(lanes, dropout),
            Engine::Device(engine) => engine.begin(lanes, dropout),
        }
    }

    /// Waits for what was begun: loss and right predictions of each lane, summed over all members. Leaves the sum of
    /// the lanes' gradients.
    pub fn finish(&mut self) -> Result<Vec<EpochSums>> {
        match self {
            Engine::Host(engine) => Ok(engine.finish()),
            Engine::Device(engine) => engine.finish(),
        }
    }

    /// Leaves the mean gradient of a batch's predictions on every rank, from each rank's sum over its lanes.
    pub fn exchange(
        &mut self,
        comm: &dyn Communicator,
        assignment: &LaneAssignment,
        predictions: usize,
    ) -> Result<()> {
        match self {
            Engine::Host(engine) => {
                engine.exchange(comm, assignment, predictions);
                Ok(())
            }
            Engine::Device(engine) => engine.exchange(comm, assignment, predictions),
        }
    }

    /// Updates the weights by the mean gradient; false, and no update, if that is not finite. The whole gradient is
    /// looked at, so that all ranks see the same, whatever each one's part was.
    pub fn update(&mut self, settings: &OptimizerConfig, step: u64) -> Result<bool> {
        match self {
            Engine::Host(engine) => Ok(engine.update(settings, step)),
            Engine::Device(engine) => engine.update(settings, step),
        }
    }

    /// A copy of the state.
    pub fn state(&self) -> Result<State> {
        match self {
            Engine::Host(engine) => Ok(engine.state()),
            Engine::Device(engine) => engine.state(),
        }
    }

    /// The network, with the weights that it was given last.
    pub fn model(&mut self) -> &mut Model {
        match self {
            Engine::Host(engine) => &mut engine.model,
            Engine::Device(engine) => &mut engine.model,
        }
    }
}

/// Leaves the sum of all ranks' gradients on every rank: every rank sums one slice over all ranks along the tree
/// (all-to-all) and does `with_own` to it, then all slices go to all (all-gather). That is a ring's traffic.
fn exchange(
    comm: &dyn Communicator,
    assignment: &LaneAssignment,
    gradient: &mut [f32],
    parts: &mut Vec<f32>,
    with_own: impl FnOnce(&mut [f32]),
) {
    let slice = gradient.len() / comm.size();
    parts.resize(gradient.len(), 0.0);
    comm.all_to_all(gradient, parts);
    assignment.sum_ranks(parts);
    with_own(&mut parts[..slice]);
    comm.all_gather(&parts[..slice], gradient);
}

fn is_finite(gradient: &[f32]) -> bool {
    vectorized(
        #[inline(always)]
        || gradient.iter().fold(true, |all, x| all & x.is_finite()),
    )
}

#[cfg(test)]
mod tests;
