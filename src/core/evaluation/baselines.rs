//! Models without a network, fitted on the same training pieces, that a network has to beat.
//!
//! The formulas and the figures that they reach on the cello suites are fixed by an oracle (`tests.rs`).

use super::contexts::Contexts;
use super::melody::Melody;
use crate::corpus::windows::Windows;
use crate::corpus::{CLASSES, Piece};

/// A kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// Every class alike.
    Uniform,
    /// How often each class is a window's next one, one added.
    Unigram,
    /// How often after the window's last class, one added.
    BigramAddOne,
    /// Contexts of up to so many classes, at most a window, by [`Contexts::witten_bell`].
    WittenBell(usize),
    /// Half by contexts of up to so many classes, half by contexts of up to so many intervals. It is counted on
    /// whole pieces, not on windows, so that contexts are shorter at the beginning of a piece.
    Mix {
        /// Classes in the longest context of classes.
        pitch: usize,
        /// Intervals in the longest context of intervals.
        interval: usize,
    },
}

/// Those that `eval` shows.
pub const SHOWN: [Baseline; 5] = [
    Baseline::Uniform,
    Baseline::Unigram,
    Baseline::BigramAddOne,
    Baseline::WittenBell(5),
    Baseline::Mix { pitch: 2, interval: 2 },
];

/// A baseline after its training.
#[derive(Debug, Clone)]
pub struct Fitted {
    baseline: Baseline,
    counts: Counts,
}

#[derive(Debug, Clone)]
enum Counts {
    Windows(Contexts),
    Pieces(Melody),
}

impl Baseline {
    /// Its name in `eval --json`.
    pub fn name(&self) -> String {
        match self {
            Baseline::Uniform => "uniform".into(),
            Baseline::Unigram => "unigram".into(),
            Baseline::BigramAddOne => "bigram_add_one".into(),
            Baseline::WittenBell(order) => format!("witten_bell_{order}"),
            Baseline::Mix { pitch, interval } => format!("pitch{pitch}_interval{interval}_mix"),
        }
    }

    /// Trains it on these pieces, cut into windows as for the network.
    pub fn fit(self, training: &[Piece], sequence_length: usize) -> Fitted {
        let order = match self {
            Baseline::Mix { pitch, interval } => {
                let mut melody = Melody::new(pitch, interval);
                training.iter().for_each(|piece| melody.count_piece(&piece.classes));
                return Fitted { baseline: self, counts: Counts::Pieces(melody) };
            }
            Baseline::Uniform | Baseline::Unigram => 0,
            Baseline::BigramAddOne => 1,
            Baseline::WittenBell(order) => order,
        };
        let mut contexts = Contexts::new(CLASSES, order);
        let windows = Windows::new(training, sequence_length);
        for window in (0..windows.len()).map(|number| windows.get(number)) {
            contexts.count(window.input, window.target);
        }
        Fitted { baseline: self, counts: Counts::Windows(contexts) }
    }
}

impl Fitted {
    /// Probabilities of the class that follows these notes of one piece, all above 0.
    pub fn probabilities(&self, notes: &[u8]) -> Vec<f64> {
        match (&self.counts, self.baseline) {
            (Counts::Pieces(melody), _) => {
                let mut mixed = melody.by_classes(notes);
                mixed.iter_mut().zip(melody.by_intervals(notes)).for_each(|(p, q)| *p = (*p + q) / 2.0);
                mixed
            }
            (_, Baseline::Uniform) => vec![1.0 / CLASSES as f64; CLASSES],
            (Counts::Windows(contexts), Baseline::WittenBell(_)) => contexts.witten_bell(notes),
            (Counts::Windows(contexts), _) => contexts.add_one(notes, contexts.order()),
        }
    }

    /// Their natural logarithms.
    pub fn log_probabilities(&self, notes: &[u8]) -> Vec<f64> {
        self.probabilities(notes).into_iter().map(f64::ln).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(classes: &[u8]) -> Piece {
        Piece { name: "p".into(), classes: classes.to_vec() }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }

    #[test]
    fn by_hand_on_windows_of_two() {
        // Windows (1 2) 1, (2 1) 2 and, from the other piece, (5 2) 1.
        let training = [piece(&[1, 2, 1, 2]), piece(&[5, 2, 1])];
        let after = |baseline: Baseline, notes: &[u8]| baseline.fit(&training, 2).probabilities(notes);
        close(after(Baseline::Uniform, &[7, 2])[3], 1.0 / 79.0);
        close(after(Baseline::Unigram, &[7, 2])[1], 3.0 / 82.0);
        close(after(Baseline::Unigram, &[7, 2])[5], 1.0 / 82.0);
        close(after(Baseline::BigramAddOne, &[7, 2])[1], 3.0 / 81.0);
        close(after(Baseline::BigramAddOne, &[2, 1])[2], 2.0 / 80.0);
        close(after(Baseline::BigramAddOne, &[2, 7])[2], 1.0 / 79.0);
        // Empty context: 1 twice and 2; after 2 only 1, twice.
        let empty = (2.0 + 2.0 / 79.0) / 5.0;
        close(after(Baseline::WittenBell(1), &[7, 2])[1], (2.0 + empty) / 3.0);
        close(after(Baseline::WittenBell(5), &[7, 2])[1], (2.0 + empty) / 3.0);
    }

    #[test]
    fn the_mix_counts_whole_pieces_and_no_interval_between_two() {
        let mix = Baseline::Mix { pitch: 0, interval: 0 }.fit(&[piece(&[3, 4]), piece(&[9])], 2);
        // Three classes, once each, and one interval, upwards by 1, in 157.
        let classes = (1.0 + 3.0 / 79.0) / 6.0;
        let reachable = 0.5 + 79.0 * 0.5 / 157.0;
        let up = (0.5 + 0.5 / 157.0) / reachable;
        close(mix.probabilities(&[3])[4], (classes + up) / 2.0);
        close(mix.probabilities(&[8])[9], (classes + up) / 2.0);
    }
}
