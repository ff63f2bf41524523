//! A row's numbers have the same bits wherever it is computed: at any place in a lane, beside any neighbours, in
//! lanes of any padded size, with 1 and 2 threads of libtorch. So are a lane's gradients with 1 and 2 threads.
//! That any number of ranks comes to equal checkpoints rests on it.

use std::sync::Mutex;

use bachdist::model::dropout::Dropout;
use bachdist::model::{Network, init};
use bachdist_core::network::Architecture;
use proptest::prelude::*;
use tch::Device;

use super::{floats, lane, random_windows};

/// Held while the number of threads matters: part of it belongs to the whole process.
static THREADS: Mutex<()> = Mutex::new(());

/// What `compute` comes to with 1 and with 2 threads.
fn with_threads<T>(mut compute: impl FnMut() -> T) -> [T; 2] {
    let _alone = THREADS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    [1, 2].map(|threads| {
        tch::set_num_threads(threads);
        compute()
    })
}

/// A network, and windows of which one is looked at.
#[derive(Debug, Clone)]
struct Scene {
    architecture: Architecture,
    dropout: Dropout,
    windows: Vec<(Vec<u8>, u8)>,
    /// The row that is looked at.
    at: usize,
    /// Rows of the lane, with padding.
    rows: usize,
}

impl Scene {
    fn network(&self) -> Network {
        let mut network = Network::new(self.architecture, Device::Cpu);
        network.load(&init::parameters(self.architecture, 1));
        network
    }

    /// The row keeps its numbers when it is computed alone. It keeps its number in the global batch, which
    /// decides its dropout mask.
    fn check_row(&self) {
        const ROW: usize = 1000;
        let network = self.network();
        let bits = |windows: &[_], at: usize, rows: usize| {
            let log_probabilities = network.forward(&lane(ROW - at, rows, windows), Some(&self.dropout));
            bits(&floats(&log_probabilities.unwrap().get(at as i64)))
        };
        let alone = with_threads(|| bits(&self.windows[self.at..=self.at], 0, 8));
        let among = with_threads(|| bits(&self.windows, self.at, self.rows));
        assert_eq!(alone[0], alone[1], "alone, with 1 and 2 threads");
        assert_eq!(among[0], alone[0], "among others, with 1 thread");
        assert_eq!(among[1], alone[1], "among others, with 2 threads");
    }

    /// A lane's loss is its windows' losses alone, added in order; its gradient does not depend on threads.
    fn check_lane(&self) {
        let network = self.network();
        let gradient = |first_row: usize, rows: usize, windows: &[_]| {
            network.gradient(&lane(first_row, rows, windows), &self.dropout).unwrap()
        };
        let [one, two] = with_threads(|| gradient(0, self.rows, &self.windows));
        assert_eq!(bits(&one.gradient), bits(&two.gradient), "gradient with 1 and 2 threads");
        let alone = |row: usize| gradient(row, 8, &self.windows[row..=row]).sums.loss;
        let loss = (0..self.windows.len()).map(alone).fold(0.0, |sum, loss| sum + loss);
        assert_eq!(one.sums.loss.to_bits(), loss.to_bits(), "loss of a lane and of its windows");
        assert_eq!(one.sums, two.sums, "sums with 1 and 2 threads");
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
        rows in prop::sample::select(vec![8usize, 16, 24, 64]),
        sequence_length in 1usize..12,
        (padding, at) in any::<(prop::sample::Index, prop::sample::Index)>(),
        seed: u64,
    ) -> Scene {
        let architecture = Architecture { classes: 79, layers, units, dense };
        let windows = random_windows(architecture, sequence_length, rows - padding.index(rows), seed);
        let at = at.index(windows.len());
        Scene { architecture, dropout: Dropout { rate, seed, step: 3 }, windows, at, rows }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_row_has_its_bits_anywhere(scene in scenes()) {
        scene.check_row();
    }

}

proptest! {
    // Each computes up to 66 gradients.
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn a_lane_is_its_rows(scene in scenes()) {
        scene.check_lane();
    }
}

/// Every place in a lane, on networks whose products MKL computes in different ways.
#[test]
fn a_row_has_its_bits_at_every_place() {
    for (layers, units, dense, sequence_length) in
        [(1, 5, 3, 4), (2, 13, 7, 9), (2, 33, 17, 9), (3, 256, 256, 20)]
    {
        let architecture = Architecture { classes: 79, layers, units, dense };
        let windows = random_windows(architecture, sequence_length, 8, 3);
        let dropout = Dropout { rate: 0.3, seed: 1, step: 2 };
        for at in 0..8 {
            Scene { architecture, dropout, windows: windows.clone(), at, rows: 8 }.check_row();
        }
        Scene { architecture, dropout, windows, at: 0, rows: 8 }.check_lane();
    }
}
