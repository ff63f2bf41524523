//! The training schedule: which windows a step takes, in which order, and how a batch is cut into lanes.
//!
//! Invariant: all of it is arithmetic on seed and step, without memory for each window, so any rank finds its part of any
//! step by itself, at any size of corpus.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{Config, TrainConfig};
use crate::corpus::Piece;
use crate::corpus::streams::{Span, StreamRows, predictions_of, windows_per_row};
use crate::corpus::windows::{Window, Windows};
use crate::random::{Purpose, RandomStream};

/// What the rows of batches are, as the configuration says.
#[derive(Debug, Clone)]
pub enum Sequences<'a> {
    /// Windows of pieces, each read from a zero state.
    Windows(Windows<'a>),
    /// Whole pieces one after another (`train.carry_state`).
    Streams(Streams<'a>),
}

/// Pieces that the rows of a batch read one after another. A window is a row's part of one step.
#[derive(Debug, Clone)]
pub struct Streams<'a> {
    pieces: &'a [Piece],
    /// Whether the representation has a token that ends pieces.
    has_end: bool,
    /// Rows of a batch.
    rows: usize,
    /// T.
    length: usize,
    /// Of validation: pieces are not shuffled, and none is cut. Otherwise each epoch has an order of its own.
    whole: Option<Arc<StreamRows>>,
}

impl<'a> Sequences<'a> {
    /// What a run trains on.
    pub fn of_training(config: &Config, pieces: &'a [Piece]) -> Self {
        if config.train.carry_state {
            Sequences::Streams(Streams::new(config, pieces))
        } else {
            Sequences::Windows(Windows::new(pieces, config.training_length()))
        }
    }

    /// What a run validates on.
    pub fn of_validation(config: &Config, pieces: &'a [Piece]) -> Self {
        if config.train.carry_state {
            let streams = Streams::new(config, pieces);
            let whole = StreamRows::whole(pieces, streams.has_end, streams.rows, streams.length);
            Sequences::Streams(Streams { whole: Some(Arc::new(whole)), ..streams })
        } else {
            Sequences::Windows(Windows::new(pieces, config.data.sequence_length))
        }
    }

    /// Windows of an epoch.
    pub fn windows(&self) -> u64 {
        match self {
            Sequences::Windows(windows) => windows.len(),
            Sequences::Streams(streams) => streams.rows as u64 * streams.windows_per_row(),
        }
    }
}

impl<'a> Streams<'a> {
    fn new(config: &Config, pieces: &'a [Piece]) -> Self {
        Streams {
            pieces,
            has_end: config.representation.build().end().is_some(),
            rows: config.train.batch_size,
            length: config.training_length(),
            whole: None,
        }
    }

    /// What the rows read in an epoch.
    pub fn rows_of_epoch(&self, seed: u64, epoch: u64) -> Arc<StreamRows> {
        let Streams { pieces, has_end, rows, length, .. } = *self;
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let order = EpochOrder::new(seed, epoch, pieces.len() as u64);
        let order = (0..pieces.len() as u64).map(|position| order.window(position) as usize);
        Arc::new(StreamRows::cut(pieces, order, has_end, rows, length))
    }

    /// T.
    pub fn length(&self) -> usize {
        self.length
    }

    /// A piece by its index.
    pub fn piece(&self, index: usize) -> &'a Piece {
        &self.pieces[index]
    }

    fn windows_per_row(&self) -> u64 {
        match &self.whole {
            Some(whole) => whole.windows_per_row(),
            None => {
                let of_piece = |piece: &Piece| predictions_of(piece.tokens.len(), self.has_end) as u64;
                windows_per_row(self.pieces.iter().map(of_piece).sum(), self.rows, self.length)
            }
        }
    }
}

/// How the windows of an epoch are divided into batches, and batches into lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// Windows of an epoch.
    pub windows: u64,
    /// Windows of a batch; the last one of an epoch may have fewer.
    pub batch_size: usize,
    /// Lanes of a batch.
    pub lanes: usize,
}

/// The windows of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// From 0.
    pub step: u64,
    /// From 0.
    pub epoch: u64,
    /// The position of its first window in the order of the epoch.
    pub first: u64,
    /// How many windows it has.
    pub windows: usize,
    /// Whether it is the last of its epoch.
    pub ends_epoch: bool,
}

impl Batch {
    /// Which window of each row this is, where rows are streams.
    pub fn window_of_row(&self) -> u64 {
        self.first / self.windows as u64
    }
}

