//! One optimizer step: for each lane forward and backward, one message, one division, one update.
//!
//! After it every rank has the same weights, and they have the same bits for any number of ranks.

use std::ops::Range;

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::config::{Config, Objective};
use bachdist_core::corpus::CLASSES;
use bachdist_core::corpus::audit::Seen;
use bachdist_core::corpus::batches::{Batch, Batches};
use bachdist_core::corpus::order::Order;
use bachdist_core::corpus::windows::{Window, Windows};
use bachdist_core::fault;
use bachdist_core::network::Architecture;
use bachdist_core::random::{Purpose, Stream};

use crate::comm::Comm;
use crate::comm::share::Share;
use crate::model::dropout::Dropout;
use crate::model::weight_drop::WeightDrop;
use crate::model::{LaneBatch, Model, RankGradient};
use crate::optim::{clip, learning_rate, rmsprop};

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

/// What a lane tells all ranks before the update, as 64-bit words.
#[derive(Default)]
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
        let architecture = Architecture::new(&config.model, CLASSES);
        Trainer { comm, config, windows, batches, share, architecture, model, parameters, mean_square }
    }

    /// How windows become batches.
    pub fn batches(&self) -> Batches {
        self.batches
    }

    /// Makes one step. `asked` is this rank's part in what all ranks learn together.
    pub fn step(&mut self, step: u64, asked: u64) -> Result<Outcome> {
        let batch = self.batches.batch(step);
        let Config { model, train, .. } = self.config;
        let (rate, input_rate) = (model.dropout, model.input_dropout);
        let dropout = Dropout { rate, input_rate, seed: train.seed, step, member: 0 };
        let weight_drop = self.load_for_training(step);

        let (windows, seen): (Vec<_>, Vec<Seen>) =
            self.own_lanes().map(|lane| self.load(&batch, lane)).unzip();
        let members = 0..self.architecture.members as u64;
        let lanes: Vec<Vec<LaneBatch>> =
            members.map(|member| self.lanes_of_member(&batch, &windows, member)).collect();
        let RankGradient { mut sums, gradient } = self.model.gradient(&lanes, &dropout)?;
        if fault::at("loss") {
            sums[0].loss = f64::NAN;
        }

        let own = sums.into_iter().zip(seen).map(|(sums, seen)| LaneReport { sums, seen, asked });
        let reports = self.gather(own);
        if let Some(lane) = reports.iter().position(|report| !report.sums.loss.is_finite()) {
            return Ok(Outcome::NonFinite { lane: Some(lane) });
        }
        fault::at("exchange");
        let mut gradient = self.exchange(gradient, batch.windows * lanes[0][0].predictions);
        fault::at("exchanged");
        weight_drop.apply(self.architecture, &mut gradient);
        // The whole gradient, so that all ranks see the same, whatever each one's part was.
        if !gradient.iter().all(|x| x.is_finite()) {
            return Ok(Outcome::NonFinite { lane: None });
        }
        let optimizer = &self.config.optimizer;
        if let Some(longest) = optimizer.clip_norm {
            let members = gradient.chunks_exact_mut(self.architecture.member().len());
            members.for_each(|gradient| clip(gradient, longest));
        }
        let rate = learning_rate(optimizer, step);
        rmsprop(optimizer, rate, &mut self.parameters, &mut self.mean_square, &gradient);
        let LaneReport { sums, seen, asked } = fold(reports);
        Ok(Outcome::Updated { sums, seen, asked })
    }

    /// Loss and right predictions of a batch that is not trained on, and what the ranks ask for.
    pub fn evaluate(&mut self, windows: &Windows<'_>, batch: &Batch, asked: u64) -> Result<(EpochSums, u64)> {
        let lanes: Vec<_> = self
            .own_lanes()
            .map(|lane| {
                let rows = self.rows(batch, lane);
                let of_lane: Vec<_> = rows.map(|row| windows.get(batch.first + row as u64)).collect();
                self.pad(lane, windows.length(), Objective::Last, &of_lane)
            })
            .collect();
        let sums = self.model.evaluate(&lanes)?;
        let own = sums.into_iter().map(|sums| LaneReport { sums, asked, ..LaneReport::default() });
        let LaneReport { sums, asked, .. } = fold(self.gather(own));
        Ok((sums, asked))
    }

    /// Gives the model the weights that take part in a step, and gives back which of them do.
    fn load_for_training(&mut self, step: u64) -> WeightDrop {
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

    /// The windows of a step's lane, as a person finds them: `piece.mid:17` begins with the piece's note 17, from 0.
    pub fn names_of_windows(&self, step: u64, lane: usize) -> Vec<String> {
        let windows = self.windows_of(&self.batches.batch(step), lane);
        windows.iter().map(|window| format!("{}:{}", self.windows.piece(window).name, window.at)).collect()
    }

    fn own_lanes(&self) -> Range<usize> {
        self.share.of(self.comm.rank())
    }

    /// The rows of a lane that are windows.
    fn rows(&self, batch: &Batch, lane: usize) -> Range<usize> {
        let rows = self.batches.rows(lane);
        rows.start..rows.end.min(batch.windows)
    }

    /// The windows of a lane, in the order of the epoch.
    fn windows_of(&self, batch: &Batch, lane: usize) -> Vec<Window<'a>> {
        let order = Order::new(self.config.train.seed, batch.epoch, self.batches.windows);
        let rows = self.rows(batch, lane);
        rows.map(|row| self.windows.get(order.window(batch.first + row as u64))).collect()
    }

    /// The rank's lanes as one member of the network gets them: each transposes the windows for itself.
    fn lanes_of_member(&self, batch: &Batch, lanes: &[Vec<Window<'_>>], member: u64) -> Vec<LaneBatch> {
        let train = &self.config.train;
        let random = Stream::new(train.seed, Purpose::Transposition, &[batch.epoch, member]);
        let lane = |(lane, windows): (usize, &Vec<Window<'_>>)| {
            let random = |window: &Window<'_>| random.of(window.piece as u64).bits(window.at as u64);
            let transposed = windows.iter().map(|w| w.transposed(train.transpose, CLASSES, random(w)));
            let windows: Vec<_> = transposed.collect();
            self.pad(lane, self.windows.length(), train.objective, &windows)
        };
        self.own_lanes().zip(lanes).map(lane).collect()
    }

    /// Loads the windows of a lane, and counts them.
    fn load(&self, batch: &Batch, lane: usize) -> (Vec<Window<'a>>, Seen) {
        let mut windows = self.windows_of(batch, lane);
        if fault::at("load") && windows.len() > 1 {
            windows[1] = windows[0];
        }
        let mut seen = Seen::default();
        windows.iter().for_each(|window| seen.load(batch.epoch, window));
        (windows, seen)
    }

    fn pad(&self, lane: usize, length: usize, objective: Objective, windows: &[Window<'_>]) -> LaneBatch {
        LaneBatch::new(self.batches.rows(lane).start, self.batches.padded_rows(), length, objective, windows)
    }

    /// The reports of all lanes, in lane order, on every rank.
    fn gather(&self, own: impl Iterator<Item = LaneReport>) -> Vec<LaneReport> {
        const WORDS: usize = 6;
        let words: Vec<u64> = own
            .flat_map(|LaneReport { sums, seen, asked }| {
                [sums.loss.to_bits(), sums.correct, sums.predictions, seen.windows, seen.digest, asked]
            })
            .collect();
        let all = self.share.gather_lanes(self.comm, &words, WORDS);
        all.as_chunks::<WORDS>()
            .0
            .iter()
            .map(|&[loss, correct, predictions, windows, digest, asked]| LaneReport {
                sums: EpochSums { loss: f64::from_bits(loss), correct, predictions },
                seen: Seen { windows, digest },
                asked,
            })
            .collect()
    }

    /// The mean gradient of a batch's predictions on every rank, from each rank's sum over its lanes: every rank sums one
    /// slice over all ranks along the tree (all-to-all), then all slices go to all (all-gather). That is a
    /// ring's traffic.
    fn exchange(&self, own: Vec<f32>, predictions: usize) -> Vec<f32> {
        let (length, ranks) = (own.len(), self.comm.size());
        let slice = length.div_ceil(ranks);
        let mut send = own;
        send.resize(slice * ranks, 0.0);
        let mut parts = vec![0.0; slice * ranks];
        self.comm.all_to_all(&send, &mut parts);
        self.share.sum_ranks(&mut parts);
        let sum = &mut parts[..slice];
        sum.iter_mut().for_each(|x| *x /= predictions as f32);
        self.comm.all_gather(sum, &mut send);
        send.truncate(length);
        send
    }
}

/// All lanes together, in lane order.
fn fold(reports: Vec<LaneReport>) -> LaneReport {
    let mut all = LaneReport::default();
    for report in reports {
        all.sums.add(report.sums);
        all.seen.add(report.seen);
        all.asked |= report.asked;
    }
    all
}
