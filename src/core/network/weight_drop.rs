//! DropConnect on the recurrent kernels: in every step some of their weights take no part (Wan et al. 2013; on LSTMs
//! Merity, Keskar and Socher 2018). One mask serves all windows and notes of a step, so it is laid on the weights
//! before the step and on their gradient after it, and no layer knows of it.

use crate::network::{Architecture, Parameter, Role};
use crate::random::{Purpose, Stream};

/// The mask of one step, a function of seed and step alone.
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
    pub fn kernels(&self, architecture: Architecture) -> impl Iterator<Item = (Parameter, Stream)> + use<> {
        let step = Stream::new(self.seed, Purpose::WeightDrop, &[self.step]);
        let parameters = architecture.parameters().into_iter();
        let kernels = parameters.filter(|kernel| matches!(kernel.role, Role::RecurrentKernel { .. }));
        kernels.enumerate().map(move |(layer, kernel)| (kernel, step.of(layer as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recurrent_weights_alone_are_dropped_others_in_every_step() {
        let architecture =
            Architecture { classes: 79, intervals: false, layers: 2, units: 64, dense: 16, members: 2 };
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
