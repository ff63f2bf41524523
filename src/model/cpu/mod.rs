//! The network on a CPU, written out: forward and backward in libtorch's matrix products and pointwise loops of
//! our own, without its graph.
//!
//! All lanes of a rank share the products whose rows are independent. Only sums over rows, the weight
//! gradients, are made for each lane, and then summed along the tree, weight by weight, while they are in
//! cache. One-hot inputs are looked up, and the product with the zero initial state is left out. Agrees with
//! [`super::autograd`] to 1e-5 (`tests/golden`).
//!
//! L lanes, T notes, after the last Q of which the next is predicted, P rows a lane with padding, H units, F features.
//! Rows are laid out (L, T, P).

mod buffer;
mod cell;
mod head;
mod lane_sum;
mod lstm;

use std::ops::Range;

use bachdist_core::network::{Architecture, Parameter};

use super::dropout::Dropout;
use super::{LaneBatch, RankGradient};
use buffer::{Matrix, View};
use head::{Dense, Head};
use lane_sum::LaneSum;
use lstm::Layer;

/// The network's parameters and memory.
pub struct Network {
    architecture: Architecture,
    /// Their places in `parameters`.
    layout: Vec<Parameter>,
    /// (1, all).
    parameters: Matrix,
    /// (F, 4H): the first layer's input kernel, a row for each feature.
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
    /// Q.
    predictions: usize,
    /// P.
    padded: usize,
}

/// What the network keeps between the ways forward and back.
struct Memory {
    shape: Shape,
    /// For each lane (T, P): what the first layer is shown of every note.
    shown: Vec<Vec<[Option<usize>; 2]>>,
    layers: Vec<Layer>,
    /// For each layer but the first (L·T·P, H): what it sees of the one below, after dropout.
    inputs: Vec<Matrix>,
    /// (L·T·P, H): ∂L/∂h of the layer at hand.
    d_outputs: Matrix,
    /// The dense layers and the softmax.
    head: Head,
    /// One weight gradient of every lane.
    lane_gradients: Matrix,
    /// Dropout masks of the LSTM layers but the last, and of the dense layer; empty without dropout.
    masks: Vec<Vec<f32>>,
}

impl Shape {
    fn of(lanes: &[LaneBatch]) -> Self {
        let LaneBatch { sequence_length, predictions, rows, .. } = lanes[0];
        Shape { lanes: lanes.len(), notes: sequence_length, predictions, padded: rows }
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

    /// The rows of a lane's predictions.
    fn predictions_of(&self, lane: usize) -> Range<usize> {
        let rows = self.predictions * self.padded;
        lane * rows..(lane + 1) * rows
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
            lookup: vec![0.0; architecture.features() * 4 * architecture.units],
            memory: None,
        }
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) {
        self.parameters.values_mut().copy_from_slice(parameters);
        let (features, width) = (self.architecture.features(), 4 * self.architecture.units);
        let kernel = &parameters[self.layout[0].range()];
        for (feature, row) in self.lookup.chunks_exact_mut(width).enumerate() {
            row.iter_mut().enumerate().for_each(|(gate, weight)| *weight = kernel[gate * features + feature]);
        }
    }

    /// Loss and gradient of a rank's lanes in training.
    pub fn gradient(&mut self, lanes: &[LaneBatch], dropout: &Dropout) -> RankGradient {
        let mut memory = self.take_memory(Shape::of(lanes));
        memory.draw_masks(lanes, dropout, self.architecture);
        memory.shown = lanes.iter().map(|lane| lane.features(self.architecture, Some(dropout))).collect();
        self.forward(lanes, &mut memory);
        let sums = memory.head.score(lanes);
        memory.head.differentiate(lanes);
        let mut gradient = vec![0.0; self.architecture.len()];
        self.backward(&mut memory, &mut gradient);
        self.memory = Some(memory);
        RankGradient { sums, gradient }
    }

