//! Evaluation: how well the notes of pieces are predicted.
//!
//! [`mod@score`] adds up what a predictor says of each window, [`heard`] tells windows that the piece has already
//! contained from new ones, [`report`] prints the result. [`baselines`] are models without a network, made of the
//! counts in [`contexts`] and [`melody`]; [`memory`] adds the piece heard so far to what any model says, and
//! [`mod@read_through`] lets a network read it from its first note.

pub mod baselines;
pub mod contexts;
pub mod heard;
pub mod melody;
pub mod memory;
pub mod read_through;
pub mod report;
pub mod score;
#[cfg(test)]
mod tests;

use crate::corpus::windows::{Window, Windows};
use crate::corpus::{CLASSES, Piece};
use baselines::{Baseline, SHOWN};
use heard::heard_in_all;
use memory::{Memory, Weights};
use score::Scores;

/// Scores of a predictor on all windows of these pieces. `predict` is given the windows in the order of their numbers
/// and answers with the natural logarithms of the probabilities of every class; one that carries a state through a
/// piece begins anew where a window is at note 0. With weights, the memory of the piece is mixed in.
pub fn score<T: Copy + Into<f64>>(
    pieces: &[Piece],
    sequence_length: usize,
    weights: Option<&Weights>,
    mut predict: impl FnMut(u64, &Window<'_>) -> Vec<T>,
) -> Scores {
    let mut scores = Scores::new(pieces);
    let windows = Windows::new(pieces, sequence_length);
    let heard = heard_in_all(pieces, sequence_length);
    let mut memory = None;
    for (number, heard) in (0..windows.len()).zip(heard) {
        let window = windows.get(number);
        let logs = predict(number, &window);
        if window.at == 0 {
            memory = weights.map(Memory::new);
            memory.iter_mut().for_each(|memory| window.input.iter().for_each(|&class| memory.hear(class)));
        }
        match &mut memory {
            None => scores.add(window.piece, heard, &logs, window.target),
            Some(memory) => {
                scores.add(window.piece, heard, &memory.mix(&logs), window.target);
                memory.hear(window.target);
            }
        }
    }
    scores
}

/// Scores of the baselines that `eval` shows, with their names, fitted on some pieces and scored on others.
pub fn score_baselines(
    training: &[Piece],
    pieces: &[Piece],
    sequence_length: usize,
) -> Vec<(String, Scores)> {
    let scores = |&baseline: &Baseline| score_baseline(baseline, training, pieces, sequence_length);
    SHOWN.iter().map(|baseline| (baseline.name(), scores(baseline))).collect()
}

/// Scores of one baseline.
pub fn score_baseline(
    baseline: Baseline,
    training: &[Piece],
    pieces: &[Piece],
    sequence_length: usize,
) -> Scores {
    if baseline == Baseline::Uniform {
        return blind(pieces, sequence_length);
    }
    let fitted = baseline.fit(training, sequence_length);
    score(pieces, sequence_length, None, |_, window| fitted.log_probabilities(window.input))
}

/// Scores of who has no opinion.
fn blind(pieces: &[Piece], sequence_length: usize) -> Scores {
    let mut scores = Scores::new(pieces);
    for (index, piece) in pieces.iter().enumerate() {
        for heard in heard::heard(&piece.classes, sequence_length) {
            scores.add_blind(index, heard, CLASSES);
        }
    }
    scores
}
