//! A row's numbers have the same bits wherever it is computed: at any place in a lane, beside any neighbours, in
//! lanes of any padded size, with 1 and 2 threads. So are a lane's gradients with 1 and 2 threads.
//! That any number of ranks comes to equal checkpoints rests on it.

use bachdist_portable::network::Architecture;
use bachdist_portable::network::dropout::Dropout;
use bachdist_portable::network::initial_parameters;
use bachdist_portable::network::training::TrainingNetwork;
use bachdist_portable::representation::pitch::Pitch;
use proptest::prelude::*;

use super::{lane, random_windows};

/// A network and the windows of a lane.
#[derive(Debug, Clone)]
struct Scene {
    architecture: Architecture,
    dropout: Dropout,
    windows: Vec<(Vec<u16>, u16)>,
    /// Rows of the lane, with padding.
    rows: usize,
}

impl Scene {
    fn network(&self, threads: usize) -> TrainingNetwork {
        let mut network = TrainingNetwork::new(self.architecture, threads);
        network.load(&initial_parameters(self.architecture, 1));
        network
    }

    /// A lane's loss is its windows' losses alone, added in order; its gradient does not depend on threads.
    fn check_lane(&self) {
        let gradient = |threads: usize, first_row: usize, rows: usize, windows: &[_]| {
            let mut network = self.network(threads);
            let mut gradient = vec![0.0; self.architecture.len()];
            let lanes = [lane(self.architecture, first_row, rows, windows)];
            let sums = network.gradient(&lanes, &self.dropout, &mut gradient);
            (gradient, sums)
        };
        let [one, two] = [1, 2].map(|threads| gradient(threads, 0, self.rows, &self.windows));
        assert_eq!(bits(&one.0), bits(&two.0), "gradient with 1 and 2 threads");
        let alone = |row: usize| gradient(1, row, 1, &self.windows[row..=row]).1[0].loss;
        let loss = (0..self.windows.len()).map(alone).fold(0.0, |sum, loss| sum + loss);
        assert_eq!(one.1[0].loss.to_bits(), loss.to_bits(), "loss of a lane and of its windows");
        assert_eq!(one.1, two.1, "sums with 1 and 2 threads");
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    assert!(numbers.iter().all(|x| x.is_finite()));
    numbers.iter().map(|x| x.to_bits()).collect()
}

prop_compose! {
    fn scenes()(
        (layers, units, dense) in (1usize..4, 1usize..70, 1usize..40),
        rate in prop::sample::select(vec![0.0, 0.3]),
        rows in 1usize..70,
        sequence_length in 1usize..12,
        padding in any::<prop::sample::Index>(),
        seed: u64,
    ) -> Scene {
        let architecture = Architecture { shape: Pitch::shape_of(79, false), layers, units, dense, members: 1 };
        let windows = random_windows(architecture, sequence_length, rows - padding.index(rows), seed);
        Scene { architecture, dropout: Dropout { rate, input_rate: rate, seed, step: 3, member: 0 }, windows, rows }
    }
}

proptest! {
    // Each computes up to 66 gradients.
    #![proptest_config(bachdist_test_support::properties(25))]

    #[test]
    fn a_lane_is_its_rows(scene in scenes()) {
        scene.check_lane();
    }
}

/// Networks as wide as those that are trained.
#[test]
#[ignore = "slow"]
fn a_lane_is_its_rows_on_wide_networks_too() {
    for (layers, units, dense, sequence_length) in [(2, 100, 50, 9), (1, 128, 64, 4), (3, 256, 256, 20)] {
        let architecture =
            Architecture { shape: Pitch::shape_of(79, false), layers, units, dense, members: 1 };
        let windows = random_windows(architecture, sequence_length, 8, 3);
        let dropout = Dropout { rate: 0.3, input_rate: 0.2, seed: 1, step: 2, member: 0 };
        Scene { architecture, dropout, windows, rows: 8 }.check_lane();
    }
}
