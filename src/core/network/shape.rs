//! How the rows of some lanes are laid out.

use std::ops::Range;

use crate::compute::matrix::Matrix;
use crate::compute::weight_gradient::LaneRows;

use super::batch::LaneBatch;

/// The shape of some lanes of a batch. Rows are laid out (T, L, P).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// L.
    pub lanes: usize,
    /// T.
    pub notes: usize,
    /// Q.
    pub predictions: usize,
    /// P.
    pub padded: usize,
}

impl Shape {
    /// That of lanes which are all alike.
    pub fn of(lanes: &[LaneBatch]) -> Self {
        let LaneBatch { sequence_length, predictions, rows, .. } = lanes[0];
        Shape { lanes: lanes.len(), notes: sequence_length, predictions, padded: rows }
    }

    /// Rows of one timestep.
    pub fn timestep_rows(&self) -> usize {
        self.lanes * self.padded
    }

    /// Rows of all timesteps.
    pub fn rows(&self) -> usize {
        self.notes * self.timestep_rows()
    }

    /// Rows of all timesteps after which the next note is predicted.
    pub fn prediction_rows(&self) -> usize {
        self.predictions * self.timestep_rows()
    }

    /// The rows of one timestep.
    pub fn timestep(&self, time: usize) -> Range<usize> {
        time * self.timestep_rows()..(time + 1) * self.timestep_rows()
    }

    /// The first row of the timesteps after which the next note is predicted.
    pub fn first_prediction(&self) -> usize {
        self.rows() - self.prediction_rows()
    }

    /// A lane's rows of a matrix that has all timesteps, or only those of predictions: of so many timesteps from the
    /// `first` on.
    pub fn lane<'a>(&self, matrix: &'a Matrix, lane: usize, first: usize, timesteps: usize) -> LaneRows<'a> {
        let (row_stride, rows) = (self.timestep_rows(), self.padded);
        LaneRows { matrix, first: first * row_stride + lane * rows, timesteps, row_stride, rows }
    }
}
