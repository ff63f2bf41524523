//! The network on a CPU, written out: forward and backward in the GEMMs and loops of `compute`, without
//! libtorch and its graph.
//!
//! A rank's lanes are computed in groups, nodes of the tree of lanes, which its threads take one after another. All lanes
//! of a group share the GEMMs, whose rows are independent. Then weight gradients, which are sums over rows, are
//! made for each lane and summed along the tree. One-hot inputs are looked up, and the GEMM with the zero initial
//! state is left out. Agrees with libtorch to 1e-5 (`tests/golden`).
//!
//! L lanes, T notes, after the last Q of which the next is predicted, P rows a lane with padding, H units,
//! K slots of active features.

use std::sync::Mutex;

use crate::compute::matrix::{Matrix, Rows, RowsMut};
use crate::compute::one_hot::lookup_gradient;
use crate::compute::weight_gradient::{LaneRows, Weight, bias_gradient, weight_gradients};
use crate::lanes::TreeSum;
use crate::parallel::vectorized;

use crate::parallel::in_parallel;
use crate::representation::FeatureShape;

use super::activations::{BackwardKernel, Head, LstmActivations, Shape, multiply};
use super::batch::{EpochSums, LaneBatch, NO_TARGET, StreamPurpose};
use super::dropout::Dropout;
use super::layers::{LayerInput, Layers};
use super::{Architecture, Parameter, Role};

/// The network's parameters and workspace.
pub struct TrainingNetwork {
    threads: usize,
    architecture: Architecture,
    /// Places of the parameters in the flat buffer.
    layout: Vec<Parameter>,
    layers: Layers,
    backward: BackwardKernels,
    /// For each thread, workspace for a group of the shape that came last.
    workspaces: Mutex<Vec<Workspace>>,
    /// Where rows are streams, the states of each lane's rows after the window that was trained on last.
    carried: Vec<CarriedStates>,
    /// The same of the window that was evaluated last.
    carried_in_evaluation: Vec<CarriedStates>,
}

/// The states of a lane's rows between two windows: for each LSTM layer outputs and cells, (P, H) each.
#[derive(Debug, Clone)]
pub struct CarriedStates(pub Vec<[Matrix; 2]>);

/// Rows of a group, where it has several lanes: enough for every weight to be used often while it is in cache, and so few
/// that what is kept of them for the backward pass stays there.
const ROWS: usize = 64;

/// The kernels once more, packed for the backward GEMMs.
struct BackwardKernels {
    /// Of each LSTM layer but the first, for the outputs of the one below.
    inputs: Vec<BackwardKernel>,
    /// Of each LSTM layer.
    recurrent: Vec<BackwardKernel>,
    /// Of the dense layer and of the scores.
    head: [BackwardKernel; 2],
}

/// The workspace: what some lanes keep between forward and backward. Rows are laid out (T, L, P).
struct Workspace {
    shape: Shape,
    /// For each lane (T, P, K): the first layer's active features.
    active: Vec<Vec<u32>>,
    layers: Vec<LstmActivations>,
    /// For each layer but the first (T·L·P, H): the outputs of the one below, after dropout.
    inputs: Vec<Matrix>,
    /// Of streams (T·L·P): whether the state before is zero.
    resets: Vec<bool>,
    /// (T·L·P, H): ∂L/∂h of the layer at hand, and of the one below it.
    d_outputs: [Matrix; 2],
    /// The dense layers and the softmax.
    head: Head,
    /// Dropout masks of the LSTM layers but the last, and of the dense layer; empty without dropout.
    masks: Vec<Matrix>,
}

impl TrainingNetwork {
    /// A network with room for its parameters; [`TrainingNetwork::load`] fills them in.
    pub fn new(architecture: Architecture, threads: usize) -> Self {
        let Architecture { layers, units, dense, .. } = architecture;
        let of_gates = |_| BackwardKernel::zeros(4 * units, units);
        TrainingNetwork {
            threads,
            architecture,
            layout: architecture.parameters(),
            layers: Layers::new(architecture),
            backward: BackwardKernels {
                inputs: (1..layers).map(of_gates).collect(),
                recurrent: (0..layers).map(of_gates).collect(),
                head: [
                    BackwardKernel::zeros(dense, units),
                    BackwardKernel::zeros(architecture.shape.scores, dense),
                ],
            },
            workspaces: Mutex::default(),
            carried: Vec::new(),
            carried_in_evaluation: Vec::new(),
        }
    }

