//! The layers of one ensemble member, and their forward pass over the rows of one timestep. Training and composing both run
//! this: there the rows are those of some lanes of a batch, here a few sequences. Rows are independent in all of it.
//!
//! R rows, H units, D dense units, C tokens of the vocabulary, S scores, V relations.

use crate::compute::functions::Forward;
use crate::compute::gemm::Packed;
use crate::compute::matrix::{Matrix, Rows, RowsMut};
use crate::compute::one_hot::Lookup;
use crate::parallel::vectorized;
use crate::representation::NO_FEATURE;

use super::{Architecture, Parameter, Role};

/// All layers, with the weights that the forward pass needs.
#[derive(Debug, Clone)]
pub struct Layers {
    /// From the lowest.
    pub lstm: Vec<Lstm>,
    /// From the top LSTM layer's outputs to D units.
    pub dense: Dense,
    /// From there to S scores.
    pub scores: Dense,
}

/// An LSTM layer.
#[derive(Debug, Clone)]
pub struct Lstm {
    input: InputKernel,
    recurrent: Packed,
    /// (1, 4H).
    bias: Matrix,
}

/// An LSTM layer's input kernel.
#[derive(Debug, Clone)]
enum InputKernel {
    /// The first layer's.
    Lookup(Lookup),
    /// The others'.
    Units(Packed),
}

/// A dense layer without an activation function.
#[derive(Debug, Clone)]
pub struct Dense {
    kernel: Packed,
    /// (1, outputs).
    bias: Matrix,
}

impl Layers {
    /// Room for the parameters of an architecture of one member; [`Layers::load`] fills them in.
    pub fn new(architecture: Architecture) -> Self {
        let Architecture { shape, units, dense, .. } = architecture;
        let mut lstm = Vec::new();
        for layer in 0..architecture.layers {
            let input = match layer {
                0 => InputKernel::Lookup(Lookup::zeros(shape.inputs, 4 * units)),
                _ => InputKernel::Units(Packed::zeros(units, 4 * units)),
            };
            let (recurrent, bias) = (Packed::zeros(units, 4 * units), Matrix::zeros(1, 4 * units));
            lstm.push(Lstm { input, recurrent, bias });
        }
        let linear = |inputs, outputs| Dense {
            kernel: Packed::zeros(inputs, outputs),
            bias: Matrix::zeros(1, outputs),
        };
        Layers { lstm, dense: linear(units, dense), scores: linear(dense, shape.scores) }
    }

    /// Takes the parameters of a layout from a flat buffer.
    pub fn load(&mut self, layout: &[Parameter], parameters: &[f32]) {
        for parameter in layout {
            let values = &parameters[parameter.range()];
            match parameter.role {
                Role::InputKernel { layer } => match &mut self.lstm[layer].input {
                    InputKernel::Lookup(kernel) => kernel.set(values),
                    InputKernel::Units(kernel) => kernel.set_transposed(values),
                },
                Role::RecurrentKernel { layer } => self.lstm[layer].recurrent.set_transposed(values),
                Role::GateBias { layer } => self.lstm[layer].bias.row_mut(0).copy_from_slice(values),
                Role::DenseKernel => self.dense.kernel.set_transposed(values),
                Role::DenseBias => self.dense.bias.row_mut(0).copy_from_slice(values),
                Role::ScoreKernel => self.scores.kernel.set_transposed(values),
                Role::ScoreBias => self.scores.bias.row_mut(0).copy_from_slice(values),
            }
        }
    }
}

/// What flows into an LSTM layer at a timestep.
pub enum LayerInput<'a, S> {
    /// Into the first: the active features of each row.
    Active(S),
    /// Into the others: what they see of the layer below, (R, H).
    Units(Rows<'a>),
}

/// An LSTM layer's state after a timestep.
#[derive(Clone, Copy)]
pub struct LstmState<'a> {
    /// h, (R, H).
    pub outputs: Rows<'a>,
    /// c, (R, H).
    pub cells: Rows<'a>,
}

/// What an LSTM layer computes at a timestep.
pub struct LstmRows<'a> {
    /// (R, 4H).
    pub gates: RowsMut<'a>,
    /// c, (R, H).
    pub cells: RowsMut<'a>,
    /// tanh(c), (R, H).
    pub tanh_cells: RowsMut<'a>,
    /// h, (R, H).
    pub outputs: RowsMut<'a>,
}

impl Lstm {
    /// One timestep. Without a state before it, the recurrent GEMM is skipped: its input would be zero.
    pub fn forward<'f, S: Iterator<Item = &'f [u32]>>(
        &self,
        input: LayerInput<'_, S>,
        before: Option<LstmState<'_>>,
        rows: LstmRows<'_>,
    ) {
        let LstmRows { mut gates, mut cells, mut tanh_cells, mut outputs } = rows;
        match (&self.input, input) {
            (InputKernel::Lookup(kernel), LayerInput::Active(active)) => {
                kernel.set_matmul(active, self.bias.row(0), gates.iter_mut());
            }
            (InputKernel::Units(kernel), LayerInput::Units(below)) => {
                kernel.set_matmul(below, self.bias.all(), gates.reborrow());
            }
            _ => unreachable!("the first layer reads features, and no other does"),
        }
        if let Some(before) = before {
            self.recurrent.add_matmul(before.outputs, gates.reborrow());
        }
        vectorized(
            #[inline(always)]
            || {
                let results = cells.iter_mut().zip(tanh_cells.iter_mut()).zip(outputs.iter_mut());
                for (row, (gates, ((cell, tanh_cell), output))) in gates.iter_mut().zip(results).enumerate() {
                    let before = before.map(|before| before.cells.row(row));
                    Forward { gates, before, cell, tanh_cell, output }.run();
                }
            },
        );
    }
}

impl Dense {
    /// out (R, outputs) = bias + inputs (R, inputs) · kernelᵀ.
    pub fn forward(&self, inputs: Rows<'_>, out: RowsMut<'_>) {
        self.kernel.set_matmul(inputs, self.bias.all(), out);
    }
}

/// The logits (C) of a row from its scores (S): a token's own, and those that begin at `first_scores` (V).
#[inline(always)]
pub fn add_scores(scores: &[f32], first_scores: &[u32], logits: &mut [f32]) {
    logits.copy_from_slice(&scores[..logits.len()]);
    for first in present(first_scores) {
        for (logit, score) in logits.iter_mut().zip(&scores[first..]) {
            *logit += score;
        }
    }
}

/// Those that are not [`NO_FEATURE`].
#[inline(always)]
pub fn present(first_scores: &[u32]) -> impl Iterator<Item = usize> {
    first_scores.iter().filter(|&&first| first != NO_FEATURE).map(|&first| first as usize)
}
