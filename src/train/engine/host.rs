//! Training in the host's memory, on its cores.

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::compute::vectorized;
use bachdist_core::config::OptimizerConfig;
use bachdist_core::network::Architecture;

use super::{State, exchange, is_finite};
use crate::comm::Communicator;
use crate::model::Model;
use bachdist_core::lanes::LaneAssignment;
use bachdist_core::network::batch::LaneBatch;
use bachdist_core::network::dropout::Dropout;
use bachdist_core::network::weight_drop::WeightDrop;
use bachdist_core::optimizer;

/// See [`super::Engine`].
pub struct Engine {
    pub(super) model: Model,
    architecture: Architecture,
    /// The weights, with the same bits on every rank.
    parameters: Vec<f32>,
    /// RMSprop's running mean of squared gradients, likewise.
    mean_square: Vec<f32>,
    /// This rank's gradient, then all ranks'. A little longer than the parameters, if ranks do not divide them.
    gradient: Vec<f32>,
    /// Memory for the parts that the ranks send.
    parts: Vec<f32>,
    /// What the lanes scored.
    sums: Vec<EpochSums>,
    /// Of the weights that were given to the network.
    weight_drop: WeightDrop,
}

impl Engine {
    pub fn new(
        model: Model,
        architecture: Architecture,
        (parameters, mean_square): State,
        ranks: usize,
    ) -> Self {
        // Every rank has an equal slice to sum.
        let gradient = vec![0.0; parameters.len().next_multiple_of(ranks)];
        let weight_drop = WeightDrop::default();
        let (parts, sums) = (Vec::new(), Vec::new());
        Engine { model, architecture, parameters, mean_square, gradient, parts, sums, weight_drop }
    }

    pub fn load(&mut self, weight_drop: &WeightDrop) -> Result<()> {
        self.weight_drop = *weight_drop;
        if weight_drop.rate == 0.0 {
            return self.model.load(&self.parameters);
        }
        let mut parameters = self.parameters.clone();
        weight_drop.apply(self.architecture, &mut parameters);
        self.model.load(&parameters)
    }

    pub fn begin(&mut self, lanes: &[Vec<LaneBatch>], dropout: &Dropout) -> Result<()> {
        let gradient = &mut self.gradient[..self.parameters.len()];
        self.sums = self.model.gradient(lanes, dropout, gradient)?;
        Ok(())
    }

    pub fn finish(&mut self) -> Vec<EpochSums> {
        std::mem::take(&mut self.sums)
    }

    pub fn exchange(&mut self, comm: &dyn Communicator, assignment: &LaneAssignment, predictions: usize) {
        let mean = |sums: &mut [f32]| divide(sums, predictions);
        match comm.size() {
            1 => mean(&mut self.gradient),
            _ => exchange(comm, assignment, &mut self.gradient, &mut self.parts, mean),
        }
    }

    pub fn update(&mut self, settings: &OptimizerConfig, step: u64) -> bool {
        let gradient = &mut self.gradient[..self.parameters.len()];
        self.weight_drop.apply(self.architecture, gradient);
        let is_finite = is_finite(gradient);
        if is_finite {
            let member = self.architecture.member().len();
            let state = (&mut self.parameters[..], &mut self.mean_square[..]);
            optimizer::update(settings, step, member, state, gradient);
        }
        is_finite
    }

    pub fn state(&self) -> State {
        (self.parameters.clone(), self.mean_square.clone())
    }
}

fn divide(sums: &mut [f32], predictions: usize) {
    vectorized(
        #[inline(always)]
        || sums.iter_mut().for_each(|x| *x /= predictions as f32),
    );
}
