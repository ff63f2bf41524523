//! The network on a CPU, written out: forward and backward in the products and loops of `compute`, without
//! libtorch and its graph.
//!
//! A rank's lanes are shared out among its threads, in groups; all lanes of a group share the products, whose rows
//! are independent. Then weight gradients, which are sums over rows, are made for each lane and summed along the
//! tree. One-hot inputs are looked up, and the product with the zero initial state is left out. Agrees with
//! [`super::autograd`] to 1e-5 (`super::tests`, `tests/golden`).
//!
//! L lanes, T notes, after the last Q of which the next is predicted, P rows a lane with padding, H units, F features.

mod gradient;
mod head;
mod lstm;
mod shape;

use bachdist_core::checkpoint::EpochSums;
use bachdist_core::compute::matrix::{Matrix, RowsMut};
use bachdist_core::compute::vectorized;
use bachdist_core::network::{Architecture, Parameter};
use bachdist_core::parallel::in_parallel;

use super::LaneBatch;
use super::dropout::Dropout;
use head::{Dense, Head, multiply};
use lstm::{Kernel, Layer};
use shape::Shape;

/// The network's parameters and memory.
pub struct Network {
    architecture: Architecture,
    /// Places of the parameters in the flat buffer.
    layout: Vec<Parameter>,
    layers: Vec<Lstm>,
    dense: [Dense; 2],
    /// For each thread, memory for lanes of the shape that came last.
    groups: Vec<Memory>,
}

/// An LSTM layer's parameters.
struct Lstm {
    input: Input,
    recurrent: Kernel,
    /// (1, 4H).
    bias: Matrix,
}

/// An LSTM layer's input kernel.
enum Input {
    /// The first layer's, (F, 4H): a row for each feature, because its input is one or two of them.
    Lookup(Vec<f32>),
    /// The others'.
    Units(Kernel),
}

/// What is kept of some lanes between the ways forward and back. Rows are laid out (T, L, P).
struct Memory {
    shape: Shape,
    /// For each lane (T, P): what the first layer is shown of every note.
    shown: Vec<Vec<[Option<usize>; 2]>>,
    layers: Vec<Layer>,
    /// For each layer but the first (T·L·P, H): what it sees of the one below, after dropout.
    inputs: Vec<Matrix>,
    /// (T·L·P, H): ∂L/∂h of the layer at hand, and of the one below it.
    d_outputs: [Matrix; 2],
    /// The dense layers and the softmax.
    head: Head,
    /// Dropout masks of the LSTM layers but the last, and of the dense layer; empty without dropout.
    masks: Vec<Matrix>,
}