    /// Loads `parameters`, laid out as in [`Architecture::parameters`].
    pub fn load(&mut self, parameters: &[f32]) {
        self.layers.load(&self.layout, parameters);
        let BackwardKernels { inputs, recurrent, head: [dense, scores] } = &mut self.backward;
        for parameter in &self.layout {
            let kernel = match parameter.role {
                // Nothing flows back into the first layer's features.
                Role::InputKernel { layer: 0 } => continue,
                Role::InputKernel { layer } => &mut inputs[layer - 1],
                Role::RecurrentKernel { layer } => &mut recurrent[layer],
                Role::DenseKernel => &mut *dense,
                Role::ScoreKernel => &mut *scores,
                Role::GateBias { .. } | Role::DenseBias | Role::ScoreBias => continue,
            };
            kernel.load(&parameters[parameter.range()]);
        }
    }

    /// Loss of a rank's lanes in training; the sum of their gradients is written to `gradient`.
    pub fn gradient(
        &mut self,
        lanes: &[LaneBatch],
        dropout: &Dropout,
        gradient: &mut [f32],
    ) -> Vec<EpochSums> {
        let carried = self.carried_into(lanes, StreamPurpose::Training);
        let of_group = |(lanes, carried): (&[LaneBatch], &[CarriedStates]), gradient: &mut [f32]| {
            // Padding alone leaves zeros, and takes no workspace for it.
            if lanes.iter().all(|lane| lane.windows == 0) {
                gradient.fill(0.0);
                return (vec![EpochSums::default(); lanes.len()], carried.to_vec());
            }
            self.with_workspace(lanes, |workspace| {
                workspace.begin(self.architecture, lanes, carried, Some(dropout));
                self.forward(lanes, workspace);
                let sums = workspace.head.score(lanes);
                let carried = workspace.end(lanes, carried);
                self.backward(lanes, workspace, gradient);
                (sums, carried)
            })
        };
        let groups = self.groups(lanes, &carried);
        if let [group] = groups[..] {
            let (sums, carried) = of_group(group, gradient);
            self.carried = carried;
            return sums;
        }
        let groups = in_parallel(self.threads, groups, |group| {
            let mut gradient = vec![0.0; self.architecture.len()];
            (of_group(group, &mut gradient), gradient)
        });
        let mut tree = TreeSum::default();
        let (mut sums, mut carried) = (Vec::new(), Vec::new());
        for ((of_group, states), gradient) in groups {
            sums.extend(of_group);
            carried.extend(states);
            tree.push(gradient);
        }
        self.carried = carried;
        gradient.copy_from_slice(&tree.finish());
        sums
    }

    /// Log-probs of each prediction of each lane, without dropout: (predictions, C), those of a lane in the order (Q, R).
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Vec<f32> {
        let carried = self.carried_into(lanes, StreamPurpose::Evaluation);
        let groups = in_parallel(self.threads, self.groups(lanes, &carried), |(lanes, carried)| {
            if lanes.iter().all(|lane| lane.windows == 0) {
                return (Vec::new(), carried.to_vec());
            }
            self.with_workspace(lanes, |workspace| {
                workspace.begin(self.architecture, lanes, carried, None);
                self.forward(lanes, workspace);
                let mut predictions = Vec::new();
                for (index, lane) in lanes.iter().enumerate() {
                    for (row, &target) in workspace.head.rows(index).zip(&lane.targets) {
                        if target != NO_TARGET {
                            predictions.extend_from_slice(row);
                        }
                    }
                }
                (predictions, workspace.end(lanes, carried))
            })
        });
        let (predictions, carried): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
        self.carried_in_evaluation = carried.concat();
        predictions.concat()
    }

    /// The states of each lane's rows, where they are streams that are trained on; otherwise empty.
    pub fn carried(&self) -> &[CarriedStates] {
        &self.carried
    }

