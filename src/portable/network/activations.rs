//! What training keeps of the forward pass for the backward pass, and the backward pass through it: of an LSTM layer over
//! whole windows, and of the head, which is the dense layer, the scores and the softmax.
//!
//! L lanes, T notes, after the last Q of which the next is predicted, P rows a lane, H units, D dense units, C tokens of the
//! vocabulary, S scores, V relations. Rows are laid out (T, L, P) or (Q, L, P), so that those of a timestep lie together.

use std::ops::Range;

use crate::compute::functions::{Backward, exp, log_softmax};
use crate::compute::gemm::Packed;
use crate::compute::matrix::{Matrix, Rows, RowsMut};
use crate::compute::weight_gradient::LaneRows;
use crate::parallel::{add, vectorized};

use super::Architecture;
use super::batch::{EpochSums, LaneBatch, NO_TARGET, score_lane, words_of};
use super::layers::{LayerInput, Layers, Lstm, LstmRows, LstmState, add_scores, present};

/// The shape of some lanes of a batch. Rows are laid out (T, L, P).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// L.
    pub lanes: usize,
    /// T.
    pub notes: usize,
    /// Q.
    pub predictions: usize,
    /// P.
    pub padded: usize,
    /// Whether rows are streams, whose states are carried.
    pub streams: bool,
}

impl Shape {
    /// That of lanes, all of the same shape.
    pub fn of(lanes: &[LaneBatch]) -> Self {
        let LaneBatch { sequence_length, predictions, rows, .. } = lanes[0];
        let streams = lanes[0].streams.is_some();
        Shape { lanes: lanes.len(), notes: sequence_length, predictions, padded: rows, streams }
    }

    /// Rows of one timestep.
    pub fn timestep_rows(&self) -> usize {
        self.lanes * self.padded
    }

    /// Rows of all timesteps.
    pub fn rows(&self) -> usize {
        self.notes * self.timestep_rows()
    }

    /// Rows of all timesteps after which the next note is predicted.
    pub fn prediction_rows(&self) -> usize {
        self.predictions * self.timestep_rows()
    }

    /// The rows of one timestep.
    pub fn timestep(&self, time: usize) -> Range<usize> {
        time * self.timestep_rows()..(time + 1) * self.timestep_rows()
    }

    /// The first row of the timesteps after which the next note is predicted.
    pub fn first_prediction(&self) -> usize {
        self.rows() - self.prediction_rows()
    }

    /// A lane's rows of a matrix that has all timesteps, or only those of predictions: of this number of timesteps from the
    /// `first` on.
    pub fn lane<'a>(&self, matrix: &'a Matrix, lane: usize, first: usize, timesteps: usize) -> LaneRows<'a> {
        let (row_stride, rows) = (self.timestep_rows(), self.padded);
        LaneRows { matrix, first: first * row_stride + lane * rows, timesteps, row_stride, rows }
    }
}

/// A kernel (outputs, inputs) as the right operand of the backward GEMM.
pub struct BackwardKernel {
    weights: Packed,
    /// (1, inputs): zeros, which a GEMM adds to.
    zeros: Matrix,
}

impl BackwardKernel {
    /// Room for a kernel.
    pub fn zeros(outputs: usize, inputs: usize) -> Self {
        BackwardKernel { weights: Packed::zeros(outputs, inputs), zeros: Matrix::zeros(1, inputs) }
    }

    /// Packs the weights.
    pub fn load(&mut self, weights: &[f32]) {
        self.weights.set(weights);
    }

    /// ∂L/∂inputs = ∂L/∂out · W.
    pub fn set(&self, d_out: Rows<'_>, d_inputs: RowsMut<'_>) {
        self.weights.set_matmul(d_out, self.zeros.all(), d_inputs);
    }

    /// ∂L/∂inputs += ∂L/∂out · W.
    pub fn add(&self, d_out: Rows<'_>, d_inputs: RowsMut<'_>) {
        self.weights.add_matmul(d_out, d_inputs);
    }
}

