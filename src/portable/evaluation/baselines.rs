//! Models without a network, fitted on the same training pieces, that a network has to beat.
//!
//! An independent program fixes the formulas, and the figures that they reach on the cello suites (`tests.rs`).

use super::ngrams::{NGramCounts, ViewCounts};
use crate::corpus::Piece;
use crate::corpus::windows::Windows;
use crate::representation::{Representation, Token};

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
            // All alike, whatever was counted.
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

#[cfg(test)]
mod tests {
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
}
