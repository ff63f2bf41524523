//! The certificate of a composed melody: how much of it the training music already has.
//!
//! A network that was trained for too long writes its training music down again, and sounds all the better for it. A
//! certificate finds the `runs` that a melody shares with the corpus, exactly or transposed, and makes a verdict of them.
//! `ngrams` lets decoding avoid long ones. Music of several voices is compared line by line too (`lines`), by pitches and by
//! pitches with their lengths, and the strictest view decides. Only composed notes count, those that the files hold: a prompt
//! and a melody are given, not composed. What pieces share by `chance` is no copy.

mod chance;
mod lines;
mod ngrams;
mod runs;
mod suffix_automaton;

use std::fmt::{self, Display, Formatter};
use std::sync::OnceLock;

use serde::Serialize;

use crate::corpus::Piece;
use crate::print::count;
use crate::representation::{Chance, LineChance, Representation, Token, View, VoiceLabel, pitches};
use chance::Sequences;
use lines::{Line, LineView, Lines};
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
    /// How long the longest runs are that are usually shared by chance. What a piece of the training music shares with others
    /// that set another tune is chance, too.
    pub chance: Chance,
    /// All runs longer than chance: the exact ones, and the transposed ones outside of exact ones.
    pub runs: Vec<Run>,
    /// The same of each line, where music has several voices: by pitches, and by pitches with lengths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineCertificate>,
    /// For each composed note whether it lies in a run longer than chance, of any line.
    #[serde(skip)]
    pub copied: Vec<bool>,
}

/// What a line of a piece shares with the lines of the training music.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LineCertificate {
    /// Of the voice.
    pub line: String,
    /// Whether the notes of a run are equally long, too.
    pub with_lengths: bool,
    /// The longest run with the same notes.
    pub longest_exact: Run,
    /// The longest transposed run, or the longest exact one where none is longer.
    pub longest_transposed: Run,
    /// As in [`Certificate::chance`], of lines.
    pub chance: Chance,
    /// All runs longer than chance.
    pub runs: Vec<Run>,
    /// For each note of the line the composed notes that it is made of: one, or one for each frame in which it is held.
    #[serde(skip)]
    pub spelled: Vec<Vec<usize>>,
}

/// The music that a network was trained on, as pieces are compared with it.
#[derive(Debug)]
pub struct TrainingMusic<'a> {
    representation: &'a dyn Representation,
    pieces: &'a [Piece],
    /// The pieces in both views, once they are asked for.
    sequences: [OnceLock<Sequences>; 2],
    /// Of all pieces.
    voices: Vec<Line>,
    wholes: Vec<Line>,
    /// Voices by pitches, and by pitches with lengths; all notes by both.
    comparisons: [Comparison; 3],
}

/// How lines are compared.
#[derive(Debug)]
struct Comparison {
    with_lengths: bool,
    usual: Chance,
    /// The lines of the training music.
    exact: LineView,
    transposed: LineView,
}

impl<'a> TrainingMusic<'a> {
    /// These pieces.
    pub fn new(representation: &'a dyn Representation, pieces: &'a [Piece]) -> Self {
        let [voices, wholes] = Lines::of_pieces(representation, pieces);
        let compare = |lines: &[Line], with_lengths: bool, usual: Chance| {
            let of_view = |view: View| LineView::new(lines, view, with_lengths);
            Comparison {
                with_lengths,
                usual,
                exact: of_view(View::Exact),
                transposed: of_view(View::Transposed),
            }
        };
        let LineChance { pitches, lengths, all } = representation.line_chance();
        let comparisons =
            [compare(&voices, false, pitches), compare(&voices, true, lengths), compare(&wholes, true, all)];
        TrainingMusic { representation, pieces, sequences: Default::default(), voices, wholes, comparisons }
    }

    /// Notes of the longest run that a sequence of the training music shares with pieces that set another tune.
    fn longest_by_style(&self, view: View, sequences: &Sequences, sequence: usize) -> usize {
        sequences.longest_with_others(sequence, self.representation, self.pieces) + view.lead()
    }