    /// Replaces them.
    pub fn set_carried(&mut self, carried: Vec<CarriedStates>) {
        self.carried = carried;
    }

    /// The states that the next window of these lanes begins with: zero, if there was none before. None of windows.
    fn carried_into(&self, lanes: &[LaneBatch], purpose: StreamPurpose) -> Vec<CarriedStates> {
        let Some(LaneBatch { streams: Some(_), rows, .. }) = lanes.first() else { return Vec::new() };
        let carried = match purpose {
            StreamPurpose::Training => &self.carried,
            StreamPurpose::Evaluation => &self.carried_in_evaluation,
        };
        let Architecture { layers, units, .. } = self.architecture;
        let zero = || CarriedStates(vec![[(); 2].map(|()| Matrix::zeros(*rows, units)); layers]);
        if carried.len() == lanes.len() { carried.clone() } else { lanes.iter().map(|_| zero()).collect() }
    }

    /// The lanes, a power of two of them, in groups of equal size: at least one for each thread where there are so many,
    /// and none of more than [`ROWS`] where that can be.
    fn groups<'a>(
        &self,
        lanes: &'a [LaneBatch],
        carried: &'a [CarriedStates],
    ) -> Vec<(&'a [LaneBatch], &'a [CarriedStates])> {
        let fits = |&size: &usize| size * self.threads <= lanes.len() && size * lanes[0].rows <= ROWS;
        let sizes = (0..).map(|power| 1 << power).take_while(|size| lanes.len().is_multiple_of(*size));
        let size = sizes.take_while(fits).last().unwrap_or(1);
        let mut groups = Vec::new();
        for (index, lanes) in lanes.chunks(size).enumerate() {
            // Of windows nothing is carried.
            groups.push((lanes, carried.get(index * size..index * size + lanes.len()).unwrap_or_default()));
        }
        groups
    }

    /// Runs with workspace for a group, which the next of the same shape will have again.
    fn with_workspace<R>(&self, lanes: &[LaneBatch], work: impl FnOnce(&mut Workspace) -> R) -> R {
        let workspaces = || self.workspaces.lock().expect("nothing panics while it is held");
        let shape = Shape::of(lanes);
        let workspace = workspaces().pop().filter(|workspace| workspace.shape == shape);
        let mut workspace = workspace.unwrap_or_else(|| Workspace::new(shape, self.architecture));
        let result = work(&mut workspace);
        workspaces().push(workspace);
        result
    }

    /// Leaves log-probs in the head.
    fn forward(&self, lanes: &[LaneBatch], workspace: &mut Workspace) {
        let Workspace { shape, active, layers, inputs, resets, head, masks, .. } = workspace;
        let (shape, slots) = (*shape, self.architecture.shape.slots);
        for (index, lstm) in self.layers.lstm.iter().enumerate() {
            let (below, rest) = layers.split_at_mut(index);
            if let Some(below) = below.last() {
                // What the layer sees of the one below, of the whole window.
                masked(below.outputs.all(), masks.get(index - 1), inputs[index - 1].all_mut());
            }
            rest[0].forward(lstm, resets, |time| match index.checked_sub(1) {
                None => {
                    let timestep = time * shape.padded * slots..(time + 1) * shape.padded * slots;
                    LayerInput::Active(
                        active.iter().flat_map(move |lane| lane[timestep.clone()].chunks_exact(slots)),
                    )
                }
                Some(below) => LayerInput::Units(inputs[below].rows(shape.timestep(time))),
            });
        }
        let top = layers[layers.len() - 1].seen_from_above();
        head.forward(&self.layers, top, masks.last(), lanes);
    }

    /// From log-probs to the gradient of all parameters. Each layer's is summed up as soon as what flowed
    /// into it is known, while that is in cache.
    fn backward(&self, lanes: &[LaneBatch], workspace: &mut Workspace, gradient: &mut [f32]) {
        self.backward_head(lanes, workspace);
        self.head_gradient(workspace, gradient);
        for layer in (0..self.layers.lstm.len()).rev() {
            self.backward_layer(layer, workspace);
            self.layer_gradient(layer, workspace, gradient);
        }
    }

    /// To ∂L/∂h of the top layer.
    fn backward_head(&self, lanes: &[LaneBatch], workspace: &mut Workspace) {
        let Workspace { shape, d_outputs: [d_outputs, _], head, masks, .. } = workspace;
        d_outputs.clear();
        let d_top = d_outputs.rows_mut(shape.first_prediction()..shape.rows());
        head.backward(&self.backward.head, masks.last(), lanes, d_top);
    }

    /// From ∂L/∂h of a layer to that of the one below.
    fn backward_layer(&self, index: usize, workspace: &mut Workspace) {
        let Workspace { shape, layers, resets, d_outputs, masks, .. } = workspace;
        let [of_layer, below] = d_outputs;
        layers[index].backward(&self.backward.recurrent[index], resets, of_layer, |time, d_gates| {
            // Nothing flows back into the first layer's features.
            let Some(kernel) = index.checked_sub(1).map(|below| &self.backward.inputs[below]) else { return };
            let rows = shape.timestep(time);
            kernel.set(d_gates, below.rows_mut(rows.clone()));
            if let Some(mask) = masks.get(index - 1) {
                multiply(below.rows_mut(rows.clone()), mask.rows(rows));
            }
        });
        d_outputs.swap(0, 1);
    }

    /// Writes the gradient of a layer's parameters, summed over all lanes of a group.
    fn layer_gradient(&self, layer: usize, workspace: &Workspace, gradient: &mut [f32]) {
        let Workspace { shape, active, layers, inputs, .. } = workspace;
        let lanes =
            |matrix, timesteps| (0..shape.lanes).map(move |lane| shape.lane(matrix, lane, 0, timesteps));
        let gates: Vec<_> = lanes(&layers[layer].gates, shape.notes).collect();
        let [input, recurrent, bias] = self.gradients_of(
            [Role::InputKernel { layer }, Role::RecurrentKernel { layer }, Role::GateBias { layer }],
            gradient,
        );
        // Each note's gates with the output of the note before.
        let before = match &layers[layer].before {
            Some(before) => lanes(&before.outputs, shape.notes).collect(),
            None => lanes(&layers[layer].outputs, shape.notes - 1).collect(),
        };
        let recurrent = Weight { inputs: before, gradient: recurrent };
        if let Some(below) = layer.checked_sub(1) {
            let below = lanes(&inputs[below], shape.notes).collect();
            weight_gradients(&gates, &mut [recurrent, Weight { inputs: below, gradient: input }]);
        } else {
            let FeatureShape { slots, inputs, .. } = self.architecture.shape;
            let lanes: Vec<_> =
                gates.iter().zip(active).map(|(gates, active)| (*gates, &active[..])).collect();
            lookup_gradient(&lanes, slots, inputs, input);
            weight_gradients(&gates, &mut [recurrent]);
        }
        bias_gradient(&gates, bias);
    }

    /// Writes the gradient of the parameters above the layers, summed over all lanes of a group.
    fn head_gradient(&self, workspace: &Workspace, gradient: &mut [f32]) {
        let Workspace { shape, layers, head, .. } = workspace;
        let lanes = |matrix, first| -> Vec<LaneRows<'_>> {
            (0..shape.lanes).map(|lane| shape.lane(matrix, lane, first, shape.predictions)).collect()
        };
        let seen = lanes(&layers[layers.len() - 1].outputs, shape.notes - shape.predictions);
        let (d_dense, d_scores) = (lanes(&head.d_dense, 0), lanes(&head.scores, 0));
        let [of_dense, dense_bias, of_scores, scores_bias] = self
            .gradients_of([Role::DenseKernel, Role::DenseBias, Role::ScoreKernel, Role::ScoreBias], gradient);
        weight_gradients(&d_dense, &mut [Weight { inputs: seen, gradient: of_dense }]);
        bias_gradient(&d_dense, dense_bias);
        weight_gradients(&d_scores, &mut [Weight { inputs: lanes(&head.dense, 0), gradient: of_scores }]);
        bias_gradient(&d_scores, scores_bias);
    }

    /// The parts of a gradient that belong to N parameters.
    fn gradients_of<'a, const N: usize>(
        &self,
        roles: [Role; N],
        gradient: &'a mut [f32],
    ) -> [&'a mut [f32]; N] {
        let ranges = roles.map(|role| {
            let parameter = self.layout.iter().find(|parameter| parameter.role == role);
            parameter.expect("the architecture has all of them").range()
        });
        gradient.get_disjoint_mut(ranges).expect("no two parameters overlap")
    }
}

