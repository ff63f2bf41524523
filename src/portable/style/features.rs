//! Excerpts of pieces, cut to the samples' length so that features which grow with length are comparable, and what is
//! measured of them.
//!
//! The features follow Yang and Lerch (*On the evaluation of generative models in music*, 2018) as far as they need no
//! rhythm, plus two kinds of repetition. Histograms are compared by Euclidean distance, numbers by their difference.

use std::collections::HashSet;

use serde::Serialize;

use crate::random::{Purpose, RandomStream};

/// Of a larger corpus, every k-th excerpt is used: distances grow with the square of their number.
const MAX_EXCERPTS: usize = 300;

/// Sets drawn to find the spread within the corpus: enough for percentiles of 5 and 95.
const DRAWS: u64 = 100;

/// An excerpt of a piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Excerpt {
    /// The index of its piece.
    pub piece: usize,
    /// Its pitches.
    pub pitches: Vec<u8>,
}

/// The length in notes that samples and pieces are cut to: the shortest sample's, but at most the median piece's.
pub fn excerpt_length(samples: &[Vec<u8>], corpus: &[Vec<u8>]) -> usize {
    let mut pieces: Vec<usize> = corpus.iter().map(|piece| piece.len()).collect();
    pieces.sort_unstable();
    let median = pieces.get(pieces.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    samples.iter().map(Vec::len).min().unwrap_or(0).min(median)
}

/// The pieces cut into excerpts that do not overlap; incomplete ones at their ends are dropped.
pub fn cut_excerpts(corpus: &[Vec<u8>], length: usize) -> Vec<Excerpt> {
    let mut all = Vec::new();
    for (piece, pitches) in corpus.iter().enumerate() {
        all.extend(pitches.chunks_exact(length).map(|pitches| Excerpt { piece, pitches: pitches.to_vec() }));
    }
    let every = all.len().div_ceil(MAX_EXCERPTS).max(1);
    all.into_iter().step_by(every).collect()
}

/// Random sets of excerpts, each as large as the set of samples, with at most one excerpt per piece.
pub fn draw_sets(excerpts: &[Excerpt], samples: usize) -> Vec<Vec<usize>> {
    (0..DRAWS).map(|number| draw_one(excerpts, samples, number)).collect()
}

fn draw_one(excerpts: &[Excerpt], samples: usize, number: u64) -> Vec<usize> {
    // The first excerpt of each piece, in a random order.
    let stream = RandomStream::new(0, Purpose::Sampling, &[number]);
    let mut order: Vec<usize> = (0..excerpts.len()).collect();
    order.sort_by_key(|&index| stream.bits(index as u64));
    let mut pieces = std::collections::HashSet::new();
    order.retain(|&index| pieces.insert(excerpts[index].piece));
    order.truncate(samples);
    order
}

/// Distances in one feature between excerpts of different pieces.
pub fn distances_within(excerpts: &[Excerpt], features: &[Features], feature: usize) -> Vec<f64> {
    let mut distances = Vec::new();
    for (index, one) in excerpts.iter().enumerate() {
        for (other, another) in excerpts[..index].iter().enumerate() {
            if one.piece != another.piece {
                distances.push(features[index].distance(&features[other], feature));
            }
        }
    }
    distances
}

/// Distances in one feature from a set of excerpts to those of other pieces.
pub fn distances_of(set: &[usize], excerpts: &[Excerpt], features: &[Features], feature: usize) -> Vec<f64> {
    let mut distances = Vec::new();
    for &one in set {
        let others = (0..excerpts.len()).filter(|&other| excerpts[other].piece != excerpts[one].piece);
        distances.extend(others.map(|other| features[one].distance(&features[other], feature)));
    }
    distances
}

/// The return of as many notes in a row counts as repetition: half a bar of sixteenths, rarely a coincidence.
const PASSAGE_NOTES: usize = 8;

/// Semitones between the lowest and the highest MIDI key.
const MAX_INTERVAL: i16 = 127;

/// Features of an excerpt's pitches.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Share of each pitch class, C first.
    pub pitch_classes: Vec<f64>,
    /// Share of each transition between pitch classes among all transitions: 12 × 12, rows are the first class.
    pub transitions: Vec<f64>,
    /// Share of each interval, from −127 to 127 semitones.
    pub intervals: Vec<f64>,
    /// In the order of [`NUMBERS`].
    pub numbers: [f64; NUMBERS.len()],
}

/// The names of the numbers.
pub const NUMBERS: [&str; 5] = [
    "pitch range",       // highest minus lowest pitch, in semitones
    "distinct pitches",  // their number
    "average interval",  // mean distance from note to note, in semitones
    "notes repeated",    // share of notes equal to the previous note
    "passages repeated", // share of passages of 8 notes that occurred earlier in the excerpt
];

/// The names of all features, in the order of [`Features::distance`].
pub const NAMES: [&str; 3 + NUMBERS.len()] =
    ["pitch classes", "transitions", "intervals", NUMBERS[0], NUMBERS[1], NUMBERS[2], NUMBERS[3], NUMBERS[4]];

