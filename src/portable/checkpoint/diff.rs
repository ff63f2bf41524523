//! Compares two checkpoints: their descriptions, and the values of each tensor.
//!
//! Values are compared by their bits, because equal bits are what a run promises: −0 is not 0, and a NaN differs from a NaN
//! with another payload. Printing is left to the commands.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::CheckpointName;
use super::format::mean_square_name;
use super::read::LoadedCheckpoint;
use super::{Checkpoint, TrainingCorpus};
use crate::config::identity::{ValueDifference, differences as value_differences};
use crate::corpus::Piece;
use crate::network::Parameter;

/// Where two checkpoints differ. As JSON its fields are what `checkpoint diff --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointDiff {
    /// The steps of both.
    pub steps: [u64; 2],
    /// What differs beside the numbers of tensors.
    pub differences: Vec<ValueDifference>,
    /// The tensors whose numbers differ: weights in the order of the network, then the optimizer's.
    pub tensors: Vec<TensorDifference>,
}

impl CheckpointDiff {
    /// Where two checkpoints differ.
    pub fn between(a: &Checkpoint, b: &Checkpoint) -> CheckpointDiff {
        let mut differences = value_differences(&json!({ "step": a.step }), &json!({ "step": b.step }));
        differences.extend(value_differences(&a.identity, &b.identity));
        differences.extend(corpora(&a.corpus, &b.corpus));
        differences.extend(value_differences(&sums(a), &sums(b)));
        differences.extend(shape_differences(a, b));
        CheckpointDiff { steps: [a.step, b.step], differences, tensors: tensor_differences(a, b) }
    }

    /// Where two checkpoints differ as they are stored: also where only another program sees it.
    pub fn between_stored(a: &LoadedCheckpoint, b: &LoadedCheckpoint) -> CheckpointDiff {
        let mut diff = CheckpointDiff::between(&a.checkpoint, &b.checkpoint);
        if diff.is_equal() && a.bytes != b.bytes {
            let name = |opened: &LoadedCheckpoint| {
                CheckpointName::of(opened.checkpoint.step, &opened.bytes).to_string().into()
            };
            diff.differences
                .push(ValueDifference { key: "the name of its bytes".into(), values: [name(a), name(b)] });
        }
        diff
    }

    /// Whether there is no difference.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.tensors.is_empty()
    }
}

/// What a checkpoint adds up over windows.
fn sums(checkpoint: &Checkpoint) -> Value {
    json!({ "epoch": checkpoint.epoch, "seen": checkpoint.audit })
}

/// The fingerprints, and the first piece that differs.
fn corpora(a: &TrainingCorpus, b: &TrainingCorpus) -> Vec<ValueDifference> {
    let mut differences = Vec::new();
    if a.fingerprint != b.fingerprint {
        // As short as messages have it.
        let short = |training: &TrainingCorpus| json!(format!("{:.12}", training.fingerprint));
        differences.push(ValueDifference { key: "corpus.fingerprint".into(), values: [short(a), short(b)] });
        differences.extend(first_piece([&a.pieces, &b.pieces]));
    }
    differences
}

fn first_piece(corpora: [&[Piece]; 2]) -> Option<ValueDifference> {
    let names: BTreeSet<&str> =
        corpora.iter().flat_map(|pieces| pieces.iter().map(|p| p.name.as_str())).collect();
    names.into_iter().find_map(|name| {
        let tokens = corpora.map(|pieces| pieces.iter().find(|piece| piece.name == name).map(|p| &p.tokens));
        match tokens {
            [Some(a), Some(b)] => {
                let at = (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at))?;
                let key = format!("corpus {name}: token {}", at + 1);
                Some(ValueDifference { key, values: [json!(a.get(at)), json!(b.get(at))] })
            }
            _ => {
                let key = format!("corpus {name}: the number of tokens");
                Some(ValueDifference { key, values: tokens.map(|tokens| json!(tokens.map(Vec::len))) })
            }
        }
    })
}

