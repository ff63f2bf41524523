//! Whether samples sound like a corpus, as far as statistics of their notes can tell.
//!
//! Pieces are cut to excerpts of the samples' length, and both are described by `features`. For each feature there are
//! the distances between excerpts of different pieces, and those from samples to excerpts; their `density` estimates
//! are compared as by Yang and Lerch (2018). The corpus itself defines what is near: random sets of its excerpts, as
//! large as the set of samples, are compared with it in the same way. Loops are looked for in whole samples.

mod density;
mod features;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::midi::PITCH_CLASSES;
use crate::print::count;
use density::{Divergence, ReferenceDensity};
pub use features::Loop;
use features::{
    Excerpt, Features, NAMES, NUMBERS, cut_excerpts, distances_of, distances_within, draw_sets,
    excerpt_length, find_loop,
};

/// Statistics of fewer notes are mostly noise.
pub const MIN_NOTES: usize = 16;

/// Statistics of samples and of a corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StyleReport {
    /// The number of samples.
    pub samples: usize,
    /// The length that samples and pieces were cut to.
    pub notes: usize,
    /// Pieces with at least as many notes.
    pub pieces: usize,
    /// Excerpts of these pieces.
    #[serde(rename = "stretches")]
    pub excerpts: usize,
    /// Mean histograms of the samples and of the corpus.
    pub histograms: Histograms,
    /// Features that are numbers.
    pub numbers: Vec<NumberComparison>,
    /// Distances of the samples from the corpus in each feature; empty with fewer than [`MIN_PIECES`] pieces.
    pub distances: Vec<FeatureDistance>,
    /// Samples that end in a loop.
    pub loops: Vec<SampleLoop>,
    /// Excerpts of the corpus that end in a loop by the same definition.
    pub corpus_loops: usize,
}

/// Mean histograms of samples and corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histograms {
    /// Share of each pitch class, C first.
    pub pitch_classes: HistogramPair,
    /// Share of each transition between pitch classes: 12 × 12, rows are the first class.
    pub transitions: HistogramPair,
    /// Share of each interval, from −127 to 127 semitones.
    pub intervals: HistogramPair,
}

/// One histogram of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistogramPair {
    /// The samples' mean.
    pub samples: Vec<f64>,
    /// The corpus's mean.
    pub corpus: Vec<f64>,
}

/// A feature that is a number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberComparison {
    /// The feature's name.
    pub name: &'static str,
    /// Mean of the samples.
    pub samples: f64,
    /// Mean of the corpus's excerpts.
    pub corpus: f64,
    /// The 5th and 95th percentile of its excerpts.
    pub corpus_range: [f64; 2],
}

/// How far the samples are from the corpus in one feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureDistance {
    /// The feature's name.
    pub name: &'static str,
    /// Kullback-Leibler divergence of the samples' distances from the corpus's own, in nats.
    pub kl: f64,
    /// The 5th and 95th percentile of sets of the corpus's own excerpts.
    pub kl_range: [f64; 2],
    /// Overlapping area of both.
    pub overlap: f64,
    /// The 5th and 95th percentile of sets of the corpus's own excerpts.
    pub overlap_range: [f64; 2],
    /// Whether the divergence is above its 95th percentile or the overlap below its 5th. By chance, one set of the
    /// corpus's own excerpts in ten or twenty is as far.
    pub far: bool,
}

/// A sample that ends in a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SampleLoop {
    /// The sample's index.
    pub sample: usize,
    /// The loop that the sample ends in.
    #[serde(flatten)]
    pub found: Loop,
}

/// Why samples cannot be compared with a corpus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StyleError {
    /// No samples were given.
    #[error("there are no samples")]
    NoSamples,
    /// A sample is too short.
    #[error("sample {} has {notes} notes; statistics need {MIN_NOTES}", .index + 1)]
    ShortSample {
        /// The sample's index.
        index: usize,
        /// Its notes.
        notes: usize,
    },
    /// No piece of the corpus is long enough.
    #[error("no piece of the corpus has {MIN_NOTES} notes or more, which statistics need")]
    NoCorpus,
}

