//! How well the tokens after windows were predicted: sums over windows, for any predictor and any order of windows.
//!
//! Repeated windows are scored apart: a predictor that remembers the piece can have them by copying.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde::Serialize;

use crate::corpus::Piece;
use crate::corpus::windows::windows_of;
use crate::network::inference::InferenceNetwork;
use crate::representation::Token;

/// Sums over all windows of some pieces, novel and repeated ones apart, and over each piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    pieces: Vec<(String, SplitSums)>,
}

/// Means over the same windows three times: all of them, and the two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SplitMetrics {
    /// All windows.
    #[serde(flatten)]
    pub overall: Metrics,
    /// Windows that are new in their piece.
    pub novel: Metrics,
    /// Repeated windows, see [`repeated_windows`].
    pub repeated: Metrics,
}

/// Means over windows. The mean over no windows is NaN, which JSON writes as `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metrics {
    /// Cross-entropy in nats per token.
    pub nats: f64,
    /// The same in bits.
    pub bits: f64,
    /// exp(nats): the number of equally probable tokens that would be as hard to guess.
    pub perplexity: f64,
    /// Fraction of windows whose next token was the most probable one.
    pub top1: f64,
    /// Fraction of windows whose next token was among the five most probable ones.
    pub top5: f64,
    /// How many windows.
    pub windows: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct SplitSums {
    novel: Sums,
    repeated: Sums,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    windows: u64,
    /// Of −ln p(next token).
    nats: f64,
    /// Windows that were right; of the uniform baseline, the expected number.
    top1: f64,
    top5: f64,
}

/// For each window of a piece, in order, whether it is repeated: whether its tokens **and the one after them** occurred
/// together earlier in the piece, overlaps included. 8,473 of the 23,781 windows of the cello suites are.
pub fn repeated_windows(tokens: &[Token], sequence_length: usize) -> Vec<bool> {
    let mut earlier = HashSet::new();
    tokens.windows(sequence_length + 1).map(|window| !earlier.insert(window)).collect()
}

impl Scores {
    /// Of these pieces, without windows yet.
    pub fn new(pieces: &[Piece]) -> Self {
        Scores { pieces: pieces.iter().map(|piece| (piece.name.clone(), SplitSums::default())).collect() }
    }

    /// Adds a window of the piece of this index: log-probabilities of every token, in nats, and the token that followed.
    pub fn add<T: Copy + Into<f64>>(
        &mut self,
        piece: usize,
        is_repeated: bool,
        log_probabilities: &[T],
        target: Token,
    ) {
        let rank = rank(log_probabilities, target.into());
        let nats = -log_probabilities[usize::from(target)].into();
        let [top1, top5] = [1, 5].map(|places| f64::from(u8::from(rank < places)));
        self.add_sums(piece, is_repeated, Sums { windows: 1, nats, top1, top5 });
    }

    /// Adds a window to which the predictor gives the uniform distribution: a guess is right by chance alone.
    pub fn add_uniform(&mut self, piece: usize, is_repeated: bool, tokens: usize) {
        let [top1, top5] = [1.0, 5.0].map(|places| f64::min(places / tokens as f64, 1.0));
        self.add_sums(piece, is_repeated, Sums { windows: 1, nats: (tokens as f64).ln(), top1, top5 });
    }

    fn add_sums(&mut self, piece: usize, is_repeated: bool, sums: Sums) {
        let SplitSums { novel, repeated } = &mut self.pieces[piece].1;
        let total = if is_repeated { repeated } else { novel };
        *total = total.and(sums);
    }

    /// Adds the scores of other pieces.
    pub fn extend(&mut self, others: Scores) {
        self.pieces.extend(others.pieces);
    }

    /// Means over all pieces together, in which every window has the same weight.
    pub fn all(&self) -> SplitMetrics {
        self.pieces.iter().fold(SplitSums::default(), |all, (_, sums)| all.and(sums)).metrics()
    }

