//! The input kernel of a first layer: its input is one feature or two that are 1 where all others are 0, so products
//! with it are looked up.

use super::matrix::transpose;
use super::weight_gradient::LaneRows;
use crate::lanes::TreeSum;
use crate::parallel::{add, vectorized};

/// The features that a row is shown.
pub type ActiveFeatures = [Option<usize>; 2];

/// A kernel as the right side of products.
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

    /// For each row (outputs): bias + what it is shown · kernelᵀ.
    pub fn set_matmul<'a>(
        &self,
        shown: impl Iterator<Item = ActiveFeatures>,
        bias: &[f32],
        out: impl Iterator<Item = &'a mut [f32]>,
    ) {
        vectorized(
            #[inline(always)]
            || {
                for (out, shown) in out.zip(shown) {
                    out.copy_from_slice(bias);
                    for feature in shown.into_iter().flatten() {
                        let weights = &self.rows[feature * bias.len()..];
                        out.iter_mut().zip(weights).for_each(|(out, weight)| *out += weight);
                    }
                }
            },
        );
    }
}

/// The gradient of the first layer's input kernel, (outputs, features): for each lane, every feature's column is the
/// sum over the rows that it was shown in. `shown` gives those features for each row of each lane.
pub fn lookup_gradient(lanes: &[(LaneRows<'_>, &[ActiveFeatures])], features: usize, gradient: &mut [f32]) {
    let outputs = gradient.len() / features;
    let mut sum = TreeSum::default();
    for (lane, shown) in lanes {
        // For each feature (outputs).
        let mut sums = vec![0.0; gradient.len()];
        for (row, shown) in lane.row_indices().zip(*shown) {
            for feature in shown.iter().flatten() {
                add(&mut sums[feature * outputs..][..outputs], lane.matrix.row(row));
            }
        }
        sum.push(sums);
    }
    transpose(&sum.finish(), outputs, gradient);
}