/// How a tensor's numbers differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorDifference {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How many of its numbers differ.
    pub differing: usize,
    /// The largest absolute difference; NaN where one of the two is no number.
    pub largest: f64,
    /// Where that is, by one index a dimension.
    pub at: Vec<usize>,
    /// The two numbers there.
    pub values: [f32; 2],
    /// The largest distance of two numbers in units in the last place: how many floats one goes from one to the
    /// other. `None` if a NaN stands against each.
    pub ulps: Option<u32>,
}

/// The tensors that only one has, or that have another shape.
fn shape_differences(a: &Checkpoint, b: &Checkpoint) -> Vec<ValueDifference> {
    let (of_a, of_b) = (a.architecture.parameters(), b.architecture.parameters());
    let only_b = of_b.iter().filter(|parameter| same_place(&of_a, parameter).is_none());
    of_a.iter()
        .chain(only_b)
        .filter_map(|parameter| {
            let values =
                [&of_a, &of_b].map(|own| json!(same_place(own, parameter).map(|found| &found.shape)));
            let key = format!("the shape of {}", parameter.name());
            (values[0] != values[1]).then_some(ValueDifference { key, values })
        })
        .collect()
}

/// The tensors of the same role and shape whose numbers differ: all weights in the order of the network, then
/// the optimizer's means in the same order.
fn tensor_differences(a: &Checkpoint, b: &Checkpoint) -> Vec<TensorDifference> {
    let of_b = b.architecture.parameters();
    let of_both: Vec<(Parameter, &Parameter)> = a
        .architecture
        .parameters()
        .into_iter()
        .filter_map(|own| {
            let other = same_place(&of_b, &own).filter(|other| other.shape == own.shape)?;
            Some((own, other))
        })
        .collect();
    let weights = of_both.iter().filter_map(|(own, other)| {
        let numbers = [&a.parameters[own.range()], &b.parameters[other.range()]];
        TensorDifference::between(own.name(), &own.shape, numbers)
    });
    let mean_squares = of_both.iter().filter_map(|(own, other)| {
        let numbers = [&a.mean_square[own.range()], &b.mean_square[other.range()]];
        TensorDifference::between(mean_square_name(own), &own.shape, numbers)
    });
    weights.chain(mean_squares).collect()
}

/// The parameter with the same member and role as this one.
fn same_place<'a>(parameters: &'a [Parameter], own: &Parameter) -> Option<&'a Parameter> {
    parameters.iter().find(|other| (other.member, other.role) == (own.member, own.role))
}

impl TensorDifference {
    /// How the numbers of a tensor differ, if they do.
    fn between(name: String, shape: &[usize], [a, b]: [&[f32]; 2]) -> Option<Self> {
        let pairs = a.iter().zip(b).enumerate().map(|(at, (&a, &b))| (at, [a, b]));
        let mut differing = pairs.filter(|(_, [a, b])| a.to_bits() != b.to_bits()).peekable();
        let &(mut at, mut values) = differing.peek()?;
        let (mut count, mut largest, mut ulps) = (0, distance(values), None);
        for (index, pair) in differing {
            count += 1;
            // The total order has NaN above infinity. Of equals the first stays.
            if distance(pair).total_cmp(&largest).is_gt() {
                (at, values, largest) = (index, pair, distance(pair));
            }
            ulps = ulps.max(units_in_the_last_place(pair));
        }
        let at = unravel_index(at, shape);
        Some(TensorDifference { name, shape: shape.to_vec(), differing: count, largest, at, values, ulps })
    }
}

/// Without rounding worth the name: the difference of two f32 as f64. A NaN comes out as the positive one.
fn distance([a, b]: [f32; 2]) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN.abs() } else { (f64::from(a) - f64::from(b)).abs() }
}

