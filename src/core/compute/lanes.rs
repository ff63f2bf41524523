//! Gradients of weights: sums over the rows of each lane, and of these along the tree of lanes.
//!
//! Lanes are the leaves of a perfect binary tree, a sum is always left plus right, and a rank's lanes are one node.
//! The sums of all lanes are made tile by tile, so that no lane's gradient is ever written to memory.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::matrix::{Matrix, transpose};
use super::product::{Tile, add_outer, for_rows, most_rows, pair, set_pair};
use super::{PANEL, add};

/// A lane's rows of a matrix: in each of some moments, some neighbouring rows.
#[derive(Debug, Clone, Copy)]
pub struct LaneRows<'a> {
    /// The matrix.
    pub matrix: &'a Matrix,
    /// The first row of the first moment.
    pub first: usize,
    /// How many moments.
    pub moments: usize,
    /// Rows from a moment to the next.
    pub step: usize,
    /// Rows of a moment.
    pub rows: usize,
}

impl LaneRows<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.moments * self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of its rows, in order.
    #[inline(always)]
    pub fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        let LaneRows { first, moments, step, rows, .. } = *self;
        (0..moments).flat_map(move |moment| first + moment * step..first + moment * step + rows)
    }
}

/// Sums of leaves that come one by one along the tree, keeping one sum a level: like adding one to a binary number,
/// two of a level become one of the next.
#[derive(Debug, Default)]
pub struct TreeSum {
    levels: Vec<(u32, Vec<f32>)>,
}

impl TreeSum {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Vec<f32>) {
        let mut level = 0;
        let mut right = leaf;
        while let Some((_, mut left)) = self.levels.pop_if(|(top, _)| *top == level) {
            add(&mut left, &right);
            (level, right) = (level + 1, left);
        }
        self.levels.push((level, right));
    }

    /// The sum.
    ///
    /// # Panics
    /// Unless a power of two of leaves was pushed.
    pub fn finish(mut self) -> Vec<f32> {
        let (_, sum) = self.levels.pop().expect("at least one leaf");
        assert!(self.levels.is_empty(), "the number of leaves is not a power of two");
        sum
    }
}

/// Outputs that a tile of a gradient has at most. A lane's rows of them and of a panel of inputs fit into the
/// processor's first cache together.
const GROUP: usize = 12;

/// Outputs of a weight whose gradient is made at once, enough to use what is packed for them often.
pub const BLOCK: usize = 16 * GROUP;

/// Some rows of a weight's gradient: for each lane what came `out`, transposed, times what went in.
pub struct WeightGradient<'a> {
    /// For each lane its rows of ∂L/∂out and, as many, of the inputs.
    pub lanes: &'a [(LaneRows<'a>, LaneRows<'a>)],
    /// Which outputs; best [`BLOCK`].
    pub outputs: Range<usize>,
    /// Numbers of an input.
    pub inputs: usize,
}

impl WeightGradient<'_> {
    /// Writes it, (outputs, inputs).
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn write(&self, gradient: &mut [f32]) {
        assert_eq!(gradient.len(), self.outputs.len() * self.inputs, "the gradient's shape");
        let (rows, outs) =
            self.lanes.first().map_or((0, 0), |(out, _)| (out.len(), out.matrix.all().columns()));
        assert!(self.outputs.end <= outs, "outputs of the matrix");
        for (out, input) in self.lanes {
            assert_eq!((out.len(), input.len(), input.matrix.all().columns()), (rows, rows, self.inputs));
        }
        if rows == 0 {
            gradient.fill(0.0);
            return;
        }
        Arch::new().dispatch(Writing { of: self, gradient });
    }
}

/// For each N of these columns of a lane's rows (rows, N), the last filled up with zeros.
#[inline(always)]
fn pack<const N: usize>(lane: &LaneRows<'_>, columns: Range<usize>, packed: &mut Vec<[f32; N]>) {
    packed.clear();
    packed.resize(columns.len().div_ceil(N) * lane.len(), [0.0; N]);
    let rows = lane.matrix.all();
    for (row, number) in lane.numbers().enumerate() {
        let mut from = &rows.row(number)[columns.clone()];
        for to in packed[row..].iter_mut().step_by(lane.len()) {
            match from.split_first_chunk() {
                Some((whole, rest)) => (*to, from) = (*whole, rest),
                None => to[..from.len()].copy_from_slice(from),
            }
        }
    }
}