/// The order of windows in one epoch: a permutation that is computed, not stored.
///
/// A balanced Feistel network permutes the smallest power of four that is large enough; numbers outside of the epoch are
/// permuted again (cycle walking, Black and Rogaway 2002), which leaves a permutation of exactly the epoch's windows.
#[derive(Debug, Clone, Copy)]
pub struct EpochOrder {
    windows: u64,
    half_bits: u32,
    stream: RandomStream,
}

/// An order-independent digest that proves that every window was read exactly once.
///
/// It is a sum, so it does not depend on which rank or lane reads a window; a window that is skipped or read twice changes
/// it. What it must be after a step follows by arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WindowAudit {
    /// Windows read since step 0.
    pub windows: u64,
    /// Sum modulo 2⁶⁴ of a hash of each one's epoch, piece and position.
    pub digest: u64,
}

impl Batches {
    /// The batches that a configuration makes of this many windows.
    pub fn new(windows: u64, train: &TrainConfig) -> Self {
        Batches { windows, batch_size: train.batch_size, lanes: train.lanes }
    }

    /// Steps of an epoch. A ragged last batch counts.
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

    /// Windows of all earlier steps; `None` if the count overflows.
    pub fn windows_before(&self, step: u64) -> Option<u64> {
        let steps = self.steps_per_epoch();
        (step / steps).checked_mul(self.windows)?.checked_add(step % steps * self.batch_size as u64)
    }

    /// The rows of a full batch that a lane takes. In a ragged batch, rows at or past its end have no window.
    pub fn rows(&self, lane: usize) -> Range<usize> {
        lane * self.batch_size / self.lanes..(lane + 1) * self.batch_size / self.lanes
    }

    /// Windows of the largest batch.
    pub fn max_windows(&self) -> usize {
        (self.batch_size as u64).min(self.windows) as usize
    }

    /// The rows that every lane is padded to: those of the largest lane, but no more than there are windows.
    pub fn padded_rows(&self) -> usize {
        self.batch_size.div_ceil(self.lanes).min(self.max_windows())
    }
}

/// Rounds of the Feistel network. Four make it pseudorandom (Luby and Rackoff 1988); two more cost little.
const ROUNDS: u64 = 6;

impl EpochOrder {
    /// The order of this many windows for this seed and epoch.
    pub fn new(seed: u64, epoch: u64, windows: u64) -> Self {
        let bits = u64::BITS - windows.saturating_sub(1).leading_zeros();
        let stream = RandomStream::new(seed, Purpose::Order, &[epoch]);
        EpochOrder { windows, half_bits: bits.div_ceil(2).max(1), stream }
    }

