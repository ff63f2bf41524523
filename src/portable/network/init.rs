//! Initial weights as Keras draws them, as a function of the seed alone.
//!
//! Input kernels are Glorot uniform over the fused (inputs, 4H) matrix, recurrent kernels orthogonal over the
//! whole (H, 4H) matrix, forget biases 1, the other biases 0, dense kernels Glorot uniform (Keras' defaults).
//!
//! Networks whose first layer has several active features differ in its input kernel: only these few of its many inputs are
//! 1 at once, and Glorot's limit, made for inputs that all take part, lets a token say next to nothing at first
//! (docs/lab-log.md). With one active feature it is the article's network, which keeps Glorot's limit.

use crate::network::{Architecture, Parameter, Role};
use crate::parallel::in_parallel;
use crate::process::cores;
use crate::random::{Purpose, Stream};

/// All parameters, laid out as [`Architecture::parameters`] says. Each is found by itself, on any of the cores.
pub fn parameters(architecture: Architecture, seed: u64) -> Vec<f32> {
    let parameters: Vec<_> = architecture.parameters().into_iter().enumerate().collect();
    let values = in_parallel(cores(), &parameters, |(index, parameter)| {
        let stream = Stream::new(seed, Purpose::Initialization, &[*index as u64]);
        initial(parameter, architecture.shape.slots, stream)
    });
    let mut flat = vec![0.0; architecture.len()];
    for ((_, parameter), values) in parameters.iter().zip(values) {
        flat[parameter.range()].copy_from_slice(&values);
    }
    flat
}

fn initial(parameter: &Parameter, slots: usize, stream: Stream) -> Vec<f32> {
    match (parameter.role, &parameter.shape[..]) {
        (Role::InputKernel { layer: 0 }, _) if slots > 1 => uniform(parameter.len(), ONE_HOT_LIMIT, stream),
        (Role::RecurrentKernel { .. }, &[outputs, inputs]) => orthonormal_columns(outputs, inputs, stream),
        (Role::InputKernel { .. } | Role::DenseKernel | Role::ScoreKernel, &[outputs, inputs]) => {
            glorot_uniform(outputs, inputs, stream)
        }
        (Role::GateBias { .. }, &[gates]) => {
            let mut biases = vec![0.0; gates];
            biases[gates / 4..gates / 2].fill(1.0);
            biases
        }
        (Role::DenseBias | Role::ScoreBias, &[outputs]) => vec![0.0; outputs],
        (role, shape) => unreachable!("{role:?} of shape {shape:?}"),
    }
}

/// Of the first input kernel of networks with several active features.
const ONE_HOT_LIMIT: f64 = 1.0;

/// Uniform within ±√(6 / (inputs + outputs)) (Glorot and Bengio 2010).
fn glorot_uniform(outputs: usize, inputs: usize, stream: Stream) -> Vec<f32> {
    uniform(outputs * inputs, (6.0 / (inputs + outputs) as f64).sqrt(), stream)
}

fn uniform(count: usize, limit: f64, stream: Stream) -> Vec<f32> {
    (0..count).map(|index| (limit * (2.0 * stream.uniform(index as u64) - 1.0)) as f32).collect()
}

/// A random (rows, columns) matrix, rows ≥ columns, whose columns are orthonormal: the Q of a normal matrix's QR
/// factors with a positive diagonal in R (Saxe et al. 2014; Keras' `Orthogonal`, transposed as PyTorch stores it).
fn orthonormal_columns(rows: usize, columns: usize, stream: Stream) -> Vec<f32> {
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(columns);
    for column in 0..columns {
        let mut vector: Vec<f64> = (0..rows).map(|row| stream.normal((column * rows + row) as u64)).collect();
        // Gram and Schmidt, twice: once leaves what rounding left.
        for _ in 0..2 {
            for other in &basis {
                let along = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
        }
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        basis.push(vector);
    }
    (0..rows).flat_map(|row| basis.iter().map(move |column| column[row] as f32)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representation::pitch::Pitch;

    const ARCHITECTURE: Architecture =
        Architecture { shape: Pitch::shape_of(79, false), layers: 2, units: 32, dense: 16, members: 1 };

    fn tensor(role: Role) -> Vec<f32> {
        let flat = parameters(ARCHITECTURE, 3);
        let parameter = ARCHITECTURE.parameters().into_iter().find(|p| p.role == role).unwrap();
        flat[parameter.range()].to_vec()
    }

    #[test]
    fn recurrent_kernels_have_orthonormal_columns() {
        let kernel = tensor(Role::RecurrentKernel { layer: 1 });
        let column = |j: usize| (0..128).map(|i| f64::from(kernel[i * 32 + j])).collect::<Vec<_>>();
        for i in 0..32 {
            for j in 0..=i {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot(&column(i), &column(j)) - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn input_kernels_fill_the_glorot_range() {
        let kernel = tensor(Role::InputKernel { layer: 0 });
        let limit = (6.0f32 / (79.0 + 128.0)).sqrt();
        let largest = kernel.iter().fold(0f32, |m, x| m.max(x.abs()));
        assert!(largest <= limit && largest > 0.99 * limit);
    }

    #[test]
    fn only_forget_gates_have_a_bias() {
        let bias = tensor(Role::GateBias { layer: 0 });
        assert!(bias.iter().enumerate().all(|(i, &b)| b == if (32..64).contains(&i) { 1.0 } else { 0.0 }));
        assert!(tensor(Role::ScoreBias).iter().all(|&b| b == 0.0));
    }
}
