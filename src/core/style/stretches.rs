//! Stretches: pieces cut to the samples' length, so that what grows with length can be compared.

use super::features::Features;
use crate::corpus::{Piece, pitch_of};
use crate::random::{Purpose, Stream};

/// The most stretches; of a larger corpus every so many-th is taken.
const MOST: usize = 300;

/// Sets that are drawn to find the spread of the corpus.
const DRAWS: u64 = 100;

/// A stretch of a piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// Index of its piece.
    pub piece: usize,
    /// Its notes, in pitches.
    pub pitches: Vec<u8>,
}

/// The length that samples and pieces are cut to: that of the shortest sample, or less where half of the pieces
/// would be shorter.
pub fn length(samples: &[Vec<u8>], corpus: &[Piece]) -> usize {
    let mut pieces: Vec<usize> = corpus.iter().map(|piece| piece.classes.len()).collect();
    pieces.sort_unstable();
    let median = pieces.get(pieces.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    samples.iter().map(Vec::len).min().unwrap_or(0).min(median)
}

/// The pieces cut into stretches that do not overlap, without what is left at their ends.
pub fn cut(corpus: &[Piece], length: usize) -> Vec<Stretch> {
    let of_piece = |(piece, notes): (usize, &Piece)| {
        let stretches = notes.classes.chunks_exact(length);
        let pitches = stretches.map(|classes| classes.iter().map(|&class| pitch_of(class)).collect());
        pitches.map(move |pitches| Stretch { piece, pitches }).collect::<Vec<_>>()
    };
    let all: Vec<Stretch> = corpus.iter().enumerate().flat_map(of_piece).collect();
    let every = all.len().div_ceil(MOST).max(1);
    all.into_iter().step_by(every).collect()
}

/// Sets of stretches as large as that of the samples, with at most one stretch of each piece.
pub fn draw(stretches: &[Stretch], samples: usize) -> Vec<Vec<usize>> {
    (0..DRAWS).map(|number| draw_one(stretches, samples, number)).collect()
}

fn draw_one(stretches: &[Stretch], samples: usize, number: u64) -> Vec<usize> {
    // In a random order, the first of each piece.
    let stream = Stream::new(0, Purpose::Sampling, &[number]);
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    order.sort_by_key(|&index| stream.bits(index as u64));
    let mut pieces = std::collections::HashSet::new();
    order.retain(|&index| pieces.insert(stretches[index].piece));
    order.truncate(samples);
    order
}

/// Distances in one feature between stretches of different pieces: what the corpus's own music has.
pub fn distances_within(stretches: &[Stretch], features: &[Features], feature: usize) -> Vec<f64> {
    let mut distances = Vec::new();
    for (index, one) in stretches.iter().enumerate() {
        for (other, another) in stretches[..index].iter().enumerate() {
            if one.piece != another.piece {
                distances.push(features[index].distance(&features[other], feature));
            }
        }
    }
    distances
}

/// Distances in one feature of drawn stretches from those of other pieces.
pub fn distances_of(set: &[usize], stretches: &[Stretch], features: &[Features], feature: usize) -> Vec<f64> {
    let others = |&one: &usize| {
        let other = move |&other: &usize| stretches[other].piece != stretches[one].piece;
        (0..stretches.len()).filter(other).map(move |other| features[one].distance(&features[other], feature))
    };
    set.iter().flat_map(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(notes: usize) -> Piece {
        Piece { name: "p".into(), classes: (0..notes).map(|i| (i % 50) as u8).collect() }
    }

    #[test]
    fn pieces_are_cut_to_what_most_of_them_have() {
        let corpus = [piece(30), piece(70), piece(100)];
        assert_eq!(length(&[vec![0; 40], vec![0; 50]], &corpus), 40);
        assert_eq!(length(&[vec![0; 400]], &corpus), 70);
        assert_eq!(length(&[], &corpus), 0);
        let stretches = cut(&corpus, 40);
        let found: Vec<_> = stretches.iter().map(|s| (s.piece, s.pitches[0], s.pitches.len())).collect();
        assert_eq!(found, [(1, 1, 40), (2, 1, 40), (2, 41, 40)]);
        assert!(cut(&vec![piece(400); 100], 40).len() <= MOST);
    }

    #[test]
    fn sets_are_of_different_pieces() {
        let stretches = cut(&[piece(100), piece(100), piece(100)], 10);
        let sets = draw(&stretches, 2);
        for set in &sets {
            assert!(set.len() == 2 && stretches[set[0]].piece != stretches[set[1]].piece, "{set:?}");
        }
        let first: std::collections::HashSet<_> = sets.iter().map(|set| set[0]).collect();
        assert!(first.len() > 25, "of 30 stretches only {first:?} are ever drawn first");
        assert!(draw(&stretches, 9).iter().all(|set| set.len() == 3));
    }

    #[test]
    fn distances_are_between_different_pieces() {
        let stretch = |piece, pitches: &[u8]| Stretch { piece, pitches: pitches.to_vec() };
        let stretches = [stretch(0, &[1, 2]), stretch(0, &[1, 4]), stretch(1, &[1, 8])];
        let features: Vec<_> = stretches.iter().map(|s| Features::of(&s.pitches)).collect();
        // Feature 3 is the pitch range: 1, 3 and 7.
        assert_eq!(distances_within(&stretches, &features, 3), [6.0, 4.0]);
        assert_eq!(distances_of(&[1, 2], &stretches, &features, 3), [4.0, 6.0, 4.0]);
    }
}
