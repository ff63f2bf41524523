//! Windows: `sequence_length` notes of a piece and the note that follows. They are counted, not stored.

use super::Piece;

/// All windows of some pieces, numbered piece by piece from the first.
#[derive(Debug, Clone)]
pub struct Windows<'a> {
    pieces: &'a [Piece],
    sequence_length: usize,
    /// The number of the first window of each piece, then the number of all.
    first: Vec<u64>,
}

/// One window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<'a> {
    /// Index of its piece.
    pub piece: usize,
    /// Index of its first note in the piece.
    pub at: usize,
    /// The classes that the network sees, `sequence_length` of them.
    pub input: &'a [u8],
    /// The class that it is to predict.
    pub target: u8,
}

impl<'a> Windows<'a> {
    /// The windows of these pieces; one with `sequence_length` notes or fewer has none.
    pub fn new(pieces: &'a [Piece], sequence_length: usize) -> Self {
        let mut first = vec![0];
        for piece in pieces {
            first.push(first[first.len() - 1] + windows_of(piece.classes.len(), sequence_length) as u64);
        }
        Windows { pieces, sequence_length, first }
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
        let notes = &self.pieces[piece].classes[at..=at + self.sequence_length];
        Window { piece, at, input: &notes[..self.sequence_length], target: notes[self.sequence_length] }
    }

    /// The piece that a window is of.
    pub fn piece(&self, window: &Window<'_>) -> &'a Piece {
        &self.pieces[window.piece]
    }

    /// Notes in a window.
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }
}

/// Windows in a piece of so many notes.
pub fn windows_of(notes: usize, sequence_length: usize) -> usize {
    notes.saturating_sub(sequence_length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(classes: &[u8]) -> Piece {
        Piece { name: "p".into(), classes: classes.to_vec() }
    }

    #[test]
    fn windows_are_numbered_across_pieces() {
        let pieces = [piece(&[1, 2, 3, 4]), piece(&[9, 9]), piece(&[]), piece(&[5, 6, 7])];
        let windows = Windows::new(&pieces, 2);
        let all: Vec<_> = (0..windows.len()).map(|i| windows.get(i)).collect();
        let expected: [(usize, usize, &[u8], u8); 3] =
            [(0, 0, &[1, 2], 3), (0, 1, &[2, 3], 4), (3, 0, &[5, 6], 7)];
        assert_eq!(all.len(), expected.len());
        for (window, (piece, at, input, target)) in all.iter().zip(expected) {
            assert_eq!(*window, Window { piece, at, input, target });
        }
    }

    #[test]
    fn short_pieces_have_none() {
        assert!(Windows::new(&[piece(&[1, 2])], 2).is_empty());
    }
}
