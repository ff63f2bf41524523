//! Which windows a rank reads for a batch, and how they become rows of its lanes. All of it is arithmetic on the step, so
//! any rank finds its part of any step without asking another.

use std::ops::Range;
use std::sync::Arc;

use bachdist_portable::backend::{BatchSource, StepBatch};
use bachdist_portable::config::{Config, LossPositions};
use bachdist_portable::corpus::windows::{Window, Windows};
use bachdist_portable::fault::{self, FaultPoint};
use bachdist_portable::network::batch::LaneBatch;
use bachdist_portable::network::dropout::Dropout;
use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::representation::{Representation, Token};
use bachdist_portable::schedule::{Batch, Batches, EpochOrder, WindowAudit};

/// Loads a rank's lanes.
pub struct BatchLoader<'a> {
    config: &'a Config,
    representation: Arc<dyn Representation>,
    windows: Windows<'a>,
    /// How the windows become batches.
    pub batches: Batches,
    /// The rank's lanes.
    lanes: Range<usize>,
}

impl BatchSource for BatchLoader<'_> {
    fn batch(&self, step: u64) -> StepBatch {
        let Config { model, train, .. } = self.config;
        let batch = self.batches.batch(step);
        let (mut windows, mut audits) = (Vec::new(), Vec::new());
        for lane in self.lanes.clone() {
            let (of_lane, audit) = self.read_lane(&batch, lane);
            windows.push(of_lane);
            audits.push(audit);
        }
        let members = 0..model.ensemble_size as u64;
        StepBatch {
            step,
            lanes: members.map(|member| self.lanes_of_member(&batch, &windows, member)).collect(),
            dropout: Dropout {
                rate: model.dropout,
                input_rate: model.input_dropout,
                seed: train.seed,
                step,
                member: 0,
            },
            audits,
        }
    }
}

impl<'a> BatchLoader<'a> {
    /// Loads these lanes of batches of these windows.
    pub fn new(config: &'a Config, windows: Windows<'a>, lanes: Range<usize>) -> Self {
        let batches = Batches::new(&windows, &config.train);
        BatchLoader { config, representation: config.representation.build(), windows, batches, lanes }
    }

    /// The windows of a step's lane, as a person finds them: `piece.mid:17` begins with the piece's note 17, from 0.
    pub fn names_of_windows(&self, step: u64, lane: usize) -> Vec<String> {
        let windows = self.windows_of(&self.batches.batch(step), lane);
        windows.iter().map(|window| format!("{}:{}", self.windows.piece(window).name, window.at)).collect()
    }

    /// The rank's lanes of a batch of other windows, in their order, of which the last token is predicted.
    pub fn load_in_order(&self, windows: &Windows<'_>, batch: &Batch) -> Vec<LaneBatch> {
        let batches = Batches { windows: windows.len(), ..self.batches };
        let mut lanes = Vec::new();
        for lane in self.lanes.clone() {
            let rows = self.rows(batch, lane);
            let of_lane: Vec<_> = rows.map(|row| windows.get(batch.first + row as u64).tokens).collect();
            lanes.push(self.padded(batches, lane, windows.length(), LossPositions::Last, &of_lane));
        }
        lanes
    }

    /// Reads the windows of a lane, and records them.
    fn read_lane(&self, batch: &Batch, lane: usize) -> (Vec<Window<'a>>, WindowAudit) {
        let mut windows = self.windows_of(batch, lane);
        if fault::at(FaultPoint::Load) && windows.len() > 1 {
            windows[1] = windows[0];
        }
        let mut audit = WindowAudit::default();
        for window in &windows {
            audit.record(batch.epoch, window);
        }
        (windows, audit)
    }

    /// The windows of a lane, in the order of the epoch.
    fn windows_of(&self, batch: &Batch, lane: usize) -> Vec<Window<'a>> {
        let order = EpochOrder::new(self.config.train.seed, batch.epoch, self.batches.windows);
        let rows = self.rows(batch, lane);
        rows.map(|row| self.windows.get(order.window(batch.first + row as u64))).collect()
    }

    /// The rows of a lane that are windows.
    fn rows(&self, batch: &Batch, lane: usize) -> Range<usize> {
        let rows = self.batches.rows(lane);
        rows.start..rows.end.min(batch.windows)
    }

    /// The rank's lanes for one ensemble member: each member transposes the windows for itself.
    fn lanes_of_member(&self, batch: &Batch, lanes: &[Vec<Window<'_>>], member: u64) -> Vec<LaneBatch> {
        let train = &self.config.train;
        let random = RandomStream::new(train.seed, Purpose::Transposition, &[batch.epoch, member]);
        let mut loaded = Vec::new();
        for (lane, windows) in self.lanes.clone().zip(lanes) {
            let mut transposed = vec![Vec::new(); windows.len()];
            for (window, tokens) in windows.iter().zip(&mut transposed) {
                let random = random.of(window.piece as u64).bits(window.at as u64);
                window.read_transposed(&*self.representation, train.transpose, random, tokens);
            }
            let windows: Vec<&[Token]> = transposed.iter().map(Vec::as_slice).collect();
            loaded.push(self.padded(
                self.batches,
                lane,
                self.windows.length(),
                train.loss_positions,
                &windows,
            ));
        }
        loaded
    }

    fn padded(
        &self,
        batches: Batches,
        lane: usize,
        length: usize,
        loss_positions: LossPositions,
        windows: &[&[Token]],
    ) -> LaneBatch {
        let (first_row, rows) = (batches.rows(lane).start, batches.padded_rows());
        LaneBatch::new(&*self.representation, first_row, rows, length, loss_positions, windows)
    }
}
