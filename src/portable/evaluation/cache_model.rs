//! The cache model: what any model says about the next token, corrected by the piece so far (Kuhn and De Mori 1990).
//!
//! Three experts are mixed: the model; what followed the last tokens earlier in this piece; and what followed the last
//! intervals, so that a passage is recognized when it is transposed. The mixture is log-linear, p ∝ Π expertᵢ^weightᵢ (Klakow
//! 1998), with weights that depend on how many of the last tokens were met together before. They are fitted on the training
//! pieces ([`CacheWeights::fit`]): nothing about the evaluated pieces is chosen.
//!
//! The fit minimizes the cross-entropy of some examples by Newton's method. With the experts' log-probs h and p ∝ exp(w·h),
//! the gradient of −ln p(target) is E_p h − h(target), and the Hessian is the covariance of h under p: the problem is convex
//! and, with the penalty, has one solution.

use super::baselines::{Baseline, FittedBaseline, ViewCounts};
use crate::corpus::Piece;
use crate::representation::{Representation, Token};

/// The experts that are mixed: the model, n-grams of tokens, n-grams of intervals.
const EXPERTS: usize = 3;

/// The longest context that is remembered. Longer ones change nothing: after 15 matching tokens there is one row of weights.
const ORDER: usize = 20;

/// No expert counts as surer than this against a token, in nats: e^−20 is far less than a piece can teach, and a
/// probability of 0 would rule a token out for good.
const MAX_NATS: f64 = 20.0;

/// Each row of weights holds for matches of at least this many tokens, up to the next row.
const ROW_STARTS: [usize; 6] = [0, 2, 4, 6, 10, 15];

/// The weights before anything is fitted: the geometric mean.
const UNIFORM: [f64; EXPERTS] = [1.0 / EXPERTS as f64; EXPERTS];

/// The weights fitted on all examples are held to [`UNIFORM`] with the weight of this many examples: hardly at all.
const PENALTY: f64 = 1.0;

/// The weights of a row are held to those of all examples with the weight of this many examples, because long matches are rare.
const ROW_PENALTY: f64 = 20.0;

/// The model that takes the network's place when weights are fitted. The network knows its training pieces by heart, so it
/// cannot stand for itself; the surrogate is fitted on other pieces, and knows as little about a piece as a network about a
/// new one.
const SURROGATE: Baseline = Baseline::Mix { pitch: 2, interval: 2 };

/// The surrogate is fitted this many times, each time without a group of pieces. Groups are contiguous in the order of
/// names, so what belongs together, like the movements of a suite, mostly stays together.
const GROUPS: usize = 6;

/// The weights have 18 numbers, which need no more examples than this. Of a larger corpus every n-th token is one.
const MAX_EXAMPLES: usize = 30_000;

/// The tokens of a piece so far.
#[derive(Debug, Clone)]
pub struct CacheModel<'a> {
    weights: &'a CacheWeights,
    counts: ViewCounts<'a>,
    tokens: Vec<Token>,
}

/// Weights of the experts, one row for each length of match.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheWeights {
    rows: [[f64; EXPERTS]; ROW_STARTS.len()],
}

/// A token of a training piece, to fit weights on.
#[derive(Debug, Clone)]
struct Example {
    /// For each token, its log-probability by each expert.
    log_probabilities: Vec<[f32; EXPERTS]>,
    /// The token that followed.
    target: Token,
    /// How many of the last tokens were met together before.
    longest_match: usize,
}

impl Example {
    fn to_fit(&self) -> NewtonExample<'_, EXPERTS> {
        (&self.log_probabilities, self.target)
    }
}

impl<'a> CacheModel<'a> {
    /// Before the first token of a piece.
    pub fn new(representation: &'a dyn Representation, weights: &'a CacheWeights) -> Self {
        CacheModel { weights, counts: ViewCounts::new(representation, ORDER, ORDER), tokens: Vec::new() }
    }

    /// Reads the next token of the piece.
    pub fn read(&mut self, token: Token) {
        self.counts.count(&self.tokens, token);
        self.tokens.push(token);
    }

    /// Log-probabilities of the next token, given those of a model.
    pub fn mix<T: Copy + Into<f64>>(&self, log_probabilities: &[T]) -> Vec<f64> {
        let weights = self.weights.after_match(self.longest_match());
        let experts = self.expert_log_probabilities(log_probabilities.iter().map(|&log| log.into()));
        let mut mixed: Vec<f64> = Vec::with_capacity(experts.len());
        for of_token in &experts {
            mixed.push(weights.iter().zip(of_token).map(|(weight, log)| weight * log).sum());
        }
        let largest = mixed.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = mixed.iter().map(|log| (log - largest).exp()).sum();
        for log in &mut mixed {
            *log -= largest + total.ln();
        }
        mixed
    }

