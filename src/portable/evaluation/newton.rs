//! Newton's method for the weights of a log-linear mixture that minimize the cross-entropy of some examples.
//!
//! With the experts' log-probabilities h and p ∝ exp(w·h), the gradient of −ln p(target) is E_p h − h(target), and the
//! Hessian is the covariance of h under p: the problem is convex and, with the penalty, has one solution.

use crate::representation::Token;

/// For each token, its log-probability by each of N experts; and the token that followed.
pub type Example<'a, const N: usize> = (&'a [[f32; N]], Token);

/// Ends when a step is expected to gain less than this, in nats over all examples: far below what reports show.
const TOLERANCE_NATS: f64 = 1e-6;

/// Newton's method takes fewer than ten steps here; a limit in case that rounding keeps it from the tolerance.
const MAX_STEPS: usize = 50;

/// The fraction of the expected gain that a step has to reach (Armijo's rule, with his constant).
const SUFFICIENT_GAIN: f64 = 1e-4;

/// A step that has to be shortened to less than this gains nothing but rounding errors.
const MIN_STEP: f64 = 1e-6;

/// Cross-entropy over the examples, with its derivatives.
struct Loss<const N: usize> {
    value: f64,
    gradient: [f64; N],
    hessian: [[f64; N]; N],
}

/// The weights that minimize Σ −ln p(target) + penalty/2·|w − prior|².
pub fn minimize<'a, const N: usize>(
    examples: impl Iterator<Item = Example<'a, N>> + Clone,
    prior: &[f64; N],
    penalty: f64,
) -> [f64; N] {
    let mut weights = *prior;
    let mut loss = evaluate(examples.clone(), &weights, prior, penalty);
    for _ in 0..MAX_STEPS {
        let step = solve(loss.hessian, loss.gradient);
        let gain: f64 = (0..N).map(|i| step[i] * loss.gradient[i]).sum();
        if gain < TOLERANCE_NATS {
            break;
        }
        // Halved until the loss falls enough.
        let mut fraction = 1.0;
        let next = loop {
            let tried: [f64; N] = std::array::from_fn(|i| weights[i] - fraction * step[i]);
            let found = evaluate(examples.clone(), &tried, prior, penalty);
            if found.value <= loss.value - SUFFICIENT_GAIN * fraction * gain {
                break Some((tried, found));
            }
            fraction /= 2.0;
            if fraction < MIN_STEP {
                break None;
            }
        };
        let Some(next) = next else { break };
        (weights, loss) = next;
    }
    weights
}

fn evaluate<'a, const N: usize>(
    examples: impl Iterator<Item = Example<'a, N>>,
    weights: &[f64; N],
    prior: &[f64; N],
    penalty: f64,
) -> Loss<N> {
    let mut loss = Loss { value: 0.0, gradient: [0.0; N], hessian: [[0.0; N]; N] };
    for i in 0..N {
        let away = weights[i] - prior[i];
        loss.value += penalty / 2.0 * away * away;
        loss.gradient[i] = penalty * away;
        loss.hessian[i][i] = penalty;
    }
    let mut scores = Vec::new();
    for example in examples {
        add(&mut loss, example, weights, &mut scores);
    }
    loss
}

fn add<const N: usize>(
    loss: &mut Loss<N>,
    (log_probabilities, target): Example<'_, N>,
    weights: &[f64; N],
    scores: &mut Vec<f64>,
) {
    let score = |of: &[f32; N]| (0..N).map(|i| weights[i] * f64::from(of[i])).sum::<f64>();
    scores.clear();
    scores.extend(log_probabilities.iter().map(score));
    let target = usize::from(target);
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
    loss.value += largest + total.ln() - scores[target];

    let (mut mean, mut square) = ([0.0; N], [[0.0; N]; N]);
    for (of, score) in log_probabilities.iter().zip(&*scores) {
        let p = (score - largest).exp() / total;
        for i in 0..N {
            let weighted = p * f64::from(of[i]);
            mean[i] += weighted;
            for j in 0..=i {
                square[i][j] += weighted * f64::from(of[j]);
            }
        }
    }
    for i in 0..N {
        loss.gradient[i] += mean[i] - f64::from(log_probabilities[target][i]);
        for j in 0..N {
            loss.hessian[i][j] += square[i.max(j)][i.min(j)] - mean[i] * mean[j];
        }
    }
}

