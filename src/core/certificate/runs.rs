//! Runs: stretches of a melody that the corpus has, exactly or transposed.
//!
//! A transposed run is a run of intervals: L notes are L − 1 intervals, so that a single note is a transposed
//! run of any corpus that has notes. No run goes from one piece into the next.

use serde::Serialize;

use super::automaton::{Shared, Symbol, shared_endings};
use crate::corpus::Piece;

/// A stretch of a melody that a piece has too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Notes.
    pub length: usize,
    /// Index of its first note in the melody, from 0.
    pub sample_at: usize,
    /// The first piece of the corpus that has it; none where nothing is shared.
    pub piece: Option<String>,
    /// Index of its first note in that piece, from 0, where it first stands there.
    pub at: Option<usize>,
    /// How many semitones higher than in the piece it is in the melody.
    pub semitones: i16,
}

/// For every note of a melody, the longest run that ends with it.
#[derive(Debug, Clone)]
pub struct Runs<'a> {
    pieces: &'a [Piece],
    melody: &'a [u8],
    endings: Vec<Found>,
}

/// A run of the melody's last notes, and where a piece has it.
#[derive(Debug, Clone, Copy)]
struct Found {
    length: usize,
    piece: usize,
    /// Index of the run's last note in the piece.
    last: usize,
}

impl<'a> Runs<'a> {
    /// The runs of a melody's classes that the pieces have as they are.
    pub fn exact(pieces: &'a [Piece], melody: &'a [u8]) -> Self {
        let corpus = pieces.iter().map(|piece| piece.classes.iter().map(|&class| Symbol::from(class)));
        let shared = shared_endings(melody.iter().map(|&class| Symbol::from(class)), corpus);
        let found = |Shared { length, end }| Found {
            length: length as usize,
            piece: end.sequence as usize,
            last: end.last as usize,
        };
        Runs { pieces, melody, endings: shared.into_iter().map(found).collect() }
    }

    /// The runs that they have transposed by any number of semitones, 0 included.
    pub fn transposed(pieces: &'a [Piece], melody: &'a [u8]) -> Self {
        let intervals = |classes: &'a [u8]| classes.windows(2).map(|two| interval(two[0], two[1]));
        let corpus = pieces.iter().map(|piece| intervals(&piece.classes));
        let shared = shared_endings(intervals(melody), corpus);
        // A single note is everywhere; it is said to be a corpus's first.
        let single = match pieces.iter().position(|piece| !piece.classes.is_empty()) {
            Some(piece) => Found { length: 1, piece, last: 0 },
            None => Found { length: 0, piece: 0, last: 0 },
        };
        let found = |Shared { length, end }| match length {
            0 => single,
            // The last interval of a stretch leads to the note after its own index.
            _ => Found {
                length: length as usize + 1,
                piece: end.sequence as usize,
                last: end.last as usize + 1,
            },
        };
        let first = (!melody.is_empty()).then_some(single);
        Runs { pieces, melody, endings: first.into_iter().chain(shared.into_iter().map(found)).collect() }
    }
}

impl Runs<'_> {
    /// The first of the longest runs; of length 0 if there is none.
    pub fn longest(&self) -> Run {
        // The last of the greatest, in reverse order.
        let ending = (0..self.endings.len()).rev().max_by_key(|&ending| self.endings[ending].length);
        ending.map_or(Run { length: 0, sample_at: 0, piece: None, at: None, semitones: 0 }, |e| self.run(e))
    }

    /// The runs of more than so many notes that no longer run begins or ends with, in order.
    pub fn longer_than(&self, notes: usize) -> Vec<Run> {
        let grows = |ending: usize| {
            self.endings.get(ending + 1).is_some_and(|next| next.length > self.endings[ending].length)
        };
        let endings = 0..self.endings.len();
        endings.filter(|&e| self.endings[e].length > notes && !grows(e)).map(|e| self.run(e)).collect()
    }

    /// For n = 1, 2, … up to `most` or the melody's length: the share of its stretches of n notes that the
    /// corpus does not have.
    pub fn novelty(&self, most: usize) -> Vec<f64> {
        let share = |n: usize| {
            let endings = &self.endings[n - 1..];
            let new = endings.iter().filter(|ending| ending.length < n).count();
            new as f64 / endings.len() as f64
        };
        (1..=most.min(self.endings.len())).map(share).collect()
    }

    /// The run that ends with this note of the melody.
    fn run(&self, ending: usize) -> Run {
        let Found { length, piece, last } = self.endings[ending];
        let sample_at = ending + 1 - length;
        if length == 0 {
            return Run { length, sample_at, piece: None, at: None, semitones: 0 };
        }
        let piece = &self.pieces[piece];
        Run {
            length,
            sample_at,
            piece: Some(piece.name.clone()),
            at: Some(last + 1 - length),
            semitones: interval(piece.classes[last], self.melody[ending]),
        }
    }
}

