//! Models without a network, fitted on the same training pieces, that a network has to beat; and the counts of n-grams that
//! they and the cache model are made of.
//!
//! An independent program fixes the formulas, and the figures that they reach on the cello suites (`tests.rs`).
//!
//! The context of a token is the last few symbols. Contexts lie in a tree that is walked from the latest symbol backwards,
//! so one walk meets the contexts of every length, shortest first.

use std::collections::HashMap;

use crate::corpus::Piece;
use crate::corpus::windows::Windows;
use crate::representation::{Representation, State, Symbol, Token, View};

/// A kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// All tokens are equally probable.
    Uniform,
    /// How often each token follows a window, with one added.
    Unigram,
    /// How often each token follows the window's last one, with one added.
    BigramAddOne,
    /// Contexts of up to this many tokens, at most a window, by `NGramCounts::witten_bell`.
    WittenBell(usize),
    /// The mean of two models, one with contexts of tokens and one with contexts of intervals. It is counted on whole
    /// pieces, not on windows, so contexts are shorter at the beginning of a piece.
    Mix {
        /// Tokens in the longest context of tokens.
        pitch: usize,
        /// Intervals in the longest context of intervals.
        interval: usize,
    },
}

/// The baselines that `eval` reports.
pub const REPORTED: [Baseline; 5] = [
    Baseline::Uniform,
    Baseline::Unigram,
    Baseline::BigramAddOne,
    Baseline::WittenBell(5),
    Baseline::Mix { pitch: 2, interval: 2 },
];

/// A baseline that was fitted on pieces.
#[derive(Debug, Clone)]
pub struct FittedBaseline<'a> {
    baseline: Baseline,
    counts: Counts<'a>,
}

#[derive(Debug, Clone)]
enum Counts<'a> {
    Windows(NGramCounts),
    Pieces(ViewCounts<'a>),
}

impl Baseline {
    /// Its name in `eval --json`.
    pub fn name(&self) -> String {
        match self {
            Baseline::Uniform => "uniform".into(),
            Baseline::Unigram => "unigram".into(),
            Baseline::BigramAddOne => "bigram_add_one".into(),
            Baseline::WittenBell(order) => format!("witten_bell_{order}"),
            Baseline::Mix { pitch, interval } => format!("pitch{pitch}_interval{interval}_mix"),
        }
    }

    /// Fits it on these pieces, cut into windows as for the network.
    pub fn fit<'a>(
        self,
        representation: &'a dyn Representation,
        training: &[Piece],
        sequence_length: usize,
    ) -> FittedBaseline<'a> {
        let order = match self {
            Baseline::Mix { pitch, interval } => {
                let mut counts = ViewCounts::new(representation, pitch, interval);
                for piece in training {
                    counts.count_piece(&piece.tokens);
                }
                return FittedBaseline { baseline: self, counts: Counts::Pieces(counts) };
            }
            Baseline::Uniform | Baseline::Unigram => 0,
            Baseline::BigramAddOne => 1,
            Baseline::WittenBell(order) => order,
        };
        let mut counts = NGramCounts::new(representation.vocabulary().len(), order);
        let windows = Windows::new(training, sequence_length);
        for window in (0..windows.len()).map(|number| windows.get(number)) {
            counts.count(window.input(), window.target());
        }
        FittedBaseline { baseline: self, counts: Counts::Windows(counts) }
    }
}

impl FittedBaseline<'_> {
    /// Probabilities of the token that follows these tokens of a piece, all above 0.
    pub fn probabilities(&self, before: &[Token]) -> Vec<f64> {
        match (&self.counts, self.baseline) {
            (Counts::Pieces(counts), _) => {
                let (by_tokens, by_intervals) = (counts.by_tokens(before), counts.by_intervals(before));
                by_tokens.into_iter().zip(by_intervals).map(|(p, q)| (p + q) / 2.0).collect()
            }
            // Uniform: no counts are needed.
            (Counts::Windows(counts), Baseline::Uniform) => {
                let tokens = counts.alphabet();
                vec![1.0 / tokens as f64; tokens]
            }
            (Counts::Windows(counts), Baseline::WittenBell(_)) => counts.witten_bell(before),
            (Counts::Windows(counts), _) => counts.add_one(before, counts.order()),
        }
    }

    /// Log-probabilities of the same, in nats.
    pub fn log_probabilities(&self, before: &[Token]) -> Vec<f64> {
        self.probabilities(before).into_iter().map(f64::ln).collect()
    }
}

/// Counts of what followed every context up to a length.
#[derive(Debug, Clone)]
pub struct NGramCounts {
    alphabet: usize,
    order: usize,
    /// The node of the context with one more symbol at its beginning. Node 0 is the empty context.
    pub(super) longer: HashMap<(u32, Symbol), u32>,
    pub(super) nodes: Vec<Followers>,
}

