//! The same update on a device, on flat tensors. Only elementwise operations, and for clipping a sum in one order, so
//! that equal gradients make equal weights; nothing is waited for.

use anyhow::Result;
use bachdist_portable::config::OptimizerConfig;
use tch::{Kind, Tensor};

use bachdist_portable::optimizer::learning_rate;

/// One update of all parameters by the gradient of a step, from 0; see [`bachdist_portable::optimizer::update`]. The gradient is used up.
pub fn update(
    settings: &OptimizerConfig,
    step: u64,
    member: usize,
    (parameters, mean_square): (&mut Tensor, &mut Tensor),
    gradient: &mut Tensor,
) -> Result<()> {
    tch::no_grad(|| {
        if let Some(longest) = settings.clip_norm {
            for mut gradient in gradient.f_split(member as i64, 0)? {
                clip(&mut gradient, longest)?;
            }
        }
        rmsprop(settings, learning_rate(settings, step), parameters, mean_square, gradient)
    })
}

/// Scales a gradient down to this length, if it is longer. What it is multiplied by is found on the device.
fn clip(gradient: &mut Tensor, longest: f64) -> Result<()> {
    let length = gradient.f_to_kind(Kind::Double)?.f_square()?.f_sum(Kind::Double)?.f_sqrt()?;
    let scale = length.f_reciprocal()?.f_mul_scalar(longest)?.f_clamp_max(1.0)?.f_to_kind(Kind::Float)?;
    let _ = gradient.f_mul_(&scale)?;
    Ok(())
}

/// v ← ρ·v + (1 − ρ)·g², w ← w − η·g / (√v + ε), all in f32.
fn rmsprop(
    settings: &OptimizerConfig,
    learning_rate: f64,
    parameters: &mut Tensor,
    mean_square: &mut Tensor,
    gradient: &mut Tensor,
) -> Result<()> {
    // What multiplies f32 is f32, as on the host.
    let [rate, epsilon, old, new] =
        [learning_rate, settings.epsilon, settings.rho, 1.0 - settings.rho].map(|x| f64::from(x as f32));
    let _ = mean_square.f_mul_scalar_(old)?;
    let _ = mean_square.f_addcmul_(&gradient.f_mul_scalar(new)?, gradient)?;
    let mut divisor = mean_square.f_sqrt()?;
    let _ = divisor.f_add_scalar_(epsilon)?;
    let _ = gradient.f_mul_scalar_(-rate)?;
    let _ = parameters.f_addcdiv_(gradient, &divisor)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bachdist_portable::random::{Purpose, Stream};

    use super::*;

    #[test]
    fn as_on_the_host() {
        let stream = Stream::new(3, Purpose::Sampling, &[]);
        for clip_norm in [None, Some(2.0), Some(1e6)] {
            let settings = OptimizerConfig { clip_norm, warmup_steps: 2, ..OptimizerConfig::default() };
            let mut host = (vec![0.5f32; 60], vec![0.0f32; 60]);
            let mut device = (Tensor::from_slice(&host.0), Tensor::from_slice(&host.1));
            for step in 0..4 {
                let gradient: Vec<f32> = (0..60).map(|i| stream.normal(60 * step + i) as f32).collect();
                let mut on_device = Tensor::from_slice(&gradient);
                let state = (&mut host.0[..], &mut host.1[..]);
                bachdist_portable::optimizer::update(&settings, step, 20, state, &mut gradient.clone());
                update(&settings, step, 20, (&mut device.0, &mut device.1), &mut on_device).unwrap();
            }
            for (host, device) in [(&host.0, &device.0), (&host.1, &device.1)] {
                let device = Vec::<f32>::try_from(device).unwrap();
                for (a, b) in host.iter().zip(device) {
                    assert!((a - b).abs() <= 1e-6 * a.abs().max(1e-3), "{clip_norm:?}: {a} {b}");
                }
            }
        }
    }
}
