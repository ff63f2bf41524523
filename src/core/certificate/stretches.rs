//! Whether a corpus has a stretch of a given number of notes, exactly or transposed.

use crate::corpus::Piece;

/// All stretches of so many notes that some pieces have, as a hash table of where each stands first: four bytes for
/// each, twice.
#[derive(Debug, Clone)]
pub struct Stretches {
    /// The notes of all pieces.
    classes: Vec<u8>,
    /// Notes of a stretch.
    notes: usize,
    /// The index of a stretch's first note, and 1; 0 where there is none.
    places: Vec<u32>,
}

/// What intervals are multiplied by in a hash: odd, and without a pattern.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

impl Stretches {
    /// The stretches of `notes` notes, 2 or more.
    ///
    /// # Panics
    /// If the pieces have 2³² notes together, or more.
    pub fn new(pieces: &[Piece], notes: usize) -> Self {
        let classes: Vec<u8> = pieces.iter().flat_map(|piece| &piece.classes).copied().collect();
        assert!(u32::try_from(classes.len()).is_ok(), "a corpus has fewer than 2³² notes");
        let count = |piece: &Piece| (piece.classes.len() + 1).saturating_sub(notes);
        let stretches: usize = pieces.iter().map(count).sum();
        let places = vec![0; (2 * stretches).next_power_of_two()];
        let mut table = Stretches { classes, notes, places };
        // The weight of the interval that leaves a stretch as it moves on.
        let oldest = BASE.wrapping_pow(notes.saturating_sub(2) as u32);
        let mut begin = 0;
        for piece in pieces {
            let end = begin + piece.classes.len();
            if count(piece) > 0 {
                let mut hash = hash(&table.classes[begin..begin + notes]);
                for first in begin..=end - notes {
                    table.add(first, hash);
                    if first + notes < end {
                        let leaves = interval(&table.classes, first).wrapping_mul(oldest);
                        let comes = interval(&table.classes, first + notes - 1);
                        hash = hash.wrapping_sub(leaves).wrapping_mul(BASE).wrapping_add(comes);
                    }
                }
            }
            begin = end;
        }
        table
    }

    /// Notes of a stretch.
    pub fn notes(&self) -> usize {
        self.notes
    }

    /// Whether some piece has these classes, as many as a stretch has, transposed by any number of semitones.
    pub fn contains(&self, stretch: &[u8]) -> bool {
        self.slot(stretch, hash(stretch)).is_ok()
    }

    fn add(&mut self, first: usize, hash: u64) {
        if let Err(free) = self.slot(&self.classes[first..first + self.notes], hash) {
            self.places[free] = first as u32 + 1;
        }
    }

    /// The slot of a stretch, or the free one where it would be.
    fn slot(&self, stretch: &[u8], hash: u64) -> Result<usize, usize> {
        let mask = self.places.len() - 1;
        // The upper bits depend on all intervals, the lower ones only on the lower bits of each.
        let mut slot = (hash.wrapping_mul(BASE) >> 32) as usize & mask;
        loop {
            match self.places[slot] {
                0 => return Err(slot),
                place => {
                    let first = place as usize - 1;
                    let known = &self.classes[first..first + self.notes];
                    let by = known[0].wrapping_sub(stretch[0]);
                    if stretch.iter().zip(known).all(|(class, known)| known.wrapping_sub(*class) == by) {
                        return Ok(slot);
                    }
                }
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// Of a stretch's intervals.
fn hash(stretch: &[u8]) -> u64 {
    let add = |hash: u64, at| hash.wrapping_mul(BASE).wrapping_add(interval(stretch, at));
    (0..stretch.len().saturating_sub(1)).fold(0, add)
}

/// From a note to the next, as a number to hash.
fn interval(classes: &[u8], at: usize) -> u64 {
    u64::from(classes[at + 1].wrapping_sub(classes[at])) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn stretches_are_those_that_a_search_finds(
            classes in prop::collection::vec(prop::collection::vec(0..4u8, 0..30), 0..5),
            melody in prop::collection::vec(0..6u8, 2..40),
            notes in 2..9usize,
        ) {
            let named = |classes: Vec<u8>| Piece { name: String::new(), classes };
            let pieces: Vec<_> = classes.into_iter().map(named).collect();
            let table = Stretches::new(&pieces, notes);
            let shape = |stretch: &[u8]| -> Vec<i16> {
                stretch.iter().map(|&class| i16::from(class) - i16::from(stretch[0])).collect()
            };
            for stretch in melody.windows(notes) {
                let mut theirs = pieces.iter().flat_map(|piece| piece.classes.windows(notes));
                prop_assert_eq!(table.contains(stretch), theirs.any(|other| shape(other) == shape(stretch)));
            }
        }
    }
}
