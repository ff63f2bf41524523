//! Loops: how greedy decoding ends when it falls into a circle.

use serde::Serialize;

/// The longest cycle that is looked for, in notes.
const LONGEST: usize = 1000;

/// Fewer rounds are a repeat, which music has.
const ROUNDS: usize = 3;

/// Nor is a shorter ending a loop: music may end on some equal notes.
const SHORTEST: usize = 24;

/// A cycle that goes round until the end of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Loop {
    /// Where the first round begins, in notes from 0.
    pub start: usize,
    /// Notes of one round.
    pub period: usize,
    /// Whole rounds until the end.
    pub rounds: usize,
}

/// The loop that notes end in: of all, the one that begins first, and of these the one with the shortest round.
pub fn find(notes: &[u8]) -> Option<Loop> {
    let longest = LONGEST.min(notes.len() / ROUNDS);
    let loops = (1..=longest).filter_map(|period| {
        let same = notes.iter().rev().zip(notes.iter().rev().skip(period));
        let length = period + same.take_while(|(a, b)| a == b).count();
        let is_loop = length >= (ROUNDS * period).max(SHORTEST);
        is_loop.then_some(Loop { start: notes.len() - length, period, rounds: length / period })
    });
    loops.min_by_key(|found| (found.start, found.period))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_circle_with_equal_notes_in_it() {
        let beginning = [9, 8, 7, 6, 5];
        let round = [1, 2, 3, 3, 3];
        let notes: Vec<u8> = beginning.into_iter().chain(round.repeat(7)).chain([1, 2]).collect();
        assert_eq!(find(&notes), Some(Loop { start: 5, period: 5, rounds: 7 }));
        // One note more ends it.
        assert_eq!(find(&[&notes[..], &[9]].concat()), None);
    }

    #[test]
    fn repeats_and_last_notes_are_no_loops() {
        assert_eq!(find(&(0..40).chain(0..40).collect::<Vec<_>>()), None);
        assert_eq!(find(&[1, 2, 3, 4, 4, 4, 4]), None);
        assert_eq!(find(&[4; 30]), Some(Loop { start: 0, period: 1, rounds: 30 }));
        assert_eq!(find(&[]), None);
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn what_is_found_goes_round(notes in prop::collection::vec(0u8..2, 0..60)) {
            if let Some(Loop { start, period, rounds }) = find(&notes) {
                prop_assert!((start + period..notes.len()).all(|i| notes[i] == notes[i - period]));
                prop_assert!(rounds >= ROUNDS && (notes.len() - start) / period == rounds);
                // It begins no sooner.
                prop_assert!(start == 0 || notes[start - 1] != notes[start - 1 + period]);
            }
        }
    }
}
