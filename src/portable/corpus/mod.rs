//! The corpus: pieces as tokens.
//!
//! `listing` finds MIDI files, scores and piano rolls, `files` reads one, `load` makes pieces of them by a representation,
//! `windows` numbers and cuts windows, `tunes` finds pieces that set the same tune; `synthesize` generates music.
//!
//! Invariant: a corpus is sorted by piece name, so it does not depend on how a folder is listed.

pub mod fetch;
pub mod files;
pub mod listing;
pub mod load;
pub mod notation;
pub mod piano_rolls;
pub mod streams;
pub mod synthesize;
pub mod tunes;
pub mod windows;

pub use load::{Corpus, CorpusError};
use sha2::{Digest, Sha256};

use crate::representation::Token;

/// A piece of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The file's path relative to the corpus folder, with forward slashes. In a file of piano rolls, the piece's name there
    /// comes after it; if the corpus is one such file, the piece's name there is all.
    pub name: String,
    /// Its tokens, by the run's representation.
    pub tokens: Vec<Token>,
}

/// What tells corpora apart: SHA-256 over names and tokens, in the order of names.
pub fn fingerprint(pieces: &[Piece]) -> String {
    let bytes = |piece: &Piece| piece.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    hash_of_names_and_contents(pieces, bytes)
}

/// SHA-256 over the names of pieces and these contents of theirs.
pub(crate) fn hash_of_names_and_contents(pieces: &[Piece], contents: impl Fn(&Piece) -> Vec<u8>) -> String {
    let mut hash = Sha256::new();
    for piece in pieces {
        // Lengths go before contents, so that no two corpora run together to the same bytes.
        for part in [piece.name.as_bytes(), &contents(piece)] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    crate::hex(&hash.finalize())
}
