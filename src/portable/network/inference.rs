//! The network while it composes, token by token: what `sample` runs.
//!
//! Rows are independent sequences, each with its own LSTM state, and are advanced together by one token. Every
//! number is made as `compute` says, so a row has the same bits whatever rows stand beside it.
//! Agrees with libtorch to 1e-5 on the probabilities (`tests/golden`).

use std::sync::Arc;

use crate::compute::functions::softmax;
use crate::compute::matrix::Matrix;
use crate::representation::{Representation, State, Token};

use super::Architecture;
use super::layers::{LayerInput, Layers, LstmRows, LstmState, add_scores};

/// A network ready to run. R rows, C tokens.
#[derive(Debug, Clone)]
pub struct InferenceNetwork {
    representation: Arc<dyn Representation>,
    architecture: Architecture,
    members: Vec<Layers>,
}

/// States of some rows.
#[derive(Debug, Clone)]
pub struct RowStates {
    /// (R) what the representation keeps of the tokens read.
    read: Vec<State>,
    members: Vec<MemberStates>,
}

impl InferenceNetwork {
    /// The network with these parameters, laid out as [`Architecture::parameters`] says, over the tokens of a representation.
    ///
    /// # Panics
    /// If there are not [`Architecture::len`] of them.
    pub fn new(
        representation: Arc<dyn Representation>,
        architecture: Architecture,
        parameters: &[f32],
    ) -> Self {
        assert_eq!(parameters.len(), architecture.len(), "parameters do not fit the architecture");
        let one = architecture.member();
        let layout = one.parameters();
        let mut members = vec![Layers::new(one); architecture.members];
        for (member, parameters) in members.iter_mut().zip(parameters.chunks_exact(one.len())) {
            member.load(&layout, parameters);
        }
        InferenceNetwork { representation, architecture, members }
    }

    /// What its tokens mean.
    pub fn representation(&self) -> &dyn Representation {
        &*self.representation
    }

    /// Its shape.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// States of rows that have read nothing.
    pub fn states(&self, rows: usize) -> RowStates {
        let members = self.members.iter().map(|_| MemberStates::new(self.architecture, rows)).collect();
        RowStates { read: vec![self.representation.start(); rows], members }
    }

    /// Reads the next token in every row.
    ///
    /// # Panics
    /// If there is not one token for each row, or one is not below C.
    pub fn advance(&self, states: &mut RowStates, tokens: &[Token]) {
        let RowStates { read, members } = states;
        assert_eq!(tokens.len(), read.len(), "one token for each row");
        let slots = self.architecture.shape.slots;
        let mut active = vec![0; tokens.len() * slots];
        for ((state, &token), active) in read.iter_mut().zip(tokens).zip(active.chunks_exact_mut(slots)) {
            self.representation.activate(*state, token, active);
            *state = self.representation.next(*state, token);
        }
        for (member, states) in self.members.iter().zip(members) {
            states.advance(member, &active, slots);
        }
    }

    /// Probability of every token to come next in a row, the mean of the members': C numbers that add up to 1.
    pub fn probabilities(&self, states: &RowStates, row: usize) -> Vec<f32> {
        let mut first_scores = vec![0; self.architecture.shape.relations];
        self.representation.relate(states.read[row], &mut first_scores);
        let members = self.members.iter().zip(&states.members);
        let mut all =
            members.map(|(member, states)| self.member_probabilities(member, states.top(row), &first_scores));
        let mut mean = all.next().expect("at least one member");
        for probabilities in all {
            for (sum, p) in mean.iter_mut().zip(probabilities) {
                *sum += p;
            }
        }
        let members = self.members.len() as f32;
        for p in &mut mean {
            *p /= members;
        }
        mean
    }

    /// Those of a member, from the outputs (H) of its top LSTM layer.
    fn member_probabilities(&self, member: &Layers, top: &[f32], first_scores: &[u32]) -> Vec<f32> {
        let Architecture { shape, dense, .. } = self.architecture;
        let (mut of_dense, mut scores) = (Matrix::zeros(1, dense), Matrix::zeros(1, shape.scores));
        member.dense.forward(one_row(top).all(), of_dense.all_mut());
        member.scores.forward(of_dense.all(), scores.all_mut());
        let mut probabilities = vec![0.0; shape.tokens];
        add_scores(scores.row(0), first_scores, &mut probabilities);
        softmax(&mut probabilities);
        probabilities
    }

    /// Makes a row one that has read nothing.
    pub fn reset(&self, states: &mut RowStates, row: usize) {
        states.read[row] = self.representation.start();
        for member in &mut states.members {
            member.reset(row);
        }
    }

    /// Probabilities after a whole window, from the zero state.
    pub fn predict(&self, window: &[Token]) -> Vec<f32> {
        let mut states = self.states(1);
        for &token in window {
            self.advance(&mut states, &[token]);
        }
        self.probabilities(&states, 0)
    }
}

impl RowStates {
    /// A copy of these rows, in this order; a row may be taken several times.
    pub fn select(&self, rows: &[usize]) -> RowStates {
        let read = rows.iter().map(|&row| self.read[row]).collect();
        RowStates { read, members: self.members.iter().map(|member| member.select(rows)).collect() }
    }

