//! Weight gradients: sums over the rows of each lane, and then over lanes along the tree.

use std::ops::Range;

use bachdist_core::network::Parameter;

use super::buffer::{Matrix, View};

/// The gradient of one parameter after another: made for each lane, then summed over lanes along the tree.
pub struct LaneSum<'a> {
    lanes: usize,
    buffers: &'a mut Matrix,
    gradient: &'a mut [f32],
}

impl<'a> LaneSum<'a> {
    /// Sums of so many lanes, with a buffer (lanes, largest parameter), into the gradient of all parameters.
    pub fn new(lanes: usize, buffers: &'a mut Matrix, gradient: &'a mut [f32]) -> Self {
        LaneSum { lanes, buffers, gradient }
    }

    fn place(&self, parameter: &Parameter, lane: usize) -> Range<usize> {
        lane * parameter.len()..(lane + 1) * parameter.len()
    }

    /// A weight: the product of what came out, transposed, with what went in.
    pub fn product<'v>(&mut self, parameter: &Parameter, operands: impl Fn(usize) -> (View<'v>, View<'v>)) {
        for lane in 0..self.lanes {
            let (out, input) = operands(lane);
            let place = self.place(parameter, lane);
            let buffer = self.buffers.view_mut_as(place, parameter.shape[0], parameter.shape[1]);
            buffer.set_product(out.transposed(), input);
        }
        self.finish(parameter);
    }

    /// A bias: the sum of what came out.
    pub fn rows(&mut self, parameter: &Parameter, out: &Matrix, rows: impl Fn(usize) -> Range<usize>) {
        for lane in 0..self.lanes {
            let place = self.place(parameter, lane);
            let sums = &mut self.buffers.values_mut()[place];
            sums.fill(0.0);
            for row in rows(lane) {
                sums.iter_mut().zip(out.row(row)).for_each(|(sum, x)| *sum += x);
            }
        }
        self.finish(parameter);
    }

    /// The first layer's input kernel: each feature's column is the sum over the rows that it was shown in, which
    /// are given for every lane.
    pub fn lookup(&mut self, parameter: &Parameter, gates: &Matrix, shown: &[Vec<[Option<usize>; 2]>]) {
        let (width, features) = (parameter.shape[0], parameter.shape[1]);
        let mut by_feature = vec![0.0; parameter.len()];
        let mut first_row = 0;
        for (index, of_lane) in shown.iter().enumerate() {
            by_feature.fill(0.0);
            for (row, shown) in of_lane.iter().enumerate() {
                for feature in shown.iter().flatten() {
                    let sums = &mut by_feature[feature * width..][..width];
                    sums.iter_mut().zip(gates.row(first_row + row)).for_each(|(sum, x)| *sum += x);
                }
            }
            first_row += of_lane.len();
            let place = self.place(parameter, index);
            for (gate, out) in self.buffers.values_mut()[place].chunks_exact_mut(features).enumerate() {
                out.iter_mut().enumerate().for_each(|(feature, x)| *x = by_feature[feature * width + gate]);
            }
        }
        self.finish(parameter);
    }

    /// Lanes of a rank are a node of the tree, a power of two of them: neighbours are summed, then neighbours of
    /// those, in blocks that stay in cache.
    fn finish(&mut self, parameter: &Parameter) {
        const BLOCK: usize = 4096;
        let (length, lanes) = (parameter.len(), self.lanes);
        let buffers = self.buffers.values_mut();
        let out = &mut self.gradient[parameter.range()];
        for start in (0..length).step_by(BLOCK) {
            let end = length.min(start + BLOCK);
            let mut distance = 1;
            while distance < lanes {
                for lane in (0..lanes).step_by(2 * distance) {
                    let (left, right) = buffers.split_at_mut((lane + distance) * length);
                    let left = &mut left[lane * length..][start..end];
                    left.iter_mut().zip(&right[start..end]).for_each(|(left, right)| *left += right);
                }
                distance *= 2;
            }
            out[start..end].copy_from_slice(&buffers[start..end]);
        }
    }
}
