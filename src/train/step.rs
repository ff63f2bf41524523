//! One optimizer step: for each lane forward and backward, one message, one division, one update.
//!
//! After it every rank has the same weights, and they have the same bits for any number of ranks. `load` finds the
//! windows, `reports` gathers what the lanes say. The parts of a step are methods of their own, so that
//! [`crate::bench`] can time what training runs.

mod load;
mod reports;

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::config::Config;
use bachdist_core::corpus::CLASSES;
use bachdist_core::corpus::audit::Seen;
use bachdist_core::corpus::batches::{Batch, Batches};
use bachdist_core::corpus::windows::Windows;
use bachdist_core::fault::{self, FaultPoint};
use bachdist_core::network::Architecture;
use tch::{Device, Kind, Tensor};

use super::engine::{Engine, State};
use crate::comm::Communicator;
use crate::model::Model;
use crate::stop::StopRequest;
use bachdist_core::lanes::LaneAssignment;
use bachdist_core::network::batch::LaneBatch;
use bachdist_core::network::dropout::Dropout;
use bachdist_core::network::weight_drop::WeightDrop;
pub use load::Loaded;
pub use reports::LaneReport;
use reports::fold;

/// A rank's part in the training: model, optimizer, and which windows it takes.
pub struct Trainer<'a> {
    comm: &'a dyn Communicator,
    config: &'a Config,
    windows: Windows<'a>,
    batches: Batches,
    assignment: LaneAssignment,
    architecture: Architecture,
    engine: Engine,
    /// The lanes of a step that is still to come.
    ahead: Option<(u64, Loaded)>,
}

/// What a step came to, the same on every rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The weights were updated.
    Updated {
        /// Loss and right predictions of the batch.
        sums: EpochSums,
        /// The windows that were loaded for it.
        seen: Seen,
        /// The union of all ranks' requests.
        requested: StopRequest,
    },
    /// A loss or gradient was not finite, so nothing was updated.
    NonFinite {
        /// The first lane whose loss was not; `None` if it was the gradient.
        lane: Option<usize>,
    },
}

/// What the steps of a run have come to so far.
#[derive(Debug, Clone, Copy)]
pub struct Totals {
    /// Loss and accuracy of the epoch.
    pub epoch: EpochSums,
    /// The windows loaded since step 0.
    pub seen: Seen,
}

impl Totals {
    /// Adds a step that took this batch.
    pub fn add(&mut self, batch: &Batch, sums: EpochSums, seen: Seen) {
        if batch.first == 0 {
            self.epoch = EpochSums::default();
        }
        self.epoch.add(sums);
        self.seen.add(seen);
    }
}

impl<'a> Trainer<'a> {
    /// A rank's part, with the weights to start from.
    pub fn new(
        comm: &'a dyn Communicator,
        config: &'a Config,
        windows: Windows<'a>,
        assignment: LaneAssignment,
        model: Model,
        state: State,
    ) -> Result<Self> {
        let batches = Batches::new(&windows, &config.train);
        let architecture = Architecture::new(&config.model, CLASSES);
        let engine = Engine::new(model, architecture, state, comm.size())?;
        Ok(Trainer { comm, config, windows, batches, assignment, architecture, engine, ahead: None })
    }

    /// How windows become batches.
    pub fn batches(&self) -> Batches {
        self.batches
    }

    /// Makes one step. `requested` is this rank's part in what all ranks learn together.
    pub fn step(&mut self, step: u64, requested: StopRequest) -> Result<Outcome> {
        let batch = self.batches.batch(step);
        self.load_weights(step)?;

        let Loaded { lanes, seen } = self.take_loaded(step);
        self.begin(step, &lanes)?;
        self.load_ahead(step + 1)?;
        if fault::at(FaultPoint::Device) {
            // An error such as a GPU's, which comes out here: these two cannot be multiplied.
            let [a, b] = [[1, 2], [3, 4]].map(|shape| Tensor::f_zeros(shape, (Kind::Float, Device::Cpu)));
            let _ = a?.f_mm(&b?)?;
        }
        let mut sums = self.finish()?;
        if fault::at(FaultPoint::Loss) {
            sums[0].loss = f64::NAN;
        }

        let own = sums.into_iter().zip(seen).map(|(sums, seen)| LaneReport { sums, seen, requested });
        let reports = self.gather(own);
        if let Some(lane) = reports.iter().position(|report| !report.sums.loss.is_finite()) {
            return Ok(Outcome::NonFinite { lane: Some(lane) });
        }
        fault::at(FaultPoint::Exchange);
        self.exchange(batch.windows * lanes[0][0].predictions)?;
        fault::at(FaultPoint::Exchanged);
        if !self.update(step)? {
            return Ok(Outcome::NonFinite { lane: None });
        }
        let LaneReport { sums, seen, requested } = fold(reports);
        Ok(Outcome::Updated { sums, seen, requested })
    }

    /// Loss and right predictions of a batch that is not trained on, and what the ranks ask for.
    pub fn evaluate(
        &mut self,
        windows: &Windows<'_>,
        batch: &Batch,
        requested: StopRequest,
    ) -> Result<(EpochSums, StopRequest)> {
        let lanes = self.load_in_order(windows, batch);
        let sums = self.engine.model().evaluate(&lanes)?;
        let own = sums.into_iter().map(|sums| LaneReport { sums, requested, ..LaneReport::default() });
        let LaneReport { sums, requested, .. } = fold(self.gather(own));
        Ok((sums, requested))
    }

    /// Gives the network the weights that take part in a step.
    pub fn load_weights(&mut self, step: u64) -> Result<()> {
        let Config { model, train, .. } = self.config;
        self.engine.load(&WeightDrop { rate: model.weight_drop, seed: train.seed, step })
    }

    /// Gives the network the weights of now, for [`Trainer::evaluate`].
    pub fn load_all_weights(&mut self) -> Result<()> {
        self.engine.load(&WeightDrop::default())
    }

    /// Forward and backward on the rank's lanes, as every member gets them. A GPU only begins.
    pub fn begin(&mut self, step: u64, lanes: &[Vec<LaneBatch>]) -> Result<()> {
        let dropout = self.dropout(step);
        self.engine.begin(lanes, &dropout)
    }

    /// Waits for what was begun. Leaves the sum of the lanes' gradients.
    pub fn finish(&mut self) -> Result<Vec<EpochSums>> {
        self.engine.finish()
    }

    fn dropout(&self, step: u64) -> Dropout {
        let Config { model, train, .. } = self.config;
        let (rate, input_rate) = (model.dropout, model.input_dropout);
        Dropout { rate, input_rate, seed: train.seed, step, member: 0 }
    }

    /// Forward alone, without dropout.
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        self.engine.model().predict(lanes)
    }

    /// Leaves the mean gradient of a batch's predictions on every rank.
    pub fn exchange(&mut self, predictions: usize) -> Result<()> {
        self.engine.exchange(self.comm, &self.assignment, predictions)
    }

    /// Updates the weights by the mean gradient; false, and no update, if that is not finite.
    pub fn update(&mut self, step: u64) -> Result<bool> {
        self.engine.update(&self.config.optimizer, step)
    }

    /// A copy of the weights and of RMSprop's running mean of squared gradients, the same bits on every rank.
    pub fn state(&self) -> Result<State> {
        self.engine.state()
    }
}
