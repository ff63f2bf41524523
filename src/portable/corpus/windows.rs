//! Windows: a fixed number of tokens of a piece, and the token after them. They are numbered, not stored.

use super::Piece;
use crate::representation::{Representation, Token};

/// All windows of some pieces, numbered piece by piece from the first.
#[derive(Debug, Clone)]
pub struct Windows<'a> {
    pieces: &'a [Piece],
    length: usize,
    /// The number of the first window of each piece, then the number of all.
    first: Vec<u64>,
}

/// One window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<'a> {
    /// Index of its piece.
    pub piece: usize,
    /// Index of its first token in the piece.
    pub at: usize,
    /// Its tokens, and the one after them.
    pub tokens: &'a [Token],
}

impl<'a> Window<'a> {
    /// What the network reads.
    pub fn input(&self) -> &'a [Token] {
        &self.tokens[..self.tokens.len() - 1]
    }

    /// What it is to predict.
    pub fn target(&self) -> Token {
        self.tokens[self.tokens.len() - 1]
    }
}

/// Writes `tokens` to `out`, transposed by a random interval of at most `max_semitones` up or down, among those that keep
/// every token in the vocabulary.
pub fn read_transposed(
    representation: &dyn Representation,
    tokens: &[Token],
    max_semitones: u8,
    random: u64,
    out: &mut Vec<Token>,
) {
    let max = max_semitones.cast_signed();
    let fits =
        |&semitones: &i8| tokens.iter().all(|&token| representation.transpose(token, semitones).is_some());
    let choices: Vec<i8> = (-max..=max).filter(fits).collect();
    let semitones = choices[(random % choices.len() as u64) as usize];
    out.clear();
    out.extend(tokens.iter().filter_map(|&token| representation.transpose(token, semitones)));
}

impl<'a> Windows<'a> {
    /// The windows of these pieces. A piece of `length` tokens or fewer has none.
    pub fn new(pieces: &'a [Piece], length: usize) -> Self {
        let mut first = vec![0];
        for piece in pieces {
            first.push(first[first.len() - 1] + windows_of(piece.tokens.len(), length) as u64);
        }
        Windows { pieces, length, first }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.first[self.first.len() - 1]
    }

    /// Whether no piece is long enough to have one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The window of a number below `len`.
    pub fn get(&self, number: u64) -> Window<'a> {
        assert!(number < self.len(), "window {number} of {}", self.len());
        let piece = self.first.partition_point(|&first| first <= number) - 1;
        let at = (number - self.first[piece]) as usize;
        Window { piece, at, tokens: &self.pieces[piece].tokens[at..=at + self.length] }
    }

    /// The piece that a window belongs to.
    pub fn piece(&self, window: &Window<'_>) -> &'a Piece {
        &self.pieces[window.piece]
    }

    /// Tokens that the network reads of each window.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// How many windows a piece of this many tokens has.
pub fn windows_of(tokens: usize, length: usize) -> usize {
    tokens.saturating_sub(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representation::pitch::Pitch;

    fn piece(tokens: &[Token]) -> Piece {
        Piece { name: "p".into(), tokens: tokens.to_vec() }
    }

    #[test]
    fn windows_are_numbered_across_pieces() {
        let pieces = [piece(&[1, 2, 3, 4]), piece(&[9, 9]), piece(&[]), piece(&[5, 6, 7])];
        let windows = Windows::new(&pieces, 2);
        let all: Vec<_> = (0..windows.len()).map(|i| windows.get(i)).collect();
        let expected: [(usize, usize, &[Token], Token); 3] =
            [(0, 0, &[1, 2], 3), (0, 1, &[2, 3], 4), (3, 0, &[5, 6], 7)];
        assert_eq!(all.len(), expected.len());
        for (window, (piece, at, input, target)) in all.iter().zip(expected) {
            assert_eq!(
                (window.piece, window.at, window.input(), window.target()),
                (piece, at, input, target)
            );
        }
    }

    #[test]
    fn a_window_is_transposed_within_the_vocabulary_by_every_allowed_interval() {
        let representation = Pitch::with_tokens(10, false);
        let window = Window { piece: 0, at: 0, tokens: &[2, 5, 7] };
        let found = |max_semitones| {
            let mut tokens = Vec::new();
            let mut all: Vec<Vec<Token>> = Vec::new();
            for random in (0..100).map(|i| i * 7 + 3) {
                read_transposed(&representation, window.tokens, max_semitones, random, &mut tokens);
                all.push(tokens.clone());
            }
            all.sort();
            all.dedup();
            all
        };
        assert_eq!(found(6), [[0, 3, 5], [1, 4, 6], [2, 5, 7], [3, 6, 8], [4, 7, 9]]);
        assert_eq!(found(1), [[1, 4, 6], [2, 5, 7], [3, 6, 8]]);
        assert_eq!(found(0), [[2, 5, 7]]);
    }

    #[test]
    fn short_pieces_have_none() {
        assert!(Windows::new(&[piece(&[1, 2])], 2).is_empty());
    }
}
