//! Dropout masks as arithmetic: a function of seed, step, row of the global batch, layer, time and unit, so
//! that they do not depend on which rank or lane computes the row.

use crate::parallel::vectorized;
use crate::random::{Purpose, RandomStream};

use super::{Architecture, Parameter, Role};

/// The masks of one step.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Share of units that are dropped.
    pub rate: f64,
    /// Fraction of the first layer's active features that are dropped, each independently.
    pub input_rate: f64,
    /// Seed of the run.
    pub seed: u64,
    /// The step, from 0.
    pub step: u64,
    /// Which member of the network.
    pub member: u64,
}

/// Random words of a timestep for its slots of active features, at least: a run with one slot has the masks of one with two.
const MIN_SLOTS: usize = 2;

impl Dropout {
    /// Whether the active feature in a slot is dropped, by the token's row of the global batch and its time. What is left is
    /// not scaled up: the network is to do without the feature that is missing.
    pub fn drops_input(&self, row: usize, time: usize, slot: usize, slots: usize) -> bool {
        // A random word below the threshold drops its feature.
        let threshold = (self.input_rate * 2f64.powi(64)) as u64;
        if threshold == 0 {
            return false;
        }
        let stream = RandomStream::new(self.seed, Purpose::InputDropout, &[self.step, row as u64]);
        stream.of(self.member).bits((slots.max(MIN_SLOTS) * time + slot) as u64) < threshold
    }

    /// The random words of a layer's output for a row of the global batch: that of a unit after a note has the index
    /// `time * units + unit`.
    pub fn stream(&self, row: usize, layer: usize) -> RandomStream {
        let step = RandomStream::new(self.seed, Purpose::Dropout, &[self.step]);
        step.of(row as u64).of(self.member << 32 | layer as u64)
    }

    /// The mask of a layer's output after a note, for a row of the global batch: 0 for what is dropped, 1 / (1 − rate)
    /// for the rest (inverted dropout, as Keras and PyTorch have it).
    pub fn mask_row(&self, row: usize, layer: usize, time: usize, mask: &mut [f32]) {
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        // A random word below the threshold drops its unit.
        let threshold = (self.rate * 2f64.powi(64)) as u64;
        let stream = self.stream(row, layer);
        let first = (time * mask.len()) as u64;
        vectorized(
            #[inline(always)]
            || {
                for (unit, value) in (first..).zip(mask) {
                    *value = if stream.bits(unit) >= threshold { kept } else { 0.0 };
                }
            },
        );
    }
}

/// DropConnect on the recurrent kernels: in every step some of their weights take no part (Wan et al. 2013; on LSTMs Merity,
/// Keskar and Socher 2018). One mask serves all windows and notes of a step, so it is laid on the weights before the step and
/// on their gradient after it, and no layer knows of it. It is a function of seed and step alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct WeightDrop {
    /// Share of weights that are dropped.
    pub rate: f64,
    /// Seed of the run.
    pub seed: u64,
    /// The step, from 0.
    pub step: u64,
}

impl WeightDrop {
    /// Lays the mask on parameters, or on their gradient: 0 for what is dropped, times 1 / (1 − rate) for the other
    /// recurrent weights.
    pub fn apply(&self, architecture: Architecture, values: &mut [f32]) {
        if self.rate == 0.0 {
            return;
        }
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        // A random word below the threshold drops its weight.
        let threshold = (self.rate * 2f64.powi(64)) as u64;
        for (kernel, stream) in self.kernels(architecture) {
            for (index, value) in values[kernel.range()].iter_mut().enumerate() {
                *value *= if stream.bits(index as u64) < threshold { 0.0 } else { kept };
            }
        }
    }