impl Features {
    /// # Panics
    /// With fewer than two notes.
    pub fn of(pitches: &[u8]) -> Self {
        assert!(pitches.len() > 1, "features of {} notes", pitches.len());
        let class = |pitch: u8| usize::from(pitch % 12);
        let steps = || pitches.windows(2).map(|pair| (pair[0], pair[1]));
        let interval = |(from, to): (u8, u8)| i16::from(to) - i16::from(from);

        let (lowest, highest) = pitches.iter().fold((u8::MAX, 0), |(l, h), &p| (l.min(p), h.max(p)));
        let distinct: HashSet<u8> = pitches.iter().copied().collect();
        let count = steps().count() as f64;
        let total: f64 = steps().map(|step| f64::from(interval(step).abs())).sum();
        let repeated = steps().filter(|(from, to)| from == to).count() as f64;
        Features {
            pitch_classes: shares(12, pitches.iter().map(|&pitch| class(pitch))),
            transitions: shares(144, steps().map(|(from, to)| 12 * class(from) + class(to))),
            intervals: shares(
                2 * MAX_INTERVAL as usize + 1,
                steps().map(|step| (interval(step) + MAX_INTERVAL) as usize),
            ),
            numbers: [
                f64::from(highest - lowest),
                distinct.len() as f64,
                total / count,
                repeated / count,
                passages_repeated(pitches),
            ],
        }
    }

    /// The distance from another excerpt in `NAMES[feature]`.
    pub fn distance(&self, other: &Features, feature: usize) -> f64 {
        match feature {
            0 => euclidean(&self.pitch_classes, &other.pitch_classes),
            1 => euclidean(&self.transitions, &other.transitions),
            2 => euclidean(&self.intervals, &other.intervals),
            _ => (self.numbers[feature - 3] - other.numbers[feature - 3]).abs(),
        }
    }

    /// The mean of each histogram and number over at least one excerpt.
    pub fn mean(of: &[Features]) -> Features {
        let mean = |histogram: fn(&Features) -> &[f64]| {
            let bins = 0..histogram(&of[0]).len();
            bins.map(|bin| of.iter().map(|f| histogram(f)[bin]).sum::<f64>() / of.len() as f64).collect()
        };
        let numbers: Vec<f64> = mean(|f| &f.numbers);
        Features {
            pitch_classes: mean(|f| &f.pitch_classes),
            transitions: mean(|f| &f.transitions),
            intervals: mean(|f| &f.intervals),
            numbers: std::array::from_fn(|i| numbers[i]),
        }
    }
}

fn shares(bins: usize, items: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut counts = vec![0.0; bins];
    let mut total = 0.0;
    for item in items {
        counts[item] += 1.0;
        total += 1.0;
    }
    counts.iter().map(|count| count / total).collect()
}

fn euclidean(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

fn passages_repeated(pitches: &[u8]) -> f64 {
    let mut before = HashSet::new();
    let passages = pitches.windows(PASSAGE_NOTES);
    let all = passages.len().max(1) as f64;
    passages.filter(|passage| !before.insert(*passage)).count() as f64 / all
}

/// The longest loop that is looked for: much longer than any that greedy decoding is known to end in.
const MAX_PERIOD_NOTES: usize = 1000;

/// Fewer rounds are a mere repeat, which music has.
const MIN_ROUNDS: usize = 3;

/// A shorter ending is not a loop either: music may end with some equal notes.
const MIN_LOOP_NOTES: usize = 24;

/// Notes that repeat until the end of a sample: how greedy decoding ends when it falls into a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Loop {
    /// Where the first round begins, counting notes from 0.
    pub start: usize,
    /// Notes in a round.
    pub period: usize,
    /// Complete rounds until the end.
    pub rounds: usize,
}