/// Distances need this many pieces: two pieces of one excerpt each have a single distance, hence no spread.
pub const MIN_PIECES: usize = 3;

/// Compares samples with a corpus, both as the pitches of each piece. With fewer than [`MIN_PIECES`] pieces there are no distances.
pub fn compare(samples: &[Vec<u8>], corpus: &[Vec<u8>]) -> Result<StyleReport, StyleError> {
    let corpus: Vec<Vec<u8>> = corpus.iter().filter(|piece| piece.len() >= MIN_NOTES).cloned().collect();
    check(samples, &corpus)?;
    let notes = excerpt_length(samples, &corpus);
    let excerpts = cut_excerpts(&corpus, notes);
    let own: Vec<Features> = excerpts.iter().map(|excerpt| Features::of(&excerpt.pitches)).collect();
    let theirs: Vec<Features> = samples.iter().map(|pitches| Features::of(&pitches[..notes])).collect();
    let sets = draw_sets(&excerpts, samples.len());
    let distance = |feature| distance(feature, &theirs, &excerpts, &own, &sets);
    Ok(StyleReport {
        samples: samples.len(),
        notes,
        pieces: corpus.iter().filter(|piece| piece.len() >= notes).count(),
        excerpts: excerpts.len(),
        histograms: Histograms::new(&Features::mean(&theirs), &Features::mean(&own)),
        numbers: (0..NUMBERS.len()).map(|index| number(index, &theirs, &own)).collect(),
        distances: if corpus.len() < MIN_PIECES {
            Vec::new()
        } else {
            (0..NAMES.len()).map(distance).collect()
        },
        loops: loops_of(samples),
        corpus_loops: excerpts.iter().filter(|excerpt| find_loop(&excerpt.pitches).is_some()).count(),
    })
}

fn check(samples: &[Vec<u8>], corpus: &[Vec<u8>]) -> Result<(), StyleError> {
    if samples.is_empty() {
        return Err(StyleError::NoSamples);
    }
    if let Some(index) = samples.iter().position(|pitches| pitches.len() < MIN_NOTES) {
        return Err(StyleError::ShortSample { index, notes: samples[index].len() });
    }
    if corpus.is_empty() { Err(StyleError::NoCorpus) } else { Ok(()) }
}

fn number(index: usize, samples: &[Features], corpus: &[Features]) -> NumberComparison {
    let values = |of: &[Features]| of.iter().map(|features| features.numbers[index]).collect::<Vec<_>>();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (samples, corpus) = (values(samples), values(corpus));
    NumberComparison {
        name: NUMBERS[index],
        samples: mean(&samples),
        corpus: mean(&corpus),
        corpus_range: range(corpus),
    }
}

fn distance(
    feature: usize,
    samples: &[Features],
    excerpts: &[Excerpt],
    corpus: &[Features],
    sets: &[Vec<usize>],
) -> FeatureDistance {
    let reference = ReferenceDensity::new(&distances_within(excerpts, corpus, feature));
    let mut distances = Vec::new();
    for sample in samples {
        distances.extend(corpus.iter().map(|own| sample.distance(own, feature)));
    }
    let Divergence { kl, overlap } = reference.divergence(&distances);
    let spread: Vec<Divergence> =
        sets.iter().map(|set| reference.divergence(&distances_of(set, excerpts, corpus, feature))).collect();
    let kl_range = range(spread.iter().map(|own| own.kl).collect());
    let overlap_range = range(spread.iter().map(|own| own.overlap).collect());
    let far = kl > kl_range[1] || overlap < overlap_range[0];
    FeatureDistance { name: NAMES[feature], kl, kl_range, overlap, overlap_range, far }
}

/// The 5th and 95th percentile, by nearest rank.
fn range(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    [0.05, 0.95].map(|share| values[(share * (values.len() - 1) as f64).round() as usize])
}

