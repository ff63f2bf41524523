//! The network on a CPU, written out: forward and backward in libtorch's matrix products and pointwise loops of
//! our own, without its graph.
//!
//! All lanes of a rank share the products whose rows are independent. Only sums over rows, the weight
//! gradients, are made for each lane, and then summed along the tree, weight by weight, while they are in
//! cache. One-hot inputs are looked up, and the product with the zero initial state is left out. Agrees with
//! [`super::autograd`] to 1e-5 (`tests/golden`).
//!
//! L lanes, T notes, P rows a lane with padding, H units, D dense units, C classes. Rows are laid out (L, T, P).

mod buffer;
mod cell;
mod lane_sum;
mod lstm;

use std::ops::Range;

use bachdist_core::checkpoint::EpochSums;
use bachdist_core::network::{Architecture, Parameter};

use super::dropout::Dropout;
use super::{LaneBatch, RankGradient};
use buffer::{Matrix, View};
use lane_sum::LaneSum;
use lstm::Layer;

/// The network's parameters and memory.
pub struct Network {
    architecture: Architecture,
    /// Their places in `parameters`.
    layout: Vec<Parameter>,
    /// (1, all).
    parameters: Matrix,
    /// (C, 4H): the first layer's input kernel, a row for each class.
    lookup: Vec<f32>,
    /// Memory for lanes of the shape that came last.
    memory: Option<Memory>,
}

/// The shape of a rank's part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// L.
    lanes: usize,
    /// T.
    notes: usize,
    /// P.
    padded: usize,
}

/// What the network keeps between the ways forward and back.
struct Memory {
    shape: Shape,
    layers: Vec<Layer>,
    /// For each layer but the first (L·T·P, H): what it sees of the one below, after dropout.
    inputs: Vec<Matrix>,
    /// (L·T·P, H): ∂L/∂h of the layer at hand.
    d_outputs: Matrix,
    /// (L·P, D), after dropout.
    dense: Matrix,
    /// (L·P, D).
    d_dense: Matrix,
    /// (L·P, C): logits, then their logarithmic probabilities, then ∂L/∂logits.
    logits: Matrix,
    /// One weight gradient of every lane.
    lane_gradients: Matrix,
    /// Dropout masks of the LSTM layers but the last, and of the dense layer; empty without dropout.
    masks: Vec<Vec<f32>>,
}

impl Shape {
    fn of(lanes: &[LaneBatch]) -> Self {
        Shape { lanes: lanes.len(), notes: lanes[0].sequence_length, padded: lanes[0].rows }
    }

    /// Rows of all moments.
    fn rows(&self) -> usize {
        self.lanes * self.notes * self.padded
    }

    /// The rows of one moment: their numbers within the moment and within all.
    fn moment(self, time: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.lanes * self.padded).map(move |moment| {
            let (lane, row) = (moment / self.padded, moment % self.padded);
            (moment, (lane * self.notes + time) * self.padded + row)
        })
    }

    /// The same row a moment ago.
    fn before(&self, row: usize, time: usize) -> Option<usize> {
        (time > 0).then(|| row - self.padded)
    }

    /// The rows of a lane, from its `first` note on and without its `last`.
    fn of_lane(&self, lane: usize, first: usize, last: usize) -> Range<usize> {
        let note = |note: usize| (lane * self.notes + note) * self.padded;
        note(first)..note(self.notes - last)
    }
}

impl Network {
    /// A network with room for its parameters; [`Network::load`] fills them in.
    pub fn new(architecture: Architecture) -> Self {
        Network {
            architecture,
            layout: architecture.parameters(),
            parameters: Matrix::zeros(1, architecture.len()),
            lookup: vec![0.0; architecture.classes * 4 * architecture.units],
            memory: None,
        }
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) {
        self.parameters.values_mut().copy_from_slice(parameters);
        let Architecture { classes, units, .. } = self.architecture;
        let kernel = &parameters[self.layout[0].range()];
        for (class, row) in self.lookup.chunks_exact_mut(4 * units).enumerate() {
            row.iter_mut().enumerate().for_each(|(gate, weight)| *weight = kernel[gate * classes + class]);
        }
    }

    /// Loss and gradient of a rank's lanes in training.
    pub fn gradient(&mut self, lanes: &[LaneBatch], dropout: &Dropout) -> RankGradient {
        let mut memory = self.take_memory(Shape::of(lanes));
        memory.draw_masks(lanes, dropout);
        self.forward(lanes, &mut memory);
        let sums = memory.score(lanes);
        memory.d_logits(lanes);
        let mut gradient = vec![0.0; self.architecture.len()];
        self.backward(lanes, &mut memory, &mut gradient);
        self.memory = Some(memory);
        RankGradient { sums, gradient }
    }

