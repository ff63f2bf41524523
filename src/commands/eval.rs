//! `bachdist eval`: how well a checkpoint predicts music, beside models without a network.

use std::fmt::{self, Display, Formatter};

use anyhow::{Result, anyhow, bail};
use bachdist_portable::backend::Backend;
use bachdist_portable::backend::native::NativeBackend;
use bachdist_portable::checkpoint::Checkpoint;
use bachdist_portable::checkpoint::read::{LoadedCheckpoint, open_one, store_and_name};
use bachdist_portable::config::identity::differences as value_differences;
use bachdist_portable::config::{Config, DataConfig, LossPositions};
use bachdist_portable::corpus::load::list_some;
use bachdist_portable::corpus::windows::{Windows, windows_of};
use bachdist_portable::corpus::{Corpus, CorpusError, Piece, fingerprint};
use bachdist_portable::evaluation::cache_model::CacheWeights;
use bachdist_portable::evaluation::pieces::PieceEvaluation;
use bachdist_portable::evaluation::report::EvaluationReport;
use bachdist_portable::evaluation::score::{Scores, read_through};
use bachdist_portable::evaluation::{score, score_baselines};
use bachdist_portable::failure::{ExitCode, Failure, line_of};
use bachdist_portable::metrics::{METRICS, Record, read_records};
use bachdist_portable::network::batch::LaneBatch;
use bachdist_portable::network::inference::InferenceNetwork;
use bachdist_portable::print::{WorkBar, count, eprint_line, print_line};
use bachdist_portable::process::cores;
use bachdist_portable::representation::{Representation, Token};
use serde_json::{Value, json};

use super::{baselines, samples};
use crate::cli::EvalArguments;

/// Evaluates, and prints.
pub fn run(arguments: &EvalArguments) -> Result<()> {
    if let Some(path) = &arguments.baselines {
        return baselines::run(path, arguments);
    }
    // Clap does not look at what an option requires where that conflicts with something else.
    if arguments.plot.is_some() {
        let message = "--plot is only used with --cross-validate, whose losses it draws";
        return Err(Failure::new(ExitCode::Usage, message).into());
    }
    if !arguments.set.is_empty() && (arguments.data.is_none() || arguments.samples.is_some()) {
        let message = "--set is only used with --cross-validate, or with --data for the music that a checkpoint is evaluated \
                       on";
        return Err(Failure::new(ExitCode::Usage, message).into());
    }
    if let Some(folder) = &arguments.samples {
        return samples::compare(folder, arguments);
    }
    let Some(location) = &arguments.checkpoint else {
        let message = "which checkpoint? Name a file, a folder or a URL, or --cross-validate CONFIG";
        return Err(Failure::new(ExitCode::Usage, message).into());
    };
    let LoadedCheckpoint { checkpoint, location, notes, .. } = open_one(location, arguments.best)?;
    for note in &notes {
        eprint_line(format_args!("note: {note}"));
    }
    let music = Music::choose(&checkpoint, &location, arguments.data.as_deref(), &arguments.set)?;
    let evaluation = evaluate(&checkpoint, &music.pieces)?;
    if arguments.json {
        let mut object = evaluation.to_json()?;
        object["checkpoint"] = json!(location);
        object["trained_on"] = json!(music.trained_on);
        print_line(object)?;
    } else {
        print_line(format_args!(
            "checkpoint  {location} (step {})\nmusic       {}\n",
            checkpoint.step, music.description
        ))?;
        print_line(evaluation.to_string().trim_end())?;
    }
    Ok(())
}

/// All pieces at a path, read by this configuration.
fn all_pieces(path: &str, config: &Config) -> Result<Vec<Piece>> {
    let data = DataConfig { midi: path.into(), holdout: Vec::new(), ..config.data.clone() };
    let corpus = Corpus::read(&data, &*config.representation.build())?;
    for remark in &corpus.remarks {
        eprint_line(format_args!("note: {path}: {remark}"));
    }
    Ok(corpus.training)
}

/// The configuration by which other music is read: the checkpoint's, with the overrides of the command line.
fn config_for_reading(checkpoint: &Checkpoint, overrides: &[String]) -> Result<Config> {
    const FREE: [&str; 2] = ["representation.out_of_range", "data.max_notes"];
    let config = checkpoint.config()?;
    if overrides.is_empty() {
        return Ok(config);
    }
    let overridden = config.overridden("the checkpoint's configuration", overrides)?;
    let differences = value_differences(&serde_json::to_value(&config)?, &serde_json::to_value(&overridden)?);
    match differences.iter().find(|difference| !FREE.contains(&difference.key.as_str())) {
        None => Ok(overridden),
        Some(difference) => {
            let message = format!(
                "--set {}: has no effect on a checkpoint, which has its own settings (with --data, {} can be set)",
                difference.key,
                FREE.join(" and ")
            );
            Err(Failure::new(ExitCode::Usage, message).into())
        }
    }
}

/// What a checkpoint is evaluated on.
struct Music {
    pieces: Vec<Piece>,
    /// Whether it was trained on these.
    trained_on: bool,
    description: String,
}