    /// Means over each piece, with its name.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, SplitMetrics)> {
        self.pieces.iter().map(|(name, sums)| (name.as_str(), sums.metrics()))
    }
}

/// How many tokens precede one in the order of probability. Of equals the lower token precedes.
pub(super) fn rank<T: Copy + Into<f64>>(log_probabilities: &[T], token: usize) -> usize {
    let own = log_probabilities[token].into();
    // NaN precedes everything, so that a network that says NaN is never right.
    let precedes = |&other: &usize| match log_probabilities[other].into().partial_cmp(&own) {
        Some(Ordering::Less) => false,
        Some(Ordering::Equal) => other < token,
        Some(Ordering::Greater) | None => other != token,
    };
    (0..log_probabilities.len()).filter(precedes).count()
}

impl SplitSums {
    fn and(self, other: &SplitSums) -> SplitSums {
        SplitSums { novel: self.novel.and(other.novel), repeated: self.repeated.and(other.repeated) }
    }

    fn metrics(&self) -> SplitMetrics {
        SplitMetrics {
            overall: self.novel.and(self.repeated).metrics(),
            novel: self.novel.metrics(),
            repeated: self.repeated.metrics(),
        }
    }
}

impl Sums {
    fn and(self, other: Sums) -> Sums {
        Sums {
            windows: self.windows + other.windows,
            nats: self.nats + other.nats,
            top1: self.top1 + other.top1,
            top5: self.top5 + other.top5,
        }
    }

    fn metrics(&self) -> Metrics {
        let [nats, top1, top5] = [self.nats, self.top1, self.top5].map(|sum| sum / self.windows as f64);
        Metrics {
            nats,
            bits: nats / std::f64::consts::LN_2,
            perplexity: nats.exp(),
            top1,
            top5,
            windows: self.windows,
        }
    }
}