/// Activations that a layer saves in the forward pass for the backward pass.
pub struct LstmActivations {
    shape: Shape,
    /// (T·L·P, 4H): pre-activations; overwritten by the gates, then by ∂L/∂pre-activation.
    pub gates: Matrix,
    /// (T·L·P, H).
    cells: Matrix,
    /// (T·L·P, H).
    tanh_cells: Matrix,
    /// (T·L·P, H).
    pub outputs: Matrix,
    /// (L·P, H) of one timestep: ∂L/∂c.
    d_cell: Matrix,
    /// Of streams.
    pub before: Option<StatesBefore>,
}

/// The state that each row of a stream has before each timestep. Of windows it is that of the timestep before, or zero.
pub struct StatesBefore {
    /// (T·L·P, H).
    pub outputs: Matrix,
    /// (T·L·P, H).
    pub cells: Matrix,
    /// (L·P, H) of one timestep: ∂L/∂h as it flows back in time.
    d_outputs: Matrix,
}

impl LstmActivations {
    /// Memory for lanes of this shape.
    pub fn new(shape: Shape, units: usize) -> Self {
        let all = shape.rows();
        LstmActivations {
            shape,
            gates: Matrix::zeros(all, 4 * units),
            cells: Matrix::zeros(all, units),
            tanh_cells: Matrix::zeros(all, units),
            outputs: Matrix::zeros(all, units),
            d_cell: Matrix::zeros(shape.timestep_rows(), units),
            before: shape.streams.then(|| StatesBefore {
                outputs: Matrix::zeros(all, units),
                cells: Matrix::zeros(all, units),
                d_outputs: Matrix::zeros(shape.timestep_rows(), units),
            }),
        }
    }

    /// Runs through the window. `input` is given each timestep, and returns what flows in from below. Windows begin with a
    /// state of zero; streams with the one before timestep 0, and with zero where `resets` (T·L·P) says so.
    pub fn forward<'i, S: Iterator<Item = &'i [u32]>>(
        &mut self,
        lstm: &Lstm,
        resets: &[bool],
        mut input: impl FnMut(usize) -> LayerInput<'i, S>,
    ) {
        for time in 0..self.shape.notes {
            let rows = self.shape.timestep(time);
            if let Some(before) = &mut self.before {
                for row in rows.clone() {
                    let earlier = row.checked_sub(self.shape.timestep_rows()).filter(|_| !resets[row]);
                    match earlier {
                        Some(earlier) => {
                            before.outputs.row_mut(row).copy_from_slice(self.outputs.row(earlier));
                            before.cells.row_mut(row).copy_from_slice(self.cells.row(earlier));
                        }
                        None if resets[row] => {
                            before.outputs.row_mut(row).fill(0.0);
                            before.cells.row_mut(row).fill(0.0);
                        }
                        // Carried from the window before.
                        None => {}
                    }
                }
                let state = LstmState {
                    outputs: before.outputs.rows(rows.clone()),
                    cells: before.cells.rows(rows.clone()),
                };
                let [gates, cells, tanh_cells, outputs] =
                    [&mut self.gates, &mut self.cells, &mut self.tanh_cells, &mut self.outputs]
                        .map(|matrix| matrix.rows_mut(rows.clone()));
                lstm.forward(input(time), Some(state), LstmRows { gates, cells, tanh_cells, outputs });
                continue;
            }
            let (earlier_outputs, outputs) = self.outputs.rows_after(rows.clone());
            let (earlier_cells, cells) = self.cells.rows_after(rows.clone());
            let before = (time > 0).then(|| LstmState {
                outputs: earlier_outputs.last(rows.len()),
                cells: earlier_cells.last(rows.len()),
            });
            let (gates, tanh_cells) = (self.gates.rows_mut(rows.clone()), self.tanh_cells.rows_mut(rows));
            lstm.forward(input(time), before, LstmRows { gates, cells, tanh_cells, outputs });
        }
    }

    /// Takes the states of a lane's rows before timestep 0, [outputs, cells] of (P, H) each.
    pub fn begin_with(&mut self, lane: usize, [outputs, cells]: &[Matrix; 2]) {
        let first = lane * self.shape.padded;
        let before = self.before.as_mut().expect("a stream");
        for row in 0..self.shape.padded {
            before.outputs.row_mut(first + row).copy_from_slice(outputs.row(row));
            before.cells.row_mut(first + row).copy_from_slice(cells.row(row));
        }
    }

