//! Runs: what a melody shares with a corpus, exactly or transposed.
//!
//! A run is counted in notes. A transposed run of n notes is a run of n − 1 intervals, so a single note is a transposed run
//! of any corpus that has notes. No run goes from one piece into the next.

use serde::Serialize;

use super::lines::{Line, LineView};
use super::suffix_automaton::{Shared, shared_endings};
use crate::corpus::Piece;
use crate::representation::{Representation, Token, View, pitches};

/// Notes in a row that a melody and a piece share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Notes.
    pub length: usize,
    /// Index of its first note in the melody, from 0.
    pub sample_at: usize,
    /// The first piece of the corpus that has it; `None` where nothing is shared.
    pub piece: Option<String>,
    /// Index of its first note in that piece, from 0, at its first occurrence there.
    pub at: Option<usize>,
    /// How many semitones higher the melody has it than the piece.
    pub semitones: i16,
}

/// For every note of a melody, the longest run that ends with it.
#[derive(Debug)]
pub struct Runs<'a> {
    music: Music<'a>,
    /// Of the melody's notes.
    pitches: Vec<u8>,
    /// For each note of the melody.
    endings: Vec<Ending>,
}

/// Where runs are looked for.
#[derive(Debug, Clone, Copy)]
enum Music<'a> {
    Pieces { representation: &'a dyn Representation, pieces: &'a [Piece] },
    Lines(&'a [Line]),
}

/// A run, by where a piece has its last note.
#[derive(Debug, Clone, Copy)]
struct Ending {
    length: usize,
    piece: usize,
    /// Index of the run's last note in the piece.
    last: usize,
}

impl<'a> Runs<'a> {
    /// The runs that the pieces have in this view.
    pub fn new(
        representation: &'a dyn Representation,
        view: View,
        pieces: &'a [Piece],
        melody: &[Token],
    ) -> Self {
        let corpus = pieces.iter().map(|piece| representation.view(view, &piece.tokens));
        let shared = shared_endings(representation.view(view, melody), corpus);
        let first_with_notes = pieces.iter().position(|piece| !piece.tokens.is_empty());
        let pitches = pitches(representation, melody);
        Runs::of(Music::Pieces { representation, pieces }, view, first_with_notes, pitches, shared)
    }

    /// The runs that a line shares with these of the training music, given their view.
    pub(super) fn of_line(line: &Line, lines: &'a [Line], view: &LineView) -> Self {
        let theirs = view.sequences.symbols.iter().map(|symbols| symbols.iter().copied());
        let shared = shared_endings(view.of(line), theirs);
        let first_with_notes = lines.iter().position(|line| !line.notes.is_empty());
        let pitches = line.notes.iter().map(|note| note.pitch).collect();
        Runs::of(Music::Lines(lines), view.view, first_with_notes, pitches, shared)
    }

    fn of(
        music: Music<'a>,
        view: View,
        first_with_notes: Option<usize>,
        pitches: Vec<u8>,
        shared: Vec<Shared>,
    ) -> Self {
        // Notes before the first symbol are shared with any note; the corpus's first one is named.
        let unseen = match first_with_notes {
            Some(piece) => Ending { length: view.lead(), piece, last: 0 },
            None => Ending { length: 0, piece: 0, last: 0 },
        };
        let mut endings = vec![unseen; view.lead().min(pitches.len())];
        for Shared { length, end } in shared {
            endings.push(match length {
                0 => unseen,
                _ => Ending {
                    length: length as usize + view.lead(),
                    piece: end.sequence as usize,
                    last: end.last as usize + view.lead(),
                },
            });
        }
        Runs { music, pitches, endings }
    }
}

