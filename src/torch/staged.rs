//! What a lane brings to the device: a few numbers a row, in one copy. All that is made of them is made there; dropout
//! masks at once, because a step's lanes are staged while the GPU is still at the step before.

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::network::Architecture;
use tch::{Device, Kind, Tensor};

use super::random::{Table, counters, masks};
use super::transfer::upload;
use bachdist_core::network::batch::LaneBatch;
use bachdist_core::network::dropout::Dropout;

/// A lane on the device.
pub struct Staged {
    /// Rows that are windows.
    pub(super) windows: i64,
    /// R.
    pub(super) rows: i64,
    /// T.
    pub(super) sequence_length: i64,
    /// Q.
    pub(super) predictions: i64,
    /// (T, R, 1) for the class, then for the interval where intervals are known: the feature that the first layer is
    /// shown, below 0 where it is shown none.
    shown: Vec<Tensor>,
    /// (Q·R, 1).
    targets: Tensor,
    /// (Q·R), where intervals are known: the notes after which the next is predicted.
    pub(super) last_notes: Option<Tensor>,
    /// Dropout masks of the LSTM layers but the last (T, R, H) and of the dense layer (Q·R, D); none without dropout.
    pub(super) masks: Vec<Tensor>,
}

impl Staged {
    pub(super) fn new(
        lane: &LaneBatch,
        architecture: Architecture,
        dropout: Option<&Dropout>,
        device: Device,
    ) -> Result<Self> {
        let LaneBatch { windows, rows, sequence_length, predictions, .. } = *lane;
        let shown = lane.features(architecture, dropout);
        let kinds = if architecture.intervals { 2 } else { 1 };
        let active = dropout.filter(|dropout| dropout.rate > 0.0);
        let mut numbers: Vec<i64> = Vec::new();
        for kind in 0..kinds {
            numbers.extend(shown.iter().map(|features| features[kind].map_or(-1, |feature| feature as i64)));
        }
        numbers.extend(&lane.targets);
        if architecture.intervals {
            numbers.extend(lane.last_notes());
        }
        if let Some(dropout) = active {
            let of_rows = lane.first_row..lane.first_row + rows;
            let keys = (0..architecture.layers)
                .flat_map(|layer| of_rows.clone().map(move |row| dropout.stream(row, layer)));
            numbers.extend(keys.map(|stream| stream.key().cast_signed()));
        }

        let [windows, rows, sequence_length, predictions, layers] =
            [windows, rows, sequence_length, predictions, architecture.layers].map(|size| size as i64);
        let all = upload(&numbers, device)?;
        let mut from = 0;
        let mut next = |shape: &[i64]| -> Result<Tensor> {
            let length = shape.iter().product();
            from += length;
            Ok(all.f_narrow(0, from - length, length)?.f_view(shape)?)
        };
        let shown = (0..kinds).map(|_| next(&[sequence_length, rows, 1])).collect::<Result<_>>()?;
        let targets = next(&[predictions * rows, 1])?;
        let last_notes = architecture.intervals.then(|| next(&[predictions * rows])).transpose()?;
        let mut lane = Staged {
            windows,
            rows,
            sequence_length,
            predictions,
            shown,
            targets,
            last_notes,
            masks: Vec::new(),
        };
        if let Some(dropout) = active {
            lane.masks = lane.dropout_masks(architecture, dropout.rate, &next(&[layers, rows])?)?;
        }
        Ok(lane)
    }

    /// From (layers, R) keys of the streams of every row's masks.
    fn dropout_masks(&self, architecture: Architecture, rate: f64, streams: &Tensor) -> Result<Vec<Tensor>> {
        let device = streams.device();
        let Staged { rows, sequence_length, predictions, .. } = *self;
        let below = streams.size()[0] - 1;
        let [units, dense] = [architecture.units, architecture.dense].map(|size| size as i64);
        let lstm = Table {
            streams: streams.f_narrow(0, 0, below)?.f_view([below, 1, rows, 1])?,
            counters: counters(sequence_length * units, device)?.f_view([sequence_length, 1, units])?,
            shape: vec![below, sequence_length, rows, units],
        };
        let last = Table {
            streams: streams.f_narrow(0, below, 1)?.f_view([rows, 1])?,
            counters: counters(predictions * dense, device)?.f_view([predictions, 1, dense])?,
            shape: vec![predictions, rows, dense],
        };
        let found = masks(&[lstm, last], rate, device)?;
        let mut masks = found[0].f_unbind(0)?;
        masks.push(found[1].f_view([predictions * rows, dense])?);
        Ok(masks)
    }

