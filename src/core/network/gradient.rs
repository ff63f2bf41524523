//! The gradient of every parameter, from what a group's forward and backward passes left in workspace: for each lane a sum over
//! its rows, and the lanes' sums along the tree.

use crate::compute::one_hot::lookup_gradient;
use crate::compute::weight_gradient::{LaneRows, Weight, bias_gradient, weight_gradients};

use super::training::{TrainingNetwork, Workspace};

impl TrainingNetwork {
    /// Writes the gradient of a layer's parameters, summed over all lanes of a group.
    pub(super) fn layer_gradient(&self, layer: usize, workspace: &Workspace, gradient: &mut [f32]) {
        let Workspace { shape, shown, layers, inputs, .. } = workspace;
        let lanes =
            |matrix, timesteps| (0..shape.lanes).map(move |lane| shape.lane(matrix, lane, 0, timesteps));
        let gates: Vec<_> = lanes(&layers[layer].gates, shape.notes).collect();
        let [input, recurrent, bias] = self.gradients_of(3 * layer, gradient);
        // Each note's gates with the output of the note before.
        let before = lanes(&layers[layer].outputs, shape.notes - 1).collect();
        let recurrent = Weight { inputs: before, gradient: recurrent };
        if let Some(below) = layer.checked_sub(1) {
            let below = lanes(&inputs[below], shape.notes).collect();
            weight_gradients(&gates, &mut [recurrent, Weight { inputs: below, gradient: input }]);
        } else {
            let lanes: Vec<_> = gates.iter().zip(shown).map(|(gates, shown)| (*gates, &shown[..])).collect();
            lookup_gradient(&lanes, self.architecture.features(), input);
            weight_gradients(&gates, &mut [recurrent]);
        }
        bias_gradient(&gates, bias);
    }

    /// Writes the gradient of the parameters above the layers, summed over all lanes of a group.
    pub(super) fn head_gradient(&self, workspace: &Workspace, gradient: &mut [f32]) {
        let Workspace { shape, layers, head, .. } = workspace;
        let lanes = |matrix, first| -> Vec<LaneRows<'_>> {
            (0..shape.lanes).map(|lane| shape.lane(matrix, lane, first, shape.predictions)).collect()
        };
        let seen = lanes(&layers[layers.len() - 1].outputs, shape.notes - shape.predictions);
        let (d_dense, d_scores) = (lanes(&head.d_dense, 0), lanes(&head.scores, 0));
        let [of_dense, dense_bias, of_scores, scores_bias] = self.gradients_of(3 * layers.len(), gradient);
        weight_gradients(&d_dense, &mut [Weight { inputs: seen, gradient: of_dense }]);
        bias_gradient(&d_dense, dense_bias);
        weight_gradients(&d_scores, &mut [Weight { inputs: lanes(&head.dense, 0), gradient: of_scores }]);
        bias_gradient(&d_scores, scores_bias);
    }

    /// The parts of a gradient that belong to N parameters, of which the first has this place in the layout.
    fn gradients_of<'a, const N: usize>(&self, first: usize, gradient: &'a mut [f32]) -> [&'a mut [f32]; N] {
        let ranges = std::array::from_fn(|parameter| self.layout[first + parameter].range());
        gradient.get_disjoint_mut(ranges).expect("no two parameters overlap")
    }
}