fn loops_of(samples: &[Vec<u8>]) -> Vec<SampleLoop> {
    let found =
        |(sample, pitches): (usize, &Vec<u8>)| Some(SampleLoop { sample, found: find_loop(pitches)? });
    samples.iter().enumerate().filter_map(found).collect()
}

impl Histograms {
    fn new(samples: &Features, corpus: &Features) -> Self {
        let pair = |of: fn(&Features) -> &Vec<f64>| HistogramPair {
            samples: of(samples).clone(),
            corpus: of(corpus).clone(),
        };
        Histograms {
            pitch_classes: pair(|features| &features.pitch_classes),
            transitions: pair(|features| &features.transitions),
            intervals: pair(|features| &features.intervals),
        }
    }
}

impl Display for StyleReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} notes; {} cut into {} of equal length\n",
            count(self.samples as u64, "sample"),
            self.notes,
            count(self.pieces as u64, "piece"),
            count(self.excerpts as u64, "excerpt")
        )?;
        self.pitch_classes(f)?;
        writeln!(f, "\n{:22}{:>10}{:>10}{:>26}", "means", "samples", "corpus", "90% of its excerpts")?;
        self.numbers.iter().try_for_each(|number| number.row(f))?;
        if self.distances.is_empty() {
            writeln!(
                f,
                "\ndistances: none, because they need {MIN_PIECES} pieces of {MIN_NOTES} notes or more"
            )?;
        } else {
            writeln!(f, "\ndistances from the corpus, and of equally large sets of its own excerpts (90%)")?;
            writeln!(f, "{:22}{:>8}{:>18}{:>9}{:>16}", "", "KL", "its own", "overlap", "its own")?;
            self.distances.iter().try_for_each(|distance| distance.row(f))?;
            writeln!(f, "far: further than 95% of the corpus's own sets")?;
        }
        self.write_loops(f)
    }
}

impl StyleReport {
    fn pitch_classes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cells = |cells: &mut dyn Iterator<Item = String>| {
            cells.map(|cell| format!("{cell:>5}")).collect::<String>()
        };
        let percents =
            |shares: &[f64]| cells(&mut shares.iter().map(|share| format!("{:.1}", 100.0 * share)));
        let classes = &self.histograms.pitch_classes;
        writeln!(f, "{:16}{}", "notes, %", cells(&mut PITCH_CLASSES.iter().map(|&name| name.to_owned())))?;
        writeln!(f, "{:16}{}", "samples", percents(&classes.samples))?;
        writeln!(f, "{:16}{}", "corpus", percents(&classes.corpus))
    }

    fn write_loops(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\nloops: {} of {}", self.loops.len(), count(self.samples as u64, "sample"))?;
        write!(f, ", {} of {} of the corpus", self.corpus_loops, count(self.excerpts as u64, "excerpt"))?;
        self.loops.iter().try_for_each(|found| {
            let Loop { start, period, rounds } = found.found;
            let round = if period == 1 { "the same note".into() } else { format!("the same {period} notes") };
            write!(f, "\n  sample {}: from note {} on {round}, {rounds} times", found.sample + 1, start + 1)
        })
    }
}

impl NumberComparison {
    fn row(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [low, high] = self.corpus_range;
        let range = format!("{low:.3} to {high:.3}");
        writeln!(f, "{:22}{:>10.3}{:>10.3}{range:>26}", self.name, self.samples, self.corpus)
    }
}

impl FeatureDistance {
    fn row(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [low, high] = self.kl_range;
        let kl = format!("{low:.3} to {high:.3}");
        let [low, high] = self.overlap_range;
        let overlap = format!("{low:.2} to {high:.2}");
        let verdict = if self.far { "far" } else { "near" };
        writeln!(f, "{:22}{:>8.3}{kl:>18}{:>9.2}{overlap:>16}{verdict:>6}", self.name, self.kl, self.overlap)
    }
}