    /// For each token, its log-probability by each expert.
    fn expert_log_probabilities(&self, model: impl Iterator<Item = f64>) -> Vec<[f64; EXPERTS]> {
        let by_tokens = self.counts.by_tokens(&self.tokens);
        let by_intervals = self.counts.by_intervals(&self.tokens);
        let cached = by_tokens.into_iter().zip(by_intervals);
        model
            .zip(cached)
            .map(|(model, (p, q))| [model, p.ln(), q.ln()].map(|log| log.max(-MAX_NATS)))
            .collect()
    }

    fn longest_match(&self) -> usize {
        self.counts.longest_match(&self.tokens)
    }
}

impl Default for CacheWeights {
    /// The same for every expert.
    fn default() -> Self {
        CacheWeights { rows: [UNIFORM; ROW_STARTS.len()] }
    }
}

impl CacheWeights {
    /// The weights that predict the training pieces best, with the surrogate as the model.
    pub fn fit(representation: &dyn Representation, training: &[Piece]) -> Self {
        let examples = examples(representation, training);
        let all = minimize(examples.iter().map(Example::to_fit), &UNIFORM, PENALTY);
        let rows = std::array::from_fn(|row| {
            let of_row = examples.iter().filter(|example| row_of(example.longest_match) == row);
            minimize(of_row.map(Example::to_fit), &all, ROW_PENALTY)
        });
        CacheWeights { rows }
    }

    /// The weights after a match of this many tokens.
    fn after_match(&self, length: usize) -> &[f64; EXPERTS] {
        &self.rows[row_of(length)]
    }
}

fn row_of(length: usize) -> usize {
    ROW_STARTS.partition_point(|&start| start <= length) - 1
}

/// Examples of all pieces.
fn examples(representation: &dyn Representation, training: &[Piece]) -> Vec<Example> {
    let tokens: usize = training.iter().map(|piece| piece.tokens.len()).sum();
    let every = tokens.div_ceil(MAX_EXAMPLES).max(1);
    let mut examples = Vec::new();
    let size = training.len().div_ceil(GROUPS).max(1);
    for (number, group) in training.chunks(size).enumerate() {
        let others = [&training[..number * size], &training[number * size + group.len()..]].concat();
        // The window length does not matter to this baseline, which is counted on whole pieces.
        let surrogate = SURROGATE.fit(representation, &others, 0);
        for piece in group {
            add_examples(&mut examples, representation, piece, &surrogate, every);
        }
    }
    examples
}

/// Adds examples of one piece. Its first token is none: nothing is before it.
fn add_examples(
    examples: &mut Vec<Example>,
    representation: &dyn Representation,
    piece: &Piece,
    surrogate: &FittedBaseline<'_>,
    every: usize,
) {
    let weights = CacheWeights::default();
    let mut cache = CacheModel::new(representation, &weights);
    for (at, &target) in piece.tokens.iter().enumerate() {
        if at > 0 && at % every == 0 {
            let model = surrogate.log_probabilities(&piece.tokens[..at]);
            let experts = cache.expert_log_probabilities(model.into_iter());
            let log_probabilities = experts.iter().map(|of| of.map(|log| log as f32)).collect();
            examples.push(Example { log_probabilities, target, longest_match: cache.longest_match() });
        }
        cache.read(target);
    }
}

