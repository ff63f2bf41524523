//! Whether polyphonic pieces keep the rules of four-part writing as a corpus does: the *harmony table*.
//!
//! Everything is measured on sixteenths, of which every fourth one from the beginning is a beat, piece by piece; a figure of
//! many pieces is the mean of theirs. A chord is what sounds where all voices sound. Only what can be heard is measured:
//! "notes in key" and the like are left out, because music whose voices are shifted against each other keeps them.
//! Decision 43 has the definitions beside their measured values.

mod chords;
mod measures;
#[cfg(test)]
mod tests;
mod voices;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::print::count;
use crate::random::{Purpose, RandomStream};
pub use measures::PieceHarmony;
use measures::{ENDS_ON_TONIC, FIGURES, PARALLEL_FIFTHS, PARALLEL_OCTAVES, Transition};

/// Sets of the corpus's own pieces that are drawn to find how far they are from the others: enough for percentiles of 10
/// and 90.
const DRAWS: u64 = 100;

/// Music with fewer parallel fifths, and fewer parallel octaves, per 100 chord changes avoids them: voices that are shifted
/// against each other have about five of each.
const FEW_PARALLELS: f64 = 2.0;

/// Whether music avoids parallel fifths and octaves, as far as it has any that could be.
pub fn avoids_parallels(pieces: &[PieceHarmony]) -> bool {
    let means = [PARALLEL_FIFTHS, PARALLEL_OCTAVES]
        .map(|figure| mean(&pieces.iter().filter_map(|piece| piece.figures[figure]).collect::<Vec<_>>()));
    means.iter().all(|mean| mean.is_some_and(|mean| mean < FEW_PARALLELS))
}

/// The harmony of samples beside that of a corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HarmonyReport {
    /// The number of samples that have harmony.
    pub samples: usize,
    /// The number of pieces of the corpus that have harmony.
    pub pieces: usize,
    /// Means over pieces.
    pub figures: Vec<HarmonyFigure>,
    /// `None` without chords on one of the two sides.
    pub chord_transitions: Option<TransitionDivergence>,
}

/// A figure of samples and corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HarmonyFigure {
    /// Its name for programs.
    pub name: &'static str,
    /// What it is, with its unit.
    pub meaning: &'static str,
    /// Mean of the samples that have it.
    pub samples: Option<f64>,
    /// Mean of the corpus's pieces that have it.
    pub corpus: Option<f64>,
    /// The 10th and 90th percentile of the corpus's pieces.
    pub corpus_range: Option<[f64; 2]>,
}

/// How far the samples' transitions from beat to beat, between triads and seventh chords without regard to the key, are from
/// the corpus's: Jensen-Shannon divergences in nats, of all pieces together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TransitionDivergence {
    /// Of the samples from the corpus.
    pub samples: f64,
    /// Of random sets of as many of its own pieces from the others: the mean. `None` if samples are more than half as many as
    /// the corpus has pieces.
    pub corpus: Option<f64>,
    /// The 10th and 90th percentile of such sets.
    pub corpus_range: Option<[f64; 2]>,
}

impl HarmonyReport {
    /// Compares samples with a corpus.
    pub fn new(samples: &[PieceHarmony], corpus: &[PieceHarmony]) -> Self {
        let mut figures = Vec::new();
        for (index, (name, meaning)) in FIGURES.into_iter().enumerate() {
            let [samples, corpus] = [samples, corpus].map(|pieces| -> Vec<f64> {
                pieces.iter().filter_map(|piece| piece.figures[index]).collect()
            });
            let (samples, mean) = (mean(&samples), mean(&corpus));
            let corpus_range = range(corpus).filter(|_| index != ENDS_ON_TONIC);
            figures.push(HarmonyFigure { name, meaning, samples, corpus: mean, corpus_range });
        }
        HarmonyReport {
            samples: samples.len(),
            pieces: corpus.len(),
            figures,
            chord_transitions: TransitionDivergence::new(samples, corpus),
        }
    }
}

