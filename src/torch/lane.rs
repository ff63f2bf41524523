//! A lane on a device: a few numbers per row, uploaded in one copy. Everything made of them is made there; dropout masks
//! at once, because the next step's lanes are brought while a GPU is still computing this step.
//!
//! Masks have the bits that [`bachdist_portable::random`] has on the host: SplitMix64 in operations on tensors of 64-bit
//! integers. libtorch's integers are signed: products wrap around like unsigned ones, a right shift brings in copies of
//! the sign, which are masked away, and a comparison is right once the highest bit of both sides is flipped.

use anyhow::Result;
use bachdist_portable::network::batch::{LaneBatch, NO_TARGET, StreamCells, words_of};
use bachdist_portable::network::dropout::{Dropout, WeightDrop};
use bachdist_portable::network::{Architecture, Parameter};
use bachdist_portable::random::{GOLDEN, MULTIPLIERS, RandomStream, SHIFTS};
use bachdist_portable::representation::{FeatureShape, NO_FEATURE};
use tch::{Device, Kind, Tensor};

use super::cuda::upload;

/// A lane on the device.
pub struct DeviceLane {
    /// Rows that are windows.
    pub(super) windows: i64,
    /// R.
    pub(super) rows: i64,
    /// T.
    pub(super) sequence_length: i64,
    /// Q.
    pub(super) predictions: i64,
    /// For each of the K slots (T, R, 1): the first layer's active feature, below 0 where there is none.
    active: Vec<Tensor>,
    /// (Q·R, 1); any token where none is to be predicted.
    targets: Tensor,
    /// For each of the V relations (Q·R, 1): where the scores begin that are added to the tokens' own; the number of scores
    /// where there are none.
    pub(super) first_scores: Vec<Tensor>,
    /// Dropout masks of the LSTM layers but the last (T, R, H) and of the dense layer (Q·R, D); none without dropout.
    pub(super) masks: Vec<Tensor>,
    /// Where rows are streams.
    pub(super) streams: Option<DeviceStreams>,
}

/// What a lane of streams has beside.
pub(super) struct DeviceStreams {
    /// A new one begins wherever the state of some row is to be zero.
    pub segments: Vec<Segment>,
    /// (Q·R, C): tokens that may not follow.
    pub forbidden: Tensor,
    /// (Q·R, 1): 1 where a token is to be predicted, 0 elsewhere.
    predicts: Tensor,
    /// The indices of those, in order.
    pub predicted: Tensor,
}

/// Timesteps that the layers compute in one call.
pub(super) struct Segment {
    pub length: i64,
    /// (1, R, 1): 1 for rows that go on with the state that they had, 0 for those that begin anew.
    pub kept: Tensor,
}

