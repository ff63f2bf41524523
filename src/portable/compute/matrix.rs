//! Matrices of f32 whose rows are padded with zeros, so that GEMM needs no special case for a last column.

use std::ops::Range;

use super::PANEL;

/// Floats of a cache line. A row is one line longer than its panels: rows of a power of two would all fall on the
/// same few places of the processor's cache.
const LINE: usize = 16;

/// A matrix, row by row.
#[derive(Debug, Clone)]
pub struct Matrix {
    columns: usize,
    stride: usize,
    /// (rows, stride); what is beyond `columns` is 0.
    values: Vec<f32>,
}

/// Some neighbouring rows of a matrix.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    columns: usize,
    stride: usize,
    values: &'a [f32],
}

/// Some neighbouring rows of a matrix, to be written.
#[derive(Debug)]
pub struct RowsMut<'a> {
    columns: usize,
    stride: usize,
    values: &'a mut [f32],
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        let stride = columns.next_multiple_of(PANEL) + LINE;
        Matrix { columns, stride, values: vec![0.0; rows * stride] }
    }

    /// Numbers in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.columns]
    }

    /// One row.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.stride..][..self.columns]
    }

    /// All of them.
    pub fn all(&self) -> Rows<'_> {
        Rows { columns: self.columns, stride: self.stride, values: &self.values }
    }

    /// All of them.
    pub fn all_mut(&mut self) -> RowsMut<'_> {
        RowsMut { columns: self.columns, stride: self.stride, values: &mut self.values }
    }

    /// Some of them.
    pub fn rows(&self, rows: Range<usize>) -> Rows<'_> {
        let values = &self.values[rows.start * self.stride..rows.end * self.stride];
        Rows { columns: self.columns, stride: self.stride, values }
    }

    /// Some of them.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> RowsMut<'_> {
        let values = &mut self.values[rows.start * self.stride..rows.end * self.stride];
        RowsMut { columns: self.columns, stride: self.stride, values }
    }

    /// Some of them to be written, and all before them.
    pub fn rows_after(&mut self, rows: Range<usize>) -> (Rows<'_>, RowsMut<'_>) {
        let (columns, stride) = (self.columns, self.stride);
        let (before, values) = self.values[..rows.end * stride].split_at_mut(rows.start * stride);
        (Rows { columns, stride, values: before }, RowsMut { columns, stride, values })
    }

    /// Sets every number to 0.
    pub fn clear(&mut self) {
        self.values.fill(0.0);
    }
}

impl<'a> Rows<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.values.len() / self.stride
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One of them.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..self.columns]
    }

    /// The last of them.
    pub fn last(&self, rows: usize) -> Rows<'a> {
        Rows { values: &self.values[self.values.len() - rows * self.stride..], ..*self }
    }

    /// One after another.
    pub fn iter(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let columns = self.columns;
        self.values.chunks_exact(self.stride).map(move |row| &row[..columns])
    }

    /// One with the zeros that it is padded with.
    #[inline(always)]
    pub(super) fn padded(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..self.stride]
    }
}

impl RowsMut<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.values.len() / self.stride
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One after another.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let columns = self.columns;
        self.values.chunks_exact_mut(self.stride).map(move |row| &mut row[..columns])
    }

    /// One of them.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.stride..][..self.columns]
    }

    /// One with the zeros that it is padded with.
    #[inline(always)]
    pub(super) fn padded_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.stride..][..self.stride]
    }

    /// Copies other rows, the same number of them.
    pub fn copy_from(&mut self, other: Rows<'_>) {
        assert_eq!((self.columns, self.values.len()), (other.columns, other.values.len()), "equal shapes");
        self.values.copy_from_slice(other.values);
    }

    /// The same rows again, for a shorter time.
    pub fn reborrow(&mut self) -> RowsMut<'_> {
        RowsMut { columns: self.columns, stride: self.stride, values: self.values }
    }
}

/// Transposes a matrix with this number of columns.
///
/// # Panics
/// If there is not as much room as there are numbers.
pub fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    assert_eq!(matrix.len(), out.len(), "sizes of a matrix and its transpose");
    let rows = matrix.len() / columns;
    for (row, values) in matrix.chunks_exact(columns).enumerate() {
        for (column, value) in values.iter().enumerate() {
            out[column * rows + row] = *value;
        }
    }
}