/// (windows, C) log-probs of the token after each window of these pieces, by a network that has read its piece up to
/// there. Windows are in the order of [`crate::corpus::windows::Windows`].
pub fn read_through(network: &InferenceNetwork, pieces: &[Piece], sequence_length: usize) -> Vec<f32> {
    let tokens = network.architecture().shape.tokens;
    let mut predictions: Vec<Vec<f32>> = pieces
        .iter()
        .map(|piece| Vec::with_capacity(tokens * windows_of(piece.tokens.len(), sequence_length)))
        .collect();
    let longest = pieces.iter().map(|piece| piece.tokens.len()).max().unwrap_or(0);
    let mut states = network.states(pieces.len());
    for time in 0..longest {
        // Pieces that have ended continue with token 0: their rows are not read any more.
        let tokens: Vec<Token> =
            pieces.iter().map(|piece| piece.tokens.get(time).copied().unwrap_or(0)).collect();
        network.advance(&mut states, &tokens);
        if time + 1 < sequence_length {
            continue;
        }
        for (row, (piece, predictions)) in pieces.iter().zip(&mut predictions).enumerate() {
            if time + 1 < piece.tokens.len() {
                predictions.extend(network.probabilities(&states, row).iter().map(|p| p.ln()));
            }
        }
    }
    predictions.concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::network::Architecture;
    use crate::random::{Purpose, RandomStream};
    use crate::representation::pitch::Pitch;

    fn pieces(names: &[&str]) -> Vec<Piece> {
        names.iter().map(|&name| Piece { name: name.into(), tokens: Vec::new() }).collect()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }

    #[test]
    fn means_by_hand() {
        let mut scores = Scores::new(&pieces(&["a", "b"]));
        let even = [0.25f64.ln(); 4];
        scores.add(0, false, &even, 0);
        scores.add(0, true, &[0.5f64.ln(), 0.25f64.ln(), 0.125f64.ln(), 0.125f64.ln()], 0);
        scores.add(1, false, &even, 3);
        let all = scores.all();
        close(all.overall.bits, 5.0 / 3.0);
        close(all.overall.nats, 5.0 / 3.0 * 2f64.ln());
        close(all.overall.perplexity, 2f64.powf(5.0 / 3.0));
        // Of four equals the first is the guess.
        close(all.overall.top1, 2.0 / 3.0);
        close(all.overall.top5, 1.0);
        assert_eq!((all.overall.windows, all.novel.windows, all.repeated.windows), (3, 2, 1));
        close(all.novel.bits, 2.0);
        close(all.repeated.bits, 1.0);
        let pieces: Vec<_> = scores.pieces().collect();
        assert_eq!((pieces[0].0, pieces[1].0), ("a", "b"));
        close(pieces[0].1.overall.bits, 1.5);
        assert!(pieces[1].1.repeated.nats.is_nan());
    }

    #[test]
    fn ranks() {
        let p = [-3f32, -1.0, -2.0, -1.0, -9.0, -0.5, -7.0];
        let ranks: Vec<_> = (0..7).map(|token| rank(&p, token)).collect();
        assert_eq!(ranks, [4, 1, 3, 2, 6, 0, 5]);
    }

    #[test]
    fn uniform_guesses_are_right_by_chance() {
        let mut scores = Scores::new(&pieces(&["a"]));
        for _ in 0..3 {
            scores.add_uniform(0, true, 8);
        }
        let Metrics { bits, top1, top5, windows, .. } = scores.all().repeated;
        close(bits, 3.0);
        assert_eq!((top1, top5, windows), (0.125, 0.625, 3));
    }

    #[test]
    fn a_network_that_says_nan_is_never_right() {
        let p = [f32::NAN; 7];
        assert!((0..7).all(|token| rank(&p, token) == 6));
        assert_eq!(rank(&[f32::NAN, -1.0], 1), 1);
        let mut scores = Scores::new(&pieces(&["a"]));
        scores.add(0, false, &p, 0);
        assert!(scores.all().overall.nats.is_nan() && scores.all().overall.top5 == 0.0);
    }

    #[test]
    fn a_window_is_repeated_if_the_next_token_is_too() {
        //           0  1  2  3  4  5  6  7  8
        let tokens = [1, 2, 3, 9, 1, 2, 4, 1, 2, 3, 9];
        let found = repeated_windows(&tokens, 2);
        let repeated: Vec<_> = (0..found.len()).filter(|&at| found[at]).collect();
        assert_eq!(found.len(), 9);
        // (1 2) 3 and (2 3) 9 come again; (1 2) 4 is new though 1 2 was there.
        assert_eq!(repeated, [7, 8]);
        // A repeat may overlap what it repeats.
        assert_eq!(repeated_windows(&[5, 5, 5, 5], 2), [false, true]);
        assert!(repeated_windows(&[1, 2], 2).is_empty());
    }

    #[test]
    fn each_note_is_predicted_from_all_before_it() {
        let architecture =
            Architecture { shape: Pitch::shape_of(11, true), layers: 2, units: 6, dense: 5, members: 2 };
        let stream = RandomStream::new(1, Purpose::Initialization, &[]);
        let parameters: Vec<f32> =
            (0..architecture.len() as u64).map(|i| 0.5 * stream.normal(i) as f32).collect();
        let network =
            InferenceNetwork::new(Arc::new(Pitch::with_tokens(11, true)), architecture, &parameters);
        let piece = |name: &str, tokens: &[Token]| Piece { name: name.into(), tokens: tokens.to_vec() };
        let pieces = [piece("a", &[3, 1, 4, 1, 5]), piece("b", &[9]), piece("c", &[2, 6, 5, 3, 5, 8, 9])];
        let found = read_through(&network, &pieces, 2);
        // Three windows of `a`, none of `b`, five of `c`.
        let seen = [&pieces[0].tokens[..2], &pieces[0].tokens[..4], &pieces[2].tokens[..6]];
        for (number, seen) in [0, 2, 7].into_iter().zip(seen) {
            let expected: Vec<f32> = network.predict(seen).iter().map(|p| p.ln()).collect();
            assert_eq!(found[number * 11..][..11], expected, "window {number}");
        }
        assert_eq!(found.len(), 8 * 11);
    }
}
