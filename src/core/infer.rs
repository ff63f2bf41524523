//! The network in plain Rust: what `sample` runs where there is no libtorch.
//!
//! Rows are independent sequences, each with its own LSTM state, and are advanced together by one note. Every
//! number is a sum over inputs in ascending order, so a row has the same bits whatever rows stand beside it.
//! Agrees with libtorch to 1e-5 on the probabilities (`tests/golden`).

mod product;

use crate::network::{Architecture, Parameter};
use product::Matrix;

/// A network ready to run. R rows, C classes, F features, H units, D dense units.
#[derive(Debug, Clone)]
pub struct Network {
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
pub struct States {
    rows: usize,
    /// (R) the class seen last, where one was seen.
    last: Vec<Option<u8>>,
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

impl Network {
    /// The network with these parameters, laid out as [`Architecture::parameters`] says.
    ///
    /// # Panics
    /// If there are not [`Architecture::len`] of them.
    pub fn new(architecture: Architecture, parameters: &[f32]) -> Self {
        assert_eq!(parameters.len(), architecture.len(), "parameters do not fit the architecture");
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
        Network { architecture, layers, dense1, dense2 }
    }

    /// Its shape.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// States of rows that have seen nothing.
    pub fn states(&self, rows: usize) -> States {
        let Architecture { layers, units, .. } = self.architecture;
        let state = State { hidden: vec![0.0; rows * units], cell: vec![0.0; rows * units] };
        let gates = vec![0.0; rows * 4 * units];
        States { rows, last: vec![None; rows], layers: vec![state; layers], gates }
    }

    /// Shows every row its next class.
    ///
    /// # Panics
    /// If there is not one class for each row, or one is not below C.
    pub fn advance(&self, states: &mut States, classes: &[u8]) {
        assert_eq!(classes.len(), states.rows, "one class for each row");
        let units = self.architecture.units;
        for (index, layer) in self.layers.iter().enumerate() {
            let (below, rest) = states.layers.split_at_mut(index);
            let State { hidden, cell } = &mut rest[0];
            for (row, gates) in states.gates.chunks_exact_mut(4 * units).enumerate() {
                gates.copy_from_slice(&layer.bias);
                if let Input::OneHot(table) = &layer.input {
                    for feature in self.features(states.last[row], classes[row]) {
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
        states.last.iter_mut().zip(classes).for_each(|(last, &class)| *last = Some(class));
    }

    /// What a note is to the first layer: its class, and the interval to it.
    fn features(&self, last: Option<u8>, class: u8) -> impl Iterator<Item = usize> {
        let last = last.filter(|_| self.architecture.intervals);
        let interval = last.map(|last| self.architecture.interval(last, class));
        std::iter::once(usize::from(class)).chain(interval)
    }

    /// Probability of every class to come next in a row: C numbers that add up to 1.
    pub fn probabilities(&self, states: &States, row: usize) -> Vec<f32> {
        let units = self.architecture.units;
        let top = &states.layers[states.layers.len() - 1].hidden[row * units..][..units];
        let scores = self.dense2.apply(&self.dense1.apply(top));
        softmax(&self.logits(scores, states.last[row]))
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

    /// Probabilities after a whole window, from a state that has seen nothing.
    pub fn predict(&self, window: &[u8]) -> Vec<f32> {
        let mut states = self.states(1);
        window.iter().for_each(|&class| self.advance(&mut states, &[class]));
        self.probabilities(&states, 0)
    }
}

impl States {
    /// Makes a row one that has seen nothing.
    pub fn reset(&mut self, row: usize) {
        self.last[row] = None;
        for State { hidden, cell } in &mut self.layers {
            let units = hidden.len() / self.rows;
            hidden[row * units..][..units].fill(0.0);
            cell[row * units..][..units].fill(0.0);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    fn network(architecture: Architecture) -> Network {
        let stream = Stream::new(1, Purpose::Initialization, &[]);
        let parameters: Vec<f32> =
            (0..architecture.len() as u64).map(|i| 0.3 * stream.normal(i) as f32).collect();
        Network::new(architecture, &parameters)
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let network = network(Architecture { classes: 11, intervals: true, layers: 2, units: 13, dense: 5 });
        let windows: Vec<Vec<u8>> =
            (0..7u8).map(|row| (0..9u8).map(|t| (row * 5 + t * 3) % 11).collect()).collect();
        let mut states = network.states(7);
        for t in 0..9 {
            network.advance(&mut states, &windows.iter().map(|w| w[t]).collect::<Vec<_>>());
        }
        for (row, window) in windows.iter().enumerate() {
            assert_eq!(network.probabilities(&states, row), network.predict(window));
        }
    }

    #[test]
    fn a_reset_row_has_seen_nothing() {
        let network = network(Architecture { classes: 5, intervals: true, layers: 3, units: 4, dense: 6 });
        let mut states = network.states(2);
        network.advance(&mut states, &[1, 2]);
        states.reset(1);
        network.advance(&mut states, &[3, 4]);
        assert_eq!(network.probabilities(&states, 0), network.predict(&[1, 3]));
        assert_eq!(network.probabilities(&states, 1), network.predict(&[4]));
    }

    #[test]
    fn by_hand() {
        // One unit, one class, weights chosen so that each gate can be worked out on paper.
        let architecture = Architecture { classes: 1, intervals: false, layers: 1, units: 1, dense: 1 };
        let parameters = [0.1, 0.2, 0.3, 0.4, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 2.0, 0.25, 1.0, 0.0];
        let network = Network::new(architecture, &parameters);
        let mut states = network.states(1);
        let (mut h, mut c) = (0.0f64, 0.0f64);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        for _ in 0..3 {
            network.advance(&mut states, &[0]);
            let gate = |weight: f64| weight + h + 0.5;
            c = sigmoid(gate(0.2)) * c + sigmoid(gate(0.1)) * gate(0.3).tanh();
            h = sigmoid(gate(0.4)) * c.tanh();
            assert!((f64::from(states.layers[0].hidden[0]) - h).abs() < 1e-6);
        }
        assert_eq!(network.probabilities(&states, 0), [1.0]);
    }
}
