//! The likelihood of whole pieces in units that compare across representations: nats per token, per note and per frame.
//!
//! Sums are pooled over all pieces, so that every token counts alike. The first token of a piece counts too; that the piece
//! ends where it does is given, and counts for nothing.

use serde::{Serialize, Serializer};

use crate::representation::{FrameRun, Representation, Token};

/// How a token of a piece was predicted from those before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenScore {
    /// In nats.
    pub log_probability: f64,
    /// How many tokens were more probable.
    pub rank: usize,
}

/// Sums over pieces. The JSON has the means.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Likelihood {
    /// How many pieces.
    pub pieces: u64,
    /// −ln p of all of them.
    pub nats: f64,
    /// Tokens, without those that end pieces.
    pub tokens: u64,
    /// Tokens that were the most probable one.
    pub top1: u64,
    /// Tokens that were among the five most probable ones.
    pub top5: u64,
    /// Tokens that complete a note. In frames, a held note is one in each of its frames.
    pub notes: u64,
    /// Where the representation has frames.
    pub frames: Option<FrameSums>,
}

/// Sums over the frames of pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FrameSums {
    /// How many frames.
    pub frames: u64,
    /// Those whose set of sounding pitches differs from the one before, at the beginning from silence.
    pub changing: u64,
    /// −ln p of the tokens that are said in them.
    pub changing_nats: f64,
    /// Voices of all frames, where published figures count each of them as a note.
    pub cells: Option<u64>,
}

impl Likelihood {
    /// Of one piece, by the scores of its tokens.
    pub fn of_piece(representation: &dyn Representation, tokens: &[Token], scores: &[TokenScore]) -> Self {
        let notes = tokens.iter().filter(|&&token| representation.pitch(token).is_some());
        let is_among = |first: usize| scores.iter().filter(|score| score.rank < first).count() as u64;
        Likelihood {
            pieces: 1,
            nats: nats(scores),
            tokens: tokens.len() as u64,
            top1: is_among(1),
            top5: is_among(5),
            notes: notes.count() as u64,
            frames: representation
                .frames(tokens)
                .map(|runs| FrameSums::of_piece(&runs, representation.voices_per_frame(), scores)),
        }
    }

    /// Adds that of other pieces.
    pub fn add(&mut self, other: &Likelihood) {
        self.pieces += other.pieces;
        self.nats += other.nats;
        self.tokens += other.tokens;
        self.top1 += other.top1;
        self.top5 += other.top5;
        self.notes += other.notes;
        if let Some(FrameSums { frames, changing, changing_nats, cells }) = other.frames {
            let own = self.frames.get_or_insert_default();
            own.frames += frames;
            own.changing += changing;
            own.changing_nats += changing_nats;
            own.cells = cells.map(|cells| own.cells.unwrap_or(0) + cells);
        }
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
        self.frames.map(|sums| self.nats / sums.frames as f64)
    }

    /// `None` where published figures count no voices.
    pub fn nats_per_cell(&self) -> Option<f64> {
        self.frames.and_then(|sums| sums.cells).map(|cells| self.nats / cells as f64)
    }

    /// Over frames that change alone; `None` where the representation has no frames.
    pub fn nats_per_changing_frame(&self) -> Option<f64> {
        self.frames.map(|sums| sums.changing_nats / sums.changing as f64)
    }

    /// In the unit that figures are compared in: cells, else frames, else notes.
    pub fn nats_per_unit(&self) -> f64 {
        self.nats_per_cell().or(self.nats_per_frame()).unwrap_or_else(|| self.nats_per_note())
    }

    /// The fraction of tokens that were the most probable one.
    pub fn top1(&self) -> f64 {
        self.top1 as f64 / self.tokens as f64
    }
}

impl FrameSums {
    fn of_piece(runs: &[FrameRun], voices: Option<u64>, scores: &[TokenScore]) -> Self {
        let mut sums = FrameSums::default();
        let mut rest = scores;
        for run in runs {
            let (said, after) = rest.split_at(run.tokens);
            rest = after;
            sums.frames += run.frames;
            if run.changes {
                sums.changing += 1;
                sums.changing_nats += nats(said);
            }
        }
        sums.cells = voices.map(|voices| voices * sums.frames);
        sums
    }
}

fn nats(scores: &[TokenScore]) -> f64 {
    -scores.iter().map(|score| score.log_probability).sum::<f64>()
}

impl Serialize for Likelihood {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Members {
            pieces: u64,
            tokens: u64,
            notes: u64,
            frames: Option<u64>,
            changing_frames: Option<u64>,
            cells: Option<u64>,
            nats: f64,
            bits: f64,
            perplexity: f64,
            top1: f64,
            top5: f64,
            nats_per_token: f64,
            nats_per_note: f64,
            nats_per_frame: Option<f64>,
            nats_per_changing_frame: Option<f64>,
            nats_per_cell: Option<f64>,
        }
        let nats = self.nats_per_token();
        let members = Members {
            pieces: self.pieces,
            tokens: self.tokens,
            notes: self.notes,
            frames: self.frames.map(|sums| sums.frames),
            changing_frames: self.frames.map(|sums| sums.changing),
            cells: self.frames.and_then(|sums| sums.cells),
            nats,
            bits: nats / std::f64::consts::LN_2,
            perplexity: nats.exp(),
            top1: self.top1(),
            top5: self.top5 as f64 / self.tokens as f64,
            nats_per_token: nats,
            nats_per_note: self.nats_per_note(),
            nats_per_frame: self.nats_per_frame(),
            nats_per_changing_frame: self.nats_per_changing_frame(),
            nats_per_cell: self.nats_per_cell(),
        };
        members.serialize(serializer)
    }
}
