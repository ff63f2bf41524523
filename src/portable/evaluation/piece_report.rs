//! What `eval` reports on whole pieces: a table for people, JSON for programs.

use std::fmt::{self, Display, Formatter};

use serde_json::{Map, Value, json};

use super::likelihood::{FrameSums, Likelihood};
use super::pieces::{EvaluatedPiece, NETWORK, PieceEvaluation};
use super::report::{NAME_COLUMNS, fitted, number, percent};
use crate::print::count;

impl PieceEvaluation {
    /// The report: figures of the network, if there is one, of its pieces, and of the baselines, by name.
    pub fn to_json(&self) -> Value {
        let mut baselines = Map::new();
        let mut report = Map::new();
        let models = self.models.iter().zip(self.pooled(false)).zip(self.pooled(true));
        for ((name, overall), unknown_tunes) in models {
            if name == NETWORK {
                report.insert("overall".into(), json!(overall));
                report.insert("unknown_tunes".into(), json!(unknown_tunes));
                let pieces = self.pieces.iter().map(|piece| {
                    let mut figures = json!(piece.likelihoods[0]);
                    figures["name"] = json!(piece.name);
                    figures["known_tune"] = json!(piece.is_tune_known);
                    figures
                });
                report.insert("pieces".into(), pieces.collect());
                continue;
            }
            let figures = json!({
                "nats": overall.nats_per_token(),
                "top1": overall.top1(),
                "overall": overall,
                "unknown_tunes": unknown_tunes,
            });
            baselines.insert(name.clone(), figures);
        }
        report.insert("baselines".into(), baselines.into());
        report.into()
    }
}

impl Display for PieceEvaluation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let unknown = self.pieces.iter().filter(|piece| !piece.is_tune_known).count() as u64;
        let all = self.pooled(false);
        let Some(&Likelihood { pieces, tokens, notes, frames, .. }) = all.first() else { return Ok(()) };
        write!(f, "{}: {tokens} tokens, {notes} notes", count(pieces, "piece"))?;
        if let Some(FrameSums { frames, changing, .. }) = frames {
            write!(f, ", {frames} frames, of which {changing} change")?;
        }
        writeln!(f, "\n{}", self.table(&all))?;
        if unknown == 0 || unknown == pieces {
            let how_many = if unknown == 0 { "all" } else { "none" };
            writeln!(f, "with a tune that a training piece has: {how_many}\n")?;
        } else {
            writeln!(f, "{} with a tune that no training piece has", count(unknown, "piece"))?;
            writeln!(f, "{}", self.table(&self.pooled(true)))?;
        }
        if self.models.first().is_some_and(|model| model == NETWORK) {
            let mut rows = Vec::new();
            for EvaluatedPiece { name, is_tune_known, likelihoods } in &self.pieces {
                let mark = if *is_tune_known { " *" } else { "" };
                rows.push((format!("{name}{mark}"), likelihoods[0]));
            }
            let title = "pieces (*: known tune)";
            writeln!(f, "{}", LikelihoodTable { title, rows })?;
        }
        Ok(())
    }
}

impl PieceEvaluation {
    fn table(&self, likelihoods: &[Likelihood]) -> LikelihoodTable {
        let models = self.models.iter().cloned();
        LikelihoodTable { title: "nats per", rows: models.zip(likelihoods.iter().copied()).collect() }
    }
}

/// Likelihoods in nats per token, note, frame and so on, one in each line of 80 columns.
#[derive(Debug, Clone)]
pub struct LikelihoodTable {
    /// What the rows are.
    pub title: &'static str,
    /// Their names and likelihoods.
    pub rows: Vec<(String, Likelihood)>,
}

impl Display for LikelihoodTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, self.title, ["token", "note", "frame", "cell", "changing"].map(str::to_owned), "top 1")?;
        for (name, likelihood) in &self.rows {
            let figures = [
                Some(likelihood.nats_per_token()),
                Some(likelihood.nats_per_note()),
                likelihood.nats_per_frame(),
                likelihood.nats_per_cell(),
                likelihood.nats_per_changing_frame(),
            ];
            let figures = figures.map(|nats| number(nats.unwrap_or(f64::NAN)));
            line(f, &fitted(name), figures, &percent(likelihood.top1()))?;
        }
        Ok(())
    }
}

fn line(f: &mut Formatter<'_>, name: &str, [a, b, c, d, changing]: [String; 5], top1: &str) -> fmt::Result {
    writeln!(f, "{name:NAME_COLUMNS$}{a:>9}{b:>9}{c:>9}{d:>9}{changing:>10}{top1:>8}")
}
