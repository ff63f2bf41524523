//! Evaluation: how well the tokens of pieces are predicted.
//!
//! [`score`](mod@score) adds up what a predictor says of each window, [`report`] prints the result. [`baselines`] are models
//! without a network, made of counts of n-grams; [`cache_model`] adds the piece so far to what any model says.
//!
//! Representations whose grammar ends pieces are evaluated on whole pieces: [`likelihood`] adds up what a model says of every
//! token, [`kneser_ney`] is the model without a network, [`pieces`] puts them together, and [`piece_report`] prints the
//! result.

pub mod baselines;
pub mod cache_model;
pub mod kneser_ney;
pub mod likelihood;
pub mod piece_report;
pub mod pieces;
pub mod report;
pub mod score;
#[cfg(test)]
mod tests;

use crate::corpus::Piece;
use crate::corpus::windows::{Window, Windows};
use crate::representation::Representation;
use baselines::{Baseline, REPORTED};
use cache_model::{CacheModel, CacheWeights};
use score::{Scores, repeated_windows};

/// Scores of a predictor on all windows of these pieces. `predict` is given the windows in the order of their numbers and
/// returns log-probs of the token after each, in nats; a predictor that carries a state through a piece starts anew
/// where a window is at token 0. With weights, the cache model is mixed in.
pub fn score<T: Copy + Into<f64>>(
    representation: &dyn Representation,
    pieces: &[Piece],
    sequence_length: usize,
    weights: Option<&CacheWeights>,
    mut predict: impl FnMut(u64, &Window<'_>) -> Vec<T>,
) -> Scores {
    let mut scores = Scores::new(pieces);
    let windows = Windows::new(pieces, sequence_length);
    let repeated = pieces.iter().flat_map(|piece| repeated_windows(&piece.tokens, sequence_length));
    let mut cache = None;
    for (number, is_repeated) in (0..windows.len()).zip(repeated) {
        let window = windows.get(number);
        let log_probabilities = predict(number, &window);
        if window.at == 0 {
            cache = weights.map(|weights| CacheModel::new(representation, weights));
            if let Some(cache) = &mut cache {
                for &token in window.input() {
                    cache.read(token);
                }
            }
        }
        match &mut cache {
            None => scores.add(window.piece, is_repeated, &log_probabilities, window.target()),
            Some(cache) => {
                scores.add(window.piece, is_repeated, &cache.mix(&log_probabilities), window.target());
                cache.read(window.target());
            }
        }
    }
    scores
}

/// Scores of the baselines that `eval` reports, with their names, fitted on some pieces and scored on others.
pub fn score_baselines(
    representation: &dyn Representation,
    training: &[Piece],
    pieces: &[Piece],
    sequence_length: usize,
) -> Vec<(String, Scores)> {
    let mut scores = Vec::new();
    for baseline in REPORTED {
        let of_baseline = score_baseline(baseline, representation, training, pieces, sequence_length);
        scores.push((baseline.name(), of_baseline));
    }
    scores
}

/// Scores of one baseline.
pub fn score_baseline(
    baseline: Baseline,
    representation: &dyn Representation,
    training: &[Piece],
    pieces: &[Piece],
    sequence_length: usize,
) -> Scores {
    if baseline == Baseline::Uniform {
        let mut scores = Scores::new(pieces);
        for (index, piece) in pieces.iter().enumerate() {
            for is_repeated in repeated_windows(&piece.tokens, sequence_length) {
                scores.add_uniform(index, is_repeated, representation.vocabulary().len());
            }
        }
        return scores;
    }
    let fitted = baseline.fit(representation, training, sequence_length);
    score(representation, pieces, sequence_length, None, |_, window| fitted.log_probabilities(window.input()))
}
