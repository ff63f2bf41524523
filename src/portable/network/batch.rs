//! The rows of a lane as the network gets them, and what its predictions of them score.

use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use crate::config::LossPositions;
use crate::representation::{Features, NO_FEATURE, Token};

/// The windows of one lane, padded with rows of no weight.
#[derive(Debug, Clone)]
pub struct LaneBatch {
    /// The row of the global batch that the first row here is.
    pub first_row: usize,
    /// Rows that are windows; the rest is padding.
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
    /// (Q, R) tokens that the network is to predict.
    pub targets: Vec<Token>,
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
        let mut targets = vec![0; predictions * rows];
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
                    targets[index] = token_at(time + 1);
                }
            }
        }
        let windows = windows.len();
        LaneBatch {
            first_row,
            windows,
            rows,
            sequence_length,
            predictions,
            slots,
            active,
            first_scores,
            targets,
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
    /// Predictions whose most probable class was right.
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

    /// Fraction of predictions whose most probable class was right.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.predictions.max(1) as f64
    }
}

/// Sums over the predictions of a lane, in f64 and in the order of rows (Q, R), each (C) log-probs.
pub fn score_lane<'a>(rows: impl Iterator<Item = &'a [f32]>, lane: &LaneBatch) -> EpochSums {
    let mut sums = EpochSums::default();
    let predictions = rows.zip(&lane.targets).enumerate();
    let windows = predictions.filter(|(index, _)| index % lane.rows < lane.windows);
    windows.for_each(|(_, (row, &target))| sums.add(score(row, target)));
    sums
}

/// Sums over the windows of a lane, from the next of these rows, (C) log-probs of the token after each window.
pub fn score_windows<'a>(rows: &mut impl Iterator<Item = &'a [f32]>, lane: &LaneBatch) -> EpochSums {
    let mut sums = EpochSums::default();
    for &target in &lane.targets[lane.targets.len() - lane.rows..][..lane.windows] {
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
