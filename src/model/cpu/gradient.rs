//! The gradient of every parameter, from what the ways forward and back left in memory: for each lane a sum over its
//! rows, and the lanes' sums along the tree. Threads take parts of it one after another.

use std::ops::Range;

use bachdist_core::compute::lanes::{BLOCK, LaneRows, WeightGradient, bias_gradient, lookup_gradient};
use bachdist_core::compute::matrix::Matrix;
use bachdist_core::parallel::in_parallel;

use super::shape::Shape;
use super::{Memory, Network};

/// What the gradient of one parameter is made of. One entry for each lane.
enum Sum<'a> {
    /// ∂L/∂out, and what went in.
    Weight(Vec<(LaneRows<'a>, LaneRows<'a>)>),
    /// ∂L/∂out, and the features that the first layer was shown.
    Lookup(Vec<(LaneRows<'a>, &'a [[Option<usize>; 2]])>),
    /// ∂L/∂out.
    Bias(Vec<LaneRows<'a>>),
}

/// A part of the gradient.
struct Part<'a> {
    sum: &'a Sum<'a>,
    /// Which of the parameter's outputs.
    outputs: Range<usize>,
    /// Numbers of an input.
    inputs: usize,
    gradient: &'a mut [f32],
}

impl Part<'_> {
    fn write(self) {
        let Part { sum, outputs, inputs, gradient } = self;
        match sum {
            Sum::Weight(lanes) => WeightGradient { lanes, outputs, inputs }.write(gradient),
            Sum::Lookup(lanes) => lookup_gradient(lanes, inputs, gradient),
            Sum::Bias(lanes) => bias_gradient(lanes, gradient),
        }
    }
}

impl Network {
    /// Writes the gradient of all parameters, summed over all lanes.
    pub(super) fn sum_lanes(&self, gradient: &mut [f32]) {
        let sums: Vec<_> = (0..self.layout.len()).map(|index| self.sum(index)).collect();
        let mut parts = Vec::new();
        let mut rest = gradient;
        for (parameter, sum) in self.layout.iter().zip(&sums) {
            let (of_parameter, others) = rest.split_at_mut(parameter.len());
            rest = others;
            let inputs = parameter.shape.get(1).copied().unwrap_or(1);
            let block = if let Sum::Weight(_) = sum { BLOCK } else { parameter.shape[0] };
            for (number, gradient) in of_parameter.chunks_mut(block * inputs).enumerate() {
                let outputs = number * block..parameter.shape[0].min((number + 1) * block);
                parts.push(Part { sum, outputs, inputs, gradient });
            }
        }
        in_parallel(self.groups.len(), parts, Part::write);
    }

    /// What the gradient of the parameter with this place in the layout is made of.
    fn sum(&self, parameter: usize) -> Sum<'_> {
        let layers = self.layers.len();
        let (layer, which) = (parameter / 3, parameter % 3);
        match (parameter.checked_sub(3 * layers), which) {
            (None, 0) if layer == 0 => Sum::Lookup(self.of_lanes(|memory, lane| {
                let gates = &memory.layers[0].gates;
                (memory.shape.lane(gates, lane, 0, memory.shape.notes), &memory.shown[lane][..])
            })),
            (None, 0) => Sum::Weight(self.of_lanes(|Memory { shape, layers, inputs, .. }, lane| {
                let all = |matrix| shape.lane(matrix, lane, 0, shape.notes);
                (all(&layers[layer].gates), all(&inputs[layer - 1]))
            })),
            // Each note's gates with the output of the note before.
            (None, 1) => Sum::Weight(self.of_lanes(|Memory { shape, layers, .. }, lane| {
                let (layer, moments) = (&layers[layer], shape.notes - 1);
                (shape.lane(&layer.gates, lane, 1, moments), shape.lane(&layer.outputs, lane, 0, moments))
            })),
            (None, _) => Sum::Bias(self.of_lanes(|Memory { shape, layers, .. }, lane| {
                shape.lane(&layers[layer].gates, lane, 0, shape.notes)
            })),
            (Some(0), _) => Sum::Weight(self.of_lanes(|Memory { shape, layers, head, .. }, lane| {
                let top = &layers[layers.len() - 1].outputs;
                let first = shape.notes - shape.predictions;
                (of_head(shape, &head.d_dense, lane), shape.lane(top, lane, first, shape.predictions))
            })),
            (Some(1), _) => {
                Sum::Bias(self.of_lanes(|memory, lane| of_head(&memory.shape, &memory.head.d_dense, lane)))
            }
            (Some(2), _) => Sum::Weight(self.of_lanes(|Memory { shape, head, .. }, lane| {
                (of_head(shape, &head.scores, lane), of_head(shape, &head.dense, lane))
            })),
            (Some(_), _) => {
                Sum::Bias(self.of_lanes(|memory, lane| of_head(&memory.shape, &memory.head.scores, lane)))
            }
        }
    }

    /// Something of every lane of every group, in order.
    fn of_lanes<'a, T>(&'a self, of_lane: impl Fn(&'a Memory, usize) -> T) -> Vec<T> {
        let lanes =
            self.groups.iter().flat_map(|memory| (0..memory.shape.lanes).map(move |lane| (memory, lane)));
        lanes.map(|(memory, lane)| of_lane(memory, lane)).collect()
    }
}

/// A lane's rows of a matrix of the head.
fn of_head<'a>(shape: &Shape, matrix: &'a Matrix, lane: usize) -> LaneRows<'a> {
    shape.lane(matrix, lane, 0, shape.predictions)
}
