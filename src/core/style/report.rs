//! The comparison as tables for people, at most 80 columns wide.

use std::fmt::{self, Display, Formatter};

use super::loops::Loop;
use super::{Distance, MIN_PIECES, Number, SHORTEST, Style};

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