/// The solution of a positive definite system, by elimination.
fn solve<const N: usize>(mut matrix: [[f64; N]; N], mut right: [f64; N]) -> [f64; N] {
    for pivot in 0..N {
        for row in pivot + 1..N {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            let pivot_row = matrix[pivot];
            for (value, above) in matrix[row][pivot..].iter_mut().zip(&pivot_row[pivot..]) {
                *value -= factor * above;
            }
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..N).rev() {
        let known: f64 = (row + 1..N).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    const EXPERTS: usize = 3;

    /// Targets drawn from a mixture whose weights are known.
    fn drawn(weights: &[f64; EXPERTS], count: u64) -> Vec<(Vec<[f32; EXPERTS]>, Token)> {
        let stream = Stream::new(5, Purpose::Sampling, &[]);
        let example = |number: u64| {
            let numbers = stream.of(number);
            let log_probabilities: Vec<[f32; EXPERTS]> = (0..6)
                .map(|token| std::array::from_fn(|i| numbers.normal(10 * token + i as u64) as f32))
                .collect();
            let power =
                |of: &[f32; EXPERTS]| (0..EXPERTS).map(|i| weights[i] * f64::from(of[i])).sum::<f64>().exp();
            let total: f64 = log_probabilities.iter().map(power).sum();
            let mut left = numbers.of(1).uniform(0) * total;
            let target = log_probabilities.iter().position(|of| {
                left -= power(of);
                left < 0.0
            });
            (log_probabilities, target.unwrap_or(5) as Token)
        };
        (0..count).map(example).collect()
    }

    /// The examples as the method reads them.
    fn each(drawn: &[(Vec<[f32; EXPERTS]>, Token)]) -> impl Iterator<Item = Example<'_, EXPERTS>> + Clone {
        drawn.iter().map(|(log_probabilities, target)| (&log_probabilities[..], *target))
    }

    #[test]
    fn weights_are_found_again() {
        let truth = [0.9, 0.0, -0.6];
        let found = minimize(each(&drawn(&truth, 8000)), &[0.3; EXPERTS], 0.1);
        // The standard error is about 0.015.
        assert!((0..EXPERTS).all(|i| (found[i] - truth[i]).abs() < 0.08), "{found:?}");
    }

    #[test]
    fn the_gradient_is_zero_at_the_minimum_and_right_elsewhere() {
        let examples = drawn(&[0.5, 0.2, 0.1], 200);
        let (prior, penalty) = ([0.3; EXPERTS], 7.0);
        let found = minimize(each(&examples), &prior, penalty);
        let at = |weights: &[f64; EXPERTS]| evaluate(each(&examples), weights, &prior, penalty);
        assert!(at(&found).gradient.iter().all(|part| part.abs() < 1e-2), "{:?}", at(&found).gradient);
        let (point, small) = ([0.1, -0.4, 1.1], 1e-5);
        for i in 0..EXPERTS {
            let moved = |by: f64| {
                let mut weights = point;
                weights[i] += by;
                at(&weights)
            };
            let (up, down) = (moved(small), moved(-small));
            let slope = (up.value - down.value) / (2.0 * small);
            assert!((at(&point).gradient[i] - slope).abs() < 1e-3, "{i}: {slope}");
            for j in 0..EXPERTS {
                let bend = (up.gradient[j] - down.gradient[j]) / (2.0 * small);
                assert!((at(&point).hessian[i][j] - bend).abs() < 1e-3, "{i} {j}: {bend}");
            }
        }
    }

    #[test]
    fn without_examples_the_prior_stays() {
        assert_eq!(minimize(each(&[]), &[0.1, 0.2, 0.3], 1.0), [0.1, 0.2, 0.3]);
    }
}
