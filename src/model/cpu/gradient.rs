//! The gradient of every parameter, from what a group's ways forward and back left in memory: for each lane a sum over
//! its rows, and the lanes' sums along the tree.

use std::ops::Range;

use bachdist_core::compute::lanes::{BLOCK, LaneRows, WeightGradient, bias_gradient, lookup_gradient};

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

impl Network {
    /// Writes the gradient of these parameters, by their places in the layout, summed over all lanes of a group.
    pub(super) fn sum_lanes(&self, memory: &Memory, parameters: Range<usize>, gradient: &mut [f32]) {
        for index in parameters {
            let parameter = &self.layout[index];
            let gradient = &mut gradient[parameter.range()];
            let outputs = parameter.shape[0];
            let inputs = gradient.len() / outputs;
            match self.sum(memory, index) {
                Sum::Weight(lanes) => {
                    for (block, gradient) in gradient.chunks_mut(BLOCK * inputs).enumerate() {
                        let outputs = block * BLOCK..outputs.min((block + 1) * BLOCK);
                        WeightGradient { lanes: &lanes, outputs, inputs }.write(gradient);
                    }
                }
                Sum::Lookup(lanes) => lookup_gradient(&lanes, inputs, gradient),
                Sum::Bias(lanes) => bias_gradient(&lanes, gradient),
            }
        }
    }

    /// What the gradient of the parameter with this place in the layout is made of.
    fn sum<'a>(&self, memory: &'a Memory, parameter: usize) -> Sum<'a> {
        let Memory { shape, shown, layers, inputs, head, .. } = memory;
        let lanes = 0..shape.lanes;
        let whole = |matrix, lane| shape.lane(matrix, lane, 0, shape.notes);
        let of_head = |matrix, lane| shape.lane(matrix, lane, 0, shape.predictions);
        let (layer, which) = (parameter / 3, parameter % 3);
        if let Some(which) = parameter.checked_sub(3 * layers.len()) {
            let top = &layers[layers.len() - 1].outputs;
            let first = shape.notes - shape.predictions;
            let seen = |lane| shape.lane(top, lane, first, shape.predictions);
            return match which {
                0 => Sum::Weight(lanes.map(|lane| (of_head(&head.d_dense, lane), seen(lane))).collect()),
                1 => Sum::Bias(lanes.map(|lane| of_head(&head.d_dense, lane)).collect()),
                2 => Sum::Weight(
                    lanes.map(|lane| (of_head(&head.scores, lane), of_head(&head.dense, lane))).collect(),
                ),
                _ => Sum::Bias(lanes.map(|lane| of_head(&head.scores, lane)).collect()),
            };
        }
        let (gates, outputs) = (&layers[layer].gates, &layers[layer].outputs);
        match which {
            0 if layer == 0 => {
                Sum::Lookup(lanes.map(|lane| (whole(gates, lane), &shown[lane][..])).collect())
            }
            0 => {
                Sum::Weight(lanes.map(|lane| (whole(gates, lane), whole(&inputs[layer - 1], lane))).collect())
            }
            // Each note's gates with the output of the note before.
            1 => {
                let moments = shape.notes - 1;
                let later = |lane| shape.lane(gates, lane, 1, moments);
                Sum::Weight(lanes.map(|lane| (later(lane), shape.lane(outputs, lane, 0, moments))).collect())
            }
            _ => Sum::Bias(lanes.map(|lane| whole(gates, lane)).collect()),
        }
    }
}
