//! The network as training computes it: loss and gradient of a rank's lanes.
//!
//! On a CPU [`cpu`] does the work, on CUDA [`autograd`], through libtorch's graph and cuDNN; the latter also runs
//! on a CPU, as the oracle of the former. `init` draws weights, `dropout` masks; `device` chooses where.

pub mod autograd;
pub mod cpu;
pub mod device;
pub mod dropout;
pub mod init;

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::corpus::windows::Window;
use bachdist_core::network::Architecture;
use tch::Device;

use dropout::Dropout;

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
    /// (T, R) classes that the network sees.
    pub inputs: Vec<i64>,
    /// (R) classes that it is to predict.
    pub targets: Vec<i64>,
}

/// What a rank says of its lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct RankGradient {
    /// Loss and right predictions of each lane, summed over its windows.
    pub sums: Vec<EpochSums>,
    /// Sum over all windows of the gradient of each one's loss, lanes summed along the tree; laid out as the
    /// parameters.
    pub gradient: Vec<f32>,
}

impl LaneBatch {
    /// Windows of `sequence_length` notes as rows, padded to `rows`. A lane may have no window at all.
    pub fn new(first_row: usize, rows: usize, sequence_length: usize, windows: &[Window<'_>]) -> Self {
        let input =
            |row: usize, time: usize| windows.get(row).map_or(0, |window| i64::from(window.input[time]));
        let inputs =
            (0..sequence_length).flat_map(|time| (0..rows).map(move |row| input(row, time))).collect();
        let targets =
            (0..rows).map(|row| windows.get(row).map_or(0, |window| i64::from(window.target))).collect();
        LaneBatch { first_row, windows: windows.len(), rows, sequence_length, inputs, targets }
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
            Model::Cpu(network) => network.gradient(lanes, dropout),
            Model::Autograd(network) => network.gradient(lanes, dropout),
        }
    }
}

/// Sums over the windows of a lane, in f64 and in the order of rows, each (C) logarithmic probabilities.
fn score<'a>(rows: impl Iterator<Item = &'a [f32]>, lane: &LaneBatch) -> EpochSums {
    let mut sums = EpochSums::default();
    for (row, &target) in rows.zip(&lane.targets).take(lane.windows) {
        let own = row[target as usize];
        // Of equals the first counts, as in Keras.
        let best = row.iter().position(|&x| row.iter().all(|&y| y <= x));
        let correct = u64::from(best == Some(target as usize));
        sums.add(EpochSums { loss: -f64::from(own), correct, windows: 1 });
    }
    sums
}