    /// (T, R, F) rows of which the features shown are 1. A product with them is a lookup whose gradient is a product
    /// too: that of a lookup is summed in any order on a GPU, so that its bits would differ from run to run.
    pub(super) fn one_hot(&self, features: &Tensor) -> Result<Tensor> {
        let mut shown = self.shown[0].f_eq_tensor(features)?;
        if let Some(intervals) = self.shown.get(1) {
            let _ = shown.f_logical_or_(&intervals.f_eq_tensor(features)?)?;
        }
        Ok(shown.f_to_kind(Kind::Float)?)
    }

    /// The sum of what the windows lose, in f64, from (Q·R, C) logarithmic probabilities.
    pub(super) fn loss(&self, log_probabilities: &Tensor) -> Result<Tensor> {
        let picked = log_probabilities.f_gather(1, &self.targets, false)?;
        Ok(self.of_windows(&picked)?.f_sum(Kind::Double)?.f_neg()?)
    }

    /// How many predictions of windows are right. Of equals the first counts, as in Keras.
    pub(super) fn correct(&self, log_probabilities: &Tensor) -> Result<Tensor> {
        let best = log_probabilities.f_argmax(1, true)?;
        Ok(self.of_windows(&best.f_eq_tensor(&self.targets)?)?.f_sum(Kind::Double)?)
    }

    /// (Q, windows) of (Q·R, 1): without padding, which so has no part in loss and gradient.
    fn of_windows(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(rows.f_view([self.predictions, self.rows])?.f_narrow(1, 0, self.windows)?)
    }

    /// What was fetched of its scores.
    pub fn sums(&self, &[loss, correct]: &[f64; 2]) -> EpochSums {
        let predictions = (self.windows * self.predictions) as u64;
        EpochSums { loss, correct: correct as u64, predictions }
    }
}

#[cfg(test)]
mod tests {
    use bachdist_core::config::LossPositions;
    use bachdist_core::corpus::windows::Window;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn masks_have_the_hosts_bits(
            layers in 1usize..4, units in 1usize..20, dense in 1usize..20, notes in 1usize..6, rows in 1usize..9,
            first_row in 0usize..5000, every: bool, rate in 0.01f64..0.99, seed: u64, step: u64, member in 0u64..3,
        ) {
            let architecture = Architecture { classes: 79, intervals: false, layers, units, dense, members: 1 };
            let objective = if every { LossPositions::All } else { LossPositions::Last };
            let window = Window { piece: 0, at: 0, input: &[5; 6][..notes], target: 7, shift: 0 };
            let lane = LaneBatch::new(first_row, rows, notes, objective, &[window]);
            let dropout = Dropout { rate, input_rate: 0.0, seed, step, member };
            let staged = Staged::new(&lane, architecture, Some(&dropout), Device::Cpu).unwrap();
            prop_assert_eq!(staged.masks.len(), layers);
            for (layer, mask) in staged.masks.iter().enumerate() {
                let units = mask.size()[mask.dim() - 1] as usize;
                let mut expected = vec![0.0; mask.numel()];
                for (index, row) in expected.chunks_exact_mut(units).enumerate() {
                    let (time, row_of_lane) = (index / lane.rows, index % lane.rows);
                    dropout.mask_row(lane.first_row + row_of_lane, layer, time, row);
                }
                prop_assert_eq!(Vec::<f32>::try_from(mask.reshape([-1])).unwrap(), expected);
            }
        }
    }
}
