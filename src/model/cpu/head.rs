//! From the top layer's outputs to probabilities, and back: the dense layers and the softmax.
//!
//! L lanes, Q predictions a window, P rows a lane, D dense units, C classes, F features. Rows are laid out (L, Q, P).

use std::ops::Range;

use bachdist_core::checkpoint::EpochSums;
use bachdist_core::network::{Architecture, Parameter};

use super::buffer::{Matrix, View};
use super::lane_sum::LaneSum;
use super::{Shape, add_to_rows, multiply};
use crate::model::LaneBatch;
use crate::model::lane::score_lane;

/// The memory of the head.
pub struct Head {
    shape: Shape,
    architecture: Architecture,
    /// (L·Q·P, D), after dropout.
    dense: Matrix,
    /// (L·Q·P, D).
    pub d_dense: Matrix,
    /// (L·Q·P, F): what each class and interval scores, then ∂L/∂score.
    scores: Matrix,
    /// For each row, where its scores of the intervals to all classes lie, if it has any.
    intervals: Vec<Option<Range<usize>>>,
    /// (L·Q·P, C): logarithmic probabilities, then ∂L/∂logit.
    logits: Matrix,
}

/// One dense layer's parameters.
pub struct Dense<'a> {
    /// (outputs, inputs).
    pub weight: View<'a>,
    /// (outputs).
    pub bias: &'a [f32],
}

impl Head {
    /// Memory for lanes of this shape.
    pub fn new(shape: Shape, architecture: Architecture) -> Self {
        let rows = shape.lanes * shape.predictions * shape.padded;
        let matrix = |columns| Matrix::zeros(rows, columns);
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

    /// Logarithmic probabilities from what the top layer put out.
    pub fn forward(
        &mut self,
        top: View<'_>,
        layers: [Dense<'_>; 2],
        mask: Option<&Vec<f32>>,
        lanes: &[LaneBatch],
    ) {
        let [first, second] = layers;
        self.dense.view_mut().set_product(top, first.weight.transposed());
        add_to_rows(self.dense.values_mut(), first.bias);
        if let Some(mask) = mask {
            multiply(self.dense.values_mut(), mask);
        }
        self.scores.view_mut().set_product(self.dense.view(), second.weight.transposed());
        add_to_rows(self.scores.values_mut(), second.bias);
        self.intervals = self.find_intervals(lanes);
        for (row, intervals) in self.intervals.iter().enumerate() {
            let scores = self.scores.row(row);
            let logits = self.logits.row_mut(row);
            logits.copy_from_slice(&scores[..logits.len()]);
            if let Some(intervals) = intervals {
                logits.iter_mut().zip(&scores[intervals.clone()]).for_each(|(logit, score)| *logit += score);
            }
            log_softmax(logits);
        }
    }

    fn find_intervals(&self, lanes: &[LaneBatch]) -> Vec<Option<Range<usize>>> {
        let Architecture { classes, intervals, .. } = self.architecture;
        let to_all = |&last: &i64| {
            let first = self.architecture.interval(last as u8, 0);
            intervals.then_some(first..first + classes)
        };
        lanes.iter().flat_map(|lane| lane.last_notes().iter().map(to_all)).collect()
    }

    /// The (C) logarithmic probabilities of a lane's rows.
    pub fn rows(&self, lane: usize) -> impl Iterator<Item = &[f32]> {
        self.shape.predictions_of(lane).map(|row| self.logits.row(row))
    }

    /// Sums over the predictions of each lane.
    pub fn score(&self, lanes: &[LaneBatch]) -> Vec<EpochSums> {
        lanes.iter().enumerate().map(|(index, lane)| score_lane(self.rows(index), lane)).collect()
    }

    /// ∂L/∂logit = p − one-hot of the target, 0 for rows of no weight; every score of a row that a logit is made
    /// of has the same.
    pub fn differentiate(&mut self, lanes: &[LaneBatch]) {
        for (index, lane) in lanes.iter().enumerate() {
            for (row, &target) in self.shape.predictions_of(index).zip(&lane.targets) {
                let logits = self.logits.row_mut(row);
                if row % self.shape.padded < lane.windows {
                    logits.iter_mut().for_each(|x| *x = x.exp());
                    logits[target as usize] -= 1.0;
                } else {
                    logits.fill(0.0);
                }
                let logits = self.logits.row(row);
                let scores = self.scores.row_mut(row);
                let (own, of_intervals) = scores.split_at_mut(logits.len());
                own.copy_from_slice(logits);
                of_intervals.fill(0.0);
                if let Some(intervals) = &self.intervals[row] {
                    self.scores.row_mut(row)[intervals.clone()].copy_from_slice(logits);
                }
            }
        }
    }

    /// Gradients of both layers from ∂L/∂score, and ∂L/∂dense. `top` gives rows of what the top layer put out.
    pub fn backward<'v>(
        &'v mut self,
        sum: &mut LaneSum<'_>,
        layout: &[Parameter],
        second: View<'_>,
        mask: Option<&Vec<f32>>,
        top: impl Fn(Range<usize>) -> View<'v>,
    ) {
        let shape = self.shape;
        let of_lane = |lane: usize| shape.predictions_of(lane);
        let [first_weight, first_bias, second_weight, second_bias] = layout else {
            unreachable!("two layers have two weights and two biases")
        };
        let Head { dense, d_dense, scores, .. } = self;
        sum.product(second_weight, |lane| (scores.view_rows(of_lane(lane)), dense.view_rows(of_lane(lane))));
        sum.rows(second_bias, scores, of_lane);
        d_dense.view_mut().set_product(scores.view(), second);
        if let Some(mask) = mask {
            multiply(d_dense.values_mut(), mask);
        }
        let d_dense = &*d_dense;
        sum.product(first_weight, |lane| (d_dense.view_rows(of_lane(lane)), top(of_lane(lane))));
        sum.rows(first_bias, d_dense, of_lane);
    }
}

fn log_softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = row.iter().map(|x| (x - largest).exp()).sum();
    let log_total = largest + total.ln();
    row.iter_mut().for_each(|x| *x -= log_total);
}
