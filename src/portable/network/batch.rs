//! The rows of a lane as the network gets them, and what its predictions of them score.

use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use crate::config::LossPositions;
use crate::representation::{Features, NO_FEATURE, Token};

/// In place of a target: nothing is predicted there.
pub const NO_TARGET: Token = Token::MAX;

/// The rows of one lane, padded with rows of no weight: windows that begin with a state of zero, or the next windows of
/// streams, whose state is carried from one to the next.
#[derive(Debug, Clone)]
pub struct LaneBatch {
    /// The row of the global batch that the first row here is.
    pub first_row: usize,
    /// Rows that are windows; the rest is padding. Of streams all rows, or none where nothing is left to read.
    pub windows: usize,
    /// R, with padding.
    pub rows: usize,
    /// T.
    pub sequence_length: usize,
    /// Q: after how many of the last tokens the next is predicted, 1 or T.
    pub predictions: usize,
    /// K.
    pub slots: usize,
    /// (T, R, K) features that are active when a token is read, or [`NO_FEATURE`].
    active: Vec<u32>,
    /// (Q, R, V) where the scores begin that are added to the tokens' own, or [`NO_FEATURE`].
    pub first_scores: Vec<u32>,
    /// (Q, R) tokens that the network is to predict, or [`NO_TARGET`].
    pub targets: Vec<Token>,
    /// Of streams.
    pub streams: Option<StreamCells>,
}

/// What the network is told beside tokens, where rows are streams.
#[derive(Debug, Clone)]
pub struct StreamCells {
    /// (T, R) whether the state before a token is zero; elsewhere it is what the row had.
    pub resets: Vec<bool>,
    /// (T, R, W) a bit for each token of the vocabulary, in words of 64, lowest first: whether it may follow.
    pub allowed: Vec<u64>,
}

/// What streams are read for. The network keeps the states of both apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamPurpose {
    /// Every token and the end of every piece is to be predicted.
    Training,
    /// The end of a piece is not: probabilities are those of tokens, given that the piece goes on.
    Evaluation,
}

/// A part of a piece that a row reads.
#[derive(Debug, Clone, Copy)]
pub struct StreamSpan<'a> {
    /// All tokens of the piece.
    pub tokens: &'a [Token],
    /// The first prediction, see [`crate::corpus::streams`].
    pub from: usize,
    /// After the last prediction.
    pub to: usize,
    /// Whether the state before it is zero.
    pub resets: bool,
}

/// Words of a set of tokens.
pub fn words_of(tokens: usize) -> usize {
    tokens.div_ceil(64)
}

impl LaneBatch {
    /// Windows of `sequence_length` tokens and the one after them as rows, padded to `rows`. A lane may have no window.
    pub fn new(
        features: &dyn Features,
        first_row: usize,
        rows: usize,
        sequence_length: usize,
        loss_positions: LossPositions,
        windows: &[&[Token]],
    ) -> Self {
        let predictions = match loss_positions {
            LossPositions::Last => 1,
            LossPositions::All => sequence_length,
        };
        let shape = features.shape();
        let (slots, relations) = (shape.slots, shape.relations);
        let mut active = vec![NO_FEATURE; sequence_length * rows * slots];
        let mut first_scores = vec![NO_FEATURE; predictions * rows * relations];
        let mut targets = vec![NO_TARGET; predictions * rows];
        let mut states = vec![features.start(); rows];
        for time in 0..sequence_length {
            for (row, state) in states.iter_mut().enumerate() {
                // Padding repeats token 0.
                let token_at = |time: usize| windows.get(row).map_or(0, |window| window[time]);
                let token = token_at(time);
                features.activate(*state, token, &mut active[(time * rows + row) * slots..][..slots]);
                *state = features.next(*state, token);
                if let Some(prediction) = (time + predictions).checked_sub(sequence_length) {
                    let index = prediction * rows + row;
                    features.relate(*state, &mut first_scores[index * relations..][..relations]);
                    if row < windows.len() {
                        targets[index] = token_at(time + 1);
                    }
                }
            }
        }
        LaneBatch {
            first_row,
            windows: windows.len(),
            rows,
            sequence_length,
            predictions,
            slots,
            active,
            first_scores,
            targets,
            streams: None,
        }
    }

