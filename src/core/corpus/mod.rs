//! Pieces as classes: what is learnt from, and what a checkpoint carries along.
//!
//! `listing` finds MIDI files and scores, `files` reads one, `load` makes pieces of them, `windows` counts and cuts windows,
//! `order` permutes them; `synthesize` makes music up. A corpus is sorted by piece name, so that it does not depend
//! on how a folder is listed.

pub mod audit;
pub mod batches;
pub mod fetch;
pub mod files;
pub mod listing;
pub mod load;
pub mod notation;
pub mod order;
pub mod synthesize;
pub mod windows;

pub use load::{Corpus, CorpusError};
use sha2::{Digest, Sha256};

/// Classes of the `pitch` representation: pitches 1 to 79.
pub const CLASSES: usize = 79;

/// The pitch of class 0.
pub const FIRST_PITCH: u8 = 1;

/// A piece's notes as classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The file's path relative to the corpus folder, with forward slashes.
    pub name: String,
    /// One class a note, each below [`CLASSES`].
    pub classes: Vec<u8>,
}

/// The class of a pitch, where it has one.
pub fn class_of(pitch: u8) -> Option<u8> {
    let class = pitch.checked_sub(FIRST_PITCH)?;
    (usize::from(class) < CLASSES).then_some(class)
}

/// The pitch of a class.
pub fn pitch_of(class: u8) -> u8 {
    class + FIRST_PITCH
}

/// What tells corpora apart: SHA-256 over names and classes, in the order of names.
pub fn fingerprint(pieces: &[Piece]) -> String {
    let mut hash = Sha256::new();
    for piece in pieces {
        // Lengths go before contents, so that no two corpora run together to the same bytes.
        for part in [piece.name.as_bytes(), &piece.classes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    crate::hex(&hash.finalize())
}