    /// Logarithmic probabilities of what comes after each window of each lane, without dropout: (windows, C).
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Vec<f32> {
        let mut memory = self.take_memory(Shape::of(lanes));
        memory.masks.clear();
        memory.shown = lanes.iter().map(|lane| lane.features(self.architecture, None)).collect();
        self.forward(lanes, &mut memory);
        let windows = |(index, lane): (usize, &LaneBatch)| {
            memory.head.rows(index).take(lane.windows).flatten().copied().collect::<Vec<_>>()
        };
        let predictions = lanes.iter().enumerate().flat_map(windows).collect();
        self.memory = Some(memory);
        predictions
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

    /// The first dense layer's place in the layout.
    fn first_dense(&self) -> usize {
        3 * self.architecture.layers
    }

    /// Leaves logarithmic probabilities in the head.
    fn forward(&self, lanes: &[LaneBatch], memory: &mut Memory) {
        let Memory { shown, layers, inputs, head, masks, .. } = memory;
        for index in 0..layers.len() {
            let (below, rest) = layers.split_at_mut(index);
            let layer = &mut rest[0];
            match below.last() {
                None => self.look_up(shown, layer),
                Some(below) => {
                    let input = &mut inputs[index - 1];
                    masked(below.outputs.values(), masks.get(index - 1), input.values_mut());
                    layer.gates.view_mut().set_product(input.view(), self.weight(3 * index).transposed());
                }
            }
            layer.forward(|| self.weight(3 * index + 1), self.bias(3 * index + 2));
        }
        let first = self.first_dense();
        let dense = |index| Dense { weight: self.weight(index), bias: self.bias(index + 1) };
        let top = layers[layers.len() - 1].seen_from_above();
        head.forward(top.view(), [dense(first), dense(first + 2)], masks.last(), lanes);
    }

    /// What flows into the first layer: the kernel's rows of what it is shown.
    fn look_up(&self, shown: &[Vec<[Option<usize>; 2]>], layer: &mut Layer) {
        let width = 4 * self.architecture.units;
        let kernel = |feature: usize| &self.lookup[feature * width..][..width];
        for (shown, gates) in shown.iter().flatten().zip(layer.gates.values_mut().chunks_exact_mut(width)) {
            match shown[0] {
                Some(class) => gates.copy_from_slice(kernel(class)),
                None => gates.fill(0.0),
            }
            if let Some(interval) = shown[1] {
                gates.iter_mut().zip(kernel(interval)).for_each(|(gate, weight)| *gate += weight);
            }
        }
    }

    /// From ∂L/∂score to the gradient of all parameters, summed over lanes along the tree.
    fn backward(&self, memory: &mut Memory, gradient: &mut [f32]) {
        let Memory { shape, shown, layers, inputs, d_outputs, head, lane_gradients, masks } = memory;
        let shape = *shape;
        let mut sum = LaneSum::new(shape.lanes, lane_gradients, gradient);

        let first = self.first_dense();
        let top = layers[layers.len() - 1].seen_from_above();
        let of_head = &self.layout[first..];
        head.backward(&mut sum, of_head, self.weight(first + 2), masks.last(), |rows| top.view_rows(rows));
        self.d_top(shape, &head.d_dense, d_outputs);

        for index in (0..layers.len()).rev() {
            let layer = &mut layers[index];
            layer.backward(|| self.weight(3 * index + 1), d_outputs);
            let layer = &*layer;
            let whole = |lane| shape.of_lane(lane, 0, 0);
            if index == 0 {
                sum.lookup(&self.layout[0], &layer.gates, shown);
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

    /// ∂L/∂h of the top layer: of all moments, or, where only the last is seen from above, of that.
    fn d_top(&self, shape: Shape, d_dense: &Matrix, d_outputs: &mut Matrix) {
        let weight = self.weight(self.first_dense());
        if shape.predictions == shape.notes {
            d_outputs.view_mut().set_product(d_dense.view(), weight);
            return;
        }
        let mut d_last = Matrix::zeros(shape.lanes * shape.padded, self.architecture.units);
        d_last.view_mut().set_product(d_dense.view(), weight);
        d_outputs.values_mut().fill(0.0);
        for (moment, row) in shape.moment(shape.notes - 1) {
            d_outputs.row_mut(row).copy_from_slice(d_last.row(moment));
        }
    }
}

impl Memory {
    fn new(shape: Shape, architecture: Architecture) -> Self {
        let Architecture { layers, units, .. } = architecture;
        let all = shape.rows();
        let largest = architecture.parameters().iter().map(Parameter::len).max().unwrap_or(0);
        Memory {
            shape,
            shown: Vec::new(),
            layers: (0..layers).map(|_| Layer::new(shape, units)).collect(),
            inputs: (1..layers).map(|_| Matrix::zeros(all, units)).collect(),
            d_outputs: Matrix::zeros(all, units),
            head: Head::new(shape, architecture),
            lane_gradients: Matrix::zeros(shape.lanes, largest),
            masks: Vec::new(),
        }
    }

    /// One mask for each dropout layer, all lanes together. Masks of whole windows are laid out (L, T, P, H).
    fn draw_masks(&mut self, lanes: &[LaneBatch], dropout: &Dropout, architecture: Architecture) {
        self.masks.clear();
        if dropout.rate == 0.0 {
            return;
        }
        let Shape { notes, predictions, padded, .. } = self.shape;
        let shape = |times: usize, units: usize| [times as i64, padded as i64, units as i64];
        let windows = self.inputs.iter().map(|_| shape(notes, architecture.units));
        let shapes: Vec<_> = windows.chain([shape(predictions, architecture.dense)]).collect();
        for (layer, shape) in shapes.iter().enumerate() {
            self.masks.push(lanes.iter().flat_map(|lane| dropout.mask(lane, layer, shape)).collect());
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
