//! Whether every window was read exactly once: a digest of the windows that a run has loaded.
//!
//! It is a sum, so it does not depend on the order in which ranks and lanes loaded them, and a window that was
//! skipped or read twice changes it. What it should be follows from the step number by arithmetic.

use serde::{Deserialize, Serialize};

use super::batches::Batches;
use super::order::Order;
use super::windows::{Window, Windows};
use crate::random::{Purpose, Stream};

/// Windows that were loaded since step 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Seen {
    /// How many.
    pub windows: u64,
    /// Sum, modulo 2⁶⁴, of a hash of each one's epoch, piece and place.
    pub digest: u64,
}

impl Seen {
    /// Adds a window that was loaded in an epoch.
    pub fn load(&mut self, epoch: u64, window: &Window<'_>) {
        let hash = Stream::new(0, Purpose::Audit, &[epoch, window.piece as u64]).bits(window.at as u64);
        self.add(Seen { windows: 1, digest: hash });
    }

    /// Adds what others loaded.
    pub fn add(&mut self, other: Seen) {
        self.windows += other.windows;
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// What a run must have loaded after so many steps.
    pub fn expected(windows: &Windows<'_>, batches: &Batches, seed: u64, steps: u64) -> Self {
        let mut seen = Seen::default();
        for step in 0..steps {
            let batch = batches.batch(step);
            let order = Order::new(seed, batch.epoch, batches.windows);
            for position in batch.first..batch.first + batch.windows as u64 {
                seen.load(batch.epoch, &windows.get(order.window(position)));
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Piece;

    #[test]
    fn a_window_skipped_or_read_twice_shows_and_order_does_not() {
        let pieces = [Piece { name: "p".into(), classes: (0..30).collect() }];
        let windows = Windows::new(&pieces, 5);
        let batches = Batches { windows: windows.len(), batch_size: 4, lanes: 2 };
        let expected = Seen::expected(&windows, &batches, 1, batches.steps_per_epoch());
        let seen = |numbers: &mut dyn Iterator<Item = u64>| {
            let mut seen = Seen::default();
            numbers.for_each(|number| seen.load(0, &windows.get(number)));
            seen
        };
        assert_eq!(seen(&mut (0..25).rev()), expected);
        assert_ne!(seen(&mut (0..24)), expected);
        let twice = seen(&mut (0..25).map(|number| if number == 7 { 8 } else { number }));
        assert_eq!(twice.windows, expected.windows);
        assert_ne!(twice.digest, expected.digest);
    }
}
