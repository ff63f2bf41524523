//! Random masks made on the device, with the bits that [`bachdist_core::random`] has on the host: SplitMix64 in
//! operations on tensors of 64-bit integers.
//!
//! libtorch's integers have a sign: products wrap around like those without, a shift to the right brings in copies of
//! the sign, which are masked away, and a comparison is right once the highest bit of both sides is flipped.

use anyhow::Result;
use bachdist_core::network::weight_drop::WeightDrop;
use bachdist_core::network::{Architecture, Parameter};
use bachdist_core::random::{GOLDEN, MULTIPLIERS, SHIFTS, Stream};
use tch::{Device, Kind, Tensor};

/// A table of random words. Streams and counters broadcast to its shape.
pub struct Table {
    /// The streams' keys.
    pub streams: Tensor,
    /// What [`counters`] makes of the words' indices.
    pub counters: Tensor,
    /// Of the table.
    pub shape: Vec<i64>,
}

/// What is added to a stream's key for the words of these many indices, from 0.
pub fn counters(count: i64, device: Device) -> Result<Tensor> {
    let indices = Tensor::f_arange_start(1, count + 1, (Kind::Int64, device))?;
    Ok(indices.f_mul_scalar(GOLDEN.cast_signed())?)
}

/// One stream for a whole table.
pub fn stream(stream: Stream, device: Device) -> Result<Tensor> {
    Ok(Tensor::f_full([1], stream.key().cast_signed(), (Kind::Int64, device))?)
}

/// For each table a mask: 0 where the word is below `rate` of all words, 1 / (1 − rate) elsewhere.
pub fn masks(tables: &[Table], rate: f64, device: Device) -> Result<Vec<Tensor>> {
    let threshold = (rate * 2f64.powi(64)) as u64;
    let kept = (1.0 / (1.0 - rate)) as f32;
    // All tables in one buffer: a GPU takes as long to be told of an operation as to do a small one.
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
    use bachdist_core::random::Purpose;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_are_dropped_as_on_the_host() {
        let architecture =
            Architecture { classes: 79, intervals: false, layers: 2, units: 64, dense: 16, members: 2 };
        let drop = WeightDrop { rate: 0.25, seed: 1, step: 3 };
        let mut expected = vec![1.0; architecture.len()];
        drop.apply(architecture, &mut expected);
        let masks = weight_masks(&drop, architecture, Device::Cpu).unwrap();
        assert_eq!(masks.len(), 4);
        for (kernel, mask) in masks {
            assert_eq!(Vec::<f32>::try_from(mask).unwrap(), expected[kernel.range()], "{}", kernel.name);
        }
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn the_hosts_bits(
            seed: u64, coordinates in prop::collection::vec(any::<u64>(), 1..4), sizes in prop::collection::vec(1i64..200, 1..4),
            rate in prop_oneof![Just(0.0), Just(0.5), 0.0f64..0.999],
        ) {
            let stream_of = Stream::new(seed, Purpose::Dropout, &coordinates);
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
