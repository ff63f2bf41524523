//! One LSTM layer over whole windows, forward and backward, for some lanes at once.
//!
//! L lanes, T notes, P rows a lane, H units. Rows are laid out (T, L, P), so that those of a timestep lie together.
//! They are independent in all of it.

use crate::compute::gemm::Packed;
use crate::compute::lstm_cell::{Backward, Forward};
use crate::compute::matrix::{Matrix, Rows, RowsMut};
use crate::parallel::vectorized;

use super::shape::Shape;

/// A layer's kernel, packed for both ways.
pub struct Kernel {
    /// (inputs, 4H).
    forward: Packed,
    /// (4H, inputs).
    backward: Packed,
    /// (1, inputs): what products backward begin with.
    zeros: Matrix,
}

impl Kernel {
    /// Room for a kernel (outputs, inputs).
    pub fn zeros(outputs: usize, inputs: usize) -> Self {
        Kernel {
            forward: Packed::zeros(inputs, outputs),
            backward: Packed::zeros(outputs, inputs),
            zeros: Matrix::zeros(1, inputs),
        }
    }

    /// Packs the weights.
    pub fn load(&mut self, weights: &[f32]) {
        self.forward.set_transposed(weights);
        self.backward.set(weights);
    }

    /// out = bias + inputs · Wᵀ.
    pub fn set_forward(&self, inputs: Rows<'_>, bias: Rows<'_>, out: RowsMut<'_>) {
        self.forward.set_matmul(inputs, bias, out);
    }

    /// out += inputs · Wᵀ.
    pub fn add_forward(&self, inputs: Rows<'_>, out: RowsMut<'_>) {
        self.forward.add_matmul(inputs, out);
    }

    /// ∂L/∂inputs = ∂L/∂out · W.
    pub fn set_backward(&self, d_out: Rows<'_>, d_inputs: RowsMut<'_>) {
        self.backward.set_matmul(d_out, self.zeros.all(), d_inputs);
    }

    /// ∂L/∂inputs += ∂L/∂out · W.
    pub fn add_backward(&self, d_out: Rows<'_>, d_inputs: RowsMut<'_>) {
        self.backward.add_matmul(d_out, d_inputs);
    }
}

/// Activations that a layer saves in the forward pass for the backward pass.
pub struct Layer {
    shape: Shape,
    /// (T·L·P, 4H): pre-activations; overwritten by the gates, then by ∂L/∂pre-activation.
    pub gates: Matrix,
    /// (T·L·P, H).
    cells: Matrix,
    /// (T·L·P, H).
    tanh_cells: Matrix,
    /// (T·L·P, H).
    pub outputs: Matrix,
    /// (L·P, H) of one timestep: ∂L/∂c.
    d_cell: Matrix,
}

impl Layer {
    /// Memory for lanes of this shape.
    pub fn new(shape: Shape, units: usize) -> Self {
        let all = shape.rows();
        Layer {
            shape,
            gates: Matrix::zeros(all, 4 * units),
            cells: Matrix::zeros(all, units),
            tanh_cells: Matrix::zeros(all, units),
            outputs: Matrix::zeros(all, units),
            d_cell: Matrix::zeros(shape.timestep_rows(), units),
        }
    }

    /// Runs through the window from a zero state. `flow_in` is given each timestep and its rows of the gates, and
    /// writes what flows in from below, biases included.
    pub fn forward(&mut self, recurrent: &Kernel, mut flow_in: impl FnMut(usize, RowsMut<'_>)) {
        for time in 0..self.shape.notes {
            let rows = self.shape.timestep(time);
            let mut gates = self.gates.rows_mut(rows.clone());
            flow_in(time, gates.reborrow());
            let (earlier_outputs, mut outputs) = self.outputs.rows_after(rows.clone());
            let (earlier_cells, mut cells) = self.cells.rows_after(rows.clone());
            let before = (time > 0).then(|| earlier_cells.last(rows.len()));
            if time > 0 {
                // The state before the first note is zero, and so is its product.
                recurrent.add_forward(earlier_outputs.last(rows.len()), gates.reborrow());
            }
            let mut tanh_cells = self.tanh_cells.rows_mut(rows.clone());
            vectorized(
                #[inline(always)]
                || {
                    let news = cells.iter_mut().zip(tanh_cells.iter_mut()).zip(outputs.iter_mut());
                    for (row, (gates, ((cell, tanh_cell), output))) in gates.iter_mut().zip(news).enumerate()
                    {
                        let before = before.map(|before| before.row(row));
                        Forward { gates, before, cell, tanh_cell, output }.run();
                    }
                },
            );
        }
    }

    /// Runs back through the window. `d_outputs` is ∂L/∂h as far as it comes from above, (T·L·P, H); afterwards
    /// `gates` holds the derivative by what flowed into them, and `below` was given each timestep's.
    pub fn backward(
        &mut self,
        recurrent: &Kernel,
        d_outputs: &mut Matrix,
        mut below: impl FnMut(usize, Rows<'_>),
    ) {
        self.d_cell.clear();
        for time in (0..self.shape.notes).rev() {
            let rows = self.shape.timestep(time);
            let (mut gates, mut d_cells) = (self.gates.rows_mut(rows.clone()), self.d_cell.all_mut());
            let (d_output, tanh_cells) = (d_outputs.rows(rows.clone()), self.tanh_cells.rows(rows.clone()));
            let before = (time > 0).then(|| self.cells.rows(self.shape.timestep(time - 1)));
            vectorized(
                #[inline(always)]
                || {
                    for (row, (gates, d_cell)) in gates.iter_mut().zip(d_cells.iter_mut()).enumerate() {
                        let before = before.map(|before| before.row(row));
                        let (tanh_cell, d_output) = (tanh_cells.row(row), d_output.row(row));
                        Backward { gates, before, tanh_cell, d_output, d_cell }.run();
                    }
                },
            );
            let d_gates = self.gates.rows(rows);
            if time > 0 {
                recurrent.add_backward(d_gates, d_outputs.rows_mut(self.shape.timestep(time - 1)));
            }
            below(time, d_gates);
        }
    }

    /// The outputs that predictions are made from, (Q·L·P, H).
    pub fn seen_from_above(&self) -> Rows<'_> {
        self.outputs.all().last(self.shape.prediction_rows())
    }
}