    /// The next windows of T = `sequence_length` predictions of some streams, padded to `rows`.
    pub fn of_streams(
        features: &dyn Features,
        first_row: usize,
        rows: usize,
        sequence_length: usize,
        purpose: StreamPurpose,
        streams: &[Vec<StreamSpan<'_>>],
    ) -> Self {
        let shape = features.shape();
        let (slots, relations, words) = (shape.slots, shape.relations, words_of(shape.tokens));
        let end = features.end();
        let cells = sequence_length * rows;
        let mut active = vec![NO_FEATURE; cells * slots];
        let mut first_scores = vec![NO_FEATURE; cells * relations];
        let mut targets = vec![NO_TARGET; cells];
        let mut resets = vec![true; cells];
        let mut allowed = vec![0; cells * words];
        for (row, spans) in streams.iter().enumerate() {
            let mut time = 0;
            for StreamSpan { tokens, from, to, resets: span_resets } in spans {
                // With a token that ends pieces, it is read before the first one.
                let read = |index: usize| match end {
                    Some(end) => index.checked_sub(1).map_or(end, |before| tokens[before]),
                    None => tokens[index],
                };
                let mut state = features.start();
                for index in 0..*to {
                    let token = read(index);
                    let before = state;
                    state = features.next(state, token);
                    if index < *from {
                        continue;
                    }
                    let cell = time * rows + row;
                    time += 1;
                    features.activate(before, token, &mut active[cell * slots..][..slots]);
                    features.relate(state, &mut first_scores[cell * relations..][..relations]);
                    resets[cell] = *span_resets && index == *from;
                    let allowed = &mut allowed[cell * words..][..words];
                    for token in 0..shape.tokens as Token {
                        let masked = purpose == StreamPurpose::Evaluation && Some(token) == end;
                        if !masked && features.allows(state, token) {
                            allowed[usize::from(token) / 64] |= 1 << (token % 64);
                        }
                    }
                    let target = if end.is_some() { tokens.get(index) } else { tokens.get(index + 1) };
                    targets[cell] = match (target, purpose) {
                        (Some(&token), _) => token,
                        (None, StreamPurpose::Training) => end.unwrap_or(NO_TARGET),
                        (None, StreamPurpose::Evaluation) => NO_TARGET,
                    };
                }
            }
        }
        LaneBatch {
            first_row,
            windows: if targets.iter().all(|&target| target == NO_TARGET) { 0 } else { rows },
            rows,
            sequence_length,
            predictions: sequence_length,
            slots,
            active,
            first_scores,
            targets,
            streams: Some(StreamCells { resets, allowed }),
        }
    }

    /// (T, R, K) active features, of which dropout leaves some out.
    pub fn active(&self, dropout: Option<&Dropout>) -> Vec<u32> {
        let mut active = self.active.clone();
        if let Some(dropout) = dropout {
            for (index, feature) in active.iter_mut().enumerate() {
                let (cell, slot) = (index / self.slots, index % self.slots);
                let (time, row) = (cell / self.rows, self.first_row + cell % self.rows);
                if dropout.drops_input(row, time, slot, self.slots) {
                    *feature = NO_FEATURE;
                }
            }
        }
        active
    }
}

/// Sums over the predictions of an epoch so far: one for each window, or one for each of its notes, as
/// `train.loss_positions` says. Keras shows their quotient.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct EpochSums {
    /// Sum of the losses, in nats.
    pub loss: f64,
    /// Predictions whose most probable token was right.
    pub correct: u64,
    /// Predictions.
    pub predictions: u64,
}

impl EpochSums {
    /// Adds a batch.
    pub fn add(&mut self, other: EpochSums) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.predictions += other.predictions;
    }

    /// Mean loss of a prediction, in nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.predictions.max(1) as f64
    }

    /// Fraction of predictions whose most probable token was right.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.predictions.max(1) as f64
    }
}

/// Sums over the predictions of a lane, in f64 and in the order of rows (Q, R), each (C) log-probs.
pub fn score_lane<'a>(rows: impl Iterator<Item = &'a [f32]>, lane: &LaneBatch) -> EpochSums {
    let mut sums = EpochSums::default();
    for (row, &target) in rows.zip(&lane.targets) {
        if target != NO_TARGET {
            sums.add(score(row, target));
        }
    }
    sums
}

/// Sums over the predictions of a lane, from the next of these rows, (C) log-probs of each.
pub fn score_predictions<'a>(rows: &mut impl Iterator<Item = &'a [f32]>, lane: &LaneBatch) -> EpochSums {
    let mut sums = EpochSums::default();
    for &target in lane.targets.iter().filter(|&&target| target != NO_TARGET) {
        // Named first: `zip` would take one row too many.
        let Some(row) = rows.next() else { break };
        sums.add(score(row, target));
    }
    sums
}

/// One prediction, (C) log-probs. Of equals the first counts, as in Keras.
pub fn score(row: &[f32], target: Token) -> EpochSums {
    let best = row.iter().position(|&x| row.iter().all(|&y| y <= x));
    let correct = u64::from(best == Some(usize::from(target)));
    EpochSums { loss: -f64::from(row[usize::from(target)]), correct, predictions: 1 }
}