    /// The states of a lane's rows after the last timestep.
    pub fn end_with(&self, lane: usize) -> [Matrix; 2] {
        let first = self.shape.timestep(self.shape.notes - 1).start + lane * self.shape.padded;
        [&self.outputs, &self.cells].map(|states| {
            let mut of_lane = Matrix::zeros(self.shape.padded, states.columns());
            of_lane.all_mut().copy_from(states.rows(first..first + self.shape.padded));
            of_lane
        })
    }

    /// Runs back through the window. `d_outputs` is ∂L/∂h as far as it comes from above, (T·L·P, H); afterwards
    /// `gates` holds the derivative by what flowed into them, and `below` was given each timestep's.
    pub fn backward(
        &mut self,
        recurrent: &BackwardKernel,
        resets: &[bool],
        d_outputs: &mut Matrix,
        mut below: impl FnMut(usize, Rows<'_>),
    ) {
        self.d_cell.clear();
        for time in (0..self.shape.notes).rev() {
            let rows = self.shape.timestep(time);
            let (mut gates, mut d_cells) = (self.gates.rows_mut(rows.clone()), self.d_cell.all_mut());
            let (d_output, tanh_cells) = (d_outputs.rows(rows.clone()), self.tanh_cells.rows(rows.clone()));
            let before = match &self.before {
                Some(before) => Some(before.cells.rows(rows.clone())),
                None => (time > 0).then(|| self.cells.rows(self.shape.timestep(time - 1))),
            };
            vectorized(
                #[inline(always)]
                || {
                    for (row, (gates, d_cell)) in gates.iter_mut().zip(d_cells.iter_mut()).enumerate() {
                        let before = before.map(|before| before.row(row));
                        let (tanh_cell, d_output) = (tanh_cells.row(row), d_output.row(row));
                        Backward { gates, before, tanh_cell, d_output, d_cell }.run();
                    }
                },
            );
            let d_gates = self.gates.rows(rows.clone());
            if let Some(before) = self.before.as_mut().filter(|_| time > 0) {
                // Nothing flows back through a state that was set to zero.
                recurrent.set(d_gates, before.d_outputs.all_mut());
                for (index, row) in rows.enumerate() {
                    if resets[row] {
                        self.d_cell.row_mut(index).fill(0.0);
                    } else {
                        let earlier = d_outputs.row_mut(row - self.shape.timestep_rows());
                        add(earlier, before.d_outputs.row(index));
                    }
                }
            } else if time > 0 {
                recurrent.add(d_gates, d_outputs.rows_mut(self.shape.timestep(time - 1)));
            }
            below(time, d_gates);
        }
    }

    /// The outputs that predictions are made from, (Q·L·P, H).
    pub fn seen_from_above(&self) -> Rows<'_> {
        self.outputs.all().last(self.shape.prediction_rows())
    }
}

/// The memory of the head.
pub struct Head {
    shape: Shape,
    /// V.
    relations: usize,
    /// (Q·L·P, D), after dropout.
    pub dense: Matrix,
    /// (Q·L·P, D).
    pub d_dense: Matrix,
    /// (Q·L·P, S): scores, then ∂L/∂score.
    pub scores: Matrix,
    /// (Q·L·P, V): where the scores begin that are added to the tokens' own, or `NO_FEATURE`.
    first_scores: Vec<u32>,
    /// (Q·L·P, C): log-probs, then ∂L/∂logit.
    logits: Matrix,
    /// Of streams (Q·L·P, W): a bit for each token that may follow.
    allowed: Vec<u64>,
}

impl Head {
    /// Memory for lanes of this shape.
    pub fn new(shape: Shape, architecture: Architecture) -> Self {
        let matrix = |columns| Matrix::zeros(shape.prediction_rows(), columns);
        Head {
            shape,
            relations: architecture.shape.relations,
            dense: matrix(architecture.dense),
            d_dense: matrix(architecture.dense),
            scores: matrix(architecture.shape.scores),
            first_scores: Vec::new(),
            logits: matrix(architecture.shape.tokens),
            allowed: Vec::new(),
        }
    }

