//! Which windows their piece has already contained.
//!
//! A window counts as heard when its notes **and the one that follows** stood together earlier in the same piece,
//! overlaps included: 8,473 of the 23,781 windows of the cello suites. A model that remembers the piece can have
//! those by copying, so figures are given apart for those and for the others.

use std::collections::HashSet;

use crate::corpus::Piece;

/// For each window of a piece, in order, whether it was heard before.
pub fn heard(notes: &[u8], sequence_length: usize) -> Vec<bool> {
    let mut before = HashSet::new();
    notes.windows(sequence_length + 1).map(|window| !before.insert(window)).collect()
}

/// The same for every window of these pieces, by the window's number.
pub fn heard_in_all(pieces: &[Piece], sequence_length: usize) -> Vec<bool> {
    pieces.iter().flat_map(|piece| heard(&piece.classes, sequence_length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::windows::Windows;

    #[test]
    fn the_note_that_follows_counts() {
        //           0  1  2  3  4  5  6  7  8
        let notes = [1, 2, 3, 9, 1, 2, 4, 1, 2, 3, 9];
        let found = heard(&notes, 2);
        let repeated: Vec<_> = (0..found.len()).filter(|&at| found[at]).collect();
        assert_eq!(found.len(), 9);
        // (1 2) 3 and (2 3) 9 come again; (1 2) 4 is new though 1 2 was there.
        assert_eq!(repeated, [7, 8]);
        // A repeat may overlap what it repeats.
        assert_eq!(heard(&[5, 5, 5, 5], 2), [false, true]);
        assert!(heard(&[1, 2], 2).is_empty());
    }

    #[test]
    fn there_is_an_answer_for_every_window_of_some_pieces() {
        let piece = |classes: &[u8]| Piece { name: "p".into(), classes: classes.to_vec() };
        let pieces = [piece(&[1, 1, 1, 1]), piece(&[1]), piece(&[1, 1, 1])];
        // The second piece has not heard the first.
        assert_eq!(heard_in_all(&pieces, 2), [false, true, false]);
        assert_eq!(Windows::new(&pieces, 2).len(), 3);
    }
}
