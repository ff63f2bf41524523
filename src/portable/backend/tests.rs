//! Gradients of one member: the same bits however lanes are shared out, and an ensemble's against its members'.

use crate::representation::pitch::Pitch;
use proptest::prelude::*;

use super::native::NativeBackend;
use super::*;
use crate::config::LossPositions;
use crate::lanes::TreeSum;
use crate::network::training::TrainingNetwork;
use crate::network::{Architecture, init};
use crate::random::{Purpose, Stream};
use crate::representation::Token;

/// Lanes of random windows; the last windows are missing, as in a ragged batch.
fn lanes(
    architecture: Architecture,
    count: usize,
    rows: usize,
    notes: usize,
    objective: LossPositions,
    missing: usize,
    seed: u64,
) -> Vec<LaneBatch> {
    let stream = Stream::new(seed, Purpose::Sampling, &[]);
    let class = |index: usize| (stream.uniform(index as u64) * 79.0) as Token;
    let notes_of: Vec<Vec<Token>> = (0..count * rows)
        .map(|row| (0..=notes).map(|note| class(row * (notes + 1) + note)).collect())
        .collect();
    let windows: Vec<&[Token]> = notes_of.iter().map(Vec::as_slice).collect();
    let features = Pitch::with_tokens(79, architecture.shape.relations > 0);
    let present = windows.len() - missing.min(windows.len() - 1);
    (0..count)
        .map(|lane| {
            let range = (lane * rows).min(present)..((lane + 1) * rows).min(present);
            LaneBatch::new(&features, lane * rows, rows + missing % 3, notes, objective, &windows[range])
        })
        .collect()
}

fn bits(gradient: &[f32]) -> Vec<u32> {
    gradient.iter().map(|x| x.to_bits()).collect()
}

prop_compose! {
    /// Any width that the configuration allows, small enough to be quick.
    fn architectures()(
        intervals: bool, layers in 1usize..4, units in 1usize..70, dense in 1usize..50,
    ) -> Architecture {
        Architecture { shape: Pitch::shape_of(79, intervals), layers, units, dense, members: 1 }
    }
}

fn objectives() -> impl Strategy<Value = LossPositions> {
    prop::sample::select(vec![LossPositions::Last, LossPositions::All])
}

proptest! {
    #![proptest_config(bachdist_test_support::properties(24))]

    #[test]
    fn a_gradient_has_the_same_bits_however_lanes_are_shared(
        architecture in architectures(), notes in 1usize..12, rows in 1usize..10, missing in 0usize..70,
        objective in objectives(), seed in 0u64..1000,
    ) {
        let parameters = init::parameters(architecture, seed);
        let lanes = lanes(architecture, 8, rows, notes, objective, missing, seed);
        let dropout = Dropout { rate: 0.3, input_rate: 0.2, seed, step: 3, member: 1 };
        let mut network = TrainingNetwork::new(architecture, 1);
        network.load(&parameters);
        let mut alone = vec![0.0; architecture.len()];
        let sums_alone = network.gradient(&lanes, &dropout, &mut alone);
        for (share, threads) in [(8, 2), (4, 1), (2, 2), (1, 1), (1, 2)] {
            let mut network = TrainingNetwork::new(architecture, threads);
            network.load(&parameters);
            let mut tree = TreeSum::default();
            let mut sums = Vec::new();
            for part in lanes.chunks(share) {
                let mut gradient = vec![0.0; architecture.len()];
                sums.extend(network.gradient(part, &dropout, &mut gradient));
                tree.push(gradient);
            }
            prop_assert_eq!(&sums, &sums_alone);
            prop_assert!(bits(&tree.finish()) == bits(&alone), "{share} lanes a rank, {threads} threads");
        }
    }
}

#[test]
fn members_learn_by_themselves_and_are_averaged() {
    let two = Architecture { shape: Pitch::shape_of(79, true), layers: 1, units: 16, dense: 16, members: 2 };
    let one = two.member();
    let parameters = init::parameters(two, 5);
    let dropout = Dropout { rate: 0.3, input_rate: 0.2, seed: 5, step: 3, member: 0 };
    let lanes = [1, 2].map(|seed| lanes(two, 2, 8, 6, LossPositions::Last, 3, seed)).to_vec();
    struct Given(StepBatch);
    impl BatchSource for Given {
        fn batch(&self, _step: u64) -> StepBatch {
            self.0.clone()
        }
    }
    let given = Given(StepBatch { step: 0, lanes: lanes.clone(), dropout, audits: Vec::new() });
    let mut backend = NativeBackend::new(two, 2);
    let mean_square = vec![0.0; parameters.len()];
    backend.set_state(TrainingState { parameters: parameters.clone(), mean_square }).unwrap();
    backend.load_weights(&WeightDrop::default()).unwrap();
    backend.load_batch(0, &given).unwrap();
    backend.gradient(&given).unwrap();
    let both = backend.gradient_sum().to_vec();
    let evaluated = backend.evaluate(&lanes[0]).unwrap();

    let mut probabilities = vec![0.0; 79 * 13];
    for (member, parameters) in parameters.chunks_exact(one.len()).enumerate() {
        let mut alone = TrainingNetwork::new(one, 2);
        alone.load(parameters);
        let mut own = vec![0.0; one.len()];
        alone.gradient(&lanes[member], &Dropout { member: member as u64, ..dropout }, &mut own);
        assert_eq!(bits(&own), bits(&both[member * one.len()..][..one.len()]));
        let predictions = alone.predict(&lanes[0]);
        probabilities.iter_mut().zip(predictions).for_each(|(sum, log)| *sum += log.exp() / 2.0);
    }
    let targets = lanes[0].iter().flat_map(|lane| &lane.targets[..lane.windows]);
    let loss: f64 = probabilities
        .chunks(79)
        .zip(targets)
        .map(|(row, &target)| -f64::from(row[target as usize].ln()))
        .sum();
    let found: f64 = evaluated.iter().map(|sums| sums.loss).sum();
    assert!((found - loss).abs() < 1e-4, "{found} {loss}");
    assert_eq!(evaluated.iter().map(|sums| sums.predictions).sum::<u64>(), 13);
}
