//! What `eval` reports: a table for people, JSON for programs.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use super::score::{Metrics, Scores, SplitMetrics};

/// Metrics of a checkpoint, and of the baselines on the same windows. Field names are those of the JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// Over all windows.
    pub overall: Metrics,
    /// Over novel windows.
    pub novel: Metrics,
    /// Over repeated windows.
    pub repeated: Metrics,
    /// Of the network with the cache model.
    pub memory: SplitMetrics,
    /// Of each piece.
    pub pieces: Vec<PieceMetrics>,
    /// Of each baseline, by name.
    #[serde(serialize_with = "as_map")]
    pub baselines: Vec<(String, SplitMetrics)>,
}

/// Metrics of one piece.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PieceMetrics {
    /// The piece's name.
    pub name: String,
    /// Its metrics.
    #[serde(flatten)]
    pub metrics: SplitMetrics,
}

impl EvaluationReport {
    /// The report on a network's scores, those with the cache model, and those of the baselines.
    pub fn new(scores: &Scores, with_cache: &Scores, baselines: &[(String, Scores)]) -> Self {
        let SplitMetrics { overall, novel, repeated } = scores.all();
        EvaluationReport {
            overall,
            novel,
            repeated,
            memory: with_cache.all(),
            pieces: scores
                .pieces()
                .map(|(name, metrics)| PieceMetrics { name: name.to_owned(), metrics })
                .collect(),
            baselines: baselines.iter().map(|(name, scores)| (name.clone(), scores.all())).collect(),
        }
    }
}

fn as_map<S: Serializer>(baselines: &[(String, SplitMetrics)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(baselines.iter().map(|(name, metrics)| (name, metrics)))
}

/// Columns of names, so that the table has 80 columns.
pub(super) const NAME_COLUMNS: usize = 26;

impl Display for EvaluationReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "", ["windows", "nats", "bits", "perplexity", "top 1", "top 5"])?;
        let SplitMetrics { overall, novel, repeated } = self.memory;
        let parts = [
            ("network", self.overall),
            ("  novel windows", self.novel),
            ("  repeated windows", self.repeated),
            ("network and cache model", overall),
            ("  novel windows", novel),
            ("  repeated windows", repeated),
        ];
        for (name, metrics) in &parts {
            row(f, name, metrics)?;
        }
        writeln!(f, "\nbaselines")?;
        for (name, metrics) in &self.baselines {
            row(f, name, &metrics.overall)?;
        }
        writeln!(f)?;
        line(f, "pieces", ["windows", "nats", "novel", "repeated", "top 1", "top 5"])?;
        for PieceMetrics { name, metrics: SplitMetrics { overall, novel, repeated } } in &self.pieces {
            let [all, novel, repeated] = [overall, novel, repeated].map(|metrics| number(metrics.nats));
            let windows = overall.windows.to_string();
            line(f, name, [windows, all, novel, repeated, percent(overall.top1), percent(overall.top5)])?;
        }
        Ok(())
    }
}

fn row(f: &mut Formatter<'_>, name: &str, metrics: &Metrics) -> fmt::Result {
    let Metrics { nats, bits, perplexity, top1, top5, windows } = *metrics;
    let [nats, bits, perplexity] = [nats, bits, perplexity].map(number);
    line(f, name, [windows.to_string(), nats, bits, perplexity, percent(top1), percent(top5)])
}

fn line(f: &mut Formatter<'_>, name: &str, cells: [impl Display; 6]) -> fmt::Result {
    let [a, b, c, d, top1, top5] = cells;
    writeln!(f, "{:NAME_COLUMNS$}{a:>8}{b:>8}{c:>10}{d:>11}{top1:>7}{top5:>7}", fitted(name))
}

/// Three decimals, or a dash for the mean over nothing.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.3}") }
}

pub(super) fn percent(fraction: f64) -> String {
    if fraction.is_nan() { "-".into() } else { format!("{:.1}%", 100.0 * fraction) }
}

/// A name that fits its column. The end is kept, as files of one folder begin alike.
pub(super) fn fitted(name: &str) -> String {
    let letters = name.chars().count();
    match letters < NAME_COLUMNS {
        true => name.to_owned(),
        false => format!("…{}", name.chars().skip(letters + 2 - NAME_COLUMNS).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Piece;

    fn report() -> EvaluationReport {
        let piece = |name: &str| Piece { name: name.into(), tokens: Vec::new() };
        let long = "a/very/long/folder/with/a/piece.mid";
        let mut scores = Scores::new(&[piece("cs1-1pre.mid"), piece(long)]);
        scores.add(0, false, &[0.5f64.ln(), 0.5f64.ln()], 0);
        scores.add(0, true, &[0.5f64.ln(), 0.5f64.ln()], 1);
        scores.add(1, false, &[0.25f64.ln(), 0.75f64.ln()], 0);
        EvaluationReport::new(&scores, &scores, &[("uniform".into(), scores.clone())])
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
        assert_eq!(fields(1)[1..], all);
        assert_eq!(fields(4)[4..], all);
        assert_eq!(fields(3), ["repeated", "windows", "1", "0.693", "1.000", "2.000", "0.0%", "100.0%"]);
        assert_eq!(fields(12), ["cs1-1pre.mid", "2", "0.693", "0.693", "0.693", "50.0%", "100.0%"]);
        let cut = "…/folder/with/a/piece.mid";
        assert_eq!(fields(13), [cut, "1", "1.386", "1.386", "-", "0.0%", "100.0%"]);
    }
}