impl Runs<'_> {
    /// The first of the longest runs; of length 0 if there is none.
    pub fn longest(&self) -> Run {
        // The last of the greatest, in reverse order.
        let ending = (0..self.endings.len()).rev().max_by_key(|&ending| self.endings[ending].length);
        ending.map_or(Run { length: 0, sample_at: 0, piece: None, at: None, semitones: 0 }, |e| self.run(e))
    }

    /// The runs that are not the beginning or end of a longer one and have more than so many notes, and more than
    /// `by_chance` says of the piece that they are shared with, given by its index; in order.
    pub fn longer_than(&self, notes: usize, by_chance: impl Fn(usize) -> usize) -> Vec<Run> {
        let grows = |ending: usize| {
            self.endings.get(ending + 1).is_some_and(|next| next.length > self.endings[ending].length)
        };
        let is_longer = |ending: usize| {
            let Ending { length, piece, .. } = self.endings[ending];
            length > notes && length > by_chance(piece)
        };
        let endings = 0..self.endings.len();
        endings.filter(|&e| !grows(e) && is_longer(e)).map(|e| self.run(e)).collect()
    }

    /// For n = 1, 2, … up to `max` or the melody's length: the fraction of its n-grams that the corpus does not have.
    pub fn novelty(&self, max: usize) -> Vec<f64> {
        let mut curve = Vec::new();
        for n in 1..=max.min(self.endings.len()) {
            let endings = &self.endings[n - 1..];
            let novel = endings.iter().filter(|ending| ending.length < n).count();
            curve.push(novel as f64 / endings.len() as f64);
        }
        curve
    }

    /// The run that ends with this note of the melody.
    fn run(&self, note: usize) -> Run {
        let Ending { length, piece, last } = self.endings[note];
        let sample_at = note + 1 - length;
        if length == 0 {
            return Run { length, sample_at, piece: None, at: None, semitones: 0 };
        }
        let (name, theirs) = match self.music {
            Music::Pieces { representation, pieces } => {
                let Piece { name, tokens } = &pieces[piece];
                (name, tokens.iter().filter_map(|&token| representation.pitch(token)).nth(last))
            }
            Music::Lines(lines) => (&lines[piece].name, lines[piece].notes.get(last).map(|note| note.pitch)),
        };
        let theirs = theirs.expect("a symbol stands for each note after the first ones");
        Run {
            length,
            sample_at,
            piece: Some(name.clone()),
            at: Some(last + 1 - length),
            semitones: i16::from(self.pitches[note]) - i16::from(theirs),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::representation::RepresentationConfig;

    /// Some pieces and a melody of few tokens, so that they share runs of all lengths.
    fn pieces_and_melody() -> impl Strategy<Value = (Vec<Piece>, Vec<Token>)> {
        let notes = |max| prop::collection::vec(0..4u16, 0..max);
        (prop::collection::vec(notes(30), 0..5), notes(40)).prop_map(|(pieces, melody)| {
            let named = |(number, tokens): (usize, Vec<Token>)| Piece { name: number.to_string(), tokens };
            (pieces.into_iter().enumerate().map(named).collect(), melody)
        })
    }

    /// By search: the first place of the corpus that has this n-gram `semitones` lower, for some of these.
    fn search(pieces: &[Piece], gram: &[Token], semitones: &[i16]) -> Option<(String, usize, i16)> {
        let places = pieces.iter().flat_map(|piece| {
            piece.tokens.windows(gram.len()).enumerate().map(|(at, theirs)| (&piece.name, at, theirs))
        });
        let mut found = places.filter_map(|(name, at, theirs)| {
            let fits = |by: i16| gram.iter().zip(theirs).all(|(&a, &b)| a as i16 - b as i16 == by);
            semitones.iter().find(|&&by| fits(by)).map(|&by| (name.clone(), at, by))
        });
        found.next()
    }

    fn check(
        runs: &Runs<'_>,
        pieces: &[Piece],
        melody: &[Token],
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
        let found = runs.longer_than(2, |_| 0);
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
            let representation = RepresentationConfig::default().build();
            let runs = |view| Runs::new(&*representation, view, &pieces, &melody);
            check(&runs(View::Exact), &pieces, &melody, &[0])?;
            let any: Vec<i16> = (-3..=3).collect();
            check(&runs(View::Transposed), &pieces, &melody, &any)?;
        }
    }

    #[test]
    fn a_single_note_is_shared_transposed_with_any_note() {
        let pieces =
            [Piece { name: "empty".into(), tokens: vec![] }, Piece { name: "a".into(), tokens: vec![7] }];
        let representation = RepresentationConfig::default().build();
        let longest = |view, pieces: &[Piece]| Runs::new(&*representation, view, pieces, &[9]).longest();
        let run = longest(View::Transposed, &pieces);
        assert_eq!((run.length, run.piece.as_deref(), run.at, run.semitones), (1, Some("a"), Some(0), 2));
        assert_eq!(longest(View::Exact, &pieces).length, 0);
        assert_eq!(longest(View::Transposed, &[]).length, 0);
    }
}
