//! RMSprop on flat buffers, with ε outside the root: Keras of 2019 and PyTorch (Tieleman and Hinton 2012). Before
//! it, what may be done to the gradient and the step size.
//!
//! Only additions, products, quotients and roots, which every processor rounds alike.

use crate::config::OptimizerConfig;
use crate::parallel::vectorized;

/// One update of all parameters, with their running mean of squared gradients, by the gradient of a step, from 0. Each
/// ensemble member, `member_len` parameters in a row, is clipped by itself.
pub fn update(
    settings: &OptimizerConfig,
    step: u64,
    member_len: usize,
    (parameters, mean_square): (&mut [f32], &mut [f32]),
    gradient: &mut [f32],
) {
    if let Some(longest) = settings.clip_norm {
        for gradient in gradient.chunks_exact_mut(member_len) {
            clip(gradient, longest);
        }
    }
    rmsprop(settings, learning_rate(settings, step), parameters, mean_square, gradient);
}

/// The step size of a step, from 0: it grows evenly to its full value over the warm-up, and falls evenly to 0 until
/// `decay_steps`.
pub fn learning_rate(settings: &OptimizerConfig, step: u64) -> f64 {
    let OptimizerConfig { warmup_steps, decay_steps, .. } = *settings;
    let grown = (step + 1) as f64 / warmup_steps.max(1) as f64;
    let left = decay_steps.map_or(1.0, |last| {
        last.saturating_sub(step) as f64 / last.saturating_sub(warmup_steps).max(1) as f64
    });
    settings.learning_rate * grown.min(left).min(1.0)
}

/// Scales a gradient down to this length, if it is longer (Pascanu, Mikolov and Bengio 2013).
fn clip(gradient: &mut [f32], longest: f64) {
    let length = gradient.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if length > longest {
        let scale = (longest / length) as f32;
        for x in gradient.iter_mut() {
            *x *= scale;
        }
    }
}

/// One update of all parameters: v ← ρ·v + (1 − ρ)·g², w ← w − η·g / (√v + ε), all in f32.
pub fn rmsprop(
    settings: &OptimizerConfig,
    learning_rate: f64,
    parameters: &mut [f32],
    mean_square: &mut [f32],
    gradient: &[f32],
) {
    let rate = learning_rate as f32;
    let epsilon = settings.epsilon as f32;
    let (old, new) = (settings.rho as f32, (1.0 - settings.rho) as f32);
    vectorized(
        #[inline(always)]
        || {
            for ((weight, mean), &gradient) in parameters.iter_mut().zip(mean_square).zip(gradient) {
                *mean = old * *mean + new * gradient * gradient;
                *weight -= rate * gradient / (mean.sqrt() + epsilon);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let settings = OptimizerConfig { rho: 0.75, epsilon: 1.0, ..OptimizerConfig::default() };
        let (mut weight, mut mean) = ([1.0], [4.0]);
        rmsprop(&settings, 0.1, &mut weight, &mut mean, &[-2.0]);
        // v = 0.75·4 + 0.25·4 = 4, w = 1 + 0.1·2 / (2 + 1).
        assert_eq!(mean, [4.0]);
        assert!((weight[0] - (1.0 + 0.2 / 3.0)).abs() < 1e-7);
    }

    #[test]
    fn only_what_is_too_long_is_clipped() {
        let mut gradient = [3.0, -4.0];
        clip(&mut gradient, 5.0);
        assert_eq!(gradient, [3.0, -4.0]);
        clip(&mut gradient, 2.5);
        assert_eq!(gradient, [1.5, -2.0]);
    }

    #[test]
    fn the_step_size_rises_and_falls() {
        let rates = |warmup_steps, decay_steps, steps: [u64; 5]| {
            let settings = OptimizerConfig {
                learning_rate: 1.0,
                warmup_steps,
                decay_steps,
                ..OptimizerConfig::default()
            };
            steps.map(|step| learning_rate(&settings, step))
        };
        assert_eq!(rates(0, None, [0, 1, 2, 3, 1000]), [1.0; 5]);
        assert_eq!(rates(4, None, [0, 1, 3, 4, 1000]), [0.25, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(rates(0, Some(4), [0, 1, 3, 4, 5]), [1.0, 0.75, 0.25, 0.0, 0.0]);
        assert_eq!(rates(2, Some(6), [0, 1, 2, 4, 6]), [0.5, 1.0, 1.0, 0.5, 0.0]);
    }
}