impl DeviceLane {
    /// Brings a lane to a device, without waiting.
    pub fn new(
        lane: &LaneBatch,
        architecture: Architecture,
        dropout: Option<&Dropout>,
        device: Device,
    ) -> Result<Self> {
        let LaneBatch { windows, rows, sequence_length, predictions, .. } = *lane;
        let is_stream = lane.streams.is_some();
        let FeatureShape { slots, relations, scores, .. } = architecture.shape;
        let features = lane.active(dropout);
        let active = dropout.filter(|dropout| dropout.rate > 0.0);
        let mut numbers: Vec<i64> = Vec::new();
        let or = |index: u32, none: i64| if index == NO_FEATURE { none } else { i64::from(index) };
        for slot in 0..slots {
            numbers.extend(features.iter().skip(slot).step_by(slots).map(|&feature| or(feature, -1)));
        }
        numbers.extend(
            lane.targets.iter().map(|&target| i64::from(if target == NO_TARGET { 0 } else { target })),
        );
        for relation in 0..relations {
            let of_rows = lane.first_scores.iter().skip(relation).step_by(relations);
            numbers.extend(of_rows.map(|&first| or(first, scores as i64)));
        }
        if let Some(dropout) = active {
            let of_rows = lane.first_row..lane.first_row + rows;
            let keys = (0..architecture.layers)
                .flat_map(|layer| of_rows.clone().map(move |row| dropout.stream(row, layer)));
            numbers.extend(keys.map(|stream| stream.key().cast_signed()));
        }
        let beginnings =
            lane.streams.as_ref().map_or(Vec::new(), |streams| beginnings(streams, sequence_length, rows));
        let words = words_of(architecture.shape.tokens);
        let predicted = (0..).zip(&lane.targets).filter(|(_, target)| **target != NO_TARGET);
        let predicted: Vec<i64> = predicted.map(|(index, _)| index).collect();
        if let Some(streams) = &lane.streams {
            for (_, begins) in &beginnings {
                numbers.extend(begins.iter().map(|&begins| i64::from(!begins)));
            }
            numbers.extend(streams.allowed.iter().map(|word| word.cast_signed()));
            numbers.extend(lane.targets.iter().map(|&target| i64::from(target != NO_TARGET)));
            numbers.extend(&predicted);
        }

        let words = words as i64;
        let [windows, rows, sequence_length, predictions, layers] =
            [windows, rows, sequence_length, predictions, architecture.layers].map(|size| size as i64);
        let all = upload(&numbers, device)?;
        let mut from = 0;
        let mut next = |shape: &[i64]| -> Result<Tensor> {
            let length = shape.iter().product();
            from += length;
            Ok(all.f_narrow(0, from - length, length)?.f_view(shape)?)
        };
        let features = (0..slots).map(|_| next(&[sequence_length, rows, 1])).collect::<Result<_>>()?;
        let targets = next(&[predictions * rows, 1])?;
        let first_scores = (0..relations).map(|_| next(&[predictions * rows, 1])).collect::<Result<_>>()?;
        let mut lane = DeviceLane {
            windows,
            rows,
            sequence_length,
            predictions,
            active: features,
            targets,
            first_scores,
            masks: Vec::new(),
            streams: None,
        };
        if let Some(dropout) = active {
            lane.masks = lane.dropout_masks(architecture, dropout.rate, &next(&[layers, rows])?)?;
        }
        if is_stream {
            let mut segments = Vec::new();
            for (index, (from, _)) in beginnings.iter().enumerate() {
                let to = beginnings.get(index + 1).map_or(sequence_length, |(next, _)| *next as i64);
                let kept = next(&[1, rows, 1])?.f_to_kind(Kind::Float)?;
                segments.push(Segment { length: to - *from as i64, kept });
            }
            let allowed = next(&[predictions * rows, words, 1])?;
            let predicts = next(&[predictions * rows, 1])?.f_to_kind(Kind::Float)?;
            let predicted = next(&[predicted.len() as i64])?;
            let forbidden = forbidden(&allowed, architecture.shape.tokens as i64)?;
            lane.streams = Some(DeviceStreams { segments, forbidden, predicts, predicted });
        }
        Ok(lane)
    }

