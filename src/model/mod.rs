//! The network as training computes it: loss and gradient of a rank's lanes.
//!
//! On a CPU [`cpu`] does the work, on CUDA [`autograd`], through libtorch's graph and cuDNN; the latter also runs
//! on a CPU, as the oracle of the former. `init` draws weights, `dropout` masks; `device` chooses where.

pub mod autograd;
pub mod cpu;
pub mod device;
pub mod dropout;
pub mod init;
pub mod weight_drop;

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::config::Objective;
use bachdist_core::corpus::windows::Window;
use bachdist_core::network::Architecture;
use tch::Device;

use dropout::{Dropout, Feature};

/// The network on the device of its rank.
pub enum Model {
    /// Written out, for a CPU.
    Cpu(Box<cpu::Network>),
    /// By libtorch's graph, for CUDA.
    Autograd(autograd::Network),
}

/// The windows of one lane, padded with rows of no weight.
#[derive(Debug, Clone)]
pub struct LaneBatch {
    /// The row of the global batch that the first row here is.
    pub first_row: usize,
    /// Rows that are windows; the rest is padding.
    pub windows: usize,
    /// R, with padding.
    pub rows: usize,
    /// T.
    pub sequence_length: usize,
    /// Q: after how many of the last notes the next is predicted, 1 or T.
    pub predictions: usize,
    /// (T, R) classes that the network sees.
    pub inputs: Vec<i64>,
    /// (Q, R) classes that it is to predict.
    pub targets: Vec<i64>,
}

/// What a rank says of its lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct RankGradient {
    /// Loss and right predictions of each lane, summed.
    pub sums: Vec<EpochSums>,
    /// Sum over all predictions of the gradient of each one's loss, lanes summed along the tree; laid out as the
    /// parameters.
    pub gradient: Vec<f32>,
}

impl LaneBatch {
    /// Windows of `sequence_length` notes as rows, padded to `rows`. A lane may have no window at all.
    pub fn new(
        first_row: usize,
        rows: usize,
        sequence_length: usize,
        objective: Objective,
        windows: &[Window<'_>],
    ) -> Self {
        let predictions = match objective {
            Objective::Last => 1,
            Objective::Every => sequence_length,
        };
        let note = |row: usize, time: usize| {
            windows.get(row).map_or(0, |window| {
                let class = window.input.get(time).unwrap_or(&window.target);
                i64::from(window.moved(*class))
            })
        };
        let notes = |from: usize, to: usize| {
            (from..to).flat_map(|time| (0..rows).map(move |row| note(row, time))).collect()
        };
        LaneBatch {
            first_row,
            windows: windows.len(),
            rows,
            sequence_length,
            predictions,
            inputs: notes(0, sequence_length),
            targets: notes(sequence_length + 1 - predictions, sequence_length + 1),
        }
    }

    /// (T, R): what the first layer is shown of every note, its class and the interval to it, if the network knows
    /// intervals. The first note has no interval, and dropout leaves some out.
    pub fn features(&self, architecture: Architecture, dropout: Option<&Dropout>) -> Vec<[Option<usize>; 2]> {
        let is_shown = |index: usize, feature: Feature| {
            let (time, row) = (index / self.rows, self.first_row + index % self.rows);
            dropout.is_none_or(|dropout| !dropout.drops_input(row, time, feature))
        };
        let interval = |index: usize| {
            let from = self.inputs[index.checked_sub(self.rows)?];
            let shown = architecture.intervals && is_shown(index, Feature::Interval);
            shown.then(|| architecture.interval(from as u8, self.inputs[index] as u8))
        };
        let class = |index: usize| is_shown(index, Feature::Class).then_some(self.inputs[index] as usize);
        (0..self.inputs.len()).map(|index| [class(index), interval(index)]).collect()
    }

    /// (Q, R): the notes after which the next is predicted.
    pub fn last_notes(&self) -> &[i64] {
        &self.inputs[(self.sequence_length - self.predictions) * self.rows..]
    }
}

impl Model {
    /// The network on a device, with room for its parameters; [`Model::load`] fills them in.
    pub fn new(architecture: Architecture, device: Device) -> Self {
        match device {
            Device::Cpu => Model::Cpu(Box::new(cpu::Network::new(architecture))),
            _ => Model::Autograd(autograd::Network::new(architecture, device)),
        }
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) {
        match self {
            Model::Cpu(network) => network.load(parameters),
            Model::Autograd(network) => network.load(parameters),
        }
    }

    /// Loss and gradient of a rank's lanes in training; they are a node of the tree of lanes, in order.
    pub fn gradient(&mut self, lanes: &[LaneBatch], dropout: &Dropout) -> Result<RankGradient> {
        match self {
            Model::Cpu(network) => Ok(network.gradient(lanes, dropout)),
            Model::Autograd(network) => network.gradient(lanes, dropout),
        }
    }

    /// Logarithmic probabilities of what comes after each window of each lane, without dropout: (windows, C).
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        match self {
            Model::Cpu(network) => Ok(network.predict(lanes)),
            Model::Autograd(network) => {
                let of_lanes: Vec<_> =
                    lanes.iter().map(|lane| network.predict(lane)).collect::<Result<_>>()?;
                Ok(of_lanes.concat())
            }
        }
    }

    /// Loss and right predictions of each lane, without dropout.
    pub fn evaluate(&mut self, lanes: &[LaneBatch]) -> Result<Vec<EpochSums>> {
        match self {
            Model::Cpu(network) => Ok(network.evaluate(lanes)),
            Model::Autograd(network) => lanes.iter().map(|lane| network.evaluate(lane)).collect(),
        }
    }
}

/// Sums over the predictions of a lane, in f64 and in the order of rows (Q, R), each (C) logarithmic probabilities.
fn score<'a>(rows: impl Iterator<Item = &'a [f32]>, lane: &LaneBatch) -> EpochSums {
    let mut sums = EpochSums::default();
    for (index, (row, &target)) in rows.zip(&lane.targets).enumerate() {
        if index % lane.rows >= lane.windows {
            continue;
        }
        let own = row[target as usize];
        // Of equals the first counts, as in Keras.
        let best = row.iter().position(|&x| row.iter().all(|&y| y <= x));
        let correct = u64::from(best == Some(target as usize));
        sums.add(EpochSums { loss: -f64::from(own), correct, predictions: 1 });
    }
    sums
}

#[cfg(test)]
mod tests;
