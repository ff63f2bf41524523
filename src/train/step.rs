//! One optimizer step: for each lane forward and backward, one message, one division, one update.
//!
//! After it every rank has the same weights, and they have the same bits for any number of ranks.

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::config::Config;
use bachdist_core::corpus::audit::Seen;
use bachdist_core::corpus::batches::{Batch, Batches};
use bachdist_core::corpus::order::Order;
use bachdist_core::corpus::windows::Windows;

use crate::comm::Comm;
use crate::comm::share::Share;
use crate::model::dropout::Dropout;
use crate::model::{LaneBatch, Model, RankGradient};
use crate::optim::rmsprop;

/// A rank's part in the training: model, optimizer, and which windows it takes.
pub struct Trainer<'a> {
    comm: &'a dyn Comm,
    config: &'a Config,
    windows: Windows<'a>,
    batches: Batches,
    share: Share,
    model: Model,
    /// The weights, with the same bits on every rank.
    pub parameters: Vec<f32>,
    /// RMSprop's running mean of squared gradients, likewise.
    pub mean_square: Vec<f32>,
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

/// What a lane tells all ranks before the update, as 64-bit words.
struct LaneReport {
    sums: EpochSums,
    seen: Seen,
    asked: u64,
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
        Trainer { comm, config, windows, batches, share, model, parameters, mean_square }
    }

    /// How windows become batches.
    pub fn batches(&self) -> Batches {
        self.batches
    }

    /// Makes one step. `asked` is this rank's part in what all ranks learn together.
    pub fn step(&mut self, step: u64, asked: u64) -> Result<Outcome> {
        let batch = self.batches.batch(step);
        let dropout = Dropout { rate: self.config.model.dropout, seed: self.config.train.seed, step };
        self.model.load(&self.parameters);

        let (lanes, seen): (Vec<LaneBatch>, Vec<Seen>) =
            self.share.of(self.comm.rank()).map(|lane| self.load(&batch, lane)).unzip();
        let RankGradient { sums, gradient } = self.model.gradient(&lanes, &dropout)?;

        let own = sums.into_iter().zip(seen).map(|(sums, seen)| LaneReport { sums, seen, asked });
        let reports = self.gather(own);
        if let Some(lane) = reports.iter().position(|report| !report.sums.loss.is_finite()) {
            return Ok(Outcome::NonFinite { lane: Some(lane) });
        }
        let gradient = self.exchange(gradient, batch.windows);
        // The whole gradient, so that all ranks see the same, whatever each one's part was.
        if !gradient.iter().all(|x| x.is_finite()) {
            return Ok(Outcome::NonFinite { lane: None });
        }
        rmsprop(&self.config.optimizer, &mut self.parameters, &mut self.mean_square, &gradient);

        let (mut sums, mut seen, mut asked) = (EpochSums::default(), Seen::default(), 0);
        for report in reports {
            sums.add(report.sums);
            seen.add(report.seen);
            asked |= report.asked;
        }
        Ok(Outcome::Updated { sums, seen, asked })
    }

    /// Loads the windows of a lane, in the order of the epoch.
    fn load(&self, batch: &Batch, lane: usize) -> (LaneBatch, Seen) {
        let order = Order::new(self.config.train.seed, batch.epoch, self.batches.windows);
        let rows = self.batches.rows(lane);
        let windows: Vec<_> = (rows.start..rows.end.min(batch.windows))
            .map(|row| self.windows.get(order.window(batch.first + row as u64)))
            .collect();
        let mut seen = Seen::default();
        windows.iter().for_each(|window| seen.load(batch.epoch, window));
        let notes = self.windows.sequence_length();
        (LaneBatch::new(rows.start, self.batches.padded_rows(), notes, &windows), seen)
    }

    /// The reports of all lanes, in lane order, on every rank.
    fn gather(&self, own: impl Iterator<Item = LaneReport>) -> Vec<LaneReport> {
        const WORDS: usize = 5;
        let words: Vec<u64> = own
            .flat_map(|LaneReport { sums, seen, asked }| {
                [sums.loss.to_bits(), sums.correct, seen.windows, seen.digest, asked]
            })
            .collect();
        let all = self.share.gather_lanes(self.comm, &words, WORDS);
        all.as_chunks::<WORDS>()
            .0
            .iter()
            .map(|&[loss, correct, windows, digest, asked]| LaneReport {
                sums: EpochSums { loss: f64::from_bits(loss), correct, windows },
                seen: Seen { windows, digest },
                asked,
            })
            .collect()
    }

    /// The mean gradient of a batch on every rank, from each rank's sum over its lanes: every rank sums one
    /// slice over all ranks along the tree (all-to-all), then all slices go to all (all-gather). That is a
    /// ring's traffic.
    fn exchange(&self, own: Vec<f32>, windows: usize) -> Vec<f32> {
        let (length, ranks) = (own.len(), self.comm.size());
        let slice = length.div_ceil(ranks);
        let mut send = own;
        send.resize(slice * ranks, 0.0);
        let mut parts = vec![0.0; slice * ranks];
        self.comm.all_to_all(&send, &mut parts);
        self.share.sum_ranks(&mut parts);
        let sum = &mut parts[..slice];
        sum.iter_mut().for_each(|x| *x /= windows as f32);
        self.comm.all_gather(sum, &mut send);
        send.truncate(length);
        send
    }
}