    /// Loss and right predictions of each lane, without dropout.
    pub fn evaluate(&mut self, lanes: &[LaneBatch]) -> Vec<EpochSums> {
        let mut memory = self.take_memory(Shape::of(lanes));
        memory.masks.clear();
        self.forward(lanes, &mut memory);
        let sums = memory.score(lanes);
        self.memory = Some(memory);
        sums
    }

    fn take_memory(&mut self, shape: Shape) -> Memory {
        match self.memory.take() {
            Some(memory) if memory.shape == shape => memory,
            _ => Memory::new(shape, self.architecture),
        }
    }

    /// A parameter as a matrix; a bias has one row.
    fn weight(&self, index: usize) -> View<'_> {
        let Parameter { shape, .. } = &self.layout[index];
        let (rows, columns) = if shape.len() == 1 { (1, shape[0]) } else { (shape[0], shape[1]) };
        self.parameters.view_as(self.layout[index].range(), rows, columns)
    }

    fn bias(&self, index: usize) -> &[f32] {
        &self.parameters.values()[self.layout[index].range()]
    }

    /// The dense layers' places in the layout.
    fn dense(&self) -> [usize; 2] {
        let first = 3 * self.architecture.layers;
        [first, first + 2]
    }

    /// Leaves logarithmic probabilities in `memory.logits`.
    fn forward(&self, lanes: &[LaneBatch], memory: &mut Memory) {
        let Memory { layers, inputs, dense, logits, masks, .. } = memory;
        for index in 0..layers.len() {
            let (below, rest) = layers.split_at_mut(index);
            let layer = &mut rest[0];
            match below.last() {
                None => self.look_up(lanes, layer),
                Some(below) => {
                    let input = &mut inputs[index - 1];
                    masked(below.outputs.values(), masks.get(index - 1), input.values_mut());
                    layer.gates.view_mut().set_product(input.view(), self.weight(3 * index).transposed());
                }
            }
            layer.forward(|| self.weight(3 * index + 1), self.bias(3 * index + 2));
        }
        let [first, second] = self.dense();
        let top = &layers[layers.len() - 1].moment_output;
        dense.view_mut().set_product(top.view(), self.weight(first).transposed());
        add_to_rows(dense.values_mut(), self.bias(first + 1));
        if let Some(mask) = masks.last() {
            multiply(dense.values_mut(), mask);
        }
        logits.view_mut().set_product(dense.view(), self.weight(second).transposed());
        add_to_rows(logits.values_mut(), self.bias(second + 1));
        logits.values_mut().chunks_exact_mut(self.architecture.classes).for_each(log_softmax);
    }

    /// What flows into the first layer: the kernel's row of each class.
    fn look_up(&self, lanes: &[LaneBatch], layer: &mut Layer) {
        let width = 4 * self.architecture.units;
        let classes = lanes.iter().flat_map(|lane| &lane.inputs);
        for (gates, &class) in layer.gates.values_mut().chunks_exact_mut(width).zip(classes) {
            gates.copy_from_slice(&self.lookup[class as usize * width..][..width]);
        }
    }

    /// From ∂L/∂logits to the gradient of all parameters, summed over lanes along the tree.
    fn backward(&self, lanes: &[LaneBatch], memory: &mut Memory, gradient: &mut [f32]) {
        let Memory { shape, layers, inputs, d_outputs, dense, d_dense, logits, lane_gradients, masks } =
            memory;
        let shape = *shape;
        let mut sum = LaneSum::new(shape.lanes, lane_gradients, gradient);
        let of_lane = |lane: usize| lane * shape.padded..(lane + 1) * shape.padded;

        let [first, second] = self.dense();
        let top = &layers[layers.len() - 1].moment_output;
        sum.product(&self.layout[second], |lane| {
            (logits.view_rows(of_lane(lane)), dense.view_rows(of_lane(lane)))
        });
        sum.rows(&self.layout[second + 1], logits, of_lane);
        d_dense.view_mut().set_product(logits.view(), self.weight(second));
        if let Some(mask) = masks.last() {
            multiply(d_dense.values_mut(), mask);
        }
        sum.product(&self.layout[first], |lane| {
            (d_dense.view_rows(of_lane(lane)), top.view_rows(of_lane(lane)))
        });
        sum.rows(&self.layout[first + 1], d_dense, of_lane);

        // Only the last moment of the top layer is seen from above.
        let mut d_top = Matrix::zeros(shape.lanes * shape.padded, self.architecture.units);
        d_top.view_mut().set_product(d_dense.view(), self.weight(first));
        d_outputs.values_mut().fill(0.0);
        for (moment, row) in shape.moment(shape.notes - 1) {
            d_outputs.row_mut(row).copy_from_slice(d_top.row(moment));
        }

        for index in (0..layers.len()).rev() {
            let layer = &mut layers[index];
            layer.backward(|| self.weight(3 * index + 1), d_outputs);
            let layer = &*layer;
            let whole = |lane| shape.of_lane(lane, 0, 0);
            if index == 0 {
                sum.lookup(&self.layout[0], &layer.gates, lanes);
            } else {
                let input = &inputs[index - 1];
                sum.product(&self.layout[3 * index], |lane| {
                    (layer.gates.view_rows(whole(lane)), input.view_rows(whole(lane)))
                });
                d_outputs.view_mut().set_product(layer.gates.view(), self.weight(3 * index));
                if let Some(mask) = masks.get(index - 1) {
                    multiply(d_outputs.values_mut(), mask);
                }
            }
            // Each note's gates with the output of the note before.
            sum.product(&self.layout[3 * index + 1], |lane| {
                (
                    layer.gates.view_rows(shape.of_lane(lane, 1, 0)),
                    layer.outputs.view_rows(shape.of_lane(lane, 0, 1)),
                )
            });
            sum.rows(&self.layout[3 * index + 2], &layer.gates, whole);
        }
    }
}

