//! Gradients of weights: sums over the rows of each lane, and of these along the tree of lanes.
//!
//! Lanes are the leaves of a perfect binary tree, a sum is always left plus right, and a rank's lanes are one node.
//! The sums of all lanes are made tile by tile, so that no lane's gradient is ever written to memory.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::PANEL;
use super::gemm::{Tile, add_outer, dispatch_rows, load2, max_rows, store2};
use super::matrix::Matrix;
use crate::lanes::TreeSum;
use crate::parallel::add;

/// A lane's rows of a matrix: in each of some timesteps, some neighbouring rows.
#[derive(Debug, Clone, Copy)]
pub struct LaneRows<'a> {
    /// The matrix.
    pub matrix: &'a Matrix,
    /// The first row of the first timestep.
    pub first: usize,
    /// How many timesteps.
    pub timesteps: usize,
    /// Rows from a timestep to the next.
    pub row_stride: usize,
    /// Rows of a timestep.
    pub rows: usize,
}

impl LaneRows<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.timesteps * self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of its rows, in order.
    #[inline(always)]
    pub fn row_indices(&self) -> impl Iterator<Item = usize> + use<> {
        let LaneRows { first, timesteps, row_stride, rows, .. } = *self;
        (0..timesteps)
            .flat_map(move |timestep| first + timestep * row_stride..first + timestep * row_stride + rows)
    }
}

/// Outputs that a tile of a gradient has at most. A lane's rows of them and of a panel of inputs fit into the
/// processor's first cache together.
const GROUP: usize = 12;

/// Outputs whose gradient is made at once: what is packed for them, of all lanes, stays in the second cache.
const BLOCK: usize = 8 * GROUP;

/// A weight whose gradient is wanted.
pub struct Weight<'a> {
    /// What went in, for each lane. With fewer rows than came out it went into the last of these.
    pub inputs: Vec<LaneRows<'a>>,
    /// (outputs, inputs).
    pub gradient: &'a mut [f32],
}

/// Gradients of all weights that one ∂L/∂out came by: for each lane its rows, transposed, times the rows that went in.
///
/// # Panics
/// If the shapes do not fit.
pub fn weight_gradients(outs: &[LaneRows<'_>], weights: &mut [Weight<'_>]) {
    for Weight { inputs, gradient } in &mut *weights {
        assert_eq!(inputs.len(), outs.len(), "lanes in and out");
        for (out, input) in outs.iter().zip(&*inputs) {
            assert!(input.len() <= out.len(), "no more rows in than out");
            let shape = out.matrix.columns() * input.matrix.columns();
            assert_eq!(gradient.len(), shape, "the gradient's shape");
        }
    }
    Arch::new().dispatch(WeightGradKernel { outs, weights });
}

/// Columns of a lane's rows in strips of N, each (rows, N), the last filled up with zeros.
struct PackedPanels<const N: usize> {
    rows: usize,
    values: Vec<[f32; N]>,
}

impl<const N: usize> PackedPanels<N> {
    fn new(lane: &LaneRows<'_>, columns: Range<usize>) -> Self {
        let rows = lane.len();
        let mut values = vec![[0.0; N]; columns.len().div_ceil(N) * rows];
        for (row, number) in lane.row_indices().enumerate() {
            let mut from = &lane.matrix.row(number)[columns.clone()];
            for to in values[row..].iter_mut().step_by(rows) {
                match from.split_first_chunk() {
                    Some((whole, rest)) => (*to, from) = (*whole, rest),
                    None => to[..from.len()].copy_from_slice(from),
                }
            }
        }
        PackedPanels { rows, values }
    }

    #[inline(always)]
    fn strip(&self, index: usize) -> &[[f32; N]] {
        &self.values[index * self.rows..][..self.rows]
    }
}

struct WeightGradKernel<'a, 'b> {
    outs: &'a [LaneRows<'a>],
    weights: &'a mut [Weight<'b>],
}

