//! The network on a CPU, written out: forward and backward in the products and loops of `compute`, without
//! libtorch and its graph.
//!
//! A rank's lanes are computed in groups, nodes of the tree of lanes, which its threads take one after another. All lanes
//! of a group share the products, whose rows are independent. Then weight gradients, which are sums over rows, are
//! made for each lane and summed along the tree. One-hot inputs are looked up, and the product with the zero initial
//! state is left out. Agrees with libtorch to 1e-5 (`tests/golden`).
//!
//! L lanes, T notes, after the last Q of which the next is predicted, P rows a lane with padding, H units, F features.

use std::sync::Mutex;

use crate::compute::matrix::{Matrix, Rows, RowsMut};
use crate::compute::one_hot::{ActiveFeatures, Lookup};
use crate::lanes::TreeSum;
use crate::parallel::vectorized;

use crate::parallel::in_parallel;

use super::batch::LaneBatch;
use super::dropout::Dropout;
use super::head::{Dense, Head, multiply};
use super::lstm::{Kernel, Layer};
use super::score::EpochSums;
use super::shape::Shape;
use super::{Architecture, Parameter};

/// The network's parameters and workspace.
pub struct TrainingNetwork {
    threads: usize,
    pub(super) architecture: Architecture,
    /// Places of the parameters in the flat buffer.
    pub(super) layout: Vec<Parameter>,
    layers: Vec<Lstm>,
    dense: [Dense; 2],
    /// For each thread, workspace for a group of the shape that came last.
    workspaces: Mutex<Vec<Workspace>>,
}

/// Rows of a group, where it has several lanes: enough for every weight to be used often while it is in cache, and so few
/// that what is kept of them for the backward pass stays there.
const ROWS: usize = 64;

/// An LSTM layer's parameters.
struct Lstm {
    input: Input,
    recurrent: Kernel,
    /// (1, 4H).
    bias: Matrix,
}

/// An LSTM layer's input kernel.
enum Input {
    /// The first layer's.
    Lookup(Lookup),
    /// The others'.
    Units(Kernel),
}

/// The workspace: what some lanes keep between forward and backward. Rows are laid out (T, L, P).
pub(super) struct Workspace {
    pub(super) shape: Shape,
    /// For each lane (T, P): what the first layer is shown of every note.
    pub(super) shown: Vec<Vec<ActiveFeatures>>,
    pub(super) layers: Vec<Layer>,
    /// For each layer but the first (T·L·P, H): what it sees of the one below, after dropout.
    pub(super) inputs: Vec<Matrix>,
    /// (T·L·P, H): ∂L/∂h of the layer at hand, and of the one below it.
    d_outputs: [Matrix; 2],
    /// The dense layers and the softmax.
    pub(super) head: Head,
    /// Dropout masks of the LSTM layers but the last, and of the dense layer; empty without dropout.
    masks: Vec<Matrix>,
}

impl TrainingNetwork {
    /// A network with room for its parameters; [`TrainingNetwork::load`] fills them in.
    pub fn new(architecture: Architecture, threads: usize) -> Self {
        let Architecture { layers, units, dense, .. } = architecture;
        let features = architecture.features();
        let layer = |index: usize| Lstm {
            input: match index {
                0 => Input::Lookup(Lookup::zeros(features, 4 * units)),
                _ => Input::Units(Kernel::zeros(4 * units, units)),
            },
            recurrent: Kernel::zeros(4 * units, units),
            bias: Matrix::zeros(1, 4 * units),
        };
        let linear = |outputs, inputs| Dense {
            kernel: Kernel::zeros(outputs, inputs),
            bias: Matrix::zeros(1, outputs),
        };
        TrainingNetwork {
            threads,
            architecture,
            layout: architecture.parameters(),
            layers: (0..layers).map(layer).collect(),
            dense: [linear(dense, units), linear(features, dense)],
            workspaces: Mutex::default(),
        }
    }

    /// Loads `parameters`, laid out as in [`Architecture::parameters`].
    pub fn load(&mut self, parameters: &[f32]) {
        let mut values = self.layout.iter().map(|parameter| &parameters[parameter.range()]);
        let mut next = || values.next().expect("a value for each parameter");
        for layer in &mut self.layers {
            let (input, recurrent, bias) = (next(), next(), next());
            match &mut layer.input {
                Input::Lookup(kernel) => kernel.set(input),
                Input::Units(kernel) => kernel.load(input),
            }
            layer.recurrent.load(recurrent);
            layer.bias.row_mut(0).copy_from_slice(bias);
        }
        for dense in &mut self.dense {
            dense.kernel.load(next());
            dense.bias.row_mut(0).copy_from_slice(next());
        }
    }

    /// Loss of a rank's lanes in training; the sum of their gradients goes into `gradient`.
    pub fn gradient(
        &mut self,
        lanes: &[LaneBatch],
        dropout: &Dropout,
        gradient: &mut [f32],
    ) -> Vec<EpochSums> {
        let of_group = |lanes: &[LaneBatch], gradient: &mut [f32]| {
            // Padding alone leaves zeros, and takes no workspace for it.
            if lanes.iter().all(|lane| lane.windows == 0) {
                gradient.fill(0.0);
                return vec![EpochSums::default(); lanes.len()];
            }
            self.with_workspace(lanes, |workspace| {
                workspace.begin(self.architecture, lanes, Some(dropout));
                self.forward(lanes, workspace);
                let sums = workspace.head.score(lanes);
                self.backward(lanes, workspace, gradient);
                sums
            })
        };
        if let [lanes] = self.groups(lanes)[..] {
            return of_group(lanes, gradient);
        }
        let groups = in_parallel(self.threads, self.groups(lanes), |lanes| {
            let mut gradient = vec![0.0; self.architecture.len()];
            (of_group(lanes, &mut gradient), gradient)
        });
        let mut tree = TreeSum::default();
        let mut sums = Vec::new();
        for (of_group, gradient) in groups {
            sums.extend(of_group);
            tree.push(gradient);
        }
        gradient.copy_from_slice(&tree.finish());
        sums
    }