/// How many floats one goes from one to the other, −0 and 0 being two of them.
fn units_in_the_last_place(pair: [f32; 2]) -> Option<u32> {
    // Bits as whole numbers in the order of the floats, as `f32::total_cmp` has them.
    let [a, b] = pair.map(|x| {
        let bits = x.to_bits() as i32;
        bits ^ (((bits >> 31) as u32) >> 1) as i32
    });
    (!pair[0].is_nan() && !pair[1].is_nan()).then_some(a.abs_diff(b))
}

/// The index in each dimension of a number in a tensor.
fn unravel_index(index: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = index;
    let mut at: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&length| {
            let own = rest % length;
            rest /= length;
            own
        })
        .collect();
    at.reverse();
    at
}

#[cfg(test)]
mod tests {
    use super::super::tests::checkpoint;
    use super::*;
    use proptest::prelude::*;

    fn between(a: &[f32], b: &[f32]) -> Option<TensorDifference> {
        TensorDifference::between("x".into(), &[a.len()], [a, b])
    }

    #[test]
    fn the_largest_difference_and_the_furthest_float_need_not_be_in_one_unravel_index() {
        let difference = between(&[1.0, 2.0, 1e-30, 5.0], &[1.0, 2.5, 2e-30, 5.0]).unwrap();
        assert_eq!((difference.differing, difference.largest, &difference.at[..]), (2, 0.5, &[1][..]));
        assert_eq!(difference.values, [2.0, 2.5]);
        // From one power of two to the next there are 2²³ floats, and a little further in 1e-30's case.
        assert!(difference.ulps.is_some_and(|ulps| ulps > 8_000_000), "{difference:?}");
    }

    #[test]
    fn signs_of_zero_and_payloads_of_nan_are_bits_too() {
        let zeros = between(&[0.0], &[-0.0]).unwrap();
        assert_eq!((zeros.largest, zeros.ulps), (0.0, Some(1)));
        assert_eq!(between(&[f32::NAN], &[f32::NAN]), None);
        let payload = f32::from_bits(f32::NAN.to_bits() | 1);
        let nans = between(&[1.0, f32::NAN, 3.0], &[1.0, payload, f32::INFINITY]).unwrap();
        assert!(nans.largest.is_nan() && nans.at == [1], "{nans:?}");
        assert_eq!(nans.differing, 2);
        assert!(nans.ulps.is_some(), "3 stands against infinity");
        assert_eq!(between(&[f32::NAN], &[1.0]).unwrap().ulps, None);
        assert_eq!(between(&[1.0], &[f32::NEG_INFINITY]).unwrap().largest, f64::INFINITY);
    }

    #[test]
    fn neighbours_are_one_apart_across_zero_too() {
        for (a, b, apart) in [
            (1.0, 1.0f32.next_up(), 1),
            (-1.0, (-1.0f32).next_down(), 1),
            (f32::from_bits(1), -f32::from_bits(1), 3),
            (f32::MAX, f32::INFINITY, 1),
        ] {
            assert_eq!(units_in_the_last_place([a, b]), Some(apart), "{a} {b}");
            assert_eq!(units_in_the_last_place([b, a]), Some(apart), "{b} {a}");
        }
    }

    #[test]
    fn places_are_rows_before_columns() {
        assert_eq!(unravel_index(0, &[3, 4]), [0, 0]);
        assert_eq!(unravel_index(7, &[3, 4]), [1, 3]);
        assert_eq!(unravel_index(5, &[6]), [5]);
    }

    fn small() -> Checkpoint {
        checkpoint(1, &[("a", &[1, 2, 3]), ("b", &[4])])
    }

    fn told(a: &Checkpoint, b: &Checkpoint) -> Vec<String> {
        CheckpointDiff::between(a, b)
            .differences
            .iter()
            .map(|difference| difference.describe(["in a", "in b"]))
            .collect()
    }