    /// From (layers, R) keys of the streams of every row's masks.
    fn dropout_masks(&self, architecture: Architecture, rate: f64, streams: &Tensor) -> Result<Vec<Tensor>> {
        let device = streams.device();
        let DeviceLane { rows, sequence_length, predictions, .. } = *self;
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

    /// (T, R, F) rows of which the active features are 1. A matmul with them is a lookup whose gradient is a matmul
    /// too: that of a lookup is summed in any order on a GPU, so that its bits would differ from run to run.
    pub(super) fn one_hot(&self, features: &Tensor) -> Result<Tensor> {
        let mut one_hot = self.active[0].f_eq_tensor(features)?;
        for slot in &self.active[1..] {
            let _ = one_hot.f_logical_or_(&slot.f_eq_tensor(features)?)?;
        }
        Ok(one_hot.f_to_kind(Kind::Float)?)
    }

    /// The sum of what the windows lose, in f64, from (Q·R, C) log-probs.
    pub(super) fn loss(&self, log_probabilities: &Tensor) -> Result<Tensor> {
        let picked = log_probabilities.f_gather(1, &self.targets, false)?;
        Ok(self.of_predictions(&picked)?.f_sum(Kind::Double)?.f_neg()?)
    }

    /// How many predictions of windows are right. Of equals the first counts, as in Keras.
    pub(super) fn correct(&self, log_probabilities: &Tensor) -> Result<Tensor> {
        let best = log_probabilities.f_argmax(1, true)?;
        Ok(self.of_predictions(&best.f_eq_tensor(&self.targets)?)?.f_sum(Kind::Double)?)
    }

    /// Of (Q·R, 1) numbers those of what is predicted: (Q, windows), without padding; of streams all, 0 elsewhere. So the rest
    /// has no part in loss and gradient.
    fn of_predictions(&self, rows: &Tensor) -> Result<Tensor> {
        match &self.streams {
            Some(streams) => Ok(rows.f_mul(&streams.predicts)?),
            None => Ok(rows.f_view([self.predictions, self.rows])?.f_narrow(1, 0, self.windows)?),
        }
    }
}

/// The timesteps at which some row begins with a state of zero, and which rows do; always the first one. Rows that have nothing
/// left to read begin nowhere.
fn beginnings(streams: &StreamCells, sequence_length: usize, rows: usize) -> Vec<(usize, Vec<bool>)> {
    let words = streams.allowed.len() / streams.resets.len();
    let mut beginnings = Vec::new();
    for time in 0..sequence_length {
        let reads = |cell: usize| streams.allowed[cell * words..][..words].iter().any(|&word| word != 0);
        let begins = |cell: usize| streams.resets[cell] && reads(cell);
        let begins: Vec<bool> = (time * rows..(time + 1) * rows).map(begins).collect();
        if time == 0 || begins.contains(&true) {
            beginnings.push((time, begins));
        }
    }
    beginnings
}

/// (Q·R, C) from the words of the tokens that may follow, (Q·R, W, 1). Where none may, nothing is predicted, and none is
/// forbidden.
fn forbidden(allowed: &Tensor, tokens: i64) -> Result<Tensor> {
    let bits = Tensor::f_arange(64, (Kind::Int64, allowed.device()))?;
    let of_words = allowed.f_bitwise_right_shift(&bits)?.f_bitwise_and(1)?;
    let is_allowed = of_words.f_view([allowed.size()[0], -1])?.f_narrow(1, 0, tokens)?;
    let is_any = is_allowed.f_sum_dim_intlist(&[1i64][..], true, Kind::Int64)?;
    Ok(is_allowed.f_eq(0)?.f_logical_and(&is_any.f_gt(0)?)?)
}

/// A table of random words. Streams and counters broadcast to its shape.
struct Table {
    /// The streams' keys.
    streams: Tensor,
    /// What [`counters`] makes of the words' indices.
    counters: Tensor,
    /// Of the table.
    shape: Vec<i64>,
}

/// What is added to a stream's key for the words of these many indices, from 0.
fn counters(count: i64, device: Device) -> Result<Tensor> {
    let indices = Tensor::f_arange_start(1, count + 1, (Kind::Int64, device))?;
    Ok(indices.f_mul_scalar(GOLDEN.cast_signed())?)
}

/// One stream for a whole table.
fn stream(stream: RandomStream, device: Device) -> Result<Tensor> {
    Ok(Tensor::f_full([1], stream.key().cast_signed(), (Kind::Int64, device))?)
}

/// For each table a mask: 0 where the word is below `rate` of all words, 1 / (1 − rate) elsewhere.
fn masks(tables: &[Table], rate: f64, device: Device) -> Result<Vec<Tensor>> {
    let threshold = (rate * 2f64.powi(64)) as u64;
    let kept = (1.0 / (1.0 - rate)) as f32;
    // All tables in one buffer: launching an operation on a GPU takes as long as a small one.
    let sizes: Vec<i64> = tables.iter().map(|table| table.shape.iter().product()).collect();
    let mut words = Tensor::f_empty([sizes.iter().sum()], (Kind::Int64, device))?;
    let parts = words.f_split_with_sizes(&sizes[..], 0)?;
    for (table, part) in tables.iter().zip(parts) {
        let _ = table.streams.f_add_out(&part.f_view(&table.shape[..])?, &table.counters)?;
    }
    mix(&mut words)?;
    let _ = words.f_bitwise_xor_(i64::MIN)?;
    let is_kept = words.f_ge(threshold.cast_signed() ^ i64::MIN)?;
    let parts = is_kept.f_mul_scalar(f64::from(kept))?.f_split_with_sizes(&sizes[..], 0)?;
    tables.iter().zip(parts).map(|(table, part)| Ok(part.f_view(&table.shape[..])?)).collect()
}

/// The masks of a step's weight drop as tensors on a device, each with its kernel; none if nothing is dropped.
pub fn weight_masks(
    drop: &WeightDrop,
    architecture: Architecture,
    device: Device,
) -> Result<Vec<(Parameter, Tensor)>> {
    if drop.rate == 0.0 {
        return Ok(Vec::new());
    }
    let (kernels, streams): (Vec<_>, Vec<_>) = drop.kernels(architecture).unzip();
    let mut tables = Vec::new();
    for (kernel, own) in kernels.iter().zip(streams) {
        let length = kernel.len() as i64;
        let (streams, counters) = (stream(own, device)?, counters(length, device)?);
        tables.push(Table { streams, counters, shape: vec![length] });
    }
    Ok(kernels.into_iter().zip(masks(&tables, drop.rate, device)?).collect())
}

/// SplitMix64's mixer, in place.
fn mix(words: &mut Tensor) -> Result<()> {
    let scratch = words.f_empty_like()?;
    for (step, shift) in SHIFTS.into_iter().enumerate() {
        let mut shifted = words.f_bitwise_right_shift_tensor_scalar_out(&scratch, i64::from(shift))?;
        let _ = shifted.f_bitwise_and_((u64::MAX >> shift).cast_signed())?;
        let _ = words.f_bitwise_xor_tensor_(&shifted)?;
        if let Some(multiplier) = MULTIPLIERS.get(step) {
            let _ = words.f_mul_scalar_(multiplier.cast_signed())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bachdist_portable::config::LossPositions;
    use bachdist_portable::random::Purpose;
    use bachdist_portable::representation::pitch::Pitch;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn masks_have_the_hosts_bits(
            layers in 1usize..4, units in 1usize..20, dense in 1usize..20, notes in 1usize..6, rows in 1usize..9,
            first_row in 0usize..5000, every: bool, rate in 0.01f64..0.99, seed: u64, step: u64, member in 0u64..3,
        ) {
            let architecture = Architecture { shape: Pitch::shape_of(79, false), layers, units, dense, members: 1 };
            let objective = if every { LossPositions::All } else { LossPositions::Last };
            let lane = LaneBatch::new(&Pitch::with_tokens(79, false), first_row, rows, notes, objective, &[&[5; 7][..=notes]]);
            let dropout = Dropout { rate, input_rate: 0.0, seed, step, member };
            let staged = DeviceLane::new(&lane, architecture, Some(&dropout), Device::Cpu).unwrap();
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

    #[test]
    fn weights_are_dropped_as_on_the_host() {
        let architecture =
            Architecture { shape: Pitch::shape_of(79, false), layers: 2, units: 64, dense: 16, members: 2 };
        let drop = WeightDrop { rate: 0.25, seed: 1, step: 3 };
        let mut expected = vec![1.0; architecture.len()];
        drop.apply(architecture, &mut expected);
        let masks = weight_masks(&drop, architecture, Device::Cpu).unwrap();
        assert_eq!(masks.len(), 4);
        for (kernel, mask) in masks {
            assert_eq!(Vec::<f32>::try_from(mask).unwrap(), expected[kernel.range()], "{kernel:?}");
        }
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn the_hosts_bits(
            seed: u64, coordinates in prop::collection::vec(any::<u64>(), 1..4), sizes in prop::collection::vec(1i64..200, 1..4),
            rate in prop_oneof![Just(0.0), Just(0.5), 0.0f64..0.999],
        ) {
            let stream_of = RandomStream::new(seed, Purpose::Dropout, &coordinates);
            let table = |(number, &size): (usize, &i64)| Table {
                streams: stream(stream_of.of(number as u64), Device::Cpu).unwrap(),
                counters: counters(size, Device::Cpu).unwrap(),
                shape: vec![size],
            };
            let tables: Vec<Table> = sizes.iter().enumerate().map(table).collect();
            let found = masks(&tables, rate, Device::Cpu).unwrap();
            let threshold = (rate * 2f64.powi(64)) as u64;
            let kept = (1.0 / (1.0 - rate)) as f32;
            for (number, (mask, size)) in found.iter().zip(sizes).enumerate() {
                let word = |index| stream_of.of(number as u64).bits(index);
                let value = |index| if word(index) < threshold { 0.0 } else { kept };
                let expected: Vec<f32> = (0..size as u64).map(value).collect();
                prop_assert_eq!(mask.kind(), Kind::Float);
                prop_assert_eq!(Vec::<f32>::try_from(mask).unwrap(), expected);
            }
        }
    }
}
