//! The input kernel of a first layer: its input is a few active features that are 1 where all others are 0, so its GEMM
//! is a lookup.

use super::matrix::transpose;
use super::weight_gradient::LaneRows;
use crate::lanes::TreeSum;
use crate::parallel::{add, vectorized};
use crate::representation::NO_FEATURE;

/// A kernel as the right operand.
#[derive(Debug, Clone)]
pub struct Lookup {
    features: usize,
    /// (features, outputs).
    rows: Vec<f32>,
}

impl Lookup {
    /// Room for a kernel.
    pub fn zeros(features: usize, outputs: usize) -> Self {
        Lookup { features, rows: vec![0.0; features * outputs] }
    }

    /// Takes a kernel, row by row (outputs, features), which is how weights are stored.
    ///
    /// # Panics
    /// If the shape does not fit.
    pub fn set(&mut self, kernel: &[f32]) {
        transpose(kernel, self.features, &mut self.rows);
    }

    /// For each row (outputs): bias + its active features · kernelᵀ.
    pub fn set_matmul<'a, 'b>(
        &self,
        active: impl Iterator<Item = &'b [u32]>,
        bias: &[f32],
        out: impl Iterator<Item = &'a mut [f32]>,
    ) {
        vectorized(
            #[inline(always)]
            || {
                for (out, active) in out.zip(active) {
                    out.copy_from_slice(bias);
                    for feature in present(active) {
                        let weights = &self.rows[feature * bias.len()..];
                        for (out, weight) in out.iter_mut().zip(weights) {
                            *out += weight;
                        }
                    }
                }
            },
        );
    }
}

/// The gradient of the first layer's input kernel, (outputs, features): for each lane, every feature's column is the
/// sum over the rows that it was active in. Beside each lane are the active features of its rows, this many slots for each.
pub fn lookup_gradient(
    lanes: &[(LaneRows<'_>, &[u32])],
    slots: usize,
    features: usize,
    gradient: &mut [f32],
) {
    let outputs = gradient.len() / features;
    let mut sum = TreeSum::default();
    for (lane, active) in lanes {
        // For each feature (outputs).
        let mut sums = vec![0.0; gradient.len()];
        for (row, active) in lane.row_indices().zip(active.chunks_exact(slots)) {
            for feature in present(active) {
                add(&mut sums[feature * outputs..][..outputs], lane.matrix.row(row));
            }
        }
        sum.push(sums);
    }
    transpose(&sum.finish(), outputs, gradient);
}

/// The features of the slots that are not empty. Rows have the same number of slots.
#[inline(always)]
fn present(active: &[u32]) -> impl Iterator<Item = usize> {
    active.iter().filter(|&&feature| feature != NO_FEATURE).map(|&feature| feature as usize)
}