/// What followed one context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Followers {
    /// Each symbol that did, once, and how often.
    pub counts: Vec<(Symbol, u32)>,
    pub total: u32,
}

/// N-gram counts of tokens and, beside them, of the transposed view, which is the same in every key.
#[derive(Debug, Clone)]
pub struct ViewCounts<'a> {
    representation: &'a dyn Representation,
    tokens: NGramCounts,
    intervals: NGramCounts,
}

impl NGramCounts {
    /// Without counts yet.
    pub fn new(alphabet: usize, order: usize) -> Self {
        NGramCounts { alphabet, order, longer: HashMap::new(), nodes: vec![Followers::default()] }
    }

    /// How many symbols there are.
    pub fn alphabet(&self) -> usize {
        self.alphabet
    }

    /// The length of the longest context.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Counts a symbol after those before it, of which the last `order` matter.
    pub fn count(&mut self, before: &[Symbol], next: Symbol) {
        let mut node = 0;
        self.nodes[0].count(next);
        for &symbol in before.iter().rev().take(self.order) {
            let new = self.nodes.len() as u32;
            node = *self.longer.entry((node, symbol)).or_insert(new);
            if node == new {
                self.nodes.push(Followers::default());
            }
            self.nodes[node as usize].count(next);
        }
    }

    /// How many of the last symbols were met together before, up to the order.
    pub fn longest_match(&self, before: &[Symbol]) -> usize {
        self.met(before).count().saturating_sub(1)
    }

    /// Probabilities of every symbol by Witten and Bell's interpolation (1991, method C): starting from the uniform
    /// distribution, each longer context that was met makes them (counts + T·p) / (n + T), where n symbols followed it, T of
    /// them different.
    pub fn witten_bell(&self, before: &[Symbol]) -> Vec<f64> {
        let mut probabilities = vec![1.0 / self.alphabet as f64; self.alphabet];
        for followers in self.met(before) {
            let different = followers.counts.len() as f64;
            let all = f64::from(followers.total) + different;
            for p in &mut probabilities {
                *p *= different / all;
            }
            for &(symbol, count) in &followers.counts {
                probabilities[usize::from(symbol)] += f64::from(count) / all;
            }
        }
        probabilities
    }

    /// Probabilities of every symbol after the context of exactly `length` symbols, with one added to each count.
    pub fn add_one(&self, before: &[Symbol], length: usize) -> Vec<f64> {
        let none = Followers::default();
        let followers = self.met(before).nth(length).unwrap_or(&none);
        let all = f64::from(followers.total) + self.alphabet as f64;
        let mut probabilities = vec![1.0 / all; self.alphabet];
        for &(symbol, count) in &followers.counts {
            probabilities[usize::from(symbol)] += f64::from(count) / all;
        }
        probabilities
    }

    /// What followed the contexts that end `before`, from the empty one to the longest that was met.
    fn met<'a>(&'a self, before: &'a [Symbol]) -> impl Iterator<Item = &'a Followers> {
        let mut node = Some(0);
        let mut symbols = before.iter().rev().take(self.order);
        std::iter::from_fn(move || {
            let found = &self.nodes[node? as usize];
            let longer = symbols.next().and_then(|&symbol| self.longer.get(&(node?, symbol)));
            node = longer.copied();
            (found.total > 0).then_some(found)
        })
    }
}

impl Followers {
    pub fn count(&mut self, symbol: Symbol) {
        self.total += 1;
        match self.counts.iter_mut().find(|(found, _)| *found == symbol) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((symbol, 1)),
        }
    }
}

impl<'a> ViewCounts<'a> {
    /// Without counts yet; the orders are the longest contexts of tokens and of intervals.
    pub fn new(representation: &'a dyn Representation, token_order: usize, interval_order: usize) -> Self {
        ViewCounts {
            representation,
            tokens: NGramCounts::new(representation.vocabulary().len(), token_order),
            intervals: NGramCounts::new(representation.symbols(View::Transposed), interval_order),
        }
    }

    /// Counts a token after those of its piece before it.
    pub fn count(&mut self, before: &[Token], next: Token) {
        self.tokens.count(before, next);
        let (state, context) = self.interval_context(before);
        if let Some(symbol) = self.representation.symbol(View::Transposed, state, next) {
            self.intervals.count(&context, symbol);
        }
    }

    /// Counts all tokens of a piece.
    pub fn count_piece(&mut self, tokens: &[Token]) {
        for (at, &token) in tokens.iter().enumerate() {
            self.count(&tokens[..at], token);
        }
    }

    /// Probabilities of the next token by what followed the last tokens.
    pub fn by_tokens(&self, before: &[Token]) -> Vec<f64> {
        self.tokens.witten_bell(before)
    }

