//! The certificate of a composed melody: how much of it the training music has already.
//!
//! A network that was trained too long writes its training music down again, and sounds all the better for it.
//! `automaton` finds stretches, `runs` says which ones a melody shares with a corpus, exactly or transposed;
//! here they become a verdict, and `text` says it in words. `stretches` is for composing without long ones. Only the composed notes count, as the files hold
//! them: the notes that a piece began from are given, not composed. Nothing here knows how a melody was made.

mod automaton;
mod runs;
mod stretches;
mod text;

use serde::Serialize;

use crate::corpus::Piece;

pub use runs::{Run, Runs};
pub use stretches::Stretches;

/// Notes of the longest run that two different movements of the cello suites share, note for note: so much is
/// shared by chance and by style. Measured on the first 1,000 notes of the 36 files; the median movement shares
/// 10 with another.
pub const CHANCE_EXACT: usize = 14;

/// The same for transposed runs: 16 intervals, between the preludes of suites 5 and 6, so 17 notes.
pub const CHANCE_TRANSPOSED: usize = 17;

/// The longest stretches of the novelty curve.
const CURVE: usize = 50;

/// What a melody shares with the music that its composer was trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certificate {
    /// What it comes to.
    pub verdict: Verdict,
    /// The longest run shared note for note.
    pub longest_exact: Run,
    /// The longest run shared transposed; where none is longer than the longest exact one, that one.
    pub longest_transposed: Run,
    /// Share of the notes that lie in runs longer than chance: what the verdict goes by.
    pub share: f64,
    /// Share of the notes that lie in exact runs longer than chance.
    pub share_exact: f64,
    /// Share of the notes that lie in transposed runs longer than chance.
    pub share_transposed: f64,
    /// The share of stretches of 1, 2, … 50 notes that the training music does not have; a melody of fewer
    /// notes has as many numbers as notes.
    pub novelty: Vec<f64>,
    /// The same where a stretch may be transposed.
    pub novelty_transposed: Vec<f64>,
    /// What is called chance.
    pub chance: Chance,
    /// All runs longer than chance: the exact ones, and the transposed ones that lie in no exact one.
    pub runs: Vec<Run>,
}

/// Notes of the longest runs that are shared by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Chance {
    /// Note for note: [`CHANCE_EXACT`].
    pub exact: usize,
    /// Transposed: [`CHANCE_TRANSPOSED`].
    pub transposed: usize,
}

/// How much of a melody is shared in runs longer than chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// More than half of its notes.
    Copy,
    /// Some.
    #[serde(rename = "near copy")]
    NearCopy,
    /// None. A melody too short for a run longer than chance is always novel.
    Novel,
}

impl Certificate {
    /// The certificate of a melody's classes, beside the music that its composer was trained on. It takes the time
    /// to read that music twice, a few nanoseconds a note, and memory for the melody alone.
    pub fn new(pieces: &[Piece], melody: &[u8]) -> Self {
        let chance = Chance { exact: CHANCE_EXACT, transposed: CHANCE_TRANSPOSED };
        let (exact, transposed) = (Runs::exact(pieces, melody), Runs::transposed(pieces, melody));
        let exact_runs = exact.longer_than(chance.exact);
        let transposed_runs = transposed.longer_than(chance.transposed);
        let (longest_exact, longest_transposed) = (exact.longest(), transposed.longest());
        // Where it first stands may be a transposed place; the one with the same notes says more.
        let unchanged = longest_transposed.length <= longest_exact.length;

        let mut runs = exact_runs.clone();
        runs.extend(transposed_runs.iter().filter(|run| !lies_in_one_of(&exact_runs, run)).cloned());
        runs.sort_by_key(|run| run.sample_at);
        let copied = share(&runs, melody.len());

        Certificate {
            verdict: match copied {
                0.0 => Verdict::Novel,
                ..=0.5 => Verdict::NearCopy,
                _ => Verdict::Copy,
            },
            longest_transposed: if unchanged { longest_exact.clone() } else { longest_transposed },
            longest_exact,
            share: copied,
            share_exact: share(&exact_runs, melody.len()),
            share_transposed: share(&transposed_runs, melody.len()),
            novelty: exact.novelty(CURVE),
            novelty_transposed: transposed.novelty(CURVE),
            chance,
            runs,
        }
    }
}

/// Whether a run lies in one of these, of which a later one also ends later.
fn lies_in_one_of(runs: &[Run], run: &Run) -> bool {
    let begun = runs.partition_point(|other| other.sample_at <= run.sample_at);
    begun.checked_sub(1).is_some_and(|last| end(run) <= end(&runs[last]))
}

fn end(run: &Run) -> usize {
    run.sample_at + run.length
}

/// Share of a melody's notes that lie in one of these runs, which are in the order in which they begin.
fn share(runs: &[Run], notes: usize) -> f64 {
    let (mut inside, mut counted) = (0, 0);
    for run in runs {
        inside += end(run).saturating_sub(counted.max(run.sample_at));
        counted = counted.max(end(run));
    }
    inside as f64 / notes.max(1) as f64
}

#[cfg(test)]
mod tests;
