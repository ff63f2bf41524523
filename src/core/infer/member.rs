//! One network of those whose probabilities are averaged. R rows, C classes, F features, H units, D dense units.

use super::product::Matrix;
use crate::network::{Architecture, Parameter};

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
    recurrent: Matrix,
    bias: Vec<f32>,
}

/// An LSTM layer's input kernel.
#[derive(Debug, Clone)]
enum Input {
    /// The first layer's, (F, 4H): its input is one or two features, so the product is the sum of their rows.
    OneHot(Vec<f32>),
    /// The others'.
    Units(Matrix),
}

#[derive(Debug, Clone)]
struct Linear {
    weight: Matrix,
    bias: Vec<f32>,
}

/// LSTM states of some rows.
#[derive(Debug, Clone)]
pub struct MemberStates {
    /// One for each layer.
    layers: Vec<State>,
    /// (R, 4H), room for the gates.
    gates: Vec<f32>,
}

#[derive(Debug, Clone)]
struct State {
    /// (R, H), the output.
    hidden: Vec<f32>,
    /// (R, H).
    cell: Vec<f32>,
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
                    0 => Input::OneHot(transpose(input, 4 * units, features)),
                    _ => Input::Units(Matrix::new(input, 4 * units, units)),
                };
                Lstm { input, recurrent: Matrix::new(recurrent, 4 * units, units), bias: bias.to_vec() }
            })
            .collect();
        let dense1 = Linear { weight: Matrix::new(next(), dense, units), bias: next().to_vec() };
        let dense2 = Linear { weight: Matrix::new(next(), features, dense), bias: next().to_vec() };
        Member { architecture, layers, dense1, dense2 }
    }

    /// States of rows that have seen nothing.
    pub fn states(&self, rows: usize) -> MemberStates {
        let Architecture { layers, units, .. } = self.architecture;
        let state = State { hidden: vec![0.0; rows * units], cell: vec![0.0; rows * units] };
        MemberStates { layers: vec![state; layers], gates: vec![0.0; rows * 4 * units] }
    }

    /// Shows every row its next class; `last` are those that they have seen last.
    pub fn advance(&self, states: &mut MemberStates, last: &[Option<u8>], classes: &[u8]) {
        let units = self.architecture.units;
        for (index, layer) in self.layers.iter().enumerate() {
            let (below, rest) = states.layers.split_at_mut(index);
            let State { hidden, cell } = &mut rest[0];
            for (row, gates) in states.gates.chunks_exact_mut(4 * units).enumerate() {
                gates.copy_from_slice(&layer.bias);
                if let Input::OneHot(table) = &layer.input {
                    for feature in self.features(last[row], classes[row]) {
                        let kernel = &table[feature * 4 * units..][..4 * units];
                        gates.iter_mut().zip(kernel).for_each(|(gate, weight)| *gate += weight);
                    }
                }
            }
            if let Input::Units(kernel) = &layer.input {
                kernel.add_product(&below[index - 1].hidden, &mut states.gates);
            }
            layer.recurrent.add_product(hidden, &mut states.gates);
            let rows = hidden.chunks_exact_mut(units).zip(cell.chunks_exact_mut(units));
            for ((hidden, cell), gates) in rows.zip(states.gates.chunks_exact(4 * units)) {
                activate(gates, cell, hidden);
            }
        }
    }

    /// What a note is to the first layer: its class, and the interval to it.
    fn features(&self, last: Option<u8>, class: u8) -> impl Iterator<Item = usize> {
        let last = last.filter(|_| self.architecture.intervals);
        let interval = last.map(|last| self.architecture.interval(last, class));
        std::iter::once(usize::from(class)).chain(interval)
    }

    /// Probability of every class to come next in a row that has seen this one last: C numbers that add up to 1.
    pub fn probabilities(&self, states: &MemberStates, row: usize, last: Option<u8>) -> Vec<f32> {
        let units = self.architecture.units;
        let top = &states.layers[states.layers.len() - 1].hidden[row * units..][..units];
        let scores = self.dense2.apply(&self.dense1.apply(top));
        softmax(&self.logits(scores, last))
    }

    /// (C) from the scores (F) of classes and intervals.
    fn logits(&self, mut scores: Vec<f32>, last: Option<u8>) -> Vec<f32> {
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
    /// Makes a row, of so many, one that has seen nothing.
    pub fn reset(&mut self, row: usize, rows: usize) {
        for State { hidden, cell } in &mut self.layers {
            let units = hidden.len() / rows;
            hidden[row * units..][..units].fill(0.0);
            cell[row * units..][..units].fill(0.0);
        }
    }

    /// (R, H), the output of the first layer.
    #[cfg(test)]
    pub fn first_hidden(&self) -> &[f32] {
        &self.layers[0].hidden
    }
}

impl Linear {
    fn apply(&self, input: &[f32]) -> Vec<f32> {
        let mut output = self.bias.clone();
        self.weight.add_product(input, &mut output);
        output
    }
}

/// The LSTM cell (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000), gates in the order
/// i, f, g, o: c ← σ(f)·c + σ(i)·tanh(g), h ← σ(o)·tanh(c).
fn activate(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
    let units = cell.len();
    for unit in 0..units {
        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| gates[gate * units + unit]);
        cell[unit] = sigmoid(f) * cell[unit] + sigmoid(i) * g.tanh();
        hidden[unit] = sigmoid(o) * cell[unit].tanh();
    }
}

fn sigmoid(x: f32) -> f32 {
    0.5 + 0.5 * (0.5 * x).tanh()
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.iter_mut().for_each(|power| *power /= total);
    powers
}

/// (rows, columns) to (columns, rows).
fn transpose(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column])).collect()
}
