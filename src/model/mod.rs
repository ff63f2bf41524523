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

/// The network on the device of its rank: one or more members side by side.
pub struct Model {
    /// C.
    classes: usize,
    members: Vec<Member>,
}

/// One network of those whose probabilities are averaged.
pub enum Member {
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

impl Member {
    fn new(architecture: Architecture, device: Device) -> Self {
        match device {
            Device::Cpu => Member::Cpu(Box::new(cpu::Network::new(architecture))),
            _ => Member::Autograd(autograd::Network::new(architecture, device)),
        }
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) {
        match self {
            Member::Cpu(network) => network.load(parameters),
            Member::Autograd(network) => network.load(parameters),
        }
    }

    /// Loss and gradient of a rank's lanes in training; they are a node of the tree of lanes, in order.
    pub fn gradient(&mut self, lanes: &[LaneBatch], dropout: &Dropout) -> Result<RankGradient> {
        match self {
            Member::Cpu(network) => Ok(network.gradient(lanes, dropout)),
            Member::Autograd(network) => network.gradient(lanes, dropout),
        }
    }

    /// Logarithmic probabilities of what comes after each window of each lane, without dropout: (windows, C).
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        match self {
            Member::Cpu(network) => Ok(network.predict(lanes)),
            Member::Autograd(network) => {
                let of_lanes: Vec<_> =
                    lanes.iter().map(|lane| network.predict(lane)).collect::<Result<_>>()?;
                Ok(of_lanes.concat())
            }
        }
    }
}

impl Model {
    /// The network on a device, with room for its parameters; [`Model::load`] fills them in.
    pub fn new(architecture: Architecture, device: Device) -> Self {
        let member = |_| Member::new(architecture.member(), device);
        Model::of((0..architecture.members).map(member).collect(), architecture.classes)
    }

    /// Of these members, at least one, over so many classes.
    pub fn of(members: Vec<Member>, classes: usize) -> Self {
        Model { classes, members }
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) {
        let length = parameters.len() / self.members.len();
        let parts = parameters.chunks_exact(length);
        self.members.iter_mut().zip(parts).for_each(|(member, part)| member.load(part));
    }

    /// Loss and gradient of a rank's lanes in training. Every member learns by itself, from lanes of its own: sums and
    /// gradients are those of all members, the latter one after another.
    pub fn gradient(&mut self, lanes: &[Vec<LaneBatch>], dropout: &Dropout) -> Result<RankGradient> {
        let mut all = RankGradient { sums: vec![EpochSums::default(); lanes[0].len()], gradient: Vec::new() };
        for (number, (member, lanes)) in self.members.iter_mut().zip(lanes).enumerate() {
            let dropout = Dropout { member: number as u64, ..*dropout };
            let RankGradient { sums, gradient } = member.gradient(lanes, &dropout)?;
            all.sums.iter_mut().zip(sums).for_each(|(all, sums)| all.add(sums));
            all.gradient.extend(gradient);
        }
        Ok(all)
    }

    /// Logarithmic probabilities of what comes after each window of each lane, without dropout: (windows, C), of the
    /// mean of the members' probabilities.
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        let members = self.members.len() as f32;
        let all: Vec<_> =
            self.members.iter_mut().map(|member| member.predict(lanes)).collect::<Result<_>>()?;
        let [alone] = &all[..] else {
            let mean = |index: usize| all.iter().map(|logs| logs[index].exp()).sum::<f32>() / members;
            return Ok((0..all[0].len()).map(|index| mean(index).ln()).collect());
        };
        Ok(alone.clone())
    }

    /// Loss and right predictions after the windows of each lane, without dropout.
    pub fn evaluate(&mut self, lanes: &[LaneBatch]) -> Result<Vec<EpochSums>> {
        let predictions = self.predict(lanes)?;
        let mut rows = predictions.chunks_exact(self.classes);
        let sums_of = |lane: &LaneBatch| {
            let targets = &lane.targets[lane.targets.len() - lane.rows..][..lane.windows];
            let mut sums = EpochSums::default();
            rows.by_ref().zip(targets).for_each(|(row, &target)| sums.add(score(row, target)));
            sums
        };
        Ok(lanes.iter().map(sums_of).collect())
    }
}

/// Sums over the predictions of a lane, in f64 and in the order of rows (Q, R), each (C) logarithmic probabilities.
fn score_lane<'a>(rows: impl Iterator<Item = &'a [f32]>, lane: &LaneBatch) -> EpochSums {
    let mut sums = EpochSums::default();
    let predictions = rows.zip(&lane.targets).enumerate();
    let windows = predictions.filter(|(index, _)| index % lane.rows < lane.windows);
    windows.for_each(|(_, (row, &target))| sums.add(score(row, target)));
    sums
}

/// One prediction, (C) logarithmic probabilities. Of equals the first counts, as in Keras.
fn score(row: &[f32], target: i64) -> EpochSums {
    let best = row.iter().position(|&x| row.iter().all(|&y| y <= x));
    let correct = u64::from(best == Some(target as usize));
    EpochSums { loss: -f64::from(row[target as usize]), correct, predictions: 1 }
}

#[cfg(test)]
mod tests;
