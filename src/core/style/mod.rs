//! Whether samples sound like a corpus, as far as statistics of their notes can tell.
//!
//! Pieces are cut to [`stretches`] of the samples' length and both are described by [`features`]. For each
//! feature, the distances between stretches of different pieces are one set of numbers, those from samples to
//! stretches another; their [`density`] estimates are compared as by Yang and Lerch (2018). What is near and what
//! is far is told by the corpus itself: sets of stretches as large as the set of samples are compared with it in
//! the same way. [`loops`] are looked for in whole samples.

mod density;
mod features;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::corpus::Piece;
use density::{Divergence, Reference};
pub use features::Loop;
use features::{
    Features, NAMES, NUMBERS, Stretch, cut, distances_of, distances_within, draw, find_loop, length,
};

/// Shorter samples have no statistics to speak of.
pub const SHORTEST: usize = 16;

/// Samples beside a corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Style {
    /// How many samples.
    pub samples: usize,
    /// To how many notes samples and pieces were cut.
    pub notes: usize,
    /// Pieces that are so long.
    pub pieces: usize,
    /// Stretches that they were cut into.
    pub stretches: usize,
    /// Histograms, means of the samples and of the corpus.
    pub histograms: Histograms,
    /// Features that are numbers.
    pub numbers: Vec<Number>,
    /// Distances of the samples from the corpus, one entry for each feature; none where it has too few pieces.
    pub distances: Vec<Distance>,
    /// Samples that end in a loop.
    pub loops: Vec<SampleLoop>,
    /// Stretches of the corpus that end in what would be called a loop.
    pub corpus_loops: usize,
}

/// Mean histograms of samples and corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histograms {
    /// Share of each pitch class, C first.
    pub pitch_classes: Pair,
    /// Share of each step between pitch classes: 12 × 12, rows are where it starts.
    pub transitions: Pair,
    /// Share of each interval, from −127 to 127 semitones.
    pub intervals: Pair,
}

/// The same of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Of the samples.
    pub samples: Vec<f64>,
    /// Of the corpus.
    pub corpus: Vec<f64>,
}

/// A feature that is a number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Number {
    /// Which.
    pub name: &'static str,
    /// Mean of the samples.
    pub samples: f64,
    /// Mean of the corpus's stretches.
    pub corpus: f64,
    /// What 5% and 95% of its stretches stay below.
    pub corpus_range: [f64; 2],
}

/// How far the samples are from the corpus in one feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distance {
    /// Which feature.
    pub name: &'static str,
    /// Kullback-Leibler divergence of the samples' distances from the corpus's own, in nats.
    pub kl: f64,
    /// What 5% and 95% of sets of the corpus's own stretches stay below.
    pub kl_range: [f64; 2],
    /// Overlapping area of both.
    pub overlap: f64,
    /// What 5% and 95% of sets of the corpus's own stretches stay below.
    pub overlap_range: [f64; 2],
    /// Whether the divergence is above what 95% of those sets stay below, or the overlap below what 5% stay below: so
    /// far is one such set in ten or twenty, by chance.
    pub far: bool,
}

/// A sample that ends in a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SampleLoop {
    /// Index of the sample.
    pub sample: usize,
    /// Its loop.
    #[serde(flatten)]
    pub found: Loop,
}

/// Why samples cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StyleError {
    /// There are none.
    #[error("there is no sample")]
    NoSamples,
    /// A sample is too short.
    #[error("sample {} has {notes} notes; statistics need {SHORTEST}", .index + 1)]
    Short {
        /// Which, from 0.
        index: usize,
        /// Its notes.
        notes: usize,
    },
    /// There is nothing to compare with.
    #[error("the music that they are compared with has no piece of {SHORTEST} notes or more")]
    NoCorpus,
}

/// Distances need so many pieces: two of one stretch each have a single distance, and no spread.
pub const MIN_PIECES: usize = 3;

/// Compares samples, in pitches, with a corpus. With fewer than [`MIN_PIECES`] pieces there are no distances.
pub fn compare(samples: &[Vec<u8>], corpus: &[Piece]) -> Result<Style, StyleError> {
    let corpus: Vec<Piece> = corpus.iter().filter(|piece| piece.classes.len() >= SHORTEST).cloned().collect();
    check(samples, &corpus)?;
    let notes = length(samples, &corpus);
    let stretches = cut(&corpus, notes);
    let own: Vec<Features> = stretches.iter().map(|stretch| Features::of(&stretch.pitches)).collect();
    let theirs: Vec<Features> = samples.iter().map(|pitches| Features::of(&pitches[..notes])).collect();
    let sets = draw(&stretches, samples.len());
    let distance = |feature| distance(feature, &theirs, &stretches, &own, &sets);
    Ok(Style {
        samples: samples.len(),
        notes,
        pieces: corpus.iter().filter(|piece| piece.classes.len() >= notes).count(),
        stretches: stretches.len(),
        histograms: Histograms::new(&Features::mean(&theirs), &Features::mean(&own)),
        numbers: (0..NUMBERS.len()).map(|index| number(index, &theirs, &own)).collect(),
        distances: if corpus.len() < MIN_PIECES {
            Vec::new()
        } else {
            (0..NAMES.len()).map(distance).collect()
        },
        loops: loops_of(samples),
        corpus_loops: stretches.iter().filter(|stretch| find_loop(&stretch.pitches).is_some()).count(),
    })
}

