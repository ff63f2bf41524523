//! The rows of a lane as the network gets them.

use crate::config::LossPositions;
use crate::representation::{Features, NO_FEATURE, Token};

use super::dropout::Dropout;

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