    /// Log-probs from what the top layer put out.
    pub fn forward(&mut self, layers: &Layers, top: Rows<'_>, mask: Option<&Matrix>, lanes: &[LaneBatch]) {
        layers.dense.forward(top, self.dense.all_mut());
        if let Some(mask) = mask {
            multiply(self.dense.all_mut(), mask.all());
        }
        layers.scores.forward(self.dense.all(), self.scores.all_mut());
        self.first_scores = self.gather_first_scores(lanes);
        self.allowed = self.gather_allowed(lanes);
        let words = words_of(self.logits.columns());
        let mut rows = self.logits.all_mut();
        vectorized(
            #[inline(always)]
            || {
                for (row, (logits, scores)) in rows.iter_mut().zip(self.scores.all().iter()).enumerate() {
                    let first_scores = &self.first_scores[row * self.relations..][..self.relations];
                    add_scores(scores, first_scores, logits);
                    if !self.allowed.is_empty() {
                        forbid(logits, &self.allowed[row * words..][..words]);
                    }
                    log_softmax(logits);
                }
            },
        );
    }

    /// The lanes' first scores, in the order of this group's rows.
    fn gather_first_scores(&self, lanes: &[LaneBatch]) -> Vec<u32> {
        let mut gathered = Vec::new();
        for prediction in 0..self.shape.predictions {
            for lane in lanes {
                let of_lane = lane.rows * self.relations;
                gathered.extend(&lane.first_scores[prediction * of_lane..][..of_lane]);
            }
        }
        gathered
    }

    /// The same of the tokens that may follow; empty where all may.
    fn gather_allowed(&self, lanes: &[LaneBatch]) -> Vec<u64> {
        let mut gathered = Vec::new();
        for prediction in 0..self.shape.predictions {
            for lane in lanes {
                let Some(streams) = &lane.streams else { continue };
                let of_lane = lane.rows * words_of(self.logits.columns());
                gathered.extend(&streams.allowed[prediction * of_lane..][..of_lane]);
            }
        }
        gathered
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

    /// ∂L/∂logit = p − one-hot of the target, 0 for rows of no weight. Every score that is part of a logit has the same.
    fn differentiate(&mut self, lanes: &[LaneBatch]) {
        for (index, lane) in lanes.iter().enumerate() {
            for (row, &target) in self.rows_of(index).zip(&lane.targets) {
                let logits = self.logits.row_mut(row);
                if target != NO_TARGET {
                    logits.iter_mut().for_each(|x| *x = exp(*x));
                    logits[usize::from(target)] -= 1.0;
                } else {
                    logits.fill(0.0);
                }
                let scores = self.scores.row_mut(row);
                let (own, others) = scores.split_at_mut(logits.len());
                own.copy_from_slice(logits);
                others.fill(0.0);
                for first in present(&self.first_scores[row * self.relations..][..self.relations]) {
                    for (score, logit) in scores[first..].iter_mut().zip(&*logits) {
                        *score += logit;
                    }
                }
            }
        }
    }

    /// ∂L/∂score, ∂L/∂dense, and from them ∂L/∂(the top layer's outputs), written to `d_top`.
    pub fn backward(
        &mut self,
        [dense, scores]: &[BackwardKernel; 2],
        mask: Option<&Matrix>,
        lanes: &[LaneBatch],
        d_top: RowsMut<'_>,
    ) {
        self.differentiate(lanes);
        scores.set(self.scores.all(), self.d_dense.all_mut());
        if let Some(mask) = mask {
            multiply(self.d_dense.all_mut(), mask.all());
        }
        dense.set(self.d_dense.all(), d_top);
    }
}

/// Takes the probability from the tokens that may not follow; where none may, nothing is predicted.
fn forbid(logits: &mut [f32], allowed: &[u64]) {
    if allowed.iter().all(|&word| word == 0) {
        return;
    }
    for (token, logit) in logits.iter_mut().enumerate() {
        if allowed[token / 64] >> (token % 64) & 1 == 0 {
            *logit = FORBIDDEN;
        }
    }
}

/// The logit of a token that may not follow: far enough below all others for a probability of 0, and finite, so that
/// nothing made of it is NaN.
pub const FORBIDDEN: f32 = -1e30;

/// Every number by that of the mask.
pub fn multiply(mut values: RowsMut<'_>, mask: Rows<'_>) {
    vectorized(
        #[inline(always)]
        || {
            for (row, mask) in values.iter_mut().zip(mask.iter()) {
                for (x, mask) in row.iter_mut().zip(mask) {
                    *x *= mask;
                }
            }
        },
    );
}