    /// Probabilities of the next token by what followed the last intervals: those of the intervals that lead to a token,
    /// renormalized. Uniform where tokens have no interval yet.
    pub fn by_intervals(&self, before: &[Token]) -> Vec<f64> {
        let tokens = self.representation.vocabulary().len();
        let (state, context) = self.interval_context(before);
        let symbols: Option<Vec<Symbol>> = (0..tokens)
            .map(|token| self.representation.symbol(View::Transposed, state, token as Token))
            .collect();
        let Some(symbols) = symbols else { return vec![1.0 / tokens as f64; tokens] };
        let intervals = self.intervals.witten_bell(&context);
        let mut probabilities: Vec<f64> =
            symbols.into_iter().map(|symbol| intervals[usize::from(symbol)]).collect();
        let total: f64 = probabilities.iter().sum();
        for p in &mut probabilities {
            *p /= total;
        }
        probabilities
    }

    /// How many of the last tokens were met together before, up to the order.
    pub fn longest_match(&self, before: &[Token]) -> usize {
        self.tokens.longest_match(before)
    }

    /// The state after the last tokens, and their intervals: as many as matter.
    fn interval_context(&self, before: &[Token]) -> (State, Vec<Symbol>) {
        let last = &before[before.len().saturating_sub(self.intervals.order() + View::Transposed.lead())..];
        let state = last
            .iter()
            .fold(self.representation.start(), |state, &token| self.representation.next(state, token));
        (state, self.representation.view(View::Transposed, last))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::representation::RepresentationConfig;

    fn piece(tokens: &[Token]) -> Piece {
        Piece { name: "p".into(), tokens: tokens.to_vec() }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }

    #[test]
    fn by_hand_on_windows_of_two() {
        // Windows (1 2) 1, (2 1) 2 and, from the other piece, (5 2) 1.
        let training = [piece(&[1, 2, 1, 2]), piece(&[5, 2, 1])];
        let representation = RepresentationConfig::default().build();
        let after = |baseline: Baseline, tokens: &[Token]| {
            baseline.fit(&*representation, &training, 2).probabilities(tokens)
        };
        close(after(Baseline::Uniform, &[7, 2])[3], 1.0 / 79.0);
        close(after(Baseline::Unigram, &[7, 2])[1], 3.0 / 82.0);
        close(after(Baseline::Unigram, &[7, 2])[5], 1.0 / 82.0);
        close(after(Baseline::BigramAddOne, &[7, 2])[1], 3.0 / 81.0);
        close(after(Baseline::BigramAddOne, &[2, 1])[2], 2.0 / 80.0);
        close(after(Baseline::BigramAddOne, &[2, 7])[2], 1.0 / 79.0);
        // Empty context: 1 twice and 2; after 2 only 1, twice.
        let empty = (2.0 + 2.0 / 79.0) / 5.0;
        close(after(Baseline::WittenBell(1), &[7, 2])[1], (2.0 + empty) / 3.0);
        close(after(Baseline::WittenBell(5), &[7, 2])[1], (2.0 + empty) / 3.0);
    }

    #[test]
    fn the_mix_counts_whole_pieces_and_no_interval_between_two() {
        let representation = RepresentationConfig::default().build();
        let training = [piece(&[3, 4]), piece(&[9])];
        let mix = Baseline::Mix { pitch: 0, interval: 0 }.fit(&*representation, &training, 2);
        // Three tokens, once each, and one interval, upwards by 1, in 157.
        let tokens = (1.0 + 3.0 / 79.0) / 6.0;
        let reachable = 0.5 + 79.0 * 0.5 / 157.0;
        let up = (0.5 + 0.5 / 157.0) / reachable;
        close(mix.probabilities(&[3])[4], (tokens + up) / 2.0);
        close(mix.probabilities(&[8])[9], (tokens + up) / 2.0);
    }

    fn counted(alphabet: usize, order: usize, symbols: &[Symbol]) -> NGramCounts {
        let mut counts = NGramCounts::new(alphabet, order);
        for (at, &symbol) in symbols.iter().enumerate() {
            counts.count(&symbols[..at], symbol);
        }
        counts
    }

    fn representation() -> Arc<dyn Representation> {
        RepresentationConfig::default().build()
    }

    fn all_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let same = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(same, "{found:?} for {expected:?}");
    }

