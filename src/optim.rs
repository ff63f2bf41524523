//! RMSprop on flat buffers, with ε outside the root: Keras of 2019 and PyTorch (Tieleman and Hinton 2012).

use bachdist_core::config::Optimizer;

/// One update of all parameters: v ← ρ·v + (1 − ρ)·g², w ← w − η·g / (√v + ε), all in f32.
pub fn rmsprop(settings: &Optimizer, parameters: &mut [f32], mean_square: &mut [f32], gradient: &[f32]) {
    let rate = settings.learning_rate as f32;
    let epsilon = settings.epsilon as f32;
    let (old, new) = (settings.rho as f32, (1.0 - settings.rho) as f32);
    for ((weight, mean), &gradient) in parameters.iter_mut().zip(mean_square).zip(gradient) {
        *mean = old * *mean + new * gradient * gradient;
        *weight -= rate * gradient / (mean.sqrt() + epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let settings = Optimizer { learning_rate: 0.1, rho: 0.75, epsilon: 1.0 };
        let (mut weight, mut mean) = ([1.0], [4.0]);
        rmsprop(&settings, &mut weight, &mut mean, &[-2.0]);
        // v = 0.75·4 + 0.25·4 = 4, w = 1 + 0.1·2 / (2 + 1).
        assert_eq!(mean, [4.0]);
        assert!((weight[0] - (1.0 + 0.2 / 3.0)).abs() < 1e-7);
    }
}