    /// Puts the rows of a [selection](RowStates::select) back.
    pub fn replace(&mut self, rows: &[usize], selection: &RowStates) {
        for (&row, &state) in rows.iter().zip(&selection.read) {
            self.read[row] = state;
        }
        for (member, selected) in self.members.iter_mut().zip(&selection.members) {
            for (layer, selected) in member.layers.iter_mut().zip(&selected.layers) {
                for (number, &row) in rows.iter().enumerate() {
                    layer.outputs.row_mut(row).copy_from_slice(selected.outputs.row(number));
                    layer.cells.row_mut(row).copy_from_slice(selected.cells.row(number));
                }
            }
        }
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
        MemberStates {
            layers: (0..layers)
                .map(|_| LayerState { outputs: matrix(), cells: matrix(), before: [matrix(), matrix()] })
                .collect(),
            gates: Matrix::zeros(rows, 4 * units),
            tanh_cells: matrix(),
        }
    }

    fn select(&self, rows: &[usize]) -> MemberStates {
        let select = |matrix: &Matrix| {
            let mut selected = Matrix::zeros(rows.len(), matrix.row(0).len());
            for (number, &row) in rows.iter().enumerate() {
                selected.row_mut(number).copy_from_slice(matrix.row(row));
            }
            selected
        };
        let layers = self.layers.iter().map(|layer| LayerState {
            outputs: select(&layer.outputs),
            cells: select(&layer.cells),
            // Room, written before it is read.
            before: layer.before.each_ref().map(|room| Matrix::zeros(rows.len(), room.row(0).len())),
        });
        MemberStates {
            layers: layers.collect(),
            gates: Matrix::zeros(rows.len(), self.gates.row(0).len()),
            tanh_cells: Matrix::zeros(rows.len(), self.tanh_cells.row(0).len()),
        }
    }

    /// Reads the next token in every row, given as its active features, (R, K).
    fn advance(&mut self, member: &Layers, active: &[u32], slots: usize) {
        let MemberStates { layers, gates, tanh_cells } = self;
        for (index, lstm) in member.lstm.iter().enumerate() {
            let (below, rest) = layers.split_at_mut(index);
            let LayerState { outputs, cells, before: [outputs_before, cells_before] } = &mut rest[0];
            std::mem::swap(outputs, outputs_before);
            std::mem::swap(cells, cells_before);
            let input = match below.last() {
                None => LayerInput::Active(active.chunks_exact(slots)),
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
    use crate::random::{Purpose, RandomStream};
    use crate::representation::pitch::Pitch;

    fn representation(architecture: Architecture) -> Arc<Pitch> {
        let shape = architecture.shape;
        Arc::new(Pitch::with_tokens(shape.tokens, shape.relations > 0))
    }

    fn network(architecture: Architecture) -> InferenceNetwork {
        let stream = RandomStream::new(1, Purpose::Initialization, &[]);
        let parameters: Vec<f32> =
            (0..architecture.len() as u64).map(|i| 0.3 * stream.normal(i) as f32).collect();
        InferenceNetwork::new(representation(architecture), architecture, &parameters)
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbors() {
        let network = network(Architecture {
            shape: Pitch::shape_of(11, true),
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
    fn a_reset_row_has_read_nothing() {
        let network = network(Architecture {
            shape: Pitch::shape_of(5, true),
            layers: 3,
            units: 4,
            dense: 6,
            members: 1,
        });
        let mut states = network.states(2);
        network.advance(&mut states, &[1, 2]);
        network.reset(&mut states, 1);
        network.advance(&mut states, &[3, 4]);
        assert_eq!(network.probabilities(&states, 0), network.predict(&[1, 3]));
        assert_eq!(network.probabilities(&states, 1), network.predict(&[4]));
    }

    #[test]
    fn selected_rows_go_on_where_they_were() {
        let network = network(Architecture {
            shape: Pitch::shape_of(5, true),
            layers: 2,
            units: 4,
            dense: 6,
            members: 2,
        });
        let mut states = network.states(3);
        network.advance(&mut states, &[1, 2, 3]);
        let mut selection = states.select(&[2, 0, 2]);
        network.advance(&mut selection, &[4, 0, 1]);
        for (row, read) in [[3, 4], [1, 0], [3, 1]].iter().enumerate() {
            assert_eq!(network.probabilities(&selection, row), network.predict(read));
        }
        states.replace(&[1, 0], &selection.select(&[1, 2]));
        network.advance(&mut states, &[2, 2, 2]);
        for (row, read) in [&[3, 1, 2][..], &[1, 0, 2], &[3, 2]].iter().enumerate() {
            assert_eq!(network.probabilities(&states, row), network.predict(read));
        }
    }

    #[test]
    fn by_hand() {
        // One unit, one class, weights chosen so that each gate can be worked out on paper.
        let architecture =
            Architecture { shape: Pitch::shape_of(1, false), layers: 1, units: 1, dense: 1, members: 1 };
        let parameters = [0.1, 0.2, 0.3, 0.4, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 2.0, 0.25, 1.0, 0.0];
        let network = InferenceNetwork::new(representation(architecture), architecture, &parameters);
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
        let one = Architecture { shape: Pitch::shape_of(9, true), layers: 1, units: 5, dense: 4, members: 1 };
        let three = network(Architecture { members: 3, ..one });
        let stream = RandomStream::new(1, Purpose::Initialization, &[]);
        let alone = |member: usize| {
            let first = member * one.len();
            let parameters: Vec<f32> =
                (first..first + one.len()).map(|i| 0.3 * stream.normal(i as u64) as f32).collect();
            InferenceNetwork::new(representation(one), one, &parameters).predict(&[1, 5, 2])
        };
        let all = [alone(0), alone(1), alone(2)];
        for (class, p) in three.predict(&[1, 5, 2]).into_iter().enumerate() {
            let mean = (all[0][class] + all[1][class] + all[2][class]) / 3.0;
            assert!((p - mean).abs() < 1e-7, "{class}: {p} {mean}");
        }
    }
}