/// For each token, its log-probability by each of N experts; and the token that followed.
type NewtonExample<'a, const N: usize> = (&'a [[f32; N]], Token);

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
fn minimize<'a, const N: usize>(
    examples: impl Iterator<Item = NewtonExample<'a, N>> + Clone,
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
    examples: impl Iterator<Item = NewtonExample<'a, N>>,
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
    (log_probabilities, target): NewtonExample<'_, N>,
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
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::random::{Purpose, RandomStream};
    use crate::representation::RepresentationConfig;

    /// Of the default representation.
    const TOKENS: usize = 79;

    fn representation() -> Arc<dyn Representation> {
        RepresentationConfig::default().build()
    }

    fn uniform() -> Vec<f32> {
        vec![-(TOKENS as f32).ln(); TOKENS]
    }

    fn best(logs: &[f64]) -> usize {
        (0..logs.len()).max_by(|&a, &b| logs[a].total_cmp(&logs[b])).unwrap()
    }

    fn read_all(cache: &mut CacheModel<'_>, tokens: &[Token]) {
        for &token in tokens {
            cache.read(token);
        }
    }

    #[test]
    fn a_passage_is_expected_again_also_transposed() {
        let (representation, weights) = (representation(), CacheWeights::default());
        let mut cache = CacheModel::new(&*representation, &weights);
        read_all(&mut cache, &[10, 12, 17, 11, 30, 32, 37]);
        assert_eq!(best(&cache.mix(&uniform())), 31);
        read_all(&mut cache, &[10, 12]);
        assert_eq!(best(&cache.mix(&uniform())), 17);
    }

    #[test]
    fn an_empty_cache_keeps_the_models_order() {
        let (representation, weights) = (representation(), CacheWeights::default());
        let model: Vec<f64> = (0..TOKENS).map(|token| -(1.0 + token as f64) / 7.0).collect();
        let mixed = CacheModel::new(&*representation, &weights).mix(&model);
        assert!(mixed.is_sorted_by(|a, b| a > b), "{mixed:?}");
    }

    #[test]
    fn a_probability_of_zero_does_not_rule_a_token_out() {
        let (representation, weights) = (representation(), CacheWeights::default());
        let mut model = uniform();
        model[5] = f32::NEG_INFINITY;
        let mixed = CacheModel::new(&*representation, &weights).mix(&model);
        assert!(mixed[5].is_finite() && mixed[5] < mixed[4]);
    }

    #[test]
    fn rows_by_length_of_match() {
        let rows: Vec<_> = [0, 1, 2, 3, 4, 9, 10, 14, 15, 99].into_iter().map(row_of).collect();
        assert_eq!(rows, [0, 0, 1, 1, 2, 3, 4, 4, 5, 5]);
    }

    #[test]
    fn pieces_that_repeat_themselves_teach_trust_in_the_cache() {
        // Each piece is twelve random notes, over and over: long matches are always right, the others know nothing.
        let stream = RandomStream::new(1, Purpose::Sampling, &[]);
        let piece = |number: u64| {
            let tokens = (0..120).map(|i| (stream.of(number).bits(i % 12) % 79) as Token);
            Piece { name: number.to_string(), tokens: tokens.collect() }
        };
        let pieces: Vec<_> = (0..8).map(piece).collect();
        let weights = CacheWeights::fit(&*representation(), &pieces);
        let [model, by_tokens, _] = *weights.after_match(20);
        assert!(model < 0.2 && by_tokens > 0.5, "{weights:?}");
        assert_eq!(CacheWeights::fit(&*representation(), &pieces), weights);
    }

    #[test]
    fn the_surrogate_has_not_read_the_piece() {
        let piece = |name: &str, tokens: &[Token]| Piece { name: name.into(), tokens: tokens.to_vec() };
        let pieces = [piece("a", &[1, 2, 1, 2]), piece("b", &[7, 20, 7, 20])];
        let found = examples(&*representation(), &pieces);
        assert_eq!(found.len(), 6);
        let lengths: Vec<_> = found.iter().map(|example| example.longest_match).collect();
        assert_eq!(lengths, [0, 0, 1, 0, 0, 1]);
        // About the last note of "a": "b" says 20, the piece itself says 2.
        let says = |expert: usize, token: usize| found[2].log_probabilities[token][expert];
        assert!(found[2].target == 2 && says(0, 20) > says(0, 2) && says(1, 2) > says(1, 20));
    }

    #[test]
    fn a_large_corpus_gives_no_more_than_the_most_examples() {
        let tokens: Vec<Token> = (0..500).map(|i| i % 7).collect();
        let pieces: Vec<_> =
            (0..130).map(|i| Piece { name: i.to_string(), tokens: tokens.clone() }).collect();
        let found = examples(&*representation(), &pieces).len();
        assert!(found <= MAX_EXAMPLES && found > MAX_EXAMPLES / 2, "{found}");
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(30))]
        #[test]
        fn probabilities_sum_to_one(
            tokens in prop::collection::vec(0u16..TOKENS as u16, 0..60),
            model in prop::collection::vec(-50f32..0.0, TOKENS),
        ) {
            let representation = representation();
            let piece = Piece { name: "p".into(), tokens: tokens.clone() };
            let fitted = CacheWeights::fit(&*representation, &[piece.clone(), piece]);
            for weights in [CacheWeights::default(), fitted] {
                let mut cache = CacheModel::new(&*representation, &weights);
                read_all(&mut cache, &tokens);
                let total: f64 = cache.mix(&model).iter().map(|log| log.exp()).sum();
                prop_assert!((total - 1.0).abs() < 1e-9, "{}", total);
            }
        }
    }

    const EXPERTS: usize = 3;

    /// Targets drawn from a mixture whose weights are known.
    fn drawn(weights: &[f64; EXPERTS], count: u64) -> Vec<(Vec<[f32; EXPERTS]>, Token)> {
        let stream = RandomStream::new(5, Purpose::Sampling, &[]);
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
    fn each(
        drawn: &[(Vec<[f32; EXPERTS]>, Token)],
    ) -> impl Iterator<Item = NewtonExample<'_, EXPERTS>> + Clone {
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
