//! Which windows a rank loads for a batch, and how they become rows of its lanes. All of it is arithmetic on the step.

use std::ops::Range;

use anyhow::Result;
use bachdist_core::config::LossPositions;
use bachdist_core::corpus::CLASSES;
use bachdist_core::corpus::audit::Seen;
use bachdist_core::corpus::batches::{Batch, Batches};
use bachdist_core::corpus::order::Order;
use bachdist_core::corpus::windows::{Window, Windows};
use bachdist_core::fault::{self, FaultPoint};
use bachdist_core::random::{Purpose, Stream};

use super::Trainer;
use bachdist_core::network::batch::LaneBatch;

/// A rank's part of a batch.
pub struct Loaded {
    /// The rank's lanes as every member of the network gets them.
    pub lanes: Vec<Vec<LaneBatch>>,
    /// What was loaded for each lane.
    pub seen: Vec<Seen>,
}

impl<'a> Trainer<'a> {
    /// The windows of a step's lane, as a person finds them: `piece.mid:17` begins with the piece's note 17, from 0.
    pub fn names_of_windows(&self, step: u64, lane: usize) -> Vec<String> {
        let windows = self.windows_of(&self.batches.batch(step), lane);
        windows.iter().map(|window| format!("{}:{}", self.windows.piece(window).name, window.at)).collect()
    }

    /// The rank's part of a step, if it was not loaded before.
    pub(super) fn take_loaded(&mut self, step: u64) -> Loaded {
        match self.ahead.take() {
            Some((of, loaded)) if of == step => loaded,
            _ => self.load(&self.batches.batch(step)),
        }
    }

    /// Loads a later step's part, where that costs nothing because a GPU is at work.
    pub(super) fn load_ahead(&mut self, step: u64) -> Result<()> {
        if self.engine.stages() {
            let loaded = self.load(&self.batches.batch(step));
            let dropout = self.dropout(step);
            self.engine.stage(&loaded.lanes, &dropout)?;
            self.ahead = Some((step, loaded));
        }
        Ok(())
    }

    /// The rank's part of a batch.
    pub fn load(&self, batch: &Batch) -> Loaded {
        let (windows, seen): (Vec<_>, Vec<_>) =
            self.own_lanes().map(|lane| self.load_lane(batch, lane)).unzip();
        let members = 0..self.architecture.members as u64;
        let lanes = members.map(|member| self.lanes_of_member(batch, &windows, member)).collect();
        Loaded { lanes, seen }
    }

    /// The rank's lanes of a batch of other windows, in their order, of which the last note is predicted.
    pub(super) fn load_in_order(&self, windows: &Windows<'_>, batch: &Batch) -> Vec<LaneBatch> {
        let lane = |lane: usize| {
            let rows = self.rows(batch, lane);
            let of_lane: Vec<_> = rows.map(|row| windows.get(batch.first + row as u64)).collect();
            let batches = Batches { windows: windows.len(), ..self.batches };
            self.pad(batches, lane, windows.length(), LossPositions::Last, &of_lane)
        };
        self.own_lanes().map(lane).collect()
    }

    fn own_lanes(&self) -> Range<usize> {
        self.assignment.lanes_of(self.comm.rank())
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
            self.pad(self.batches, lane, self.windows.length(), train.loss_positions, &windows)
        };
        self.own_lanes().zip(lanes).map(lane).collect()
    }

    /// Loads the windows of a lane, and counts them.
    fn load_lane(&self, batch: &Batch, lane: usize) -> (Vec<Window<'a>>, Seen) {
        let mut windows = self.windows_of(batch, lane);
        if fault::at(FaultPoint::Load) && windows.len() > 1 {
            windows[1] = windows[0];
        }
        let mut seen = Seen::default();
        windows.iter().for_each(|window| seen.load(batch.epoch, window));
        (windows, seen)
    }

    fn pad(
        &self,
        batches: Batches,
        lane: usize,
        length: usize,
        objective: LossPositions,
        windows: &[Window<'_>],
    ) -> LaneBatch {
        LaneBatch::new(batches.rows(lane).start, batches.padded_rows(), length, objective, windows)
    }
}