    /// The pieces in this view.
    fn sequences(&self, view: View) -> &Sequences {
        let sequences = match view {
            View::Exact => &self.sequences[0],
            View::Transposed => &self.sequences[1],
        };
        let symbols = || self.pieces.iter().map(|piece| self.representation.view(view, &piece.tokens));
        sequences.get_or_init(|| Sequences::new(symbols().collect()))
    }
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
    /// The certificate of what was composed after a prompt, around the voice with this index if one was given. It takes the
    /// time to read the training music twice for each view, a few nanoseconds per note, and memory in proportion to the
    /// melody and the longest piece; where runs are longer than is usual, the same once more for each piece that has one.
    pub fn new(
        music: &TrainingMusic<'_>,
        prompt: &[Token],
        composed: &[Token],
        given: Option<usize>,
    ) -> Self {
        let TrainingMusic { representation, pieces, .. } = *music;
        let chance = representation.chance();
        let exact = Runs::new(representation, View::Exact, pieces, composed);
        let transposed = Runs::new(representation, View::Transposed, pieces, composed);
        let notes = pitches(representation, composed).len();
        let all = SharedRuns::of(&exact, &transposed, chance, |view, piece| {
            music.longest_by_style(view, music.sequences(view), piece)
        });
        let lines = lines_of(music, prompt, composed, given);

        // For each note: in a run at all, in an exact one, in a transposed one.
        let mut copied = [vec![false; notes], vec![false; notes], vec![false; notes]];
        let whole: Vec<Vec<usize>> = (0..notes).map(|note| vec![note]).collect();
        all.mark(&whole, &mut copied);
        for (shared, line) in &lines {
            shared.mark(&line.spelled, &mut copied);
        }
        let mut own = notes;
        if let Some(given) = given {
            let spelled = representation.spelled_notes(&[prompt, composed].concat());
            let composed = spelled.iter().filter(|note| note.token >= prompt.len());
            for (note, _) in composed.enumerate().filter(|(_, note)| note.voice == given) {
                copied.iter_mut().for_each(|copied| copied[note] = false);
                own -= 1;
            }
        }
        let share = |copied: &[bool]| {
            copied.iter().filter(|&&is_copied| is_copied).count() as f64 / own.max(1) as f64
        };
        let [any, of_exact, of_transposed] = copied;
        Certificate {
            verdict: match share(&any) {
                0.0 => Verdict::Novel,
                ..=0.5 => Verdict::NearCopy,
                _ => Verdict::Copy,
            },
            share: share(&any),
            share_exact: share(&of_exact),
            share_transposed: share(&of_transposed),
            novelty: exact.novelty(MAX_CURVE_NOTES),
            novelty_transposed: transposed.novelty(MAX_CURVE_NOTES),
            chance,
            longest_exact: all.longest_exact,
            longest_transposed: all.longest_transposed,
            runs: all.runs,
            lines: lines.into_iter().map(|(_, certificate)| certificate).collect(),
            copied: any,
        }
    }