impl Music {
    /// The music at a path as far as the checkpoint was not trained on it. Without a path, the pieces that its run holds out,
    /// where whole pieces are evaluated and that music can be read; otherwise what it was trained on.
    fn choose(
        checkpoint: &Checkpoint,
        location: &str,
        path: Option<&str>,
        overrides: &[String],
    ) -> Result<Music> {
        let training = &checkpoint.corpus.pieces;
        let Some(path) = path else {
            if let Some(held_out) = Music::held_out(checkpoint, location)? {
                return Ok(held_out);
            }
            let description = format!("{} that it was trained on", count(training.len() as u64, "piece"));
            return Ok(Music { pieces: training.to_vec(), trained_on: true, description });
        };
        let config = config_for_reading(checkpoint, overrides)?;
        let is_whole = config.representation.build().end().is_some();
        let length = if is_whole { 0 } else { config.data.sequence_length };
        let all = all_pieces(path, &config)?;
        let (all, short): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|piece| windows_of(piece.tokens.len(), length) > 0);
        if all.is_empty() {
            let empty = CorpusError::Empty { path: path.into(), length, purpose: "evaluate", which: "" };
            return Err(empty.into());
        }
        if !short.is_empty() {
            let names: Vec<_> = short.iter().map(|piece| &piece.name).collect();
            eprint_line(format_args!(
                "note: {path}: no window of {length} notes is in {}",
                list_some(&names)
            ));
        }
        // By their notes: a file that was only renamed is no new music.
        let known = |piece: &Piece| training.iter().any(|trained| trained.tokens == piece.tokens);
        let (known, new): (Vec<_>, Vec<_>) = all.into_iter().partition(known);
        let pieces = |pieces: &[Piece]| count(pieces.len() as u64, "piece");
        if new.is_empty() {
            let description = format!("{path}: {}, all of which it was trained on", pieces(&known));
            return Ok(Music { pieces: known, trained_on: true, description });
        }
        let others = match known.len() {
            0 => String::new(),
            n => format!("; {n} others there it was trained on"),
        };
        let description = format!("{path}: {} that it was not trained on{others}", pieces(&new));
        Ok(Music { pieces: new, trained_on: false, description })
    }

    /// The pieces that the run of this checkpoint holds out, read from where its newest attempt read them. `None` where it
    /// holds out none, where pieces are not evaluated whole, and, with a note, where that music is not there any more.
    fn held_out(checkpoint: &Checkpoint, location: &str) -> Result<Option<Music>> {
        let config = checkpoint.config()?;
        let representation = &*config.representation.build();
        if config.data.holdout.is_empty() || representation.end().is_none() {
            return Ok(None);
        }
        let found = held_out_pieces(checkpoint, &config.data, representation, location);
        match found {
            Ok((path, pieces)) => {
                let count = count(pieces.len() as u64, "piece");
                let description = format!("{path}: {count} that its run holds out");
                Ok(Some(Music { pieces, trained_on: false, description }))
            }
            Err(error) => {
                let error = line_of(&error);
                eprint_line(format_args!(
                    "note: the pieces that its run holds out cannot be read: {error}; --data PATH names other music"
                ));
                Ok(None)
            }
        }
    }
}

/// Where a run's newest attempt read its music, and the pieces there that it holds out.
fn held_out_pieces(
    checkpoint: &Checkpoint,
    data: &DataConfig,
    representation: &dyn Representation,
    location: &str,
) -> Result<(String, Vec<Piece>)> {
    let (store, _) = store_and_name(location)?;
    let text = store.get(METRICS)?;
    let text = String::from_utf8_lossy(&text);
    let attempts = read_records(&text).filter_map(|record| match record {
        Record::Run(attempt) | Record::Resume(attempt) => Some(attempt.config),
        _ => None,
    });
    let config = attempts.last().ok_or_else(|| anyhow!("{METRICS} has no attempt"))?;
    let midi = config["data"]["midi"].as_str().ok_or_else(|| anyhow!("{METRICS} names no data.midi"))?;
    let Corpus { training, held_out, .. } =
        Corpus::read(&DataConfig { midi: midi.into(), ..data.clone() }, representation)?;
    if fingerprint(&training) != checkpoint.corpus.fingerprint {
        bail!("{midi} is not the music any more that it was trained on");
    }
    Ok((midi.into(), held_out))
}

/// What a network and baselines say of the same pieces.
#[derive(Debug, Clone)]
pub enum Evaluation {
    /// Of windows, for representations whose pieces have no end.
    Windows(WindowEvaluation),
    /// Of whole pieces.
    Pieces(PieceEvaluation),
}

/// Scores of a network and of baselines on the same windows.
#[derive(Debug, Clone)]
pub struct WindowEvaluation {
    /// Of the network, which reads windows of `data.sequence_length` tokens.
    pub windows: Scores,
    /// With the cache model.
    pub with_cache: Scores,
    /// Of each baseline, by name.
    pub baselines: Vec<(String, Scores)>,
}

