//! The network while it composes, note by note: what `sample` runs.
//!
//! Rows are independent sequences, each with its own LSTM state, and are advanced together by one note. Every
//! number is made as `compute` says, so a row has the same bits whatever rows stand beside it.
//! Agrees with libtorch to 1e-5 on the probabilities (`tests/golden`).

use crate::compute::functions::softmax;
use crate::compute::matrix::Matrix;
use crate::compute::one_hot::ActiveFeatures;
use crate::representation::Token;

use super::Architecture;
use super::layers::{LayerInput, Layers, LstmRows, LstmState, add_scores, interval_scores};

/// A network ready to run. R rows, C classes.
#[derive(Debug, Clone)]
pub struct InferenceNetwork {
    architecture: Architecture,
    members: Vec<Layers>,
}

/// States of some rows.
#[derive(Debug, Clone)]
pub struct RowStates {
    /// (R) the class seen last, where one was seen.
    last: Vec<Option<Token>>,
    members: Vec<MemberStates>,
}

impl InferenceNetwork {
    /// The network with these parameters, laid out as [`Architecture::parameters`] says.
    ///
    /// # Panics
    /// If there are not [`Architecture::len`] of them.
    pub fn new(architecture: Architecture, parameters: &[f32]) -> Self {
        assert_eq!(parameters.len(), architecture.len(), "parameters do not fit the architecture");
        let one = architecture.member();
        let layout = one.parameters();
        let mut members = vec![Layers::new(one); architecture.members];
        for (member, parameters) in members.iter_mut().zip(parameters.chunks_exact(one.len())) {
            member.load(&layout, parameters);
        }
        InferenceNetwork { architecture, members }
    }

    /// Its shape.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// States of rows that have seen nothing.
    pub fn states(&self, rows: usize) -> RowStates {
        let members = self.members.iter().map(|_| MemberStates::new(self.architecture, rows)).collect();
        RowStates { last: vec![None; rows], members }
    }

    /// Shows every row its next class.
    ///
    /// # Panics
    /// If there is not one class for each row, or one is not below C.
    pub fn advance(&self, states: &mut RowStates, classes: &[Token]) {
        let RowStates { last, members } = states;
        assert_eq!(classes.len(), last.len(), "one class for each row");
        let intervals = self.architecture.intervals;
        let shown: Vec<ActiveFeatures> = last
            .iter()
            .zip(classes)
            .map(|(last, &class)| {
                let last = last.filter(|_| intervals);
                [Some(usize::from(class)), last.map(|last| self.architecture.interval(last, class))]
            })
            .collect();
        for (member, states) in self.members.iter().zip(members) {
            states.advance(member, &shown);
        }
        last.iter_mut().zip(classes).for_each(|(last, &class)| *last = Some(class));
    }

    /// Probability of every class to come next in a row, the mean of the members': C numbers that add up to 1.
    pub fn probabilities(&self, states: &RowStates, row: usize) -> Vec<f32> {
        let members = self.members.iter().zip(&states.members);
        let mut all = members.map(|(member, states_of)| {
            self.member_probabilities(member, states_of.top(row), states.last[row])
        });
        let mut mean = all.next().expect("at least one member");
        for probabilities in all {
            mean.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p);
        }
        let members = self.members.len() as f32;
        mean.iter_mut().for_each(|p| *p /= members);
        mean
    }

    /// Those of a member, from the outputs (H) of its top LSTM layer.
    fn member_probabilities(&self, member: &Layers, top: &[f32], last: Option<Token>) -> Vec<f32> {
        let Architecture { classes, dense, .. } = self.architecture;
        let (mut of_dense, mut scores) =
            (Matrix::zeros(1, dense), Matrix::zeros(1, self.architecture.features()));
        member.dense.forward(one_row(top).all(), of_dense.all_mut());
        member.scores.forward(of_dense.all(), scores.all_mut());
        let mut probabilities = vec![0.0; classes];
        add_scores(scores.row(0), &interval_scores(self.architecture, last), &mut probabilities);
        softmax(&mut probabilities);
        probabilities
    }

    /// Probabilities after a whole window, from a state that has seen nothing.
    pub fn predict(&self, window: &[Token]) -> Vec<f32> {
        let mut states = self.states(1);
        window.iter().for_each(|&class| self.advance(&mut states, &[class]));
        self.probabilities(&states, 0)
    }
}

impl RowStates {
    /// Makes a row one that has seen nothing.
    pub fn reset(&mut self, row: usize) {
        self.last[row] = None;
        self.members.iter_mut().for_each(|member| member.reset(row));
    }
}

/// LSTM states of some rows in one ensemble member.
#[derive(Debug, Clone)]
struct MemberStates {
    /// One for each layer.
    layers: Vec<LayerState>,
    /// (R, 4H), room for the gates.
    gates: Matrix,
    /// (R, H), room for tanh(c).
    tanh_cells: Matrix,
}