impl Network {
    /// A network with room for its parameters; [`Network::load`] fills them in.
    pub fn new(architecture: Architecture) -> Self {
        let Architecture { layers, units, dense, .. } = architecture;
        let features = architecture.features();
        let layer = |index: usize| Lstm {
            input: match index {
                0 => Input::Lookup(vec![0.0; features * 4 * units]),
                _ => Input::Units(Kernel::zeros(4 * units, units)),
            },
            recurrent: Kernel::zeros(4 * units, units),
            bias: Matrix::zeros(1, 4 * units),
        };
        let linear = |outputs, inputs| Dense {
            kernel: Kernel::zeros(outputs, inputs),
            bias: Matrix::zeros(1, outputs),
        };
        Network {
            architecture,
            layout: architecture.parameters(),
            layers: (0..layers).map(layer).collect(),
            dense: [linear(dense, units), linear(features, dense)],
            groups: Vec::new(),
        }
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) {
        let mut values = self.layout.iter().map(|parameter| &parameters[parameter.range()]);
        let mut next = || values.next().expect("a value for each parameter");
        for layer in &mut self.layers {
            let (input, recurrent, bias) = (next(), next(), next());
            match &mut layer.input {
                Input::Lookup(rows) => transpose(input, self.architecture.features(), rows),
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
        let sums = self.in_groups(lanes, |network, memory, lanes| {
            memory.begin(network.architecture, lanes, Some(dropout));
            network.forward(lanes, memory);
            let sums = memory.head.score(lanes);
            network.backward(lanes, memory);
            sums
        });
        self.sum_lanes(gradient);
        sums.concat()
    }

    /// Logarithmic probabilities of what comes after each window of each lane, without dropout: (windows, C).
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Vec<f32> {
        let predictions = self.in_groups(lanes, |network, memory, lanes| {
            memory.begin(network.architecture, lanes, None);
            network.forward(lanes, memory);
            let last = |(index, lane): (usize, &LaneBatch)| {
                let skipped = (lane.predictions - 1) * lane.rows;
                let rows = memory.head.rows(index).skip(skipped).take(lane.windows);
                rows.flatten().copied().collect::<Vec<_>>()
            };
            lanes.iter().enumerate().flat_map(last).collect::<Vec<_>>()
        });
        predictions.concat()
    }

    /// What `work` makes of the lanes, which are shared out among as many threads as libtorch may use.
    fn in_groups<R: Send>(
        &mut self,
        lanes: &[LaneBatch],
        work: impl Fn(&Network, &mut Memory, &[LaneBatch]) -> R + Sync,
    ) -> Vec<R> {
        let threads = (tch::get_num_threads() as usize).clamp(1, lanes.len());
        let parts: Vec<_> = (0..threads)
            .map(|thread| &lanes[thread * lanes.len() / threads..(thread + 1) * lanes.len() / threads])
            .collect();
        let mut groups = std::mem::take(&mut self.groups);
        if !groups.iter().map(|memory| memory.shape).eq(parts.iter().map(|lanes| Shape::of(lanes))) {
            groups = parts.iter().map(|lanes| Memory::new(Shape::of(lanes), self.architecture)).collect();
        }
        let items = groups.iter_mut().zip(parts);
        let results = in_parallel(threads, items, |(memory, lanes)| work(self, memory, lanes));
        self.groups = groups;
        results
    }

    /// Leaves logarithmic probabilities in the head.
    fn forward(&self, lanes: &[LaneBatch], memory: &mut Memory) {
        let Memory { shape, shown, layers, inputs, head, masks, .. } = memory;
        let shape = *shape;
        for (index, lstm) in self.layers.iter().enumerate() {
            let (below, rest) = layers.split_at_mut(index);
            rest[0].forward(&lstm.recurrent, |time, gates| match &lstm.input {
                Input::Lookup(kernel) => look_up(kernel, lstm.bias.row(0), shape, shown, time, gates),
                Input::Units(kernel) => {
                    let rows = shape.moment(time);
                    let mut input = inputs[index - 1].rows_mut(rows.clone());
                    input.copy_from(below[index - 1].outputs.rows(rows.clone()));
                    if let Some(mask) = masks.get(index - 1) {
                        multiply(input, mask.rows(rows.clone()));
                    }
                    kernel.set_forward(inputs[index - 1].rows(rows), lstm.bias.all(), gates);
                }
            });
        }
        let top = layers[layers.len() - 1].seen_from_above();
        head.forward(top, &self.dense, masks.last(), lanes);
    }

    /// From logarithmic probabilities to the loss's derivatives by what flowed into every layer.
    fn backward(&self, lanes: &[LaneBatch], memory: &mut Memory) {
        let Memory { shape, layers, d_outputs, head, masks, .. } = memory;
        let shape = *shape;
        let [mut d_outputs, mut d_below] = d_outputs.each_mut();
        d_outputs.clear();
        let d_top = d_outputs.rows_mut(shape.first_prediction()..shape.rows());
        head.backward(&self.dense, masks.last(), lanes, d_top);
        for (index, lstm) in self.layers.iter().enumerate().rev() {
            d_below.clear();
            layers[index].backward(&lstm.recurrent, d_outputs, |time, d_gates| {
                let Input::Units(kernel) = &lstm.input else { return };
                let rows = shape.moment(time);
                kernel.add_backward(d_gates, d_below.rows_mut(rows.clone()));
                if let Some(mask) = masks.get(index - 1) {
                    multiply(d_below.rows_mut(rows.clone()), mask.rows(rows));
                }
            });
            std::mem::swap(&mut d_outputs, &mut d_below);
        }
    }
}

/// What flows into the first layer at a moment: the bias and the kernel's rows of what it is shown.
fn look_up(
    kernel: &[f32],
    bias: &[f32],
    shape: Shape,
    shown: &[Vec<[Option<usize>; 2]>],
    time: usize,
    mut gates: RowsMut<'_>,
) {
    let of_moment = shown.iter().flat_map(|lane| &lane[time * shape.padded..(time + 1) * shape.padded]);
    vectorized(
        #[inline(always)]
        || {
            for (gates, shown) in gates.iter_mut().zip(of_moment) {
                match shown[0] {
                    Some(class) => {
                        let sums = gates.iter_mut().zip(bias).zip(&kernel[class * bias.len()..]);
                        sums.for_each(|((gate, bias), weight)| *gate = bias + weight);
                    }
                    None => gates.copy_from_slice(bias),
                }
                if let Some(interval) = shown[1] {
                    let weights = &kernel[interval * bias.len()..];
                    gates.iter_mut().zip(weights).for_each(|(gate, weight)| *gate += weight);
                }
            }
        },
    );
}

/// A matrix of so many columns, row by row, to column by column.
fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    let rows = matrix.len() / columns;
    for (row, values) in matrix.chunks_exact(columns).enumerate() {
        values.iter().enumerate().for_each(|(column, value)| out[column * rows + row] = *value);
    }
}

impl Memory {
    fn new(shape: Shape, architecture: Architecture) -> Self {
        let Architecture { layers, units, .. } = architecture;
        let matrix = || Matrix::zeros(shape.rows(), units);
        Memory {
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
                *mask = Matrix::zeros(times * self.shape.moment_rows(), units);
            }
            for (index, lane) in lanes.iter().enumerate() {
                let rows = self.shape.lane(mask, index, 0, times).numbers();
                for (number, row) in rows.enumerate() {
                    let (time, row_of_lane) = (number / lane.rows, number % lane.rows);
                    dropout.mask_row(lane.first_row + row_of_lane, layer, time, mask.row_mut(row));
                }
            }
        }
    }
}