/// From one class to another, in semitones.
fn interval(from: u8, to: u8) -> Symbol {
    Symbol::from(to) - Symbol::from(from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Some pieces and a melody of few classes, so that they share runs of all lengths.
    fn pieces_and_melody() -> impl Strategy<Value = (Vec<Piece>, Vec<u8>)> {
        let notes = |most| prop::collection::vec(0..4u8, 0..most);
        (prop::collection::vec(notes(30), 0..5), notes(40)).prop_map(|(pieces, melody)| {
            let named = |(number, classes): (usize, Vec<u8>)| Piece { name: number.to_string(), classes };
            (pieces.into_iter().enumerate().map(named).collect(), melody)
        })
    }

    /// By search: the first place of the corpus that has this stretch `semitones` lower, for some of these.
    fn search(pieces: &[Piece], stretch: &[u8], semitones: &[i16]) -> Option<(String, usize, i16)> {
        let places = pieces.iter().flat_map(|piece| {
            piece.classes.windows(stretch.len()).enumerate().map(|(at, theirs)| (&piece.name, at, theirs))
        });
        let mut found = places.filter_map(|(name, at, theirs)| {
            let fits = |by: i16| stretch.iter().zip(theirs).all(|(&a, &b)| i16::from(a) - i16::from(b) == by);
            semitones.iter().find(|&&by| fits(by)).map(|&by| (name.clone(), at, by))
        });
        found.next()
    }

    fn check(
        runs: &Runs<'_>,
        pieces: &[Piece],
        melody: &[u8],
        semitones: &[i16],
    ) -> Result<(), TestCaseError> {
        let has = |from: usize, to: usize| search(pieces, &melody[from..to], semitones);
        let longest_from = |from: usize| {
            (from + 1..=melody.len()).take_while(|&to| has(from, to).is_some()).last().unwrap_or(from) - from
        };
        let lengths: Vec<usize> = (0..melody.len()).map(longest_from).collect();
        let longest = runs.longest();
        prop_assert_eq!(longest.length, lengths.iter().copied().max().unwrap_or(0));
        // A run is one that neither the note before nor the note after could be added to.
        let expected: Vec<(usize, usize)> = (0..melody.len())
            .filter(|&from| lengths[from] > 2 && (from == 0 || lengths[from - 1] <= lengths[from]))
            .map(|from| (from, lengths[from]))
            .collect();
        let found = runs.longer_than(2);
        let places: Vec<_> = found.iter().map(|run| (run.sample_at, run.length)).collect();
        prop_assert_eq!(places, expected);
        for run in found.iter().chain([&longest]).filter(|run| run.length > 0) {
            let (name, at, by) = has(run.sample_at, run.sample_at + run.length).unwrap();
            prop_assert_eq!((&run.piece, run.at, run.semitones), (&Some(name), Some(at), by));
        }
        let novelty = runs.novelty(12);
        prop_assert_eq!(novelty.len(), melody.len().min(12));
        for (n, share) in (1..).zip(novelty) {
            let grams = melody.len() + 1 - n;
            let new = (0..grams).filter(|&from| lengths[from] < n).count();
            prop_assert_eq!(share, new as f64 / grams as f64);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn runs_are_those_that_a_search_finds((pieces, melody) in pieces_and_melody()) {
            check(&Runs::exact(&pieces, &melody), &pieces, &melody, &[0])?;
            let any: Vec<i16> = (-3..=3).collect();
            check(&Runs::transposed(&pieces, &melody), &pieces, &melody, &any)?;
        }
    }

    #[test]
    fn a_single_note_is_shared_transposed_with_any_note() {
        let pieces =
            [Piece { name: "empty".into(), classes: vec![] }, Piece { name: "a".into(), classes: vec![7] }];
        let run = Runs::transposed(&pieces, &[9]).longest();
        assert_eq!((run.length, run.piece.as_deref(), run.at, run.semitones), (1, Some("a"), Some(0), 2));
        assert_eq!(Runs::exact(&pieces, &[9]).longest().length, 0);
        assert_eq!(Runs::transposed(&[], &[9]).longest().length, 0);
    }
}
