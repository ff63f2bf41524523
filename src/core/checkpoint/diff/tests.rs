use proptest::prelude::*;

use super::*;
use crate::checkpoint::EpochSums;
use crate::config::Config;
use crate::corpus::CLASSES;
use crate::corpus::audit::Seen;
use crate::network::Architecture;

fn checkpoint(layers: usize, pieces: &[(&str, &[u8])]) -> Checkpoint {
    let mut config = Config::default();
    (config.model.layers, config.model.units, config.model.dense) = (layers, 16, 17);
    let architecture = Architecture::new(&config.model, CLASSES);
    let numbers = |scale: f32| (0..architecture.len()).map(|i| i as f32 * scale).collect();
    let piece = |&(name, classes): &(&str, &[u8])| Piece { name: name.into(), classes: classes.into() };
    Checkpoint {
        step: 12,
        identity: config.identity(),
        architecture,
        parameters: numbers(0.1),
        mean_square: numbers(0.3),
        epoch: EpochSums { loss: 0.5, correct: 3, predictions: 7 },
        seen: Seen { windows: 7, digest: u64::MAX },
        corpus: Training::new(pieces.iter().map(piece).collect()),
    }
}

fn small() -> Checkpoint {
    checkpoint(1, &[("a", &[1, 2, 3]), ("b", &[4])])
}

fn told(a: &Checkpoint, b: &Checkpoint) -> Vec<String> {
    Diff::between(a, b).differences.iter().map(|difference| difference.describe(["in a", "in b"])).collect()
}

#[test]
fn what_is_described_is_compared_by_key() {
    let mut other = small();
    other.step = 13;
    other.epoch.loss = 0.75;
    other.seen.digest -= 1;
    other.identity["train"]["seed"] = 9.into();
    let expected = [
        "step is 12 in a and 13 in b",
        "train.seed is 1 in a and 9 in b",
        "epoch.loss is 0.5 in a and 0.75 in b",
        "seen.digest is 18446744073709551615 in a and 18446744073709551614 in b",
    ];
    assert_eq!(told(&small(), &other), expected);
    assert_eq!(Diff::between(&small(), &other).steps, [12, 13]);
}

#[test]
fn the_first_piece_that_differs_is_named() {
    let of = |pieces: &[(&str, &[u8])]| told(&small(), &checkpoint(1, pieces)).pop().unwrap();
    let other_note = of(&[("a", &[1, 2, 3]), ("b", &[5])]);
    assert_eq!(other_note, "corpus b: the class of note 1 is 4 in a and 5 in b");
    let shorter = of(&[("a", &[1, 2]), ("b", &[4])]);
    assert_eq!(shorter, "corpus a: the class of note 3 is 3 in a and absent in b");
    let one_more = of(&[("a", &[1, 2, 3]), ("aa", &[]), ("b", &[4])]);
    assert_eq!(one_more, "corpus aa: the number of notes is absent in a and 0 in b");
}

#[test]
fn of_other_networks_the_tensors_that_both_have_are_compared() {
    let music: &[(&str, &[u8])] = &[("a", &[1])];
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
    let tensors = Diff::between(&one, &two).tensors;
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
                    count => expected.push((format!("{prefix}{}", parameter.name), count)),
                }
            }
        }
        let diff = Diff::between(&a, &b);
        let found: Vec<_> = diff.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.differing)).collect();
        prop_assert_eq!(diff.is_equal(), expected.is_empty());
        prop_assert_eq!(found, expected);

        let back = Diff::between(&b, &a);
        for (one, other) in diff.tensors.iter().zip(&back.tensors) {
            prop_assert_eq!(one.largest.to_bits(), other.largest.to_bits());
            prop_assert_eq!((&one.at, one.ulps), (&other.at, other.ulps));
            prop_assert_eq!(one.values.map(f32::to_bits), [other.values[1], other.values[0]].map(f32::to_bits));
        }
    }
}