    #[test]
    fn witten_bell_by_hand() {
        // 0 1 0 2 over four symbols. Empty context: 0 twice, 1, 2; n = 4, T = 3.
        let counts = counted(4, 2, &[0, 1, 0, 2]);
        let empty = [2.75 / 7.0, 1.75 / 7.0, 1.75 / 7.0, 0.75 / 7.0];
        all_close(&counts.witten_bell(&[]), &empty);
        // 3 was never followed.
        all_close(&counts.witten_bell(&[3]), &empty);
        // After 0: 1 and 2 once each; n = 2, T = 2.
        let after_0 = empty.map(|p| 2.0 * p / 4.0);
        let after_0 = [after_0[0], after_0[1] + 0.25, after_0[2] + 0.25, after_0[3]];
        all_close(&counts.witten_bell(&[0]), &after_0);
        all_close(&counts.witten_bell(&[3, 0]), &after_0);
        // After 1 0: 2 once; n = 1, T = 1.
        let after_10 = after_0.map(|p| p / 2.0);
        all_close(&counts.witten_bell(&[1, 0]), &[after_10[0], after_10[1], after_10[2] + 0.5, after_10[3]]);
    }

    #[test]
    fn add_one_by_hand() {
        let counts = counted(4, 1, &[0, 1, 0, 2]);
        all_close(&counts.add_one(&[0], 0), &[3.0 / 8.0, 2.0 / 8.0, 2.0 / 8.0, 1.0 / 8.0]);
        all_close(&counts.add_one(&[0], 1), &[1.0 / 6.0, 2.0 / 6.0, 2.0 / 6.0, 1.0 / 6.0]);
        all_close(&counts.add_one(&[3], 1), &[0.25; 4]);
    }

    #[test]
    fn a_passage_is_recognized_when_it_is_transposed() {
        let representation = representation();
        let mut counts = ViewCounts::new(&*representation, 3, 3);
        counts.count_piece(&[10, 12, 14, 15, 10]);
        let best = |p: Vec<f64>| (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b]));
        assert_eq!(best(counts.by_intervals(&[40, 42, 44])), Some(45));
        assert_eq!(best(counts.by_tokens(&[40, 42, 44])), Some(10));
        assert_eq!(best(counts.by_tokens(&[10, 12])), Some(14));
    }

    #[test]
    fn intervals_by_hand() {
        // One interval, of 2, counted once: 2 has (1 + 1/157) / 2 and every other 1/157/2.
        let representation = representation();
        let mut counts = ViewCounts::new(&*representation, 0, 0);
        counts.count_piece(&[10, 12]);
        let rest = 0.5 / 157.0;
        let reachable = 0.5 + 79.0 * rest;
        let found = counts.by_intervals(&[30]);
        assert!((found[32] - (0.5 + rest) / reachable).abs() < 1e-12, "{found:?}");
        assert!((found[78] - rest / reachable).abs() < 1e-12, "{found:?}");
        // From the highest token it leads nowhere.
        all_close(&counts.by_intervals(&[78]), &[1.0 / 79.0; 79]);
    }

    #[test]
    fn a_match_is_counted_in_tokens() {
        let representation = representation();
        let tokens = [1, 2, 3, 1, 2];
        let mut counts = ViewCounts::new(&*representation, 4, 0);
        assert_eq!(counts.longest_match(&tokens), 0);
        counts.count_piece(&tokens);
        assert_eq!(counts.longest_match(&tokens), 2);
        assert_eq!(counts.longest_match(&[9, 2]), 1);
        assert_eq!(counts.longest_match(&[9]), 0);
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn probabilities_of_symbols_are_positive_and_sum_to_one(
            symbols in prop::collection::vec(0u16..9, 0..60),
            before in prop::collection::vec(0u16..9, 0..6),
            order in 0usize..4,
        ) {
            let counts = counted(9, order, &symbols);
            for probabilities in [counts.witten_bell(&before), counts.add_one(&before, order)] {
                prop_assert!(probabilities.iter().all(|&p| p > 0.0));
                prop_assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn probabilities_of_tokens_are_positive_and_sum_to_one(
            tokens in prop::collection::vec(0u16..79, 0..40),
            before in prop::collection::vec(0u16..79, 0..5),
        ) {
            let representation = representation();
            let mut counts = ViewCounts::new(&*representation, 2, 3);
            counts.count_piece(&tokens);
            for probabilities in [counts.by_tokens(&before), counts.by_intervals(&before)] {
                prop_assert!(probabilities.iter().all(|&p| p > 0.0));
                prop_assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn a_context_is_met_where_it_stood_before(symbols in prop::collection::vec(0u16..3, 1..40)) {
            let (order, counts) = (4, counted(3, 4, &symbols));
            let mut lengths = counts.met(&symbols).enumerate();
            for length in 0..=order {
                let context = &symbols[symbols.len().saturating_sub(length)..];
                let mut expected = Followers::default();
                for at in length..symbols.len() {
                    if context.len() == length && symbols[at - length..at] == *context {
                        expected.count(symbols[at]);
                    }
                }
                match expected.total {
                    0 => prop_assert!(lengths.next().is_none()),
                    _ => prop_assert_eq!(lengths.next(), Some((length, &expected))),
                }
            }
        }
    }
}
