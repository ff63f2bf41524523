//! Which windows a step takes, and how a batch is cut into lanes. All of it is arithmetic on the step number.

use std::ops::Range;

use super::windows::Windows;
use crate::config::TrainConfig;

/// How the windows of an epoch become batches, and batches lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// Windows of an epoch.
    pub windows: u64,
    /// Windows of a batch; the last of an epoch may have fewer.
    pub batch_size: usize,
    /// Slices of a batch.
    pub lanes: usize,
}

/// The windows of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The step that takes them, from 0.
    pub step: u64,
    /// Its epoch, from 0.
    pub epoch: u64,
    /// The position of its first window in the order of the epoch.
    pub first: u64,
    /// How many windows it has.
    pub windows: usize,
    /// Whether it is the last of its epoch.
    pub ends_epoch: bool,
}

impl Batches {
    /// The batches that a configuration makes of its windows.
    pub fn new(windows: &Windows<'_>, train: &TrainConfig) -> Self {
        Batches { windows: windows.len(), batch_size: train.batch_size, lanes: train.lanes }
    }

    /// Steps of an epoch, a ragged last batch included.
    pub fn steps_per_epoch(&self) -> u64 {
        self.windows.div_ceil(self.batch_size as u64)
    }

    /// The batch of a step.
    pub fn batch(&self, step: u64) -> Batch {
        let steps = self.steps_per_epoch();
        let first = step % steps * self.batch_size as u64;
        let windows = (self.windows - first).min(self.batch_size as u64) as usize;
        Batch { step, epoch: step / steps, first, windows, ends_epoch: (step + 1).is_multiple_of(steps) }
    }

    /// Windows of all steps before one; `None` if they are too many to count.
    pub fn windows_before(&self, step: u64) -> Option<u64> {
        let steps = self.steps_per_epoch();
        (step / steps).checked_mul(self.windows)?.checked_add(step % steps * self.batch_size as u64)
    }

    /// The rows of a full batch that a lane takes. In a ragged batch those at or past its end have no window.
    pub fn rows(&self, lane: usize) -> Range<usize> {
        lane * self.batch_size / self.lanes..(lane + 1) * self.batch_size / self.lanes
    }

    /// Windows of the largest batch.
    pub fn most_windows(&self) -> usize {
        (self.batch_size as u64).min(self.windows) as usize
    }

    /// The rows that every lane is padded to: those of the largest, but no more than there are windows.
    pub fn padded_rows(&self) -> usize {
        self.batch_size.div_ceil(self.lanes).min(self.most_windows())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_follow_the_windows_that_there_are() {
        let batches = |windows, batch_size| Batches { windows, batch_size, lanes: 2 };
        // As declared, where there are so many.
        assert_eq!((batches(1000, 64).padded_rows(), batches(40, 64).padded_rows()), (32, 32));
        assert_eq!(
            (batches(636, 1_000_000).padded_rows(), batches(636, 1_000_000).most_windows()),
            (636, 636)
        );
        // How lanes are cut stays: it decides bits.
        assert_eq!(batches(636, 1_000_000).rows(1), 500_000..1_000_000);
    }

    #[test]
    fn the_articles_epoch() {
        let batches = Batches { windows: 23_781, batch_size: 64, lanes: 8 };
        assert_eq!(batches.steps_per_epoch(), 372);
        let last = Batch { step: 743, epoch: 1, first: 371 * 64, windows: 37, ends_epoch: true };
        assert_eq!(batches.batch(743), last);
        assert_eq!((batches.rows(7), batches.padded_rows()), (56..64, 8));
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn lanes_cut_a_batch_without_gap_or_overlap(batch_size in 1usize..600, log_lanes in 0u32..8) {
            let batches = Batches { windows: 600, batch_size, lanes: 1 << log_lanes };
            let mut next = 0;
            for lane in 0..batches.lanes {
                let rows = batches.rows(lane);
                prop_assert_eq!(rows.start, next);
                prop_assert!(rows.len() <= batches.padded_rows());
                next = rows.end;
            }
            prop_assert_eq!(next, batch_size);
        }

        #[test]
        fn an_epoch_takes_every_position_once(windows in 1u64..5000, batch_size in 1usize..300) {
            let batches = Batches { windows, batch_size, lanes: 8 };
            let mut next = 0;
            for step in 0..batches.steps_per_epoch() {
                let batch = batches.batch(step);
                prop_assert_eq!((batch.epoch, batch.first), (0, next));
                next += batch.windows as u64;
                prop_assert_eq!(batch.ends_epoch, next == windows);
                prop_assert_eq!(batches.windows_before(step + 1), Some(next));
            }
            prop_assert_eq!(next, windows);
        }
    }
}
