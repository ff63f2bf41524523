//! Evaluation: how well the notes of pieces are predicted.
//!
//! [`score`] adds up what a predictor says of each window, [`heard`] tells windows that the piece has already
//! contained from new ones, [`report`] prints the result. [`baselines`] are models without a network, made of the
//! counts in [`contexts`] and [`melody`]; [`memory`] adds the piece heard so far to what any model says.

pub mod baselines;
pub mod contexts;
pub mod heard;
pub mod melody;
pub mod memory;
pub mod report;
pub mod score;
#[cfg(test)]
mod tests;

use crate::corpus::windows::Windows;
use crate::corpus::{CLASSES, Piece};
use baselines::{Baseline, Fitted};
use heard::heard_in_all;
use score::Scores;

/// Scores of a baseline on all windows of these pieces.
pub fn score(fitted: &Fitted, pieces: &[Piece], sequence_length: usize) -> Scores {
    let mut scores = Scores::new(pieces);
    let windows = Windows::new(pieces, sequence_length);
    for (number, heard) in heard_in_all(pieces, sequence_length).into_iter().enumerate() {
        let window = windows.get(number as u64);
        if fitted.baseline == Baseline::Uniform {
            scores.add_blind(window.piece, heard, CLASSES);
            continue;
        }
        let logs: Vec<f64> = fitted.probabilities(window.input).into_iter().map(f64::ln).collect();
        scores.add(window.piece, heard, &logs, window.target);
    }
    scores
}
