//! Notes counted twice: as classes, and as intervals, which do not change when a passage is transposed.

use super::contexts::Contexts;
use crate::corpus::CLASSES;

/// The largest interval between two classes.
const LARGEST: usize = CLASSES - 1;

/// Intervals from `-LARGEST` to `LARGEST`, as symbols from 0.
const INTERVALS: usize = 2 * LARGEST + 1;

/// What followed each context of classes, and each context of intervals.
#[derive(Debug, Clone)]
pub struct Melody {
    classes: Contexts,
    intervals: Contexts,
}

impl Melody {
    /// No counts yet: the longest context of classes, and that of intervals.
    pub fn new(class_order: usize, interval_order: usize) -> Self {
        Melody {
            classes: Contexts::new(CLASSES, class_order),
            intervals: Contexts::new(INTERVALS, interval_order),
        }
    }

    /// Counts a note after those of its piece that stand before it; the first of a piece ends no interval.
    pub fn count(&mut self, before: &[u8], next: u8) {
        self.classes.count(before, next);
        if let Some(&last) = before.last() {
            self.intervals.count(&self.interval_context(before), interval(last, next));
        }
    }

    /// Counts all notes of a piece.
    pub fn count_piece(&mut self, notes: &[u8]) {
        (0..notes.len()).for_each(|at| self.count(&notes[..at], notes[at]));
    }

    /// Probabilities of the next class by what followed the last classes.
    pub fn by_classes(&self, before: &[u8]) -> Vec<f64> {
        self.classes.witten_bell(before)
    }

    /// Probabilities of the next class by what followed the last intervals: those of the intervals, moved to the
    /// last note, cut to the classes that there are. Equal ones where there is no last note.
    pub fn by_intervals(&self, before: &[u8]) -> Vec<f64> {
        let Some(&last) = before.last() else { return vec![1.0 / CLASSES as f64; CLASSES] };
        let intervals = self.intervals.witten_bell(&self.interval_context(before));
        let lowest = usize::from(interval(last, 0));
        let mut probabilities = intervals[lowest..lowest + CLASSES].to_vec();
        let total: f64 = probabilities.iter().sum();
        probabilities.iter_mut().for_each(|p| *p /= total);
        probabilities
    }

    /// How many of the last classes stood together before, up to the order.
    pub fn longest_match(&self, before: &[u8]) -> usize {
        self.classes.met(before).count().saturating_sub(1)
    }

    /// The last intervals, as many as matter.
    fn interval_context(&self, before: &[u8]) -> Vec<u8> {
        let notes = &before[before.len().saturating_sub(self.intervals.order() + 1)..];
        notes.windows(2).map(|pair| interval(pair[0], pair[1])).collect()
    }
}

/// An interval as a symbol.
fn interval(from: u8, to: u8) -> u8 {
    (usize::from(to) + LARGEST - usize::from(from)) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_passage_is_known_again_when_it_is_transposed() {
        let mut melody = Melody::new(3, 3);
        melody.count_piece(&[10, 12, 14, 15, 10]);
        let best = |p: Vec<f64>| (0..CLASSES).max_by(|&a, &b| p[a].total_cmp(&p[b]));
        assert_eq!(best(melody.by_intervals(&[40, 42, 44])), Some(45));
        assert_eq!(best(melody.by_classes(&[40, 42, 44])), Some(10));
        assert_eq!(best(melody.by_classes(&[10, 12])), Some(14));
    }

    #[test]
    fn intervals_by_hand() {
        // One interval, of 2, counted once: 2 has (1 + 1/157) / 2 and every other 1/157/2.
        let mut melody = Melody::new(0, 0);
        melody.count_piece(&[10, 12]);
        let rest = 0.5 / 157.0;
        let reachable = 0.5 + 79.0 * rest;
        let found = melody.by_intervals(&[30]);
        assert!((found[32] - (0.5 + rest) / reachable).abs() < 1e-12, "{found:?}");
        assert!((found[78] - rest / reachable).abs() < 1e-12, "{found:?}");
        // From the highest class it leads nowhere.
        melody.by_intervals(&[78]).iter().for_each(|p| assert!((p - 1.0 / 79.0).abs() < 1e-12));
    }

    #[test]
    fn a_match_is_counted_in_notes() {
        let notes = [1, 2, 3, 1, 2];
        let mut melody = Melody::new(4, 0);
        assert_eq!(melody.longest_match(&notes), 0);
        melody.count_piece(&notes);
        assert_eq!(melody.longest_match(&notes), 2);
        assert_eq!(melody.longest_match(&[9, 2]), 1);
        assert_eq!(melody.longest_match(&[9]), 0);
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn probabilities_are_positive_and_sum_to_one(
            notes in prop::collection::vec(0u8..CLASSES as u8, 0..40),
            before in prop::collection::vec(0u8..CLASSES as u8, 0..5),
        ) {
            let mut melody = Melody::new(2, 3);
            melody.count_piece(&notes);
            for probabilities in [melody.by_classes(&before), melody.by_intervals(&before)] {
                prop_assert!(probabilities.iter().all(|&p| p > 0.0));
                prop_assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }
}
