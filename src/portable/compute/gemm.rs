//! GEMM of rows with a weight matrix that is packed once and used often.
//!
//! A tile of the result stays in registers while the inner dimension runs by (Goto and van de Geijn 2008): up to 12
//! rows by two vectors. Every number is one chain of fused multiply-adds over ascending inputs, begun with what
//! the result held before.

use pulp::{Arch, Simd, WithSimd};

use super::PANEL;
use super::matrix::{Rows, RowsMut};

/// A matrix B (inputs, outputs) as the right operand of GEMMs, in panels of [`PANEL`] neighbouring outputs.
#[derive(Debug, Clone)]
pub struct Packed {
    inputs: usize,
    outputs: usize,
    /// For each panel (inputs, PANEL), the last filled up with zeros.
    panels: Vec<[f32; PANEL]>,
}

impl Packed {
    /// Room for a matrix.
    pub fn zeros(inputs: usize, outputs: usize) -> Self {
        Packed { inputs, outputs, panels: vec![[0.0; PANEL]; outputs.div_ceil(PANEL) * inputs] }
    }

    /// Takes B, row by row (inputs, outputs).
    pub fn set(&mut self, b: &[f32]) {
        let Packed { inputs, outputs, .. } = *self;
        assert_eq!(b.len(), inputs * outputs, "a matrix of {inputs} by {outputs}");
        for (panel, rows) in self.panels.chunks_exact_mut(inputs).enumerate() {
            let first = panel * PANEL;
            let width = PANEL.min(outputs - first);
            for (to, from) in rows.iter_mut().zip(b.chunks_exact(outputs)) {
                match from[first..].first_chunk() {
                    Some(whole) => *to = *whole,
                    None => to[..width].copy_from_slice(&from[first..]),
                }
            }
        }
    }

    /// Takes B as its transpose, row by row (outputs, inputs), which is how weights are stored.
    pub fn set_transposed(&mut self, b: &[f32]) {
        let Packed { inputs, outputs, .. } = *self;
        assert_eq!(b.len(), inputs * outputs, "a matrix of {outputs} by {inputs}");
        for (rows, columns) in self.panels.chunks_exact_mut(inputs).zip(b.chunks(PANEL * inputs)) {
            for (column, from) in columns.chunks_exact(inputs).enumerate() {
                for (row, &weight) in rows.iter_mut().zip(from) {
                    row[column] = weight;
                }
            }
        }
    }

    /// out (R, outputs) += x (R, inputs) · B.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn add_matmul(&self, x: Rows<'_>, out: RowsMut<'_>) {
        self.multiply(x, None, out);
    }

    /// out (R, outputs) = begin (1, outputs) + x (R, inputs) · B.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn set_matmul(&self, x: Rows<'_>, begin: Rows<'_>, out: RowsMut<'_>) {
        self.multiply(x, Some(begin), out);
    }

    fn multiply(&self, x: Rows<'_>, begin: Option<Rows<'_>>, out: RowsMut<'_>) {
        assert_eq!((x.columns(), out.columns()), (self.inputs, self.outputs), "the matrix's shape");
        assert_eq!(x.len(), out.len(), "rows in and out");
        assert!(
            begin.is_none_or(|row| (row.len(), row.columns()) == (1, self.outputs)),
            "what to begin with"
        );
        Arch::new().dispatch(Product { packed: self, x, begin, out });
    }
}

pub(super) struct Product<'a> {
    pub(super) packed: &'a Packed,
    pub(super) x: Rows<'a>,
    /// What every row begins with; otherwise with what it holds.
    pub(super) begin: Option<Rows<'a>>,
    pub(super) out: RowsMut<'a>,
}

/// Rows whose inputs stay in the processor's second cache while all panels pass by.
const BLOCK: usize = 96;

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Each row has a pointer of its own: more than ten of them leave the registers.
        let most = max_rows::<S>().min(10);
        let rows = self.x.len();
        for block in (0..rows).step_by(BLOCK) {
            let end = rows.min(block + BLOCK);
            for (panel, weights) in self.packed.panels.chunks_exact(self.packed.inputs).enumerate() {
                for offset in (0..PANEL).step_by(2 * S::F32_LANES) {
                    let columns = Columns { first: panel * PANEL + offset, offset };
                    let mut row = block;
                    while row < end {
                        // As even as can be: a tile of few rows is a slow one.
                        let tiles = (end - row).div_ceil(most);
                        let taken = (end - row).div_ceil(tiles);
                        self.tile_of(simd, taken, weights, row, columns);
                        row += taken;
                    }
                }
            }
        }
    }
}

