//! One network of those whose probabilities are averaged. R rows, C classes, F features, H units, D dense units.

use crate::compute::functions::softmax;
use crate::compute::gemm::Packed;
use crate::compute::lstm_cell::Forward;
use crate::compute::matrix::Matrix;
use crate::compute::one_hot::{ActiveFeatures, Lookup};
use crate::network::{Architecture, Parameter};
use crate::parallel::vectorized;
use crate::representation::Token;

/// A network ready to run.
#[derive(Debug, Clone)]
pub struct Member {
    architecture: Architecture,
    layers: Vec<Lstm>,
    dense1: Linear,
    dense2: Linear,
}

#[derive(Debug, Clone)]
struct Lstm {
    input: Input,
    recurrent: Packed,
    /// (1, 4H).
    bias: Matrix,
}

/// An LSTM layer's input kernel.
#[derive(Debug, Clone)]
enum Input {
    /// The first layer's.
    Lookup(Lookup),
    /// The others'.
    Units(Packed),
}

#[derive(Debug, Clone)]
struct Linear {
    weight: Packed,
    /// (1, outputs).
    bias: Matrix,
}

/// LSTM states of some rows.
#[derive(Debug, Clone)]
pub struct MemberStates {
    /// One for each layer.
    layers: Vec<State>,
    /// (R, 4H), room for the gates.
    gates: Matrix,
    /// (R, H), room for tanh(c).
    tanh_cells: Matrix,
}

#[derive(Debug, Clone)]
struct State {
    /// (R, H), the output.
    hidden: Matrix,
    /// (R, H).
    cell: Matrix,
    /// (R, H), room for the cell of a note ago.
    before: Matrix,
}

impl Member {
    /// The network of an architecture of one member, with parameters laid out as [`Architecture::parameters`] says.
    pub fn new(architecture: Architecture, parameters: &[f32]) -> Self {
        let layout = architecture.parameters();
        let mut tensors = layout.iter().map(|p: &Parameter| &parameters[p.range()]);
        let mut next = || tensors.next().expect("one slice for each parameter");
        let Architecture { layers, units, dense, .. } = architecture;
        let features = architecture.features();
        let layers = (0..layers)
            .map(|layer| {
                let (input, recurrent, bias) = (next(), next(), next());
                let input = match layer {
                    0 => {
                        let mut kernel = Lookup::zeros(features, 4 * units);
                        kernel.set(input);
                        Input::Lookup(kernel)
                    }
                    _ => Input::Units(packed(input, 4 * units, units)),
                };
                Lstm { input, recurrent: packed(recurrent, 4 * units, units), bias: one_row(bias) }
            })
            .collect();
        let dense1 = Linear { weight: packed(next(), dense, units), bias: one_row(next()) };
        let dense2 = Linear { weight: packed(next(), features, dense), bias: one_row(next()) };
        Member { architecture, layers, dense1, dense2 }
    }

    /// States of rows that have seen nothing.
    pub fn states(&self, rows: usize) -> MemberStates {
        let Architecture { layers, units, .. } = self.architecture;
        let units_of = || Matrix::zeros(rows, units);
        let state = || State { hidden: units_of(), cell: units_of(), before: units_of() };
        MemberStates {
            layers: (0..layers).map(|_| state()).collect(),
            gates: Matrix::zeros(rows, 4 * units),
            tanh_cells: units_of(),
        }
    }

    /// Shows every row its next class; `last` are those that they have seen last.
    ///
    /// # Panics
    /// If there are not as many as rows.
    pub fn advance(&self, states: &mut MemberStates, last: &[Option<Token>], classes: &[Token]) {
        let MemberStates { layers, gates, tanh_cells } = states;
        let rows = gates.all().len();
        assert_eq!((last.len(), classes.len()), (rows, rows), "a note for every row");
        for (index, layer) in self.layers.iter().enumerate() {
            let (below, rest) = layers.split_at_mut(index);
            let State { hidden, cell, before } = &mut rest[0];
            match &layer.input {
                Input::Lookup(kernel) => {
                    let shown = last.iter().zip(classes).map(|(&last, &class)| self.shown(last, class));
                    kernel.set_matmul(shown, layer.bias.row(0), gates.all_mut().iter_mut());
                }
                Input::Units(kernel) => {
                    kernel.set_matmul(below[index - 1].hidden.all(), layer.bias.all(), gates.all_mut());
                }
            }
            layer.recurrent.add_matmul(hidden.all(), gates.all_mut());
            std::mem::swap(cell, before);
            let (mut gates, mut cells) = (gates.all_mut(), cell.all_mut());
            let (mut tanh_cells, mut outputs) = (tanh_cells.all_mut(), hidden.all_mut());
            vectorized(
                #[inline(always)]
                || {
                    let news = cells.iter_mut().zip(tanh_cells.iter_mut()).zip(outputs.iter_mut());
                    let rows = gates.iter_mut().zip(before.all().iter()).zip(news);
                    for ((gates, before), ((cell, tanh_cell), output)) in rows {
                        Forward { gates, before: Some(before), cell, tanh_cell, output }.run();
                    }
                },
            );
        }
    }

    /// What a note is to the first layer: its class, and the interval to it.
    fn shown(&self, last: Option<Token>, class: Token) -> ActiveFeatures {
        let last = last.filter(|_| self.architecture.intervals);
        [Some(usize::from(class)), last.map(|last| self.architecture.interval(last, class))]
    }

    /// Probability of every class to come next in a row that has seen this one last: C numbers that add up to 1.
    pub fn probabilities(&self, states: &MemberStates, row: usize, last: Option<Token>) -> Vec<f32> {
        let top = states.layers[states.layers.len() - 1].hidden.row(row);
        let scores = self.dense2.apply(&self.dense1.apply(top));
        let mut probabilities = self.logits(scores, last);
        softmax(&mut probabilities);
        probabilities
    }

    /// (C) from the scores (F) of classes and intervals.
    fn logits(&self, mut scores: Vec<f32>, last: Option<Token>) -> Vec<f32> {
        let Architecture { classes, intervals, .. } = self.architecture;
        if let Some(last) = last.filter(|_| intervals) {
            let first = self.architecture.interval(last, 0);
            let (own, of_intervals) = scores.split_at_mut(classes);
            let of_intervals = &of_intervals[first - classes..][..classes];
            own.iter_mut().zip(of_intervals).for_each(|(own, interval)| *own += interval);
        }
        scores.truncate(classes);
        scores
    }
}

impl MemberStates {
    /// Makes a row one that has seen nothing.
    pub fn reset(&mut self, row: usize) {
        for State { hidden, cell, .. } in &mut self.layers {
            hidden.row_mut(row).fill(0.0);
            cell.row_mut(row).fill(0.0);
        }
    }

    /// (H), the output of the first layer in the first row.
    #[cfg(test)]
    pub fn first_hidden(&self) -> &[f32] {
        self.layers[0].hidden.row(0)
    }
}

impl Linear {
    fn apply(&self, input: &[f32]) -> Vec<f32> {
        let mut output = self.bias.clone();
        self.weight.add_matmul(one_row(input).all(), output.all_mut());
        output.row(0).to_vec()
    }
}

/// A weight (outputs, inputs) for products.
fn packed(weight: &[f32], outputs: usize, inputs: usize) -> Packed {
    let mut packed = Packed::zeros(inputs, outputs);
    packed.set_transposed(weight);
    packed
}

fn one_row(values: &[f32]) -> Matrix {
    let mut matrix = Matrix::zeros(1, values.len());
    matrix.row_mut(0).copy_from_slice(values);
    matrix
}
