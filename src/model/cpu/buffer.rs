//! Matrices that libtorch multiplies and plain Rust reads and writes, without copies between the two. This is
//! the one file that turns libtorch's memory into slices.

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use tch::{Device, Kind, Tensor};

/// A matrix of f32 in the CPU's memory, row by row.
pub struct Matrix {
    /// Contiguous, f32, on the CPU, of this shape, and never handed out but as a [`View`] or [`ViewMut`], whose
    /// lifetimes keep it from being written while it is read.
    tensor: Tensor,
    rows: usize,
    columns: usize,
}

/// A part of a matrix as an operand of a product.
pub struct View<'a> {
    tensor: Tensor,
    matrix: PhantomData<&'a Matrix>,
}

/// A part of a matrix as the result of a product.
pub struct ViewMut<'a> {
    tensor: Tensor,
    matrix: PhantomData<&'a mut Matrix>,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        let tensor = Tensor::zeros([rows as i64, columns as i64], (Kind::Float, Device::Cpu));
        assert!(tensor.is_contiguous() && tensor.kind() == Kind::Float && tensor.device() == Device::Cpu);
        assert_eq!(tensor.numel(), rows * columns);
        Matrix { tensor, rows, columns }
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f32] {
        // SAFETY: `zeros` made and checked a contiguous f32 tensor of rows · columns elements in the CPU's
        // memory. libtorch writes it only through a `ViewMut`, which borrows this matrix mutably.
        unsafe { std::slice::from_raw_parts(self.tensor.data_ptr().cast(), self.rows * self.columns) }
    }

    /// All values, row by row.
    pub fn values_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `values`; and views, by which libtorch reads or writes, borrow this matrix, so there is
        // none while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.tensor.data_ptr().cast(), self.rows * self.columns) }
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.columns..][..self.columns]
    }

    /// One row.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let columns = self.columns;
        &mut self.values_mut()[row * columns..][..columns]
    }

    /// All of it.
    pub fn view(&self) -> View<'_> {
        self.view_rows(0..self.rows)
    }

    /// Some of its rows.
    pub fn view_rows(&self, rows: Range<usize>) -> View<'_> {
        View { tensor: self.tensor.narrow(0, rows.start as i64, rows.len() as i64), matrix: PhantomData }
    }

    /// A stretch of its values as a matrix (rows, columns).
    pub fn view_as(&self, values: Range<usize>, rows: usize, columns: usize) -> View<'_> {
        View { tensor: reshaped(&self.tensor, values, rows, columns), matrix: PhantomData }
    }

    /// All of it.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut { tensor: self.tensor.shallow_clone(), matrix: PhantomData }
    }

    /// A stretch of its values as a matrix (rows, columns).
    pub fn view_mut_as(&mut self, values: Range<usize>, rows: usize, columns: usize) -> ViewMut<'_> {
        ViewMut { tensor: reshaped(&self.tensor, values, rows, columns), matrix: PhantomData }
    }

    /// The hyperbolic tangent of every value, in place.
    pub fn tanh(&mut self) {
        let _ = self.tensor.tanh_();
    }
}

fn reshaped(tensor: &Tensor, values: Range<usize>, rows: usize, columns: usize) -> Tensor {
    assert_eq!(values.len(), rows * columns);
    tensor.view([-1]).narrow(0, values.start as i64, values.len() as i64).view([rows as i64, columns as i64])
}

impl View<'_> {
    /// Rows become columns.
    pub fn transposed(self) -> Self {
        View { tensor: self.tensor.tr(), matrix: PhantomData }
    }
}

impl ViewMut<'_> {
    /// Becomes a · b.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn set_product(self, a: View<'_>, b: View<'_>) {
        // libtorch would give a result of another shape new memory, out of our sight.
        assert_eq!(self.tensor.size(), [a.tensor.size()[0], b.tensor.size()[1]]);
        let _ = a.tensor.mm_out(&self.tensor, &b.tensor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_land_in_the_slices() {
        let mut a = Matrix::zeros(2, 3);
        a.values_mut().copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut out = Matrix::zeros(2, 2);
        out.view_mut().set_product(a.view(), a.view().transposed());
        assert_eq!(out.values(), [14.0, 32.0, 32.0, 77.0]);
        out.view_mut_as(2..4, 1, 2).set_product(a.view_as(0..1, 1, 1), a.view_as(4..6, 1, 2));
        assert_eq!(out.values(), [14.0, 32.0, 5.0, 6.0]);
        assert_eq!(out.row(1), [5.0, 6.0]);
    }
}