impl WithSimd for WeightGradKernel<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let WeightGradKernel { outs, weights } = self;
        let columns = |lanes: &[LaneRows<'_>]| lanes.first().map_or(0, |lane| lane.matrix.columns());
        let ins = |weight: &Weight<'_>| {
            let inputs = 0..columns(&weight.inputs);
            weight.inputs.iter().map(|lane| PackedPanels::new(lane, inputs.clone())).collect()
        };
        let ins: Vec<Vec<_>> = weights.iter().map(ins).collect();
        let outputs = columns(outs);
        for first in (0..outputs).step_by(BLOCK) {
            let block = first..outputs.min(first + BLOCK);
            let outs: Vec<_> = outs.iter().map(|lane| PackedPanels::new(lane, block.clone())).collect();
            for (Weight { inputs, gradient }, ins) in weights.iter_mut().zip(&ins) {
                let inputs = columns(inputs);
                let gradient = &mut gradient[block.start * inputs..block.end * inputs];
                for (panel, first) in (0..inputs).step_by(PANEL).enumerate() {
                    let sums = sum_panel(simd, &outs, ins, panel, block.len());
                    for (sums, gradient) in sums.chunks_exact(PANEL).zip(gradient.chunks_exact_mut(inputs)) {
                        let gradient = &mut gradient[first..inputs.min(first + PANEL)];
                        gradient.copy_from_slice(&sums[..gradient.len()]);
                    }
                }
            }
        }
    }
}

/// The gradient of some outputs by a panel of inputs, (outputs, PANEL), summed over lanes.
#[inline(always)]
fn sum_panel<S: Simd>(
    simd: S,
    outs: &[PackedPanels<GROUP>],
    ins: &[PackedPanels<PANEL>],
    panel: usize,
    outputs: usize,
) -> Vec<f32> {
    let mut sum = TreeSum::default();
    for (outs, ins) in outs.iter().zip(ins) {
        let mut sums = vec![0.0; outputs * PANEL];
        for offset in (0..PANEL).step_by(2 * S::F32_LANES) {
            Products { outs, inputs: ins.strip(panel), offset }.write(simd, sums.as_chunks_mut().0);
        }
        sum.push(sums);
    }
    sum.finish()
}

/// A lane's part of the gradient, of some outputs and a panel of inputs.
struct Products<'a> {
    outs: &'a PackedPanels<GROUP>,
    /// (rows, PANEL).
    inputs: &'a [[f32; PANEL]],
    /// The first of two vectors of inputs, in their panel.
    offset: usize,
}

impl Products<'_> {
    /// That of one output for each of the sums.
    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, sums: &mut [[f32; PANEL]]) {
        let most = max_rows::<S>();
        let without_input = self.outs.rows - self.inputs.len();
        for (group, sums) in sums.chunks_mut(GROUP).enumerate() {
            let outs = &self.outs.strip(group)[without_input..];
            for (tile, sums) in sums.chunks_mut(most).enumerate() {
                dispatch_rows!(sums.len(), self.tile, simd, outs, tile * most, sums);
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize>(
        &self,
        simd: S,
        outs: &[[f32; GROUP]],
        output: usize,
        sums: &mut [[f32; PANEL]],
    ) {
        let mut tile: Tile<S, M> = [[simd.splat_f32s(0.0); 2]; M];
        for (out, input) in outs.iter().zip(self.inputs) {
            let out = &out[output..output + M];
            let mut of_outputs = [0.0; M];
            #[expect(
                clippy::manual_memcpy,
                reason = "numbers that are loaded one by one are broadcast by the load"
            )]
            for m in 0..M {
                of_outputs[m] = out[m];
            }
            tile = add_outer(simd, of_outputs, load2::<S>(&input[self.offset..]), tile);
        }
        for (sums, tile) in sums.iter_mut().zip(tile) {
            store2::<S>(&mut sums[self.offset..], tile);
        }
    }
}

/// The gradient of a bias: for each lane the sum of its rows.
pub fn bias_gradient(lanes: &[LaneRows<'_>], gradient: &mut [f32]) {
    let mut sum = TreeSum::default();
    for lane in lanes {
        let mut sums = vec![0.0; gradient.len()];
        for row in lane.row_indices() {
            add(&mut sums, lane.matrix.row(row));
        }
        sum.push(sums);
    }
    gradient.copy_from_slice(&sum.finish());
}
