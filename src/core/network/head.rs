//! From the top layer's outputs to probabilities, and back: the dense layers and the softmax.
//!
//! L lanes, Q predictions a window, P rows a lane, D dense units, C classes, F features. Rows are laid out (Q, L, P).

use std::ops::Range;

use crate::compute::functions::{exp, log_softmax};
use crate::compute::matrix::{Matrix, Rows, RowsMut};
use crate::network::Architecture;
use crate::parallel::vectorized;
use crate::representation::Token;

use super::batch::LaneBatch;
use super::lstm::Kernel;
use super::score::{EpochSums, score_lane};
use super::shape::Shape;

/// The memory of the head.
pub struct Head {
    shape: Shape,
    architecture: Architecture,
    /// (Q·L·P, D), after dropout.
    pub dense: Matrix,
    /// (Q·L·P, D).
    pub d_dense: Matrix,
    /// (Q·L·P, F): what each class and interval scores, then ∂L/∂score.
    pub scores: Matrix,
    /// For each row, where its scores of the intervals to all classes lie, if it has any.
    intervals: Vec<Option<Range<usize>>>,
    /// (Q·L·P, C): log-probs, then ∂L/∂logit.
    logits: Matrix,
}

/// A dense layer's parameters.
pub struct Dense {
    /// (outputs, inputs).
    pub kernel: Kernel,
    /// (1, outputs).
    pub bias: Matrix,
}

impl Head {
    /// Memory for lanes of this shape.
    pub fn new(shape: Shape, architecture: Architecture) -> Self {
        let matrix = |columns| Matrix::zeros(shape.prediction_rows(), columns);
        Head {
            shape,
            architecture,
            dense: matrix(architecture.dense),
            d_dense: matrix(architecture.dense),
            scores: matrix(architecture.features()),
            intervals: Vec::new(),
            logits: matrix(architecture.classes),
        }
    }

    /// Log-probs from what the top layer put out.
    pub fn forward(
        &mut self,
        top: Rows<'_>,
        [first, second]: &[Dense; 2],
        mask: Option<&Matrix>,
        lanes: &[LaneBatch],
    ) {
        first.kernel.set_forward(top, first.bias.all(), self.dense.all_mut());
        if let Some(mask) = mask {
            multiply(self.dense.all_mut(), mask.all());
        }
        second.kernel.set_forward(self.dense.all(), second.bias.all(), self.scores.all_mut());
        self.intervals = self.find_intervals(lanes);
        let rows = self.logits.all_mut();
        vectorized(
            #[inline(always)]
            || {
                let mut rows = rows;
                let scores = self.scores.all().iter().zip(&self.intervals);
                for (logits, (scores, intervals)) in rows.iter_mut().zip(scores) {
                    logits.copy_from_slice(&scores[..logits.len()]);
                    if let Some(intervals) = intervals {
                        logits
                            .iter_mut()
                            .zip(&scores[intervals.clone()])
                            .for_each(|(logit, score)| *logit += score);
                    }
                    log_softmax(logits);
                }
            },
        );
    }

    fn find_intervals(&self, lanes: &[LaneBatch]) -> Vec<Option<Range<usize>>> {
        let Architecture { classes, intervals, .. } = self.architecture;
        let to_all = |last: i64| {
            let first = self.architecture.interval(last as Token, 0);
            intervals.then_some(first..first + classes)
        };
        let of_lane = |(prediction, lane): (usize, &LaneBatch)| {
            let first = prediction * lane.rows;
            lane.last_notes()[first..first + lane.rows].to_vec()
        };
        let predictions = 0..self.shape.predictions;
        let rows = predictions.flat_map(|prediction| lanes.iter().map(move |lane| (prediction, lane)));
        rows.flat_map(of_lane).map(to_all).collect()
    }

    /// A lane's rows, (Q, P).
    fn rows_of(&self, lane: usize) -> impl Iterator<Item = usize> + use<> {
        self.shape.lane(&self.logits, lane, 0, self.shape.predictions).row_indices()
    }

    /// The (C) log-probs of a lane's rows, (Q, P).
    pub fn rows(&self, lane: usize) -> impl Iterator<Item = &[f32]> {
        self.rows_of(lane).map(|row| self.logits.row(row))
    }

    /// Sums over the predictions of each lane.
    pub fn score(&self, lanes: &[LaneBatch]) -> Vec<EpochSums> {
        lanes.iter().enumerate().map(|(index, lane)| score_lane(self.rows(index), lane)).collect()
    }

    /// ∂L/∂logit = p − one-hot of the target, 0 for rows of no weight; every score of a row that a logit is made
    /// of has the same.
    fn differentiate(&mut self, lanes: &[LaneBatch]) {
        for (index, lane) in lanes.iter().enumerate() {
            for (number, (row, &target)) in self.rows_of(index).zip(&lane.targets).enumerate() {
                let logits = self.logits.row_mut(row);
                if number % self.shape.padded < lane.windows {
                    logits.iter_mut().for_each(|x| *x = exp(*x));
                    logits[target as usize] -= 1.0;
                } else {
                    logits.fill(0.0);
                }
                let scores = self.scores.row_mut(row);
                let (own, of_intervals) = scores.split_at_mut(logits.len());
                own.copy_from_slice(logits);
                of_intervals.fill(0.0);
                if let Some(intervals) = &self.intervals[row] {
                    scores[intervals.clone()].copy_from_slice(logits);
                }
            }
        }
    }

    /// ∂L/∂score, ∂L/∂dense, and from them ∂L/∂(what the top layer put out), which goes into `d_top`.
    pub fn backward(
        &mut self,
        [first, second]: &[Dense; 2],
        mask: Option<&Matrix>,
        lanes: &[LaneBatch],
        d_top: RowsMut<'_>,
    ) {
        self.differentiate(lanes);
        second.kernel.set_backward(self.scores.all(), self.d_dense.all_mut());
        if let Some(mask) = mask {
            multiply(self.d_dense.all_mut(), mask.all());
        }
        first.kernel.set_backward(self.d_dense.all(), d_top);
    }
}

/// Every number by that of the mask.
pub fn multiply(mut values: RowsMut<'_>, mask: Rows<'_>) {
    vectorized(
        #[inline(always)]
        || {
            for (row, mask) in values.iter_mut().zip(mask.iter()) {
                row.iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask);
            }
        },
    );
}