/// The loop that `notes` end in, if any: of several, the one that begins first, then the one with the shortest round.
pub fn find_loop(notes: &[u8]) -> Option<Loop> {
    let longest = MAX_PERIOD_NOTES.min(notes.len() / MIN_ROUNDS);
    let loops = (1..=longest).filter_map(|period| {
        let same = notes.iter().rev().zip(notes.iter().rev().skip(period));
        let length = period + same.take_while(|(a, b)| a == b).count();
        let is_loop = length >= (MIN_ROUNDS * period).max(MIN_LOOP_NOTES);
        is_loop.then_some(Loop { start: notes.len() - length, period, rounds: length / period })
    });
    loops.min_by_key(|found| (found.start, found.period))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        let f = Features::of(&[60, 62, 62, 50, 72]);
        assert_eq!(f.numbers, [22.0, 4.0, (2.0 + 0.0 + 12.0 + 22.0) / 4.0, 0.25, 0.0]);
        assert_eq!((f.pitch_classes[0], f.pitch_classes[2]), (0.4, 0.6));
        // C to D, D to D twice, D to C.
        assert_eq!((f.transitions[2], f.transitions[26], f.transitions[24]), (0.25, 0.5, 0.25));
        let intervals = [2, 0, -12, 22].map(|interval: i16| f.intervals[(interval + 127) as usize]);
        assert_eq!(intervals, [0.25; 4]);
    }

    #[test]
    fn passages_that_come_again() {
        let notes: Vec<u8> = (0..10).chain(0..10).collect();
        // 13 passages, the last 3 of them for the second time.
        assert_eq!(Features::of(&notes).numbers[4], 3.0 / 13.0);
        assert_eq!(Features::of(&[1, 2, 3]).numbers[4], 0.0);
    }

    #[test]
    fn distances() {
        let (a, b) = (Features::of(&[60, 60, 60]), Features::of(&[62, 62, 62]));
        let distances: Vec<_> = (0..NAMES.len()).map(|feature| a.distance(&b, feature)).collect();
        assert_eq!(distances[..3], [2f64.sqrt(), 2f64.sqrt(), 0.0]);
        assert_eq!(distances[3..], [0.0; 5]);
        assert_eq!(Features::of(&[60, 67]).distance(&a, 3), 7.0);
        assert_eq!(Features::mean(&[a, b]).pitch_classes[..3], [0.5, 0.0, 0.5]);
    }

    fn piece(notes: usize) -> Vec<u8> {
        (0..notes).map(|i| 1 + (i % 50) as u8).collect()
    }

    #[test]
    fn pieces_are_cut_to_what_most_of_them_have() {
        let corpus = [piece(30), piece(70), piece(100)];
        assert_eq!(excerpt_length(&[vec![0; 40], vec![0; 50]], &corpus), 40);
        assert_eq!(excerpt_length(&[vec![0; 400]], &corpus), 70);
        assert_eq!(excerpt_length(&[], &corpus), 0);
        let excerpts = cut_excerpts(&corpus, 40);
        let found: Vec<_> = excerpts.iter().map(|s| (s.piece, s.pitches[0], s.pitches.len())).collect();
        assert_eq!(found, [(1, 1, 40), (2, 1, 40), (2, 41, 40)]);
        assert!(cut_excerpts(&vec![piece(400); 100], 40).len() <= MAX_EXCERPTS);
    }

    #[test]
    fn sets_are_of_different_pieces() {
        let excerpts = cut_excerpts(&[piece(100), piece(100), piece(100)], 10);
        let sets = draw_sets(&excerpts, 2);
        for set in &sets {
            assert!(set.len() == 2 && excerpts[set[0]].piece != excerpts[set[1]].piece, "{set:?}");
        }
        let first: std::collections::HashSet<_> = sets.iter().map(|set| set[0]).collect();
        assert!(first.len() > 25, "of 30 excerpts only {first:?} are ever drawn first");
        assert!(draw_sets(&excerpts, 9).iter().all(|set| set.len() == 3));
    }

    #[test]
    fn distances_are_between_different_pieces() {
        let excerpt = |piece, pitches: &[u8]| Excerpt { piece, pitches: pitches.to_vec() };
        let excerpts = [excerpt(0, &[1, 2]), excerpt(0, &[1, 4]), excerpt(1, &[1, 8])];
        let features: Vec<_> = excerpts.iter().map(|s| Features::of(&s.pitches)).collect();
        // Feature 3 is the pitch range: 1, 3 and 7.
        assert_eq!(distances_within(&excerpts, &features, 3), [6.0, 4.0]);
        assert_eq!(distances_of(&[1, 2], &excerpts, &features, 3), [4.0, 6.0, 4.0]);
    }

    #[test]
    fn a_circle_with_equal_notes_in_it() {
        let beginning = [9, 8, 7, 6, 5];
        let round = [1, 2, 3, 3, 3];
        let notes: Vec<u8> = beginning.into_iter().chain(round.repeat(7)).chain([1, 2]).collect();
        assert_eq!(find_loop(&notes), Some(Loop { start: 5, period: 5, rounds: 7 }));
        // One note more ends it.
        assert_eq!(find_loop(&[&notes[..], &[9]].concat()), None);
    }

    #[test]
    fn repeats_and_last_notes_are_no_loops() {
        assert_eq!(find_loop(&(0..40).chain(0..40).collect::<Vec<_>>()), None);
        assert_eq!(find_loop(&[1, 2, 3, 4, 4, 4, 4]), None);
        assert_eq!(find_loop(&[4; 30]), Some(Loop { start: 0, period: 1, rounds: 30 }));
        assert_eq!(find_loop(&[]), None);
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn what_is_found_goes_round(notes in prop::collection::vec(0u8..2, 0..60)) {
            if let Some(Loop { start, period, rounds }) = find_loop(&notes) {
                prop_assert!((start + period..notes.len()).all(|i| notes[i] == notes[i - period]));
                prop_assert!(rounds >= MIN_ROUNDS && (notes.len() - start) / period == rounds);
                // It begins no sooner.
                prop_assert!(start == 0 || notes[start - 1] != notes[start - 1 + period]);
            }
        }
    }
}