    /// Log-probs of what comes after each window of each lane, without dropout: (windows, C).
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Vec<f32> {
        let predictions = in_parallel(self.threads, self.groups(lanes), |lanes| {
            if lanes.iter().all(|lane| lane.windows == 0) {
                return Vec::new();
            }
            self.with_workspace(lanes, |workspace| {
                workspace.begin(self.architecture, lanes, None);
                self.forward(lanes, workspace);
                let last = |(index, lane): (usize, &LaneBatch)| {
                    let skipped = (lane.predictions - 1) * lane.rows;
                    let rows = workspace.head.rows(index).skip(skipped).take(lane.windows);
                    rows.flatten().copied().collect::<Vec<_>>()
                };
                lanes.iter().enumerate().flat_map(last).collect::<Vec<_>>()
            })
        });
        predictions.concat()
    }

    /// The lanes, a power of two of them, in groups of equal size: at least one for each thread where there are so many,
    /// and none of more than [`ROWS`] where that can be.
    fn groups<'a>(&self, lanes: &'a [LaneBatch]) -> Vec<&'a [LaneBatch]> {
        let fits = |&size: &usize| size * self.threads <= lanes.len() && size * lanes[0].rows <= ROWS;
        let sizes = (0..).map(|power| 1 << power).take_while(|size| lanes.len().is_multiple_of(*size));
        lanes.chunks(sizes.take_while(fits).last().unwrap_or(1)).collect()
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
        let Workspace { shape, shown, layers, inputs, head, masks, .. } = workspace;
        let shape = *shape;
        for (index, lstm) in self.layers.iter().enumerate() {
            let (below, rest) = layers.split_at_mut(index);
            rest[0].forward(&lstm.recurrent, |time, mut gates| match &lstm.input {
                Input::Lookup(kernel) => {
                    let timestep = time * shape.padded..(time + 1) * shape.padded;
                    let shown = shown.iter().flat_map(|lane| &lane[timestep.clone()]).copied();
                    kernel.set_matmul(shown, lstm.bias.row(0), gates.iter_mut());
                }
                Input::Units(kernel) => {
                    let rows = shape.timestep(time);
                    let input = inputs[index - 1].rows_mut(rows.clone());
                    let seen = below[index - 1].outputs.rows(rows.clone());
                    masked(seen, masks.get(index - 1).map(|mask| mask.rows(rows.clone())), input);
                    kernel.set_forward(inputs[index - 1].rows(rows), lstm.bias.all(), gates);
                }
            });
        }
        let top = layers[layers.len() - 1].seen_from_above();
        head.forward(top, &self.dense, masks.last(), lanes);
    }

    /// From log-probs to the gradient of all parameters. Each layer's is summed up as soon as what flowed
    /// into it is known, while that is in cache.
    fn backward(&self, lanes: &[LaneBatch], workspace: &mut Workspace, gradient: &mut [f32]) {
        self.backward_head(lanes, workspace);
        self.head_gradient(workspace, gradient);
        for layer in (0..self.layers.len()).rev() {
            self.backward_layer(layer, workspace);
            self.layer_gradient(layer, workspace, gradient);
        }
    }

    /// To ∂L/∂h of the top layer.
    fn backward_head(&self, lanes: &[LaneBatch], workspace: &mut Workspace) {
        let Workspace { shape, d_outputs: [d_outputs, _], head, masks, .. } = workspace;
        d_outputs.clear();
        let d_top = d_outputs.rows_mut(shape.first_prediction()..shape.rows());
        head.backward(&self.dense, masks.last(), lanes, d_top);
    }

    /// From ∂L/∂h of a layer to that of the one below.
    fn backward_layer(&self, index: usize, workspace: &mut Workspace) {
        let Workspace { shape, layers, d_outputs, masks, .. } = workspace;
        let Lstm { input, recurrent, .. } = &self.layers[index];
        let [of_layer, below] = d_outputs;
        layers[index].backward(recurrent, of_layer, |time, d_gates| {
            let Input::Units(kernel) = input else { return };
            let rows = shape.timestep(time);
            kernel.set_backward(d_gates, below.rows_mut(rows.clone()));
            if let Some(mask) = masks.get(index - 1) {
                multiply(below.rows_mut(rows.clone()), mask.rows(rows));
            }
        });
        d_outputs.swap(0, 1);
    }
}

/// What a layer sees of the one below, by the mask if there is one.
fn masked(outputs: Rows<'_>, mask: Option<Rows<'_>>, mut out: RowsMut<'_>) {
    let Some(mask) = mask else { return out.copy_from(outputs) };
    vectorized(
        #[inline(always)]
        || {
            for (out, (outputs, mask)) in out.iter_mut().zip(outputs.iter().zip(mask.iter())) {
                out.iter_mut().zip(outputs).zip(mask).for_each(|((out, x), mask)| *out = x * mask);
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
            shown: Vec::new(),
            layers: (0..layers).map(|_| Layer::new(shape, units)).collect(),
            inputs: (1..layers).map(|_| matrix()).collect(),
            d_outputs: [matrix(), matrix()],
            head: Head::new(shape, architecture),
            masks: Vec::new(),
        }
    }

    /// Takes what new lanes show the first layer, and their masks.
    fn begin(&mut self, architecture: Architecture, lanes: &[LaneBatch], dropout: Option<&Dropout>) {
        self.shown = lanes.iter().map(|lane| lane.features(architecture, dropout)).collect();
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
}
