//! How long the runs are that pieces share by chance and style.
//!
//! The representation says what is usual. But more music, and music that is more alike, shares longer runs: a piece of the
//! training music may have turns of phrase that others have, too. What it shares with them is style, and a composed piece that
//! shares as much with it is no copy of it. Other settings of its own tune do not count, as they share more than style.

use std::sync::OnceLock;

use super::suffix_automaton::shared_endings;
use crate::corpus::Piece;
use crate::corpus::tunes::set_same_tune;
use crate::representation::{Representation, Symbol};

/// The training music in one view: as many sequences of symbols for each piece, one piece after another.
#[derive(Debug)]
pub(super) struct Sequences {
    pub symbols: Vec<Vec<Symbol>>,
    /// For each, once it was asked for, the longest run that other pieces have.
    longest: Vec<OnceLock<usize>>,
}

impl Sequences {
    pub fn new(symbols: Vec<Vec<Symbol>>) -> Self {
        Sequences { longest: vec![OnceLock::new(); symbols.len()], symbols }
    }

    /// The length, in symbols, of the longest run that this sequence shares with one of a piece that sets another tune.
    pub fn longest_with_others(
        &self,
        sequence: usize,
        representation: &dyn Representation,
        pieces: &[Piece],
    ) -> usize {
        *self.longest[sequence].get_or_init(|| {
            let of_a_piece = self.symbols.len() / pieces.len();
            let piece = sequence / of_a_piece;
            let mut left_out = vec![piece];
            loop {
                let is_other = |other: &usize| !left_out.contains(&(other / of_a_piece));
                let others: Vec<usize> = (0..self.symbols.len()).filter(is_other).collect();
                let symbols = |sequence: usize| self.symbols[sequence].iter().copied();
                let shared = shared_endings(symbols(sequence), others.iter().map(|&other| symbols(other)));
                let longest =
                    shared.iter().max_by_key(|shared| shared.length).filter(|longest| longest.length > 0);
                let Some(longest) = longest else { return 0 };
                let other = others[longest.end.sequence as usize] / of_a_piece;
                let [own, theirs] = [piece, other].map(|piece| representation.decode(&pieces[piece].tokens));
                if !set_same_tune(&own, &theirs) {
                    return longest.length as usize;
                }
                left_out.push(other);
            }
        })
    }
}
