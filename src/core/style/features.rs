//! What is measured of a stretch of notes.
//!
//! The list follows Yang and Lerch (*On the evaluation of generative models in music*, 2018) as far as it goes
//! without rhythm, and adds two kinds of repetition. Histograms are compared by their Euclidean distance, single
//! numbers by their difference.

use std::collections::HashSet;

/// Notes in a passage whose return counts as repetition.
const PASSAGE: usize = 8;

/// Intervals reach from −127 to 127 semitones.
const LARGEST_INTERVAL: i16 = 127;

/// Features of one stretch of notes, in pitches.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Share of each pitch class, C first.
    pub pitch_classes: Vec<f64>,
    /// Share of each step from one pitch class to another among all steps: 12 × 12, rows are where it starts.
    pub transitions: Vec<f64>,
    /// Share of each interval, from −127 to 127 semitones.
    pub intervals: Vec<f64>,
    /// The numbers, in the order of [`NUMBERS`].
    pub numbers: [f64; NUMBERS.len()],
}

/// What the numbers are.
pub const NUMBERS: [&str; 5] = [
    "pitch range",       // highest minus lowest pitch, in semitones
    "distinct pitches",  // how many
    "average interval",  // mean distance from note to note, in semitones
    "notes repeated",    // share of notes that are the note before again
    "passages repeated", // share of passages of 8 notes that stood in the stretch before
];

/// All features, as they are compared.
pub const NAMES: [&str; 3 + NUMBERS.len()] =
    ["pitch classes", "transitions", "intervals", NUMBERS[0], NUMBERS[1], NUMBERS[2], NUMBERS[3], NUMBERS[4]];

impl Features {
    /// Of at least two notes.
    pub fn of(pitches: &[u8]) -> Self {
        assert!(pitches.len() > 1, "features of {} notes", pitches.len());
        let class = |pitch: u8| usize::from(pitch % 12);
        let steps = || pitches.windows(2).map(|pair| (pair[0], pair[1]));
        let interval = |(from, to): (u8, u8)| i16::from(to) - i16::from(from);
        let bin = |step| (interval(step) + LARGEST_INTERVAL) as usize;

        let (lowest, highest) = pitches.iter().fold((u8::MAX, 0), |(l, h), &p| (l.min(p), h.max(p)));
        let distinct: HashSet<u8> = pitches.iter().copied().collect();
        let count = steps().count() as f64;
        let total: f64 = steps().map(|step| f64::from(interval(step).abs())).sum();
        let repeated = steps().filter(|(from, to)| from == to).count() as f64;
        Features {
            pitch_classes: shares(12, pitches.iter().map(|&pitch| class(pitch))),
            transitions: shares(144, steps().map(|(from, to)| 12 * class(from) + class(to))),
            intervals: shares(2 * LARGEST_INTERVAL as usize + 1, steps().map(bin)),
            numbers: [
                f64::from(highest - lowest),
                distinct.len() as f64,
                total / count,
                repeated / count,
                passages_repeated(pitches),
            ],
        }
    }

    /// Distance from another stretch in the feature of this index in [`NAMES`].
    pub fn distance(&self, other: &Features, feature: usize) -> f64 {
        match feature {
            0 => euclidean(&self.pitch_classes, &other.pitch_classes),
            1 => euclidean(&self.transitions, &other.transitions),
            2 => euclidean(&self.intervals, &other.intervals),
            _ => (self.numbers[feature - 3] - other.numbers[feature - 3]).abs(),
        }
    }

    /// The mean of each histogram and number over some stretches, at least one.
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

/// The share of each bin.
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
    let passages = pitches.windows(PASSAGE);
    let all = passages.len().max(1) as f64;
    passages.filter(|passage| !before.insert(*passage)).count() as f64 / all
}

#[cfg(test)]
mod tests {
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
}
