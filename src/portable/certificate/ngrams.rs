//! Which n-grams of notes a corpus has, transposed by any interval: what `--max-copy` asks about every note.

use crate::corpus::Piece;
use crate::representation::{Representation, Symbol, View};

/// All n-grams of some pieces, as a hash table of where each stands first: four bytes for each, twice.
#[derive(Debug, Clone)]
pub struct NGramIndex {
    /// Of all pieces, one after another, in the transposed view.
    symbols: Vec<Symbol>,
    /// n.
    notes: usize,
    /// The index of an n-gram's first symbol, plus 1; 0 marks a free slot.
    slots: Vec<u32>,
}

/// Multiplier of the rolling hash: odd, and its bits have no pattern (2⁶⁴ divided by the golden ratio).
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

impl NGramIndex {
    /// The n-grams of this many notes, 2 or more.
    ///
    /// # Panics
    /// If the pieces have 2³² notes or more.
    pub fn new(representation: &dyn Representation, pieces: &[Piece], notes: usize) -> Self {
        let views: Vec<Vec<Symbol>> =
            pieces.iter().map(|piece| representation.view(View::Transposed, &piece.tokens)).collect();
        let symbols = views.concat();
        assert!(u32::try_from(symbols.len()).is_ok(), "a corpus has fewer than 2³² notes");
        let length = notes - View::Transposed.lead();
        let grams: usize = views.iter().map(|view| (view.len() + 1).saturating_sub(length)).sum();
        let slots = vec![0; (2 * grams).next_power_of_two()];
        let mut index = NGramIndex { symbols, notes, slots };
        // The weight of the symbol that leaves an n-gram as it moves on.
        let oldest = BASE.wrapping_pow(length as u32 - 1);
        let mut begin = 0;
        for view in &views {
            if view.len() >= length {
                let mut hash = hash(&view[..length]);
                for first in 0..=view.len() - length {
                    index.add(begin + first, hash);
                    if let Some(&next) = view.get(first + length) {
                        let leaving = value(view[first]).wrapping_mul(oldest);
                        hash = hash.wrapping_sub(leaving).wrapping_mul(BASE).wrapping_add(value(next));
                    }
                }
            }
            begin += view.len();
        }
        index
    }

    /// n.
    pub fn notes(&self) -> usize {
        self.notes
    }

    /// Whether some piece has this n-gram, given as the n − 1 symbols of its transposed view.
    pub fn contains(&self, symbols: &[Symbol]) -> bool {
        self.slot(symbols, hash(symbols)).is_ok()
    }

    fn add(&mut self, first: usize, hash: u64) {
        if let Err(free) = self.slot(self.gram(first), hash) {
            self.slots[free] = first as u32 + 1;
        }
    }

    fn gram(&self, first: usize) -> &[Symbol] {
        &self.symbols[first..][..self.notes - View::Transposed.lead()]
    }

    /// The slot of an n-gram, or the free one where it would be.
    fn slot(&self, symbols: &[Symbol], hash: u64) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        // The upper bits depend on all symbols, the lower ones only on the lower bits of each.
        let mut slot = (hash.wrapping_mul(BASE) >> 32) as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return Err(slot),
                first if self.gram(first as usize - 1) == symbols => return Ok(slot),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

fn hash(symbols: &[Symbol]) -> u64 {
    symbols.iter().fold(0, |hash: u64, &symbol| hash.wrapping_mul(BASE).wrapping_add(value(symbol)))
}

/// A symbol as a number that is not 0, so that every symbol changes the hash.
fn value(symbol: Symbol) -> u64 {
    u64::from(symbol) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::representation::{RepresentationConfig, Token};

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn n_grams_are_those_that_a_search_finds(
            pieces in prop::collection::vec(prop::collection::vec(0..4u16, 0..30), 0..5),
            melody in prop::collection::vec(0..6u16, 2..40),
            notes in 2..9usize,
        ) {
            let representation = RepresentationConfig::default().build();
            let named = |tokens: Vec<Token>| Piece { name: String::new(), tokens };
            let pieces: Vec<_> = pieces.into_iter().map(named).collect();
            let index = NGramIndex::new(&*representation, &pieces, notes);
            let shape = |tokens: &[Token]| -> Vec<i32> {
                tokens.iter().map(|&token| i32::from(token) - i32::from(tokens[0])).collect()
            };
            for gram in melody.windows(notes) {
                let mut theirs = pieces.iter().flat_map(|piece| piece.tokens.windows(notes));
                let expected = theirs.any(|other| shape(other) == shape(gram));
                prop_assert_eq!(index.contains(&representation.view(View::Transposed, gram)), expected);
            }
        }
    }
}
