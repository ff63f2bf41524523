//! The cache model: what any model says about the next token, corrected by the piece so far (Kuhn and De Mori 1990).
//!
//! Three experts are mixed: the model; what followed the last tokens earlier in this piece; and what followed the last
//! intervals, so that a passage is recognized when it is transposed. The mixture is log-linear, p ∝ Π expertᵢ^weightᵢ (Klakow
//! 1998), with weights that depend on how many of the last tokens were met together before. They are fitted on the training
//! pieces ([`CacheWeights::fit`]): nothing about the evaluated pieces is chosen.

use super::baselines::{Baseline, FittedBaseline};
use super::newton;
use super::ngrams::ViewCounts;
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

/// The weights fitted on all examples are held to [`UNIFORM`] as strongly as by this many examples: nearly not.
const PENALTY: f64 = 1.0;

/// The weights of a row are held to those of all examples as strongly as by this many examples, as long matches are rare.
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
    fn to_fit(&self) -> newton::Example<'_, EXPERTS> {
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
        let all = newton::minimize(examples.iter().map(Example::to_fit), &UNIFORM, PENALTY);
        let rows = std::array::from_fn(|row| {
            let of_row = examples.iter().filter(|example| row_of(example.longest_match) == row);
            newton::minimize(of_row.map(Example::to_fit), &all, ROW_PENALTY)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::random::{Purpose, Stream};
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
        let stream = Stream::new(1, Purpose::Sampling, &[]);
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
}