impl Memory {
    fn new(shape: Shape, architecture: Architecture) -> Self {
        let Architecture { classes, layers, units, dense } = architecture;
        let (all, moment) = (shape.rows(), shape.lanes * shape.padded);
        let largest = architecture.parameters().iter().map(Parameter::len).max().unwrap_or(0);
        Memory {
            shape,
            layers: (0..layers).map(|_| Layer::new(shape, units)).collect(),
            inputs: (1..layers).map(|_| Matrix::zeros(all, units)).collect(),
            d_outputs: Matrix::zeros(all, units),
            dense: Matrix::zeros(moment, dense),
            d_dense: Matrix::zeros(moment, dense),
            logits: Matrix::zeros(moment, classes),
            lane_gradients: Matrix::zeros(shape.lanes, largest),
            masks: Vec::new(),
        }
    }

    /// One mask for each dropout layer, all lanes together. Masks of whole windows are laid out (L, T, P, H).
    fn draw_masks(&mut self, lanes: &[LaneBatch], dropout: &Dropout) {
        self.masks.clear();
        if dropout.rate == 0.0 {
            return;
        }
        let shape = |matrix: &Matrix, times: usize| {
            let units = matrix.values().len() / (lanes.len() * times * self.shape.padded);
            [times as i64, self.shape.padded as i64, units as i64]
        };
        let windows = self.inputs.iter().map(|input| shape(input, self.shape.notes));
        let shapes: Vec<_> = windows.chain([shape(&self.dense, 1)]).collect();
        for (layer, shape) in shapes.iter().enumerate() {
            self.masks.push(lanes.iter().flat_map(|lane| dropout.mask(lane, layer, shape)).collect());
        }
    }

    /// Sums over the windows of each lane, from the logarithmic probabilities.
    fn score(&self, lanes: &[LaneBatch]) -> Vec<EpochSums> {
        let rows = |lane: usize| (lane * self.shape.padded..).map(|row| self.logits.row(row));
        lanes.iter().enumerate().map(|(index, lane)| super::score(rows(index), lane)).collect()
    }

    /// ∂L/∂logits = p − one-hot of the target, and 0 for rows of no weight.
    fn d_logits(&mut self, lanes: &[LaneBatch]) {
        for (index, lane) in lanes.iter().enumerate() {
            for row in 0..self.shape.padded {
                let logits = self.logits.row_mut(index * self.shape.padded + row);
                if row < lane.windows {
                    logits.iter_mut().for_each(|x| *x = x.exp());
                    logits[lane.targets[row] as usize] -= 1.0;
                } else {
                    logits.fill(0.0);
                }
            }
        }
    }
}

fn masked(values: &[f32], mask: Option<&Vec<f32>>, out: &mut [f32]) {
    match mask {
        Some(mask) => out.iter_mut().zip(values).zip(mask).for_each(|((out, x), mask)| *out = x * mask),
        None => out.copy_from_slice(values),
    }
}

fn multiply(values: &mut [f32], mask: &[f32]) {
    values.iter_mut().zip(mask).for_each(|(x, mask)| *x *= mask);
}

fn add_to_rows(values: &mut [f32], bias: &[f32]) {
    for row in values.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
    }
}

fn log_softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = row.iter().map(|x| (x - largest).exp()).sum();
    let log_total = largest + total.ln();
    row.iter_mut().for_each(|x| *x -= log_total);
}