#[derive(Debug, Clone)]
struct LayerState {
    /// (R, H).
    outputs: Matrix,
    /// (R, H).
    cells: Matrix,
    /// (R, H) each: outputs and cells of a note ago.
    before: [Matrix; 2],
}

impl MemberStates {
    fn new(architecture: Architecture, rows: usize) -> Self {
        let Architecture { layers, units, .. } = architecture;
        let matrix = || Matrix::zeros(rows, units);
        let state = |_| LayerState { outputs: matrix(), cells: matrix(), before: [matrix(), matrix()] };
        MemberStates {
            layers: (0..layers).map(state).collect(),
            gates: Matrix::zeros(rows, 4 * units),
            tanh_cells: matrix(),
        }
    }

    /// Shows every row its next note.
    fn advance(&mut self, member: &Layers, shown: &[ActiveFeatures]) {
        let MemberStates { layers, gates, tanh_cells } = self;
        for (index, lstm) in member.lstm.iter().enumerate() {
            let (below, rest) = layers.split_at_mut(index);
            let LayerState { outputs, cells, before: [outputs_before, cells_before] } = &mut rest[0];
            std::mem::swap(outputs, outputs_before);
            std::mem::swap(cells, cells_before);
            let input = match below.last() {
                None => LayerInput::Shown(shown.iter().copied()),
                Some(below) => LayerInput::Units(below.outputs.all()),
            };
            let before = LstmState { outputs: outputs_before.all(), cells: cells_before.all() };
            let rows = LstmRows {
                gates: gates.all_mut(),
                cells: cells.all_mut(),
                tanh_cells: tanh_cells.all_mut(),
                outputs: outputs.all_mut(),
            };
            lstm.forward(input, Some(before), rows);
        }
    }

    /// (H), what the top layer puts out for a row.
    fn top(&self, row: usize) -> &[f32] {
        self.layers[self.layers.len() - 1].outputs.row(row)
    }

    /// Makes a row one that has seen nothing.
    fn reset(&mut self, row: usize) {
        for LayerState { outputs, cells, .. } in &mut self.layers {
            outputs.row_mut(row).fill(0.0);
            cells.row_mut(row).fill(0.0);
        }
    }
}

fn one_row(values: &[f32]) -> Matrix {
    let mut matrix = Matrix::zeros(1, values.len());
    matrix.row_mut(0).copy_from_slice(values);
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    fn network(architecture: Architecture) -> InferenceNetwork {
        let stream = Stream::new(1, Purpose::Initialization, &[]);
        let parameters: Vec<f32> =
            (0..architecture.len() as u64).map(|i| 0.3 * stream.normal(i) as f32).collect();
        InferenceNetwork::new(architecture, &parameters)
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let network = network(Architecture {
            classes: 11,
            intervals: true,
            layers: 2,
            units: 13,
            dense: 5,
            members: 1,
        });
        let windows: Vec<Vec<Token>> =
            (0..7).map(|row| (0..9).map(|t| (row * 5 + t * 3) % 11).collect()).collect();
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
        let network =
            network(Architecture { classes: 5, intervals: true, layers: 3, units: 4, dense: 6, members: 1 });
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
        let architecture =
            Architecture { classes: 1, intervals: false, layers: 1, units: 1, dense: 1, members: 1 };
        let parameters = [0.1, 0.2, 0.3, 0.4, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 2.0, 0.25, 1.0, 0.0];
        let network = InferenceNetwork::new(architecture, &parameters);
        let mut states = network.states(1);
        let (mut h, mut c) = (0.0f64, 0.0f64);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        for _ in 0..3 {
            network.advance(&mut states, &[0]);
            let gate = |weight: f64| weight + h + 0.5;
            c = sigmoid(gate(0.2)) * c + sigmoid(gate(0.1)) * gate(0.3).tanh();
            h = sigmoid(gate(0.4)) * c.tanh();
            assert!((f64::from(states.members[0].top(0)[0]) - h).abs() < 1e-6);
        }
        assert_eq!(network.probabilities(&states, 0), [1.0]);
    }

    #[test]
    fn members_are_averaged() {
        let one = Architecture { classes: 9, intervals: true, layers: 1, units: 5, dense: 4, members: 1 };
        let three = network(Architecture { members: 3, ..one });
        let stream = Stream::new(1, Purpose::Initialization, &[]);
        let alone = |member: usize| {
            let first = member * one.len();
            let parameters: Vec<f32> =
                (first..first + one.len()).map(|i| 0.3 * stream.normal(i as u64) as f32).collect();
            InferenceNetwork::new(one, &parameters).predict(&[1, 5, 2])
        };
        let all = [alone(0), alone(1), alone(2)];
        for (class, p) in three.predict(&[1, 5, 2]).into_iter().enumerate() {
            let mean = (all[0][class] + all[1][class] + all[2][class]) / 3.0;
            assert!((p - mean).abs() < 1e-7, "{class}: {p} {mean}");
        }
    }
}
