//! One optimizer step: for each lane forward and backward, one message, one division, one update.
//!
//! After it every rank has the same weights, and they have the same bits for any number of ranks. `load` finds the
//! windows, `reports` gathers what the lanes say. The parts of a step are methods of their own, so that
//! [`crate::bench`] can time what training runs.

mod load;
mod reports;

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::compute::vectorized;
use bachdist_core::config::Config;
use bachdist_core::corpus::CLASSES;
use bachdist_core::corpus::audit::Seen;
use bachdist_core::corpus::batches::{Batch, Batches};
use bachdist_core::corpus::windows::Windows;
use bachdist_core::fault;
use bachdist_core::network::Architecture;

use crate::comm::Comm;
use crate::comm::share::Share;
use crate::model::dropout::Dropout;
use crate::model::weight_drop::WeightDrop;
use crate::model::{LaneBatch, Model};
use crate::optim;
pub use reports::LaneReport;
use reports::fold;

/// A rank's part in the training: model, optimizer, and which windows it takes.
pub struct Trainer<'a> {
    comm: &'a dyn Comm,
    config: &'a Config,
    windows: Windows<'a>,
    batches: Batches,
    share: Share,
    architecture: Architecture,
    model: Model,
    /// The weights, with the same bits on every rank.
    pub parameters: Vec<f32>,
    /// RMSprop's running mean of squared gradients, likewise.
    pub mean_square: Vec<f32>,
    /// This rank's gradient, then all ranks'. A little longer than the parameters, if ranks do not divide them.
    gradient: Vec<f32>,
    /// Memory for the parts that the ranks send.
    parts: Vec<f32>,
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
        /// What the ranks asked for, put together by "or".
        asked: u64,
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
        comm: &'a dyn Comm,
        config: &'a Config,
        windows: Windows<'a>,
        share: Share,
        model: Model,
        (parameters, mean_square): (Vec<f32>, Vec<f32>),
    ) -> Self {
        let batches = Batches::new(&windows, &config.train);
        let architecture = Architecture::new(&config.model, CLASSES);
        // Every rank has an equal slice to sum.
        let gradient = vec![0.0; parameters.len().next_multiple_of(comm.size())];
        let parts = Vec::new();
        Trainer {
            comm,
            config,
            windows,
            batches,
            share,
            architecture,
            model,
            parameters,
            mean_square,
            gradient,
            parts,
        }
    }

    /// How windows become batches.
    pub fn batches(&self) -> Batches {
        self.batches
    }

    /// Makes one step. `asked` is this rank's part in what all ranks learn together.
    pub fn step(&mut self, step: u64, asked: u64) -> Result<Outcome> {
        let batch = self.batches.batch(step);
        let weight_drop = self.load_for_training(step);

        let (lanes, seen) = self.load(&batch);
        let mut sums = self.gradient(step, &lanes)?;
        if fault::at("loss") {
            sums[0].loss = f64::NAN;
        }

        let own = sums.into_iter().zip(seen).map(|(sums, seen)| LaneReport { sums, seen, asked });
        let reports = self.gather(own);
        if let Some(lane) = reports.iter().position(|report| !report.sums.loss.is_finite()) {
            return Ok(Outcome::NonFinite { lane: Some(lane) });
        }
        fault::at("exchange");
        self.exchange(batch.windows * lanes[0][0].predictions);
        fault::at("exchanged");
        if !self.update(step, &weight_drop) {
            return Ok(Outcome::NonFinite { lane: None });
        }
        let LaneReport { sums, seen, asked } = fold(reports);
        Ok(Outcome::Updated { sums, seen, asked })
    }

    /// Loss and right predictions of a batch that is not trained on, and what the ranks ask for.
    pub fn evaluate(&mut self, windows: &Windows<'_>, batch: &Batch, asked: u64) -> Result<(EpochSums, u64)> {
        let lanes = self.load_in_order(windows, batch);
        let sums = self.model.evaluate(&lanes)?;
        let own = sums.into_iter().map(|sums| LaneReport { sums, asked, ..LaneReport::default() });
        let LaneReport { sums, asked, .. } = fold(self.gather(own));
        Ok((sums, asked))
    }

    /// Gives the model the weights that take part in a step, and gives back which of them do.
    pub fn load_for_training(&mut self, step: u64) -> WeightDrop {
        let Config { model, train, .. } = self.config;
        let weight_drop = WeightDrop { rate: model.weight_drop, seed: train.seed, step };
        if weight_drop.rate == 0.0 {
            self.model.load(&self.parameters);
        } else {
            let mut parameters = self.parameters.clone();
            weight_drop.apply(self.architecture, &mut parameters);
            self.model.load(&parameters);
        }
        weight_drop
    }

    /// Gives the model the weights of now, for [`Trainer::evaluate`].
    pub fn load_model(&mut self) {
        self.model.load(&self.parameters);
    }

    /// Forward and backward on the rank's lanes, as every member gets them. Leaves the sum of their gradients.
    pub fn gradient(&mut self, step: u64, lanes: &[Vec<LaneBatch>]) -> Result<Vec<EpochSums>> {
        let Config { model, train, .. } = self.config;
        let (rate, input_rate) = (model.dropout, model.input_dropout);
        let dropout = Dropout { rate, input_rate, seed: train.seed, step, member: 0 };
        let length = self.parameters.len();
        self.model.gradient(lanes, &dropout, &mut self.gradient[..length])
    }

    /// Forward alone, without dropout.
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        self.model.predict(lanes)
    }

    /// Leaves the mean gradient of a batch's predictions on every rank, from each rank's sum over its lanes: every rank
    /// sums one slice over all ranks along the tree (all-to-all), then all slices go to all (all-gather). That is
    /// a ring's traffic.
    pub fn exchange(&mut self, predictions: usize) {
        let Trainer { comm, share, gradient, parts, .. } = self;
        let slice = gradient.len() / comm.size();
        if comm.size() == 1 {
            divide(gradient, predictions);
            return;
        }
        parts.resize(gradient.len(), 0.0);
        comm.all_to_all(gradient, parts);
        share.sum_ranks(parts);
        divide(&mut parts[..slice], predictions);
        comm.all_gather(&parts[..slice], gradient);
    }

    /// Updates the weights by the mean gradient; false, and no update, if that is not finite. The whole gradient is
    /// looked at, so that all ranks see the same, whatever each one's part was.
    pub fn update(&mut self, step: u64, weight_drop: &WeightDrop) -> bool {
        let gradient = &mut self.gradient[..self.parameters.len()];
        weight_drop.apply(self.architecture, gradient);
        let is_finite = vectorized(
            #[inline(always)]
            || gradient.iter().fold(true, |all, x| all & x.is_finite()),
        );
        if is_finite {
            let member = self.architecture.member().len();
            let state = (&mut self.parameters[..], &mut self.mean_square[..]);
            optim::update(&self.config.optimizer, step, member, state, gradient);
        }
        is_finite
    }
}

fn divide(sums: &mut [f32], predictions: usize) {
    vectorized(
        #[inline(always)]
        || sums.iter_mut().for_each(|x| *x /= predictions as f32),
    );
}