fn check(samples: &[Vec<u8>], corpus: &[Piece]) -> Result<(), StyleError> {
    if samples.is_empty() {
        return Err(StyleError::NoSamples);
    }
    if let Some(index) = samples.iter().position(|pitches| pitches.len() < SHORTEST) {
        return Err(StyleError::Short { index, notes: samples[index].len() });
    }
    if corpus.is_empty() { Err(StyleError::NoCorpus) } else { Ok(()) }
}

fn number(index: usize, samples: &[Features], corpus: &[Features]) -> Number {
    let values = |of: &[Features]| of.iter().map(|features| features.numbers[index]).collect::<Vec<_>>();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (samples, corpus) = (values(samples), values(corpus));
    Number {
        name: NUMBERS[index],
        samples: mean(&samples),
        corpus: mean(&corpus),
        corpus_range: range(corpus),
    }
}

fn distance(
    feature: usize,
    samples: &[Features],
    stretches: &[Stretch],
    corpus: &[Features],
    sets: &[Vec<usize>],
) -> Distance {
    let reference = Reference::new(&distances_within(stretches, corpus, feature));
    let from_corpus = |sample: &Features| corpus.iter().map(|own| sample.distance(own, feature)).collect();
    let distances: Vec<f64> = samples.iter().flat_map::<Vec<f64>, _>(from_corpus).collect();
    let Divergence { kl, overlap } = reference.divergence(&distances);
    let spread: Vec<Divergence> =
        sets.iter().map(|set| reference.divergence(&distances_of(set, stretches, corpus, feature))).collect();
    let kl_range = range(spread.iter().map(|own| own.kl).collect());
    let overlap_range = range(spread.iter().map(|own| own.overlap).collect());
    let far = kl > kl_range[1] || overlap < overlap_range[0];
    Distance { name: NAMES[feature], kl, kl_range, overlap, overlap_range, far }
}

/// What 5% and 95% of some values stay below or reach: the nearest of them, by rank.
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
        let pair = |of: fn(&Features) -> &Vec<f64>| Pair {
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

const PITCH_CLASSES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];

impl Display for Style {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} notes; {} cut into {} of as many\n",
            counted(self.samples, "sample"),
            self.notes,
            counted(self.pieces, "piece"),
            counted(self.stretches, "stretch")
        )?;
        self.pitch_classes(f)?;
        writeln!(f, "\n{:22}{:>10}{:>10}{:>26}", "means", "samples", "corpus", "90% of its stretches")?;
        self.numbers.iter().try_for_each(|number| number.row(f))?;
        if self.distances.is_empty() {
            writeln!(
                f,
                "\ndistances: none, because the corpus needs {MIN_PIECES} pieces of {SHORTEST} notes or more"
            )?;
        } else {
            writeln!(f, "\ndistances, and those of as large sets of the corpus's own stretches (90%)")?;
            writeln!(f, "{:22}{:>8}{:>18}{:>9}{:>16}", "", "KL", "its own", "overlap", "its own")?;
            self.distances.iter().try_for_each(|distance| distance.row(f))?;
            writeln!(f, "far: beyond what all but 5% of the corpus's own sets reach")?;
        }
        self.write_loops(f)
    }
}

impl Style {
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
        write!(f, "\nloops: {} of {}", self.loops.len(), counted(self.samples, "sample"))?;
        write!(f, ", {} of {} of the corpus", self.corpus_loops, counted(self.stretches, "stretch"))?;
        self.loops.iter().try_for_each(|found| {
            let Loop { start, period, rounds } = found.found;
            let round = if period == 1 { "the same note".into() } else { format!("the same {period} notes") };
            write!(f, "\n  sample {}: from note {} on {round}, {rounds} times", found.sample + 1, start + 1)
        })
    }
}

impl Number {
    fn row(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [low, high] = self.corpus_range;
        let range = format!("{low:.3} to {high:.3}");
        writeln!(f, "{:22}{:>10.3}{:>10.3}{range:>26}", self.name, self.samples, self.corpus)
    }
}

impl Distance {
    fn row(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [low, high] = self.kl_range;
        let kl = format!("{low:.3} to {high:.3}");
        let [low, high] = self.overlap_range;
        let overlap = format!("{low:.2} to {high:.2}");
        let verdict = if self.far { "far" } else { "near" };
        writeln!(f, "{:22}{:>8.3}{kl:>18}{:>9.2}{overlap:>16}{verdict:>6}", self.name, self.kl, self.overlap)
    }
}

fn counted(number: usize, what: &str) -> String {
    let ending = match (number, what) {
        (1, _) => "",
        (_, "stretch") => "es",
        _ => "s",
    };
    format!("{number} {what}{ending}")
}