    /// What people read of it: the verdict, the longest runs, the line that is closest to one of the training music, and the
    /// novelty curve.
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
        lines.extend(self.closest_line().into_iter().flatten());
        lines.extend(self.curve());
        lines
    }

    /// The line whose longest run is longest beside what is shared by chance.
    fn closest_line(&self) -> Option<[String; 2]> {
        let excess = |line: &LineCertificate| {
            let LineCertificate { longest_exact, longest_transposed, chance, .. } = line;
            let exact = longest_exact.length as f64 / chance.exact as f64;
            exact.max(longest_transposed.length as f64 / chance.transposed as f64)
        };
        let closest = self.lines.iter().max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
        let alike = if closest.with_lengths { "pitches and lengths" } else { "pitches" };
        Some([
            format!("closest line: {}, {alike}", closest.line),
            format!("  {}", closest.longest_transposed),
        ])
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

/// The runs that count, of one view.
struct SharedRuns {
    longest_exact: Run,
    longest_transposed: Run,
    exact: Vec<Run>,
    transposed: Vec<Run>,
    /// The exact ones, and the transposed ones outside of exact ones.
    runs: Vec<Run>,
}

impl SharedRuns {
    /// A run counts that has more notes than are usual and than `by_style` says of what it is shared with.
    fn of(
        exact: &Runs<'_>,
        transposed: &Runs<'_>,
        usual: Chance,
        by_style: impl Fn(View, usize) -> usize,
    ) -> Self {
        let (longest_exact, longest_transposed) = (exact.longest(), transposed.longest());
        // Its first occurrence may be in another key; the run with the same notes says more.
        let unchanged = longest_transposed.length <= longest_exact.length;
        let exact = exact.longer_than(usual.exact, |source| by_style(View::Exact, source));
        let transposed =
            transposed.longer_than(usual.transposed, |source| by_style(View::Transposed, source));
        let mut runs = exact.clone();
        runs.extend(transposed.iter().filter(|run| !lies_in_one_of(&exact, run)).cloned());
        runs.sort_by_key(|run| run.sample_at);
        SharedRuns {
            longest_transposed: if unchanged { longest_exact.clone() } else { longest_transposed },
            longest_exact,
            exact,
            transposed,
            runs,
        }
    }

    /// Marks the composed notes, given for each note of the line, that lie in runs: in any, in exact, in transposed ones.
    fn mark(&self, spelled: &[Vec<usize>], [any, exact, transposed]: &mut [Vec<bool>; 3]) {
        for (runs, marks) in [(&self.runs, any), (&self.exact, exact), (&self.transposed, transposed)] {
            for run in runs {
                for &note in spelled[run.sample_at..end(run)].iter().flatten() {
                    marks[note] = true;
                }
            }
        }
    }
}

/// Each line of a composed piece in each of its views, but for the voice that was given.
fn lines_of(
    music: &TrainingMusic<'_>,
    prompt: &[Token],
    composed: &[Token],
    given: Option<usize>,
) -> Vec<(SharedRuns, LineCertificate)> {
    let Some(mut lines) = Lines::new(music.representation, prompt, composed, "") else { return Vec::new() };
    if let Some(given) = given {
        let VoiceLabel { name, .. } = &music.representation.voices()[given];
        lines.voices.retain(|line| line.name != *name);
    }
    let [pitches, lengths, all] = &music.comparisons;
    let mut compared = Vec::new();
    for line in lines.voices {
        compared.push((line.clone(), &music.voices, pitches));
        compared.push((line, &music.voices, lengths));
    }
    compared.push((lines.all, &music.wholes, all));
    let mut certified = Vec::with_capacity(compared.len());
    for (line, others, comparison) in compared {
        let Comparison { with_lengths, usual, exact, transposed } = comparison;
        let runs = |view| Runs::of_line(&line, others, view);
        let shared = SharedRuns::of(&runs(exact), &runs(transposed), *usual, |view, source| {
            let of_view = if view == View::Exact { exact } else { transposed };
            music.longest_by_style(view, &of_view.sequences, source)
        });
        let certificate = LineCertificate {
            line: line.name,
            with_lengths: *with_lengths,
            longest_exact: shared.longest_exact.clone(),
            longest_transposed: shared.longest_transposed.clone(),
            chance: *usual,
            runs: shared.runs.clone(),
            spelled: line.notes.into_iter().map(|note| note.spelled).collect(),
        };
        certified.push((shared, certificate));
    }
    certified
}

/// Whether a run lies within one of these, which are in order and of which none lies within another.
fn lies_in_one_of(runs: &[Run], run: &Run) -> bool {
    let begun = runs.partition_point(|other| other.sample_at <= run.sample_at);
    begun.checked_sub(1).is_some_and(|last| end(run) <= end(&runs[last]))
}

fn end(run: &Run) -> usize {
    run.sample_at + run.length
}

#[cfg(test)]
mod tests;