    /// The number of the window at a position.
    ///
    /// # Panics
    /// If the epoch has no such position.
    pub fn window(&self, position: u64) -> u64 {
        assert!(position < self.windows, "position {position} of {}", self.windows);
        let mut window = self.permute(position);
        // The network permutes at most four times as many numbers as there are windows, so this takes fewer than four
        // rounds on average.
        while window >= self.windows {
            window = self.permute(window);
        }
        window
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

impl WindowAudit {
    /// Adds a window that was read in an epoch.
    pub fn record(&mut self, epoch: u64, window: &Window<'_>) {
        let hash = RandomStream::new(0, Purpose::Audit, &[epoch, window.piece as u64]).bits(window.at as u64);
        self.add(WindowAudit { windows: 1, digest: hash });
    }

    /// Adds a row's window that was read in an epoch.
    pub fn record_stream(&mut self, epoch: u64, row: usize, spans: &[Span]) {
        // A row that has come to its end reads nothing, which is recorded too.
        let (piece, at) = spans.first().map_or((u64::MAX, row), |span| (span.piece as u64, span.from));
        let hash = RandomStream::new(0, Purpose::Audit, &[epoch, piece]).bits(at as u64);
        self.add(WindowAudit { windows: 1, digest: hash });
    }

    /// Adds the windows of another audit.
    pub fn add(&mut self, other: WindowAudit) {
        self.windows += other.windows;
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// The audit that a run must have after this many steps.
    pub fn expected(sequences: &Sequences<'_>, batches: &Batches, seed: u64, steps: u64) -> Self {
        let mut audit = WindowAudit::default();
        let mut rows_of_epoch = None;
        for step in 0..steps {
            let batch = batches.batch(step);
            match sequences {
                Sequences::Windows(windows) => {
                    let order = EpochOrder::new(seed, batch.epoch, batches.windows);
                    for position in batch.first..batch.first + batch.windows as u64 {
                        audit.record(batch.epoch, &windows.get(order.window(position)));
                    }
                }
                Sequences::Streams(streams) => {
                    let rows = match rows_of_epoch.take() {
                        Some((epoch, rows)) if epoch == batch.epoch => rows,
                        _ => streams.rows_of_epoch(seed, batch.epoch),
                    };
                    for row in 0..batch.windows {
                        audit.record_stream(batch.epoch, row, &rows.window(row, batch.window_of_row()));
                    }
                    rows_of_epoch = Some((batch.epoch, rows));
                }
            }
        }
        audit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::corpus::Piece;

    #[test]
    fn lanes_are_padded_to_the_windows_that_there_are() {
        let batches = |windows, batch_size| Batches { windows, batch_size, lanes: 2 };
        assert_eq!((batches(1000, 64).padded_rows(), batches(40, 64).padded_rows()), (32, 32));
        let larger = batches(636, 1_000_000);
        assert_eq!((larger.padded_rows(), larger.max_windows()), (636, 636));
        // How lanes are cut does not follow the windows: it decides bits.
        assert_eq!(larger.rows(1), 500_000..1_000_000);
    }

    #[test]
    fn the_articles_epoch() {
        let batches = Batches { windows: 23_781, batch_size: 64, lanes: 8 };
        assert_eq!(batches.steps_per_epoch(), 372);
        let last = Batch { step: 743, epoch: 1, first: 371 * 64, windows: 37, ends_epoch: true };
        assert_eq!(batches.batch(743), last);
        assert_eq!((batches.rows(7), batches.padded_rows()), (56..64, 8));
    }

    #[test]
    fn the_order_is_the_recorded_one() {
        // A change here changes every run.
        let first =
            |seed, epoch, n| [0, 1, 2, 3].map(|position| EpochOrder::new(seed, epoch, n).window(position));
        assert_eq!(first(1, 0, 23_781), [1651, 19435, 15451, 7680]);
        assert_eq!(first(1, 1, 23_781), [22948, 10949, 17769, 14094]);
        assert_eq!(first(2, 0, 1 << 33), [5315929279, 7348838308, 5924950584, 5274768677]);
    }

    #[test]
    fn neighbors_are_scattered() {
        // Of a random permutation, the mean distance of neighbors is n/3 with a deviation of n/(3√(2n)).
        let n = 10_000;
        let order = EpochOrder::new(3, 0, n);
        let distance = |i| order.window(i).abs_diff(order.window(i + 1)) as f64;
        let mean = (0..n - 1).map(distance).sum::<f64>() / (n - 1) as f64;
        assert!((mean / n as f64 - 1.0 / 3.0).abs() < 0.015, "{mean}");
    }

    #[test]
    fn the_audit_shows_a_window_that_is_skipped_or_read_twice_and_no_order() {
        let pieces = [Piece { name: "p".into(), tokens: (0..30).collect() }];
        let windows = Windows::new(&pieces, 5);
        let batches = Batches { windows: windows.len(), batch_size: 4, lanes: 2 };
        let expected = WindowAudit::expected(
            &Sequences::Windows(windows.clone()),
            &batches,
            1,
            batches.steps_per_epoch(),
        );
        let audit = |numbers: &mut dyn Iterator<Item = u64>| {
            let mut audit = WindowAudit::default();
            for number in numbers {
                audit.record(0, &windows.get(number));
            }
            audit
        };
        assert_eq!(audit(&mut (0..25).rev()), expected);
        assert_ne!(audit(&mut (0..24)), expected);
        let twice = audit(&mut (0..25).map(|number| if number == 7 { 8 } else { number }));
        assert_eq!(twice.windows, expected.windows);
        assert_ne!(twice.digest, expected.digest);
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

        #[test]
        fn the_order_has_every_window_once(seed: u64, epoch in 0u64..1000, n in 1u64..3000) {
            let order = EpochOrder::new(seed, epoch, n);
            let mut found = vec![false; n as usize];
            for position in 0..n {
                let window = order.window(position) as usize;
                prop_assert!(!found[window]);
                found[window] = true;
            }
        }

        #[test]
        fn large_corpora_stay_in_range(seed: u64, n in 1u64 << 40..1 << 62, position: u64) {
            let order = EpochOrder::new(seed, 0, n);
            prop_assert!(order.window(position % n) < n);
        }
    }
}
