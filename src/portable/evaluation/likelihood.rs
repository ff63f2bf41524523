//! The likelihood of whole pieces in units that compare across representations: nats per token, per note and per frame.
//!
//! Sums are pooled over all pieces, so that every token counts alike. The first token of a piece counts too; that the piece
//! ends where it does is given, and counts for nothing.

use serde::{Serialize, Serializer};

use crate::representation::{Representation, Token};

/// Sums over pieces. The JSON has the means too.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Likelihood {
    /// How many pieces.
    pub pieces: u64,
    /// −ln p of all of them.
    pub nats: f64,
    /// Tokens, without those that end pieces.
    pub tokens: u64,
    /// Tokens that complete a note. In frames, a held note is one in each of its frames.
    pub notes: u64,
    /// Frames, where the representation has frames.
    pub frames: Option<u64>,
}

impl Likelihood {
    /// Of one piece, by the log-probabilities of its tokens in nats.
    pub fn of_piece(
        representation: &dyn Representation,
        tokens: &[Token],
        log_probabilities: &[f64],
    ) -> Self {
        let notes = tokens.iter().filter(|&&token| representation.pitch(token).is_some());
        Likelihood {
            pieces: 1,
            nats: -log_probabilities.iter().sum::<f64>(),
            tokens: tokens.len() as u64,
            notes: notes.count() as u64,
            frames: representation.frames(tokens),
        }
    }

    /// Adds that of other pieces.
    pub fn add(&mut self, other: &Likelihood) {
        self.pieces += other.pieces;
        self.nats += other.nats;
        self.tokens += other.tokens;
        self.notes += other.notes;
        self.frames = match (self.frames, other.frames) {
            (None, None) => None,
            (own, other) => Some(own.unwrap_or(0) + other.unwrap_or(0)),
        };
    }

    /// NaN over no tokens.
    pub fn nats_per_token(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// NaN over no notes.
    pub fn nats_per_note(&self) -> f64 {
        self.nats / self.notes as f64
    }

    /// `None` where the representation has no frames.
    pub fn nats_per_frame(&self) -> Option<f64> {
        self.frames.map(|frames| self.nats / frames as f64)
    }
}

impl Serialize for Likelihood {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Members {
            pieces: u64,
            tokens: u64,
            notes: u64,
            frames: Option<u64>,
            nats_per_token: f64,
            nats_per_note: f64,
            nats_per_frame: Option<f64>,
        }
        let members = Members {
            pieces: self.pieces,
            tokens: self.tokens,
            notes: self.notes,
            frames: self.frames,
            nats_per_token: self.nats_per_token(),
            nats_per_note: self.nats_per_note(),
            nats_per_frame: self.nats_per_frame(),
        };
        members.serialize(serializer)
    }
}