struct Writing<'a> {
    of: &'a WeightGradient<'a>,
    gradient: &'a mut [f32],
}

impl WithSimd for Writing<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let WeightGradient { lanes, outputs, inputs } = self.of;
        let (panels, block) = (inputs.div_ceil(PANEL), outputs.len());
        let (mut outs, mut ins) = (Vec::new(), Vec::new());
        let mut sum = TreeSum::default();
        for (out, input) in *lanes {
            pack(out, outputs.clone(), &mut outs);
            pack(input, 0..*inputs, &mut ins);
            // For each panel of inputs (outputs, PANEL).
            let mut sums = vec![0.0; panels * block * PANEL];
            let of_panels = sums.chunks_exact_mut(block * PANEL).zip(ins.chunks_exact(input.len()));
            for (sums, inputs) in of_panels {
                for offset in (0..PANEL).step_by(2 * S::F32_LANES) {
                    let products = Products { outs: &outs, inputs, offset };
                    products.write(simd, sums.as_chunks_mut().0);
                }
            }
            sum.push(sums);
        }
        let sum = sum.finish();
        for (output, gradient) in self.gradient.chunks_exact_mut(*inputs).enumerate() {
            for (panel, gradient) in gradient.chunks_mut(PANEL).enumerate() {
                gradient.copy_from_slice(&sum[(panel * block + output) * PANEL..][..gradient.len()]);
            }
        }
    }
}

/// A lane's products of all outputs of a block with a panel of inputs.
struct Products<'a> {
    /// For each group of outputs (rows, GROUP).
    outs: &'a [[f32; GROUP]],
    /// (rows, PANEL).
    inputs: &'a [[f32; PANEL]],
    /// The first of two vectors of inputs, in their panel.
    offset: usize,
}

impl Products<'_> {
    /// Those of as many outputs as there are sums.
    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, sums: &mut [[f32; PANEL]]) {
        let most = most_rows::<S>();
        let groups = self.outs.chunks_exact(self.inputs.len());
        for (outs, sums) in groups.zip(sums.chunks_mut(GROUP)) {
            for (tile, sums) in sums.chunks_mut(most).enumerate() {
                for_rows!(sums.len(), self.tile, simd, outs, tile * most, sums);
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
            tile = add_outer(simd, of_outputs, pair::<S>(&input[self.offset..]), tile);
        }
        for (sums, tile) in sums.iter_mut().zip(tile) {
            set_pair::<S>(&mut sums[self.offset..], tile);
        }
    }
}

/// The gradient of a bias: for each lane the sum of its rows.
pub fn bias_gradient(lanes: &[LaneRows<'_>], gradient: &mut [f32]) {
    let mut sum = TreeSum::default();
    for lane in lanes {
        let mut sums = vec![0.0; gradient.len()];
        lane.numbers().for_each(|row| add(&mut sums, lane.matrix.row(row)));
        sum.push(sums);
    }
    gradient.copy_from_slice(&sum.finish());
}

/// The gradient of the first layer's input kernel, (outputs, features): for each lane, every feature's column is the
/// sum over the rows that it was shown in. `shown` gives those features for each row of each lane.
pub fn lookup_gradient(
    lanes: &[(LaneRows<'_>, &[[Option<usize>; 2]])],
    features: usize,
    gradient: &mut [f32],
) {
    let outputs = gradient.len() / features;
    let mut sum = TreeSum::default();
    for (lane, shown) in lanes {
        // For each feature (outputs).
        let mut sums = vec![0.0; gradient.len()];
        for (row, shown) in lane.numbers().zip(*shown) {
            for feature in shown.iter().flatten() {
                add(&mut sums[feature * outputs..][..outputs], lane.matrix.row(row));
            }
        }
        sum.push(sums);
    }
    transpose(&sum.finish(), outputs, gradient);
}