    #[test]
    fn what_is_described_is_compared_by_key() {
        let mut other = small();
        other.step = 13;
        other.epoch.loss = 0.75;
        other.audit.digest -= 1;
        other.identity["train"]["seed"] = 9.into();
        let expected = [
            "step is 12 in a and 13 in b",
            "train.seed is 1 in a and 9 in b",
            "epoch.loss is 0.30000000000000004 in a and 0.75 in b",
            "seen.digest is 18446744073709551615 in a and 18446744073709551614 in b",
        ];
        assert_eq!(told(&small(), &other), expected);
        assert_eq!(CheckpointDiff::between(&small(), &other).steps, [12, 13]);
    }

    #[test]
    fn the_first_piece_that_differs_is_named() {
        let of = |pieces: &[(&str, &[u16])]| told(&small(), &checkpoint(1, pieces)).pop().unwrap();
        let other_note = of(&[("a", &[1, 2, 3]), ("b", &[5])]);
        assert_eq!(other_note, "corpus b: token 1 is 4 in a and 5 in b");
        let shorter = of(&[("a", &[1, 2]), ("b", &[4])]);
        assert_eq!(shorter, "corpus a: token 3 is 3 in a and absent in b");
        let one_more = of(&[("a", &[1, 2, 3]), ("aa", &[]), ("b", &[4])]);
        assert_eq!(one_more, "corpus aa: the number of tokens is absent in a and 0 in b");
    }

    #[test]
    fn of_other_networks_the_tensors_that_both_have_are_compared() {
        let music: &[(&str, &[u16])] = &[("a", &[1])];
        let (mut one, two) = (checkpoint(1, music), checkpoint(2, music));
        let told = told(&one, &two);
        let expected = [
            "model.layers is 1 in a and 2 in b",
            "the shape of lstm.weight_ih_l1 is absent in a and [64,16] in b",
            "the shape of lstm.weight_hh_l1 is absent in a and [64,16] in b",
            "the shape of lstm.bias_ih_l1 is absent in a and [64] in b",
        ];
        assert_eq!(told, expected);
        one.parameters[0] = 7.0;
        let tensors = CheckpointDiff::between(&one, &two).tensors;
        // The dense layers lie elsewhere in the flat buffer, where this test puts other numbers.
        assert_eq!((tensors[0].name.as_str(), tensors[0].differing), ("lstm.weight_ih_l0", 1));
        assert_eq!(tensors[1].name, "dense1.weight");
    }

    /// An array in which some numbers have another bit.
    fn bits_flipped() -> impl Strategy<Value = Vec<(bool, prop::sample::Index, u32)>> {
        prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0u32..32), 0..12)
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn every_bit_that_differs_is_found_in_its_tensor(flips in bits_flipped()) {
            let (a, mut b) = (small(), small());
            for (of_optimizer, index, bit) in flips {
                let numbers = if of_optimizer { &mut b.mean_square } else { &mut b.parameters };
                let number = &mut numbers[index.index(a.architecture.len())];
                *number = f32::from_bits(number.to_bits() ^ 1 << bit);
            }
            let mut expected = Vec::new();
            for (prefix, ours, theirs) in
                [("", &a.parameters, &b.parameters), ("optimizer.mean_square.", &a.mean_square, &b.mean_square)]
            {
                for parameter in a.architecture.parameters() {
                    let differs = |&i: &usize| ours[i].to_bits() != theirs[i].to_bits();
                    match parameter.range().filter(differs).count() {
                        0 => {}
                        count => expected.push((format!("{prefix}{}", parameter.name()), count)),
                    }
                }
            }
            let diff = CheckpointDiff::between(&a, &b);
            let found: Vec<_> = diff.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.differing)).collect();
            prop_assert_eq!(diff.is_equal(), expected.is_empty());
            prop_assert_eq!(found, expected);

            let back = CheckpointDiff::between(&b, &a);
            for (one, other) in diff.tensors.iter().zip(&back.tensors) {
                prop_assert_eq!(one.largest.to_bits(), other.largest.to_bits());
                prop_assert_eq!((&one.at, one.ulps), (&other.at, other.ulps));
                prop_assert_eq!(one.values.map(f32::to_bits), [other.values[1], other.values[0]].map(f32::to_bits));
            }
        }
    }
}