    /// The recurrent kernels, each with the stream of its weights' random words.
    pub fn kernels(
        &self,
        architecture: Architecture,
    ) -> impl Iterator<Item = (Parameter, RandomStream)> + use<> {
        let step = RandomStream::new(self.seed, Purpose::WeightDrop, &[self.step]);
        let parameters = architecture.parameters().into_iter();
        let kernels = parameters.filter(|kernel| matches!(kernel.role, Role::RecurrentKernel { .. }));
        kernels.enumerate().map(move |(layer, kernel)| (kernel, step.of(layer as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representation::pitch::Pitch;

    /// Rows of a lane.
    const ROWS: usize = 8;

    /// The masks of a lane's rows. `shape` is (T, R, H) or (Q·R, D).
    fn mask(dropout: &Dropout, first_row: usize, layer: usize, shape: &[usize]) -> Vec<f32> {
        let units = shape[shape.len() - 1];
        let mut mask = vec![0.0; shape.iter().product()];
        for (index, row) in mask.chunks_exact_mut(units).enumerate() {
            let (time, row_of_lane) = (index / ROWS, index % ROWS);
            dropout.mask_row(first_row + row_of_lane, layer, time, row);
        }
        mask
    }

    #[test]
    fn a_row_keeps_its_mask_in_any_lane() {
        let dropout = Dropout { rate: 0.3, input_rate: 0.0, seed: 1, step: 7, member: 0 };
        let a = mask(&dropout, 0, 1, &[3, 8, 10]);
        let b = mask(&dropout, 4, 1, &[3, 8, 10]);
        for time in 0..3 {
            let row = |mask: &[f32], row: usize| mask[(time * 8 + row) * 10..][..10].to_vec();
            assert_eq!(row(&a, 5), row(&b, 1));
            assert_ne!(row(&a, 5), row(&a, 6));
        }
    }

    #[test]
    fn the_share_dropped_is_the_rate() {
        let dropout = Dropout { rate: 0.3, input_rate: 0.2, seed: 1, step: 0, member: 0 };
        let mask = mask(&dropout, 0, 0, &[3, 8, 1000]);
        let dropped = mask.iter().filter(|&&x| x == 0.0).count() as f64 / mask.len() as f64;
        // Five standard deviations of a share of 24,000.
        assert!((dropped - 0.3).abs() < 0.015, "{dropped}");
        assert!(mask.iter().all(|&x| x == 0.0 || x == 1.0 / 0.7));
        for slot in [0, 1] {
            let dropped = (0..10_000).filter(|i| dropout.drops_input(i / 100, i % 100, slot, 2)).count();
            // Five standard deviations of a share of 10,000.
            assert!((dropped as f64 / 10_000.0 - 0.2).abs() < 0.02, "{slot}: {dropped}");
        }
    }

    #[test]
    fn without_dropout_everything_is_kept() {
        let dropout = Dropout { rate: 0.0, input_rate: 0.0, seed: 1, step: 0, member: 0 };
        assert!(mask(&dropout, 0, 0, &[8, 5]).iter().all(|&x| x == 1.0));
        assert!(!(0..1000).any(|row| dropout.drops_input(row, 0, 0, 1)));
    }

    #[test]
    fn recurrent_weights_alone_are_dropped_others_in_every_step() {
        let architecture =
            Architecture { shape: Pitch::shape_of(79, false), layers: 2, units: 64, dense: 16, members: 2 };
        let masked = |step| {
            let mut values = vec![1.0; architecture.len()];
            WeightDrop { rate: 0.25, seed: 1, step }.apply(architecture, &mut values);
            values
        };
        let values = masked(3);
        assert_eq!(values, masked(3));
        for parameter in architecture.parameters() {
            let part = &values[parameter.range()];
            if !matches!(parameter.role, Role::RecurrentKernel { .. }) {
                assert!(part.iter().all(|&x| x == 1.0), "{parameter:?}");
                continue;
            }
            let dropped = part.iter().filter(|&&x| x == 0.0).count() as f64 / part.len() as f64;
            // Five standard deviations of a share of 16,384.
            assert!((dropped - 0.25).abs() < 0.017, "{dropped}");
            assert!(part.iter().all(|&x| x == 0.0 || x == 4.0 / 3.0));
            assert!(part != &masked(4)[parameter.range()]);
        }
    }
}
