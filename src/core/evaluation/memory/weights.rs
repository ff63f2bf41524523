//! How much each opinion counts, by how long the last notes have been heard together before.

use super::examples::{Example, examples};
use super::{OPINIONS, newton};
use crate::corpus::Piece;

/// A row of weights holds for matches of at least so many notes, up to the next row.
const FROM: [usize; 6] = [0, 2, 4, 6, 10, 15];

/// Before anything is fitted: the geometric mean.
const EVEN: [f64; OPINIONS] = [1.0 / OPINIONS as f64; OPINIONS];

/// The weights of all examples together are held to [`EVEN`] as by so many examples, those of a row to the weights
/// of all.
const PENALTY: f64 = 1.0;
const ROW_PENALTY: f64 = 20.0;

/// Weights of the opinions, one row for each length of match.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    rows: [[f64; OPINIONS]; FROM.len()],
}

impl Default for Weights {
    /// Every opinion counts alike.
    fn default() -> Self {
        Weights { rows: [EVEN; FROM.len()] }
    }
}

impl Weights {
    /// The weights that predict the training pieces best, with a baseline in the network's place.
    pub fn fit(training: &[Piece]) -> Self {
        let examples = examples(training);
        let all = newton::minimise(examples.iter(), &EVEN, PENALTY);
        let row = |row: usize| {
            let of_row = |example: &&Example| row_of(example.longest_match) == row;
            newton::minimise(examples.iter().filter(of_row), &all, ROW_PENALTY)
        };
        Weights { rows: std::array::from_fn(row) }
    }

    /// The weights after a match of so many notes.
    pub fn after_match(&self, length: usize) -> &[f64; OPINIONS] {
        &self.rows[row_of(length)]
    }
}

fn row_of(length: usize) -> usize {
    FROM.partition_point(|&from| from <= length) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_by_length() {
        let rows: Vec<_> = [0, 1, 2, 3, 4, 9, 10, 14, 15, 99].into_iter().map(row_of).collect();
        assert_eq!(rows, [0, 0, 1, 1, 2, 3, 4, 4, 5, 5]);
    }

    #[test]
    fn pieces_that_repeat_themselves_teach_trust_in_memory() {
        // Each piece is twelve random notes, over and over: long matches are always right, the others know nothing.
        let stream = crate::random::Stream::new(1, crate::random::Purpose::Sampling, &[]);
        let piece = |number: u64| {
            let notes = (0..120).map(|i| (stream.of(number).bits(i % 12) % 79) as u8);
            Piece { name: number.to_string(), classes: notes.collect() }
        };
        let pieces: Vec<_> = (0..8).map(piece).collect();
        let weights = Weights::fit(&pieces);
        let [model, classes, _] = *weights.after_match(20);
        assert!(model < 0.2 && classes > 0.5, "{weights:?}");
        assert_eq!(Weights::fit(&pieces), weights);
    }
}