/// Two vectors of columns: where they begin in the matrix and in its panel.
#[derive(Clone, Copy)]
struct Columns {
    first: usize,
    offset: usize,
}

/// Rows of a tile: with two vectors of sums for each, as many as fit in the registers beside the operands.
pub(super) const fn max_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 12 } else { 6 }
}

/// Calls a method with a number of rows, 1 to 12, as its constant.
macro_rules! dispatch_rows {
    ($rows:expr, $object:ident.$method:ident, $simd:expr, $($argument:expr),*) => {
        match $rows {
            1 => $object.$method::<_, 1>($simd, $($argument),*),
            2 => $object.$method::<_, 2>($simd, $($argument),*),
            3 => $object.$method::<_, 3>($simd, $($argument),*),
            4 => $object.$method::<_, 4>($simd, $($argument),*),
            5 => $object.$method::<_, 5>($simd, $($argument),*),
            6 => $object.$method::<_, 6>($simd, $($argument),*),
            7 => $object.$method::<_, 7>($simd, $($argument),*),
            8 => $object.$method::<_, 8>($simd, $($argument),*),
            9 => $object.$method::<_, 9>($simd, $($argument),*),
            10 => $object.$method::<_, 10>($simd, $($argument),*),
            11 => $object.$method::<_, 11>($simd, $($argument),*),
            12 => $object.$method::<_, 12>($simd, $($argument),*),
            _ => unreachable!("a tile has 1 to 12 rows"),
        }
    };
}
pub(super) use dispatch_rows;

impl Product<'_> {
    #[inline(always)]
    fn tile_of<S: Simd>(
        &mut self,
        simd: S,
        rows: usize,
        weights: &[[f32; PANEL]],
        row: usize,
        columns: Columns,
    ) {
        dispatch_rows!(rows, self.tile, simd, weights, row, columns)
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize>(
        &mut self,
        simd: S,
        weights: &[[f32; PANEL]],
        row: usize,
        Columns { first, offset }: Columns,
    ) {
        let x: [&[f32]; M] = std::array::from_fn(|m| &self.x.padded(row + m)[..weights.len()]);
        let mut sums: Tile<S, M> = [[simd.splat_f32s(0.0); 2]; M];
        for (m, sums) in sums.iter_mut().enumerate() {
            *sums = match &self.begin {
                Some(begin) => load2::<S>(&begin.padded(0)[first..]),
                None => load2::<S>(&self.out.padded_mut(row + m)[first..]),
            };
        }
        for (input, weights) in weights.iter().enumerate() {
            let mut of_input = [0.0; M];
            for m in 0..M {
                of_input[m] = x[m][input];
            }
            sums = add_outer(simd, of_input, load2::<S>(&weights[offset..]), sums);
        }
        for (m, sums) in sums.iter().enumerate() {
            store2::<S>(&mut self.out.padded_mut(row + m)[first..], *sums);
        }
    }
}

/// Sums of M rows in two vectors of columns each.
pub(super) type Tile<S, const M: usize> = [[<S as Simd>::f32s; 2]; M];

/// sums + x · b, an outer product. Sums come and go by value: behind a reference they would leave the registers.
#[inline(always)]
pub(super) fn add_outer<S: Simd, const M: usize>(
    simd: S,
    x: [f32; M],
    b: [S::f32s; 2],
    mut sums: Tile<S, M>,
) -> Tile<S, M> {
    for m in 0..M {
        let x = simd.splat_f32s(x[m]);
        sums[m][0] = simd.mul_add_f32s(x, b[0], sums[m][0]);
        sums[m][1] = simd.mul_add_f32s(x, b[1], sums[m][1]);
    }
    sums
}

/// The first two vectors of a slice.
#[inline(always)]
pub(super) fn load2<S: Simd>(values: &[f32]) -> [S::f32s; 2] {
    let (vectors, _) = S::as_simd_f32s(&values[..2 * S::F32_LANES]);
    [vectors[0], vectors[1]]
}

#[inline(always)]
pub(super) fn store2<S: Simd>(values: &mut [f32], [a, b]: [S::f32s; 2]) {
    let (vectors, _) = S::as_mut_simd_f32s(&mut values[..2 * S::F32_LANES]);
    vectors.copy_from_slice(&[a, b]);
}
