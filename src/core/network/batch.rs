//! The rows of a lane as the network gets them.

use crate::compute::one_hot::ActiveFeatures;
use crate::config::LossPositions;
use crate::network::Architecture;
use crate::representation::Token;

use super::dropout::{Dropout, Feature};

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

impl LaneBatch {
    /// Windows of `sequence_length` tokens and the one after them as rows, padded to `rows`. A lane may have no window.
    pub fn new(
        first_row: usize,
        rows: usize,
        sequence_length: usize,
        objective: LossPositions,
        windows: &[&[Token]],
    ) -> Self {
        let predictions = match objective {
            LossPositions::Last => 1,
            LossPositions::All => sequence_length,
        };
        let note = |row: usize, time: usize| windows.get(row).map_or(0, |window| i64::from(window[time]));
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
    pub fn features(&self, architecture: Architecture, dropout: Option<&Dropout>) -> Vec<ActiveFeatures> {
        let is_shown = |index: usize, feature: Feature| {
            let (time, row) = (index / self.rows, self.first_row + index % self.rows);
            dropout.is_none_or(|dropout| !dropout.drops_input(row, time, feature))
        };
        let interval = |index: usize| {
            let from = self.inputs[index.checked_sub(self.rows)?];
            let shown = architecture.intervals && is_shown(index, Feature::Interval);
            shown.then(|| architecture.interval(from as Token, self.inputs[index] as Token))
        };
        let class = |index: usize| is_shown(index, Feature::Class).then_some(self.inputs[index] as usize);
        (0..self.inputs.len()).map(|index| [class(index), interval(index)]).collect()
    }

    /// (Q, R): the notes after which the next is predicted.
    pub fn last_notes(&self) -> &[i64] {
        &self.inputs[(self.sequence_length - self.predictions) * self.rows..]
    }
}
