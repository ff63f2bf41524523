//! Windows: so many notes of a piece and the note that follows. They are counted, not stored.

use super::Piece;

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
    /// Index of its first note in the piece.
    pub at: usize,
    /// The classes that the network sees.
    pub input: &'a [u8],
    /// The class that it is to predict.
    pub target: u8,
    /// Semitones by which its notes are to be moved.
    pub shift: i8,
}

impl Window<'_> {
    /// Moved by up to so many semitones at random, as far as every note keeps a class below `classes`.
    pub fn transposed(self, most: u8, classes: usize, random: u64) -> Self {
        let notes = || self.input.iter().chain([&self.target]).copied();
        let (lowest, highest) =
            notes().fold((u8::MAX, 0), |(low, high), note| (low.min(note), high.max(note)));
        let down = most.min(lowest);
        let up = (usize::from(most)).min(classes - 1 - usize::from(highest)) as u8;
        let choices = u64::from(down) + u64::from(up) + 1;
        let shift = (random % choices) as i64 - i64::from(down);
        Window { shift: shift as i8, ..self }
    }

    /// A note of it, moved.
    pub fn moved(&self, class: u8) -> u8 {
        class.wrapping_add_signed(self.shift)
    }
}

impl<'a> Windows<'a> {
    /// The windows of these pieces; one with `length` notes or fewer has none.
    pub fn new(pieces: &'a [Piece], length: usize) -> Self {
        let mut first = vec![0];
        for piece in pieces {
            first.push(first[first.len() - 1] + windows_of(piece.classes.len(), length) as u64);
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
        let notes = &self.pieces[piece].classes[at..=at + self.length];
        let (input, target) = (&notes[..self.length], notes[self.length]);
        Window { piece, at, input, target, shift: 0 }
    }

    /// The piece that a window is of.
    pub fn piece(&self, window: &Window<'_>) -> &'a Piece {
        &self.pieces[window.piece]
    }

    /// Notes in a window.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// Windows in a piece of so many notes.
pub fn windows_of(notes: usize, length: usize) -> usize {
    notes.saturating_sub(length)
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
            assert_eq!(*window, Window { piece, at, input, target, shift: 0 });
        }
    }

    #[test]
    fn a_window_is_moved_within_the_alphabet_by_every_allowed_distance() {
        let window = Window { piece: 0, at: 0, input: &[2, 5], target: 7, shift: 0 };
        let shifts = |most| {
            let mut all: Vec<_> = (0..100).map(|i| window.transposed(most, 10, i * 7 + 3).shift).collect();
            all.sort();
            all.dedup();
            all
        };
        assert_eq!(shifts(6), [-2, -1, 0, 1, 2]);
        assert_eq!(shifts(1), [-1, 0, 1]);
        assert_eq!(shifts(0), [0]);
        assert_eq!(Window { shift: -2, ..window }.moved(2), 0);
    }

    #[test]
    fn short_pieces_have_none() {
        assert!(Windows::new(&[piece(&[1, 2])], 2).is_empty());
    }
}
