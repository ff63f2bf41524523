//! The order of windows in an epoch: a permutation found by arithmetic, without memory per window.
//!
//! A balanced Feistel network permutes the smallest power of four that holds all windows; what falls outside
//! is sent round again (cycle walking, Black and Rogaway 2002), which leaves a permutation of exactly the
//! windows there are. Any rank finds its share of any step, at any size of corpus.

use crate::random::{Purpose, Stream};

/// Rounds of the network. Four make it pseudorandom (Luby and Rackoff 1988); the rest costs little.
const ROUNDS: u64 = 6;

/// The order of `n` windows in one epoch.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    n: u64,
    half_bits: u32,
    stream: Stream,
}

impl Order {
    /// The order for this seed and epoch.
    pub fn new(seed: u64, epoch: u64, n: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Order { n, half_bits: bits.div_ceil(2).max(1), stream: Stream::new(seed, Purpose::Order, &[epoch]) }
    }

    /// The window at a position; both are in `0..n`.
    pub fn window(&self, position: u64) -> u64 {
        assert!(position < self.n, "position {position} of {}", self.n);
        let mut x = self.permute(position);
        // The network maps at most four times as many numbers as there are windows: under four turns on average.
        while x >= self.n {
            x = self.permute(x);
        }
        x
    }

    fn permute(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for round in 0..ROUNDS {
            let mixed = self.stream.of(round).bits(right) & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn every_window_once(seed: u64, epoch in 0u64..1000, n in 1u64..3000) {
            let order = Order::new(seed, epoch, n);
            let mut seen = vec![false; n as usize];
            for position in 0..n {
                let window = order.window(position) as usize;
                prop_assert!(!seen[window]);
                seen[window] = true;
            }
        }

        #[test]
        fn large_corpora_stay_in_range(seed: u64, n in 1u64 << 40..1 << 62, position: u64) {
            let order = Order::new(seed, 0, n);
            prop_assert!(order.window(position % n) < n);
        }
    }

    #[test]
    fn golden() {
        // A change here changes every run.
        let first = |seed, epoch, n| [0, 1, 2, 3].map(|position| Order::new(seed, epoch, n).window(position));
        assert_eq!(first(1, 0, 23_781), [1651, 19435, 15451, 7680]);
        assert_eq!(first(1, 1, 23_781), [22948, 10949, 17769, 14094]);
        assert_eq!(first(2, 0, 1 << 33), [5315929279, 7348838308, 5924950584, 5274768677]);
    }

    #[test]
    fn neighbours_are_scattered() {
        // Of a random permutation, the mean distance of neighbours is n/3 with a deviation of n/(3√(2n)).
        let n = 10_000;
        let order = Order::new(3, 0, n);
        let distance = |i| order.window(i).abs_diff(order.window(i + 1)) as f64;
        let mean = (0..n - 1).map(distance).sum::<f64>() / (n - 1) as f64;
        assert!((mean / n as f64 - 1.0 / 3.0).abs() < 0.015, "{mean}");
    }
}
