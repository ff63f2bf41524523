//! The certificate of a composed melody: how much of it the training music already has.
//!
//! A network that was trained for too long writes its training music down again, and sounds all the better for it. A
//! certificate finds the `runs` that a melody shares with the corpus, exactly or transposed, and makes a verdict of them.
//! `ngrams` lets decoding avoid long ones. Only composed notes count, those that the files hold: the prompt is given, not
//! composed.

mod ngrams;
mod runs;
mod suffix_automaton;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::corpus::Piece;
use crate::print::count;
use crate::representation::{Chance, Representation, Token, View, pitches};
pub use ngrams::NGramIndex;
pub use runs::{Run, Runs};

/// The largest n of the novelty curve: three times as long as a run that is shared by chance.
const MAX_CURVE_NOTES: usize = 50;

/// What a melody shares with the music that the network was trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certificate {
    /// Follows from `share`.
    pub verdict: Verdict,
    /// The longest run that is shared note for note.
    pub longest_exact: Run,
    /// The longest transposed run, or the longest exact one where none is longer.
    pub longest_transposed: Run,
    /// Fraction of the notes that lie in runs longer than chance.
    pub share: f64,
    /// Fraction of the notes that lie in exact runs longer than chance.
    pub share_exact: f64,
    /// Fraction of the notes that lie in transposed runs longer than chance.
    pub share_transposed: f64,
    /// The fraction of n-grams, for n = 1, 2, … 50, that the training music does not have. A melody of fewer notes has a
    /// shorter curve.
    pub novelty: Vec<f64>,
    /// The same, where n-grams may be transposed.
    pub novelty_transposed: Vec<f64>,
    /// How long the longest runs are that are shared by chance.
    pub chance: Chance,
    /// All runs longer than chance: the exact ones, and the transposed ones outside of exact ones.
    pub runs: Vec<Run>,
}

/// How much of a melody lies in runs longer than chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// More than half of its notes do.
    Copy,
    /// Some do.
    #[serde(rename = "near copy")]
    NearCopy,
    /// None do. A melody too short for a run longer than chance is always novel.
    Novel,
}

impl Certificate {
    /// The certificate of a melody, compared with the training music. It takes the time to read that music twice, a few
    /// nanoseconds per note, and memory in proportion to the melody and the longest piece.
    pub fn new(representation: &dyn Representation, pieces: &[Piece], melody: &[Token]) -> Self {
        let chance = representation.chance();
        let exact = Runs::new(representation, View::Exact, pieces, melody);
        let transposed = Runs::new(representation, View::Transposed, pieces, melody);
        let notes = pitches(representation, melody).len();
        let exact_runs = exact.longer_than(chance.exact);
        let transposed_runs = transposed.longer_than(chance.transposed);
        let (longest_exact, longest_transposed) = (exact.longest(), transposed.longest());
        // Its first occurrence may be in another key; the run with the same notes says more.
        let unchanged = longest_transposed.length <= longest_exact.length;

        let mut runs = exact_runs.clone();
        runs.extend(transposed_runs.iter().filter(|run| !lies_in_one_of(&exact_runs, run)).cloned());
        runs.sort_by_key(|run| run.sample_at);
        let copied = share(&runs, notes);

        Certificate {
            verdict: match copied {
                0.0 => Verdict::Novel,
                ..=0.5 => Verdict::NearCopy,
                _ => Verdict::Copy,
            },
            longest_transposed: if unchanged { longest_exact.clone() } else { longest_transposed },
            longest_exact,
            share: copied,
            share_exact: share(&exact_runs, notes),
            share_transposed: share(&transposed_runs, notes),
            novelty: exact.novelty(MAX_CURVE_NOTES),
            novelty_transposed: transposed.novelty(MAX_CURVE_NOTES),
            chance,
            runs,
        }
    }

    /// What people read of it: the verdict, the longest runs and the novelty curve, one line each.
    pub fn lines(&self) -> Vec<String> {
        let percent = (100.0 * self.share).round();
        let verdict = match self.verdict {
            Verdict::Novel => "shares no run longer than chance with the training music".into(),
            _ => format!("{percent}% of its notes lie in runs longer than chance"),
        };
        let mut lines = vec![format!("{}: {verdict}", self.verdict)];
        lines.push(format!("longest exact run: {}", self.longest_exact));
        lines.push(match self.longest_transposed == self.longest_exact {
            true => "longest transposed: the same".into(),
            false => format!("longest transposed: {}", self.longest_transposed),
        });
        lines.extend(self.curve());
        lines
    }

    /// Some points of the novelty curve.
    fn curve(&self) -> Option<String> {
        let points: Vec<usize> = [2, 5, 10, 20].into_iter().filter(|&n| n <= self.novelty.len()).collect();
        let list = |numbers: Vec<String>| numbers.join(", ");
        let lengths = list(points.iter().map(usize::to_string).collect());
        let shares = list(points.iter().map(|&n| format!("{:.0}%", 100.0 * self.novelty[n - 1])).collect());
        (!points.is_empty()).then(|| format!("novel n-grams of {lengths} notes: {shares}"))
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Copy => "copy",
            Verdict::NearCopy => "near copy",
            Verdict::Novel => "novel",
        })
    }
}

impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&count(self.length as u64, "note"))?;
        if let (Some(piece), Some(at)) = (&self.piece, self.at) {
            write!(f, ", {piece} note {at}")?;
        }
        match self.semitones {
            0 => Ok(()),
            by @ (1 | -1) => write!(f, ", {by:+} semitone"),
            by => write!(f, ", {by:+} semitones"),
        }
    }
}

/// Whether a run lies within one of these, which are in order and of which none lies within another.
fn lies_in_one_of(runs: &[Run], run: &Run) -> bool {
    let begun = runs.partition_point(|other| other.sample_at <= run.sample_at);
    begun.checked_sub(1).is_some_and(|last| end(run) <= end(&runs[last]))
}

fn end(run: &Run) -> usize {
    run.sample_at + run.length
}

/// Fraction of a melody's notes that lie in one of these runs, which are in the order in which they begin.
fn share(runs: &[Run], notes: usize) -> f64 {
    let (mut inside, mut counted) = (0, 0);
    for run in runs {
        inside += end(run).saturating_sub(counted.max(run.sample_at));
        counted = counted.max(end(run));
    }
    inside as f64 / notes.max(1) as f64
}