/// Evaluates a checkpoint on some pieces.
pub fn evaluate(checkpoint: &Checkpoint, pieces: &[Piece]) -> Result<Evaluation> {
    let config = checkpoint.config()?;
    let training = &checkpoint.corpus.pieces;
    let representation = &*config.representation.build();
    if representation.end().is_none() {
        return Ok(Evaluation::Windows(evaluate_windows(checkpoint, &config, representation, pieces)?));
    }
    let mut evaluation =
        PieceEvaluation::of_baselines(representation, training, config.train.transpose, pieces);
    evaluation.add_network(representation, checkpoint.architecture, &checkpoint.parameters, pieces)?;
    Ok(Evaluation::Pieces(evaluation))
}

fn evaluate_windows(
    checkpoint: &Checkpoint,
    config: &Config,
    representation: &dyn Representation,
    pieces: &[Piece],
) -> Result<WindowEvaluation> {
    let length = config.data.sequence_length;
    let training = &checkpoint.corpus.pieces;
    let tokens = checkpoint.architecture.shape.tokens;
    let row = |predictions: &[f32], number: u64| predictions[number as usize * tokens..][..tokens].to_vec();
    let by_windows = predict_windows(checkpoint, pieces)?;
    let windows = score(representation, pieces, length, None, |number, _| row(&by_windows, number));
    // A network with a loss at every position has learned to carry its state on; others start anew with every window.
    let with_state = match config.train.loss_positions {
        LossPositions::Last => by_windows,
        LossPositions::All => {
            let network = InferenceNetwork::new(
                config.representation.build(),
                checkpoint.architecture,
                &checkpoint.parameters,
            );
            read_through(&network, pieces, length)
        }
    };
    let weights = CacheWeights::fit(representation, training);
    let with_cache =
        score(representation, pieces, length, Some(&weights), |number, _| row(&with_state, number));
    let baselines = score_baselines(representation, training, pieces, length);
    Ok(WindowEvaluation { windows, with_cache, baselines })
}

/// Windows that are run together, and those of each lane, of which a thread takes one after another.
const BATCH: u64 = 256;
const LANE: usize = 64;

/// (windows, C) log-probs after each window of `data.sequence_length` notes, each read from a zero state. Windows are
/// those of [`Windows`], in their order.
fn predict_windows(checkpoint: &Checkpoint, pieces: &[Piece]) -> Result<Vec<f32>> {
    let config = checkpoint.config()?;
    let (representation, length) = (config.representation.build(), config.data.sequence_length);
    let windows = Windows::new(pieces, length);
    let mut network = NativeBackend::for_prediction(checkpoint.architecture, &checkpoint.parameters, cores());
    let mut log_probs = Vec::new();
    let bar = WorkBar::new("network", windows.len());
    for first in (0..windows.len()).step_by(BATCH as usize) {
        let numbers = first..windows.len().min(first + BATCH);
        let batch: Vec<&[Token]> = numbers.map(|number| windows.get(number).tokens).collect();
        let lanes = batch
            .chunks(LANE)
            .map(|windows| LaneBatch::new(&*representation, 0, LANE, length, LossPositions::Last, windows));
        log_probs.extend(network.predict(&lanes.collect::<Vec<_>>())?);
        bar.add(batch.len() as u64);
    }
    Ok(log_probs)
}

impl Evaluation {
    /// Adds what models say of other pieces; both evaluations are of runs of one configuration.
    pub fn extend(&mut self, other: Evaluation) {
        match (self, other) {
            (Evaluation::Windows(own), Evaluation::Windows(other)) => {
                own.windows.extend(other.windows);
                own.with_cache.extend(other.with_cache);
                for ((_, scores), (_, others)) in own.baselines.iter_mut().zip(other.baselines) {
                    scores.extend(others);
                }
            }
            (Evaluation::Pieces(own), Evaluation::Pieces(other)) => own.extend(other),
            _ => unreachable!("one configuration has one representation"),
        }
    }

    /// Nats per token of each baseline, by name.
    pub fn baselines(&self) -> Vec<(String, f64)> {
        let mut baselines = Vec::new();
        match self {
            Evaluation::Windows(windows) => {
                for (name, scores) in &windows.baselines {
                    baselines.push((name.clone(), scores.all().overall.nats));
                }
            }
            Evaluation::Pieces(pieces) => {
                for (name, likelihood) in pieces.models.iter().zip(pieces.pooled(false)).skip(1) {
                    baselines.push((name.clone(), likelihood.nats_per_token()));
                }
            }
        }
        baselines
    }

    /// What programs rely on.
    pub fn to_json(&self) -> Result<Value> {
        match self {
            Evaluation::Windows(windows) => Ok(serde_json::to_value(windows.report())?),
            Evaluation::Pieces(pieces) => Ok(pieces.to_json()),
        }
    }
}

impl Display for Evaluation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Evaluation::Windows(windows) => windows.report().fmt(f),
            Evaluation::Pieces(pieces) => pieces.fmt(f),
        }
    }
}

impl WindowEvaluation {
    /// The report that `eval` prints.
    pub fn report(&self) -> EvaluationReport {
        EvaluationReport::new(&self.windows, &self.with_cache, &self.baselines)
    }
}
