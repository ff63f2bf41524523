//! `bachdist eval --baselines`: how well n-grams predict the pieces that a configuration holds out. Nothing is trained.

use std::path::Path;

use anyhow::Result;
use bachdist_portable::config::{Config, DataConfig};
use bachdist_portable::corpus::Corpus;
use bachdist_portable::evaluation::pieces::PieceEvaluation;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::print::{eprint_line, print_line};
use serde_json::json;

use crate::cli::EvalArguments;

/// Fits, evaluates, and prints.
pub fn run(path: &Path, arguments: &EvalArguments) -> Result<()> {
    let config = Config::load(path, &arguments.set)?;
    let representation = &*config.representation.build();
    if representation.end().is_none() {
        let message = format!(
            "{}: --baselines evaluates whole pieces, and those of {} have no end (eval CHECKPOINT has its baselines)",
            path.display(),
            representation.id()
        );
        return Err(Failure::new(ExitCode::Usage, message).into());
    }
    let mut all: Option<PieceEvaluation> = None;
    for data in splits(path, &config.data)? {
        let Corpus { training, held_out, remarks } = Corpus::read(&data, representation)?;
        if all.is_none() {
            for remark in &remarks {
                eprint_line(format_args!("note: {}: {remark}", data.midi));
            }
        }
        let evaluation =
            PieceEvaluation::of_baselines(representation, &training, config.train.transpose, &held_out);
        match &mut all {
            None => all = Some(evaluation),
            Some(all) => all.extend(evaluation),
        }
    }
    let Some(all) = all else { return Ok(()) };
    if arguments.json {
        let mut object = all.to_json();
        object["representation"] = json!(config.representation);
        return Ok(print_line(object)?);
    }
    Ok(print_line(format_args!("{}\n{}", path.display(), all.to_string().trim_end()))?)
}

/// The music with the pieces held out that `data.holdout` names; without it with each of `data.folds` in turn.
fn splits(path: &Path, data: &DataConfig) -> Result<Vec<DataConfig>> {
    if !data.holdout.is_empty() {
        return Ok(vec![data.clone()]);
    }
    if data.folds.is_empty() {
        let message = format!(
            "{}: --baselines needs pieces to evaluate on: data.holdout, or data.folds to hold out in turn",
            path.display()
        );
        return Err(Failure::new(ExitCode::Usage, message).into());
    }
    let without = |group: &String| DataConfig { holdout: vec![group.clone()], ..data.clone() };
    Ok(data.folds.iter().map(without).collect())
}
