//! `bachdist eval --baselines`: how well n-grams predict the pieces that a configuration holds out. Nothing is trained.

use std::path::Path;

use anyhow::Result;
use bachdist_portable::config::{Config, DataConfig};
use bachdist_portable::corpus::{Corpus, Piece};
use bachdist_portable::evaluation::kneser_ney::KneserNey;
use bachdist_portable::evaluation::likelihood::Likelihood;
use bachdist_portable::evaluation::tunes::KnownTunes;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::parallel::in_parallel;
use bachdist_portable::print::{eprint_line, print_line};
use bachdist_portable::process::cores;
use bachdist_portable::representation::{Representation, Token};
use serde_json::json;

use crate::cli::EvalArguments;

/// Tokens in the longest context of an n-gram, and the discount that is taken from every count.
const ORDERS: [usize; 5] = [1, 2, 4, 7, 10];
const DISCOUNT: f64 = 0.85;

/// Figures of one order.
struct Figures {
    order: usize,
    overall: Likelihood,
    /// Of the pieces whose tune no training piece has.
    unknown_tunes: Likelihood,
}

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
    let mut all: Vec<Figures> = ORDERS
        .map(|order| Figures { order, overall: Likelihood::default(), unknown_tunes: Likelihood::default() })
        .into();
    for data in splits(path, &config.data)? {
        let corpus = Corpus::read(&data, representation)?;
        for remark in &corpus.remarks {
            eprint_line(format_args!("note: {}: {remark}", data.midi));
        }
        let training = transposed(representation, &corpus.training, config.train.transpose);
        let mut tunes = KnownTunes::default();
        for piece in &corpus.training {
            tunes.add(&representation.decode(&piece.tokens));
        }
        let knows = |piece: &Piece| tunes.knows(&representation.decode(&piece.tokens));
        let known: Vec<bool> = corpus.held_out.iter().map(knows).collect();
        for figures in &mut all {
            let model = KneserNey::fit(representation, &training, figures.order, DISCOUNT);
            let likelihoods = in_parallel(cores(), &corpus.held_out, |piece| {
                Likelihood::of_piece(representation, &piece.tokens, &model.log_probabilities(&piece.tokens))
            });
            for (is_known, likelihood) in known.iter().zip(&likelihoods) {
                figures.overall.add(likelihood);
                if !is_known {
                    figures.unknown_tunes.add(likelihood);
                }
            }
        }
    }
    print(path, &config, &all, arguments.json)
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

/// The tokens of pieces in every key that is at most this many semitones away, and that the vocabulary has.
fn transposed(representation: &dyn Representation, pieces: &[Piece], semitones: u8) -> Vec<Vec<Token>> {
    let semitones = semitones.cast_signed();
    let mut all = Vec::new();
    for piece in pieces {
        for semitones in -semitones..=semitones {
            let moved = piece.tokens.iter().map(|&token| representation.transpose(token, semitones));
            all.extend(moved.collect::<Option<Vec<Token>>>());
        }
    }
    all
}

fn print(path: &Path, config: &Config, all: &[Figures], as_json: bool) -> Result<()> {
    if as_json {
        let baselines = all.iter().map(|Figures { order, overall, unknown_tunes }| {
            let figures = json!({ "overall": overall, "unknown_tunes": unknown_tunes });
            (format!("kneser_ney_{order}"), figures)
        });
        let baselines: serde_json::Map<_, _> = baselines.collect();
        let representation = &config.representation;
        return Ok(print_line(json!({ "representation": representation, "baselines": baselines }))?);
    }
    let Some(Figures { overall, unknown_tunes, .. }) = all.first() else { return Ok(()) };
    print_line(format_args!(
        "{}: {} pieces held out, {} of them with a tune that no training piece has; {} tokens, {} notes\n",
        path.display(),
        overall.pieces,
        unknown_tunes.pieces,
        overall.tokens,
        overall.notes
    ))?;
    let unit = if overall.frames.is_some() { "frame" } else { "note" };
    print_line(format_args!(
        "{:<20}{:>12}{:>12}{:>12}{:>24}",
        "nats",
        "per token",
        "per note",
        "per frame",
        format!("unknown tunes, {unit}")
    ))?;
    for Figures { order, overall, unknown_tunes } in all {
        let frame =
            |figures: &Likelihood| figures.nats_per_frame().unwrap_or_else(|| figures.nats_per_note());
        let per_frame = overall.nats_per_frame().map_or("-".into(), |nats| format!("{nats:.3}"));
        print_line(format_args!(
            "{:<20}{:>12.3}{:>12.3}{per_frame:>12}{:>24.3}",
            format!("Kneser-Ney {order}"),
            overall.nats_per_token(),
            overall.nats_per_note(),
            frame(unknown_tunes)
        ))?;
    }
    Ok(())
}
