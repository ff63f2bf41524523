//! What predictions score: their loss, and how many are right.

use crate::representation::Token;
use serde::{Deserialize, Serialize};

use super::batch::LaneBatch;

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
