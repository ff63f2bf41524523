//! One LSTM layer over whole windows, forward and backward, for all lanes of a rank at once.
//!
//! L lanes, T notes, P rows a lane, H units. What is kept for the way back is laid out (L, T, P, ·), so that a
//! lane's part lies together; what belongs to one moment is (L, P, ·), so that one product serves all lanes.
//! Rows are independent in all of it.

use super::Shape;
use super::buffer::{Matrix, View};
use super::cell::{self, Backward};

/// A layer's memory.
pub struct Layer {
    shape: Shape,
    /// (L·T·P, 4H): what flows into the gates from below, then the gates, then the loss's derivative by what
    /// flowed in.
    pub gates: Matrix,
    /// (L·T·P, H).
    cells: Matrix,
    /// (L·T·P, H).
    tanh_cells: Matrix,
    /// (L·T·P, H).
    pub outputs: Matrix,
    /// (L·P, 4H) of one moment.
    moment_gates: Matrix,
    /// (L·P, H) of one moment: tanh(c) forward, ∂L/∂c backward.
    moment_cell: Matrix,
    /// (L·P, H) of one moment: h forward, ∂L/∂h from the next moment backward.
    moment_output: Matrix,
}

impl Layer {
    /// Memory for lanes of this shape.
    pub fn new(shape: Shape, units: usize) -> Self {
        let (all, moment) = (shape.rows(), shape.lanes * shape.padded);
        Layer {
            shape,
            gates: Matrix::zeros(all, 4 * units),
            cells: Matrix::zeros(all, units),
            tanh_cells: Matrix::zeros(all, units),
            outputs: Matrix::zeros(all, units),
            moment_gates: Matrix::zeros(moment, 4 * units),
            moment_cell: Matrix::zeros(moment, units),
            moment_output: Matrix::zeros(moment, units),
        }
    }

    /// Runs through the window from a zero state. `gates` holds what flows in from below.
    pub fn forward<'a>(&mut self, recurrent: impl Fn() -> View<'a>, bias: &[f32]) {
        for time in 0..self.shape.notes {
            if time == 0 {
                // The state is zero, and so is its product.
                self.moment_gates.values_mut().fill(0.0);
            } else {
                let h = self.moment_output.view();
                self.moment_gates.view_mut().set_product(h, recurrent().transposed());
            }
            for (moment, row) in self.shape.moment(time) {
                cell::gate_arguments(self.moment_gates.row_mut(moment), self.gates.row(row), bias);
            }
            self.moment_gates.tanh();
            for (moment, row) in self.shape.moment(time) {
                let tangents = self.moment_gates.row(moment);
                let cell = self.moment_cell.row_mut(moment);
                let before = self.shape.before(row, time).map(|row| self.cells.row(row));
                cell::gates_and_cell(tangents, before, self.gates.row_mut(row), cell);
                self.cells.row_mut(row).copy_from_slice(cell);
            }
            self.moment_cell.tanh();
            for (moment, row) in self.shape.moment(time) {
                let tanh_cell = self.moment_cell.row(moment);
                let output = self.moment_output.row_mut(moment);
                cell::output(self.gates.row(row), tanh_cell, output);
                self.outputs.row_mut(row).copy_from_slice(output);
                self.tanh_cells.row_mut(row).copy_from_slice(tanh_cell);
            }
        }
    }

    /// The outputs that predictions are made from, (L·Q·P, H): all of them, or those of the last moment, as
    /// [`Layer::forward`] left them.
    pub fn seen_from_above(&self) -> &Matrix {
        if self.shape.predictions == self.shape.notes { &self.outputs } else { &self.moment_output }
    }

    /// Runs back through the window. `from_above` is ∂L/∂h, (L·T·P, H); afterwards `gates` holds the derivative
    /// by what flowed into them.
    pub fn backward<'a>(&mut self, recurrent: impl Fn() -> View<'a>, from_above: &Matrix) {
        self.moment_output.values_mut().fill(0.0);
        self.moment_cell.values_mut().fill(0.0);
        for time in (0..self.shape.notes).rev() {
            for (moment, row) in self.shape.moment(time) {
                let backward = Backward {
                    from_above: from_above.row(row),
                    from_later: self.moment_output.row(moment),
                    tanh_cell: self.tanh_cells.row(row),
                    before: self.shape.before(row, time).map(|row| self.cells.row(row)),
                };
                let gates = self.gates.row_mut(row);
                backward.run(gates, self.moment_cell.row_mut(moment));
                self.moment_gates.row_mut(moment).copy_from_slice(gates);
            }
            if time > 0 {
                self.moment_output.view_mut().set_product(self.moment_gates.view(), recurrent());
            }
        }
    }
}