/// What a layer sees of the one below, by the mask if there is one.
fn masked(outputs: Rows<'_>, mask: Option<&Matrix>, mut out: RowsMut<'_>) {
    let Some(mask) = mask.map(Matrix::all) else { return out.copy_from(outputs) };
    vectorized(
        #[inline(always)]
        || {
            for (out, (outputs, mask)) in out.iter_mut().zip(outputs.iter().zip(mask.iter())) {
                for ((out, x), mask) in out.iter_mut().zip(outputs).zip(mask) {
                    *out = x * mask;
                }
            }
        },
    );
}

impl Workspace {
    fn new(shape: Shape, architecture: Architecture) -> Self {
        let Architecture { layers, units, .. } = architecture;
        let matrix = || Matrix::zeros(shape.rows(), units);
        Workspace {
            shape,
            active: Vec::new(),
            layers: (0..layers).map(|_| LstmActivations::new(shape, units)).collect(),
            inputs: (1..layers).map(|_| matrix()).collect(),
            resets: Vec::new(),
            d_outputs: [matrix(), matrix()],
            head: Head::new(shape, architecture),
            masks: Vec::new(),
        }
    }

    /// Takes the active features of new lanes, the states that they begin with, and their masks.
    fn begin(
        &mut self,
        architecture: Architecture,
        lanes: &[LaneBatch],
        carried: &[CarriedStates],
        dropout: Option<&Dropout>,
    ) {
        self.active = lanes.iter().map(|lane| lane.active(dropout)).collect();
        self.resets.clear();
        for time in 0..self.shape.notes {
            for streams in lanes.iter().filter_map(|lane| lane.streams.as_ref()) {
                self.resets.extend(&streams.resets[time * self.shape.padded..][..self.shape.padded]);
            }
        }
        for (lane, CarriedStates(states)) in carried.iter().enumerate() {
            for (layer, states) in self.layers.iter_mut().zip(states) {
                layer.begin_with(lane, states);
            }
        }
        let Some(dropout) = dropout.filter(|dropout| dropout.rate > 0.0) else {
            self.masks.clear();
            return;
        };
        let Shape { notes, predictions, .. } = self.shape;
        let windows = self.inputs.iter().map(|_| (notes, architecture.units));
        let layers: Vec<_> = windows.chain([(predictions, architecture.dense)]).collect();
        self.masks.resize_with(layers.len(), || Matrix::zeros(0, 0));
        for (layer, (mask, (times, units))) in self.masks.iter_mut().zip(layers).enumerate() {
            if mask.all().is_empty() {
                *mask = Matrix::zeros(times * self.shape.timestep_rows(), units);
            }
            for (index, lane) in lanes.iter().enumerate() {
                let rows = self.shape.lane(mask, index, 0, times).row_indices();
                for (number, row) in rows.enumerate() {
                    let (time, row_of_lane) = (number / lane.rows, number % lane.rows);
                    dropout.mask_row(lane.first_row + row_of_lane, layer, time, mask.row_mut(row));
                }
            }
        }
    }

    /// The states that the lanes end with, where their rows are streams. A lane that had nothing left to read keeps its own,
    /// so that they do not depend on which lanes share a group.
    fn end(&self, lanes: &[LaneBatch], carried: &[CarriedStates]) -> Vec<CarriedStates> {
        let mut states = Vec::new();
        for (index, (lane, before)) in lanes.iter().zip(carried).enumerate() {
            states.push(if lane.windows == 0 {
                before.clone()
            } else {
                CarriedStates(self.layers.iter().map(|layer| layer.end_with(index)).collect())
            });
        }
        states
    }
}
