//! The backend of CPUs in our own arithmetic (see [`crate::compute`]): no libtorch, and the same bits on every processor.

use anyhow::Result;

use super::{Backend, BatchSource, RankSum, StepBatch, TrainingState, average_log_probs, is_finite};
use crate::compute::matrix::Matrix;
use crate::config::OptimizerConfig;
use crate::network::Architecture;
use crate::network::batch::{EpochSums, LaneBatch};
use crate::network::dropout::{Dropout, WeightDrop};
use crate::network::training::{CarriedStates, TrainingNetwork};
use crate::optimizer;
use crate::parallel::vectorized;
use crate::schedule::WindowAudit;

/// See the module.
pub struct NativeBackend {
    architecture: Architecture,
    /// The ensemble.
    members: Vec<TrainingNetwork>,
    state: TrainingState,
    batch: Option<StepBatch>,
    /// This rank's gradient, then that of all ranks. Zeros at its end make its length a multiple of the ranks.
    gradient: Vec<f32>,
    /// That of the weights in the network; their gradient gets the same mask.
    weight_drop: WeightDrop,
}

impl NativeBackend {
    /// A network of zeros, which `threads` threads compute. [`Backend::set_state`] fills it in.
    pub fn new(architecture: Architecture, threads: usize) -> Self {
        NativeBackend {
            architecture,
            members: (0..architecture.members)
                .map(|_| TrainingNetwork::new(architecture.member(), threads))
                .collect(),
            state: TrainingState::default(),
            batch: None,
            gradient: vec![0.0; architecture.len()],
            weight_drop: WeightDrop::default(),
        }
    }

    /// A network that only predicts.
    ///
    /// # Panics
    /// If there are not [`Architecture::len`] parameters.
    pub fn for_prediction(architecture: Architecture, parameters: &[f32], threads: usize) -> Self {
        let mut backend = NativeBackend::new(architecture, threads);
        backend.give(parameters);
        backend
    }

    /// The sum of this rank's gradients.
    #[cfg(test)]
    pub(super) fn gradient_sum(&self) -> &[f32] {
        &self.gradient[..self.architecture.len()]
    }

    /// Gives every member its part of some weights.
    fn give(&mut self, parameters: &[f32]) {
        assert_eq!(parameters.len(), self.architecture.len(), "parameters do not fit the architecture");
        let parts = parameters.chunks_exact(self.architecture.member().len());
        for (member, parameters) in self.members.iter_mut().zip(parts) {
            member.load(parameters);
        }
    }
}

impl Backend for NativeBackend {
    fn set_state(&mut self, state: TrainingState) -> Result<()> {
        self.state = state;
        Ok(())
    }

    fn state(&self) -> Result<TrainingState> {
        Ok(self.state.clone())
    }

    fn load_weights(&mut self, weight_drop: &WeightDrop) -> Result<()> {
        self.weight_drop = *weight_drop;
        let parameters = std::mem::take(&mut self.state.parameters);
        if weight_drop.rate == 0.0 {
            self.give(&parameters);
        } else {
            let mut masked = parameters.clone();
            weight_drop.apply(self.architecture, &mut masked);
            self.give(&masked);
        }
        self.state.parameters = parameters;
        Ok(())
    }

    fn load_batch(&mut self, step: u64, source: &dyn BatchSource) -> Result<Vec<WindowAudit>> {
        let batch = source.batch(step);
        let audits = batch.audits.clone();
        self.batch = Some(batch);
        Ok(audits)
    }

    fn gradient(&mut self, _source: &dyn BatchSource) -> Result<Vec<EpochSums>> {
        let StepBatch { lanes, dropout, .. } = self.batch.take().expect("a loaded batch");
        let mut all = vec![EpochSums::default(); lanes[0].len()];
        let length = self.architecture.member().len();
        let gradients = self.gradient.chunks_exact_mut(length);
        for (number, ((member, lanes), gradient)) in
            (0..).zip(self.members.iter_mut().zip(&lanes).zip(gradients))
        {
            let dropout = Dropout { member: number, ..dropout };
            for (all, sums) in all.iter_mut().zip(member.gradient(lanes, &dropout, gradient)) {
                all.add(sums);
            }
        }
        Ok(all)
    }

    fn exchange(&mut self, predictions: usize, ranks: &mut dyn RankSum) -> Result<()> {
        let mut divide = |sums: &mut [f32]| {
            vectorized(
                #[inline(always)]
                || sums.iter_mut().for_each(|x| *x /= predictions as f32),
            );
        };
        if ranks.ranks() == 1 {
            divide(&mut self.gradient);
        } else {
            self.gradient.resize(self.architecture.len().next_multiple_of(ranks.ranks()), 0.0);
            ranks.sum(&mut self.gradient, &mut divide);
        }
        Ok(())
    }

    fn update(&mut self, settings: &OptimizerConfig, step: u64) -> Result<bool> {
        let gradient = &mut self.gradient[..self.architecture.len()];
        self.weight_drop.apply(self.architecture, gradient);
        let is_finite = is_finite(gradient);
        if is_finite {
            let TrainingState { parameters, mean_square } = &mut self.state;
            let state = (&mut parameters[..], &mut mean_square[..]);
            optimizer::update(settings, step, self.architecture.member().len(), state, gradient);
        }
        Ok(is_finite)
    }

    fn carried(&self) -> Result<Vec<f32>> {
        let lanes = self.members[0].carried().len();
        let mut states = Vec::new();
        for lane in 0..lanes {
            for member in &self.members {
                for matrix in member.carried()[lane].0.iter().flatten() {
                    states.extend(matrix.all().iter().flatten());
                }
            }
        }
        Ok(states)
    }

    fn set_carried(&mut self, lanes: usize, states: &[f32]) -> Result<()> {
        let Architecture { layers, units, members, .. } = self.architecture;
        let rows = states.len() / (lanes * members * layers * 2 * units).max(1);
        let mut matrices = states.chunks_exact((rows * units).max(1)).map(|values| {
            let mut matrix = Matrix::zeros(rows, units);
            for (row, values) in values.chunks_exact(units).enumerate() {
                matrix.row_mut(row).copy_from_slice(values);
            }
            matrix
        });
        let mut carried = vec![Vec::new(); members];
        for _ in 0..if rows == 0 { 0 } else { lanes } {
            for carried in &mut carried {
                let layer = |_| [(); 2].map(|()| matrices.next().expect("as many as there are lanes"));
                carried.push(CarriedStates((0..layers).map(layer).collect()));
            }
        }
        for (member, carried) in self.members.iter_mut().zip(carried) {
            member.set_carried(carried);
        }
        Ok(())
    }

    fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        Ok(average_log_probs(self.members.iter_mut().map(|member| member.predict(lanes)).collect()))
    }
}
