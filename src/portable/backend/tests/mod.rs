//! Gradients of one member: the same bits however lanes are shared out, and an ensemble's against its members'.

mod lanes;
mod streams;

use proptest::prelude::*;

use super::native::NativeBackend;
use super::*;
use crate::config::LossPositions;
use crate::lanes::TreeSum;
use crate::network::training::TrainingNetwork;
use crate::network::{Architecture, initial_parameters};
use crate::representation::pitch::Pitch;
use lanes::{architectures, lanes, loss_positions};

/// The same batch for every step.
struct Given(StepBatch);

impl BatchSource for Given {
    fn batch(&self, _step: u64) -> StepBatch {
        self.0.clone()
    }
}

fn bits(gradient: &[f32]) -> Vec<u32> {
    gradient.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(bachdist_test_support::properties(24))]

    #[test]
    fn a_gradient_has_the_same_bits_however_lanes_are_shared(
        architecture in architectures(), notes in 1usize..12, rows in 1usize..10, missing in 0usize..70,
        positions in loss_positions(), seed in 0u64..1000,
    ) {
        let parameters = initial_parameters(architecture, seed);
        let lanes = lanes(architecture, 8, rows, notes, positions, missing, seed);
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
    let parameters = initial_parameters(two, 5);
    let dropout = Dropout { rate: 0.3, input_rate: 0.2, seed: 5, step: 3, member: 0 };
    let lanes = [1, 2].map(|seed| lanes(two, 2, 8, 6, LossPositions::Last, 3, seed)).to_vec();
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