impl TransitionDivergence {
    fn new(samples: &[PieceHarmony], corpus: &[PieceHarmony]) -> Option<Self> {
        let all: Vec<&PieceHarmony> = corpus.iter().collect();
        let divergence = jensen_shannon(&transitions(samples), &transitions(all.iter().copied()))?;
        let mut own = Vec::new();
        if 2 * samples.len() <= corpus.len() {
            for number in 0..DRAWS {
                let stream = RandomStream::new(0, Purpose::Sampling, &[number]);
                let mut order: Vec<usize> = (0..corpus.len()).collect();
                order.sort_by_key(|&piece| stream.bits(piece as u64));
                let (drawn, others) = order.split_at(samples.len());
                let [drawn, others] =
                    [drawn, others].map(|part| transitions(part.iter().map(|&at| &corpus[at])));
                own.extend(jensen_shannon(&drawn, &others));
            }
        }
        Some(TransitionDivergence { samples: divergence, corpus: mean(&own), corpus_range: range(own) })
    }
}

/// The transitions of all pieces together.
fn transitions<'a>(pieces: impl IntoIterator<Item = &'a PieceHarmony>) -> BTreeMap<Transition, u32> {
    let mut all = BTreeMap::new();
    for piece in pieces {
        for (&transition, &count) in &piece.transitions {
            *all.entry(transition).or_default() += count;
        }
    }
    all
}

/// In nats, between the distributions that two sets of counts are; `None` if one is empty.
fn jensen_shannon(a: &BTreeMap<Transition, u32>, b: &BTreeMap<Transition, u32>) -> Option<f64> {
    let [total_a, total_b] = [a, b].map(|counts| counts.values().map(|&count| f64::from(count)).sum::<f64>());
    if total_a == 0.0 || total_b == 0.0 {
        return None;
    }
    let mut divergence = 0.0;
    for (counts, total, others, others_total) in [(a, total_a, b, total_b), (b, total_b, a, total_a)] {
        for (transition, &count) in counts {
            let p = f64::from(count) / total;
            let q = others.get(transition).map_or(0.0, |&count| f64::from(count) / others_total);
            divergence += 0.5 * p * libm::log(2.0 * p / (p + q));
        }
    }
    Some(divergence)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The 10th and 90th percentile, by nearest rank.
fn range(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_by(f64::total_cmp);
    let rank = |share: f64| (share * values.len() as f64).ceil() as usize;
    (!values.is_empty()).then(|| [0.1, 0.9].map(|share| values[rank(share).max(1) - 1]))
}

impl Display for HarmonyReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (samples, pieces) = (count(self.samples as u64, "sample"), count(self.pieces as u64, "piece"));
        writeln!(f, "harmony: means of {samples} and of {pieces} of the corpus\n")?;
        writeln!(f, "{:40}{:>9}{:>9}{:>22}", "", "samples", "corpus", "80% of its pieces")?;
        for HarmonyFigure { meaning, samples, corpus, corpus_range, .. } in &self.figures {
            write_row(f, meaning, 2, *samples, *corpus, *corpus_range)?;
        }
        if let Some(TransitionDivergence { samples, corpus, corpus_range }) = &self.chord_transitions {
            let meaning = "distance of chord transitions, nats";
            write_row(f, meaning, 3, Some(*samples), *corpus, *corpus_range)?;
        }
        Ok(())
    }
}

fn write_row(
    f: &mut Formatter<'_>,
    meaning: &str,
    digits: usize,
    samples: Option<f64>,
    corpus: Option<f64>,
    range: Option<[f64; 2]>,
) -> fmt::Result {
    let [samples, corpus] =
        [samples, corpus].map(|value| value.map_or("-".into(), |value| format!("{value:.digits$}")));
    let range = range.map_or("-".into(), |[low, high]| format!("{low:.digits$} to {high:.digits$}"));
    writeln!(f, "{meaning:40}{samples:>9}{corpus:>9}{range:>22}")
}
