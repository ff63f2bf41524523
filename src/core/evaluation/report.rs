//! What `eval` says: a table for people, JSON for programs.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use super::score::{Figures, Scores, Three};

/// Figures of a checkpoint, and of the baselines on the same windows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Over all windows.
    pub overall: Figures,
    /// Over those that their piece had not contained before.
    pub novel: Figures,
    /// Over those that it had.
    pub repeated: Figures,
    /// Of the network with memory of the piece so far.
    pub memory: Three,
    /// Of each piece.
    pub pieces: Vec<PieceFigures>,
    /// Of each baseline, by name.
    #[serde(serialize_with = "as_map")]
    pub baselines: Vec<(String, Three)>,
}

/// Figures of one piece.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PieceFigures {
    /// The piece's name.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Three,
}

impl Report {
    /// Of a checkpoint's scores, those with memory of the piece so far, and those of the baselines, each with its name.
    pub fn new(scores: &Scores, memory: &Scores, baselines: &[(String, Scores)]) -> Self {
        let Three { overall, novel, repeated } = scores.all();
        let named = |(name, figures): (&str, Three)| PieceFigures { name: name.to_owned(), figures };
        Report {
            overall,
            novel,
            repeated,
            memory: memory.all(),
            pieces: scores.pieces().map(named).collect(),
            baselines: baselines.iter().map(|(name, scores)| (name.clone(), scores.all())).collect(),
        }
    }
}

fn as_map<S: Serializer>(baselines: &[(String, Three)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(baselines.iter().map(|(name, figures)| (name, figures)))
}

/// Columns for names; with the others a table is 80 columns wide at most.
const NAME: usize = 26;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "", ["windows", "nats", "bits", "perplexity", "top 1", "top 5"])?;
        let Three { overall, novel, repeated } = self.memory;
        let parts = [
            ("from the window alone", self.overall),
            ("  not heard before", self.novel),
            ("  heard before", self.repeated),
            ("with memory of the piece", overall),
            ("  not heard before", novel),
            ("  heard before", repeated),
        ];
        parts.iter().try_for_each(|(name, figures)| row(f, name, figures))?;
        writeln!(f, "\nbaselines, from the window alone")?;
        self.baselines.iter().try_for_each(|(name, figures)| row(f, name, &figures.overall))?;
        writeln!(f)?;
        line(f, "pieces", ["windows", "nats", "not heard", "heard", "top 1", "top 5"])?;
        for PieceFigures { name, figures: Three { overall, novel, repeated } } in &self.pieces {
            let [all, new, heard] = [overall, novel, repeated].map(|figures| number(figures.nats));
            let windows = overall.windows.to_string();
            line(f, name, [windows, all, new, heard, percent(overall.top1), percent(overall.top5)])?;
        }
        Ok(())
    }
}

fn row(f: &mut Formatter<'_>, name: &str, figures: &Figures) -> fmt::Result {
    let Figures { nats, bits, perplexity, top1, top5, windows } = *figures;
    let [nats, bits, perplexity] = [nats, bits, perplexity].map(number);
    line(f, name, [windows.to_string(), nats, bits, perplexity, percent(top1), percent(top5)])
}

fn line(f: &mut Formatter<'_>, name: &str, cells: [impl Display; 6]) -> fmt::Result {
    let [a, b, c, d, top1, top5] = cells;
    writeln!(f, "{:NAME$}{a:>8}{b:>8}{c:>10}{d:>11}{top1:>7}{top5:>7}", fitted(name))
}

/// Three decimals, or a dash for the mean of nothing.
fn number(value: f64) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.3}") }
}

fn percent(share: f64) -> String {
    if share.is_nan() { "-".into() } else { format!("{:.1}%", 100.0 * share) }
}

/// A name that fits its column, by its end: files of one folder begin alike.
fn fitted(name: &str) -> String {
    let letters = name.chars().count();
    match letters < NAME {
        true => name.to_owned(),
        false => format!("…{}", name.chars().skip(letters + 2 - NAME).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Piece;

    fn report() -> Report {
        let piece = |name: &str| Piece { name: name.into(), classes: Vec::new() };
        let long = "a/very/long/folder/with/a/piece.mid";
        let mut scores = Scores::new(&[piece("cs1-1pre.mid"), piece(long)]);
        scores.add(0, false, &[0.5f64.ln(), 0.5f64.ln()], 0);
        scores.add(0, true, &[0.5f64.ln(), 0.5f64.ln()], 1);
        scores.add(1, false, &[0.25f64.ln(), 0.75f64.ln()], 0);
        let even = scores.clone();
        Report::new(&scores, &even, &[("uniform".into(), even.clone())])
    }

    #[test]
    fn json_has_the_fields_that_programs_rely_on() {
        let json = serde_json::to_value(report()).unwrap();
        for part in ["overall", "novel", "repeated"] {
            for field in ["nats", "bits", "perplexity", "top1", "top5", "windows"] {
                assert!(json[part][field].is_number(), "{part}.{field} in {json}");
            }
        }
        assert_eq!(json["overall"]["windows"], 3);
        assert_eq!(json["memory"]["novel"]["windows"], json["novel"]["windows"]);
        assert_eq!(json["pieces"][0]["name"], "cs1-1pre.mid");
        assert_eq!(json["pieces"][0]["top1"], 0.5);
        assert_eq!(json["pieces"][1]["repeated"]["windows"], 0);
        assert!(json["pieces"][1]["repeated"]["nats"].is_null());
        assert_eq!(json["baselines"]["uniform"]["nats"], json["overall"]["nats"]);
        assert!(json["baselines"]["uniform"]["top1"].is_number());
    }

    #[test]
    fn the_table_fits_80_columns() {
        let table = report().to_string();
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        let lines: Vec<_> = table.lines().collect();
        let fields = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        let all = ["3", "0.924", "1.333", "2.520", "33.3%", "100.0%"];
        assert_eq!(fields(1)[4..], all);
        assert_eq!(fields(4)[5..], all);
        assert_eq!(fields(3), ["heard", "before", "1", "0.693", "1.000", "2.000", "0.0%", "100.0%"]);
        assert_eq!(fields(12), ["cs1-1pre.mid", "2", "0.693", "0.693", "0.693", "50.0%", "100.0%"]);
        let cut = "…/folder/with/a/piece.mid";
        assert_eq!(fields(13), [cut, "1", "1.386", "1.386", "-", "0.0%", "100.0%"]);
    }
}
