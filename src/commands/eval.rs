//! `bachdist eval`: how well a checkpoint predicts music, beside models without a network; and whether what it
//! composed is like its music.

use anyhow::Result;
use bachdist_portable::backend::Backend;
use bachdist_portable::backend::native::NativeBackend;
use bachdist_portable::checkpoint::Checkpoint;
use bachdist_portable::checkpoint::read::{LoadedCheckpoint, open_one};
use bachdist_portable::config::identity::differences as value_differences;
use bachdist_portable::config::{Config, DataConfig, LossPositions};
use bachdist_portable::corpus::load::{Content, list_some, survey};
use bachdist_portable::corpus::windows::{Windows, windows_of};
use bachdist_portable::corpus::{Corpus, CorpusError, Piece};
use bachdist_portable::evaluation::cache_model::CacheWeights;
use bachdist_portable::evaluation::report::EvaluationReport;
use bachdist_portable::evaluation::score::{Scores, read_through};
use bachdist_portable::evaluation::{score, score_baselines};
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::midi::first_voice;
use bachdist_portable::network::batch::LaneBatch;
use bachdist_portable::network::inference::InferenceNetwork;
use bachdist_portable::print::{count, eprint_line, print_line};
use bachdist_portable::process::cores;
use bachdist_portable::representation::{RepresentationConfig, Token, pitches};
use bachdist_portable::style;
use serde_json::json;

use super::baselines;
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
        return compare_samples(folder, arguments);
    }
    let Some(location) = &arguments.checkpoint else {
        let message = "which checkpoint? Name a file, a folder or a URL, or --cross-validate CONFIG";
        return Err(Failure::new(ExitCode::Usage, message).into());
    };
    let LoadedCheckpoint { checkpoint, location, notes, .. } = open_one(location, arguments.best)?;
    for note in &notes {
        eprint_line(format_args!("note: {note}"));
    }
    let music = Music::choose(&checkpoint, arguments.data.as_deref(), &arguments.set)?;
    let report = evaluate(&checkpoint, &music.pieces)?.report();
    if arguments.json {
        let mut object = serde_json::to_value(&report)?;
        object["checkpoint"] = json!(location);
        object["trained_on"] = json!(music.trained_on);
        print_line(object)?;
    } else {
        print_line(format_args!(
            "checkpoint  {location} (step {})\nmusic       {}\n",
            checkpoint.step, music.description
        ))?;
        print_line(report.to_string().trim_end())?;
    }
    Ok(())
}

/// Compares what was composed with a corpus.
fn compare_samples(folder: &str, arguments: &EvalArguments) -> Result<()> {
    let corpus = match (&arguments.data, &arguments.checkpoint) {
        (Some(path), checkpoint) => {
            if let Some(location) = checkpoint {
                eprint_line(format_args!(
                    "note: the samples are compared with {path}; {location} has no effect"
                ));
            }
            let config = Config::default();
            pitches_of(&config, &all_pieces(path, &config)?)
        }
        (None, Some(location)) => {
            let checkpoint = open_one(location, arguments.best)?.checkpoint;
            pitches_of(&checkpoint.config()?, &checkpoint.corpus.pieces)
        }
        (None, None) => {
            let message = "compare them with which music? Name a checkpoint, or --data PATH";
            return Err(Failure::new(ExitCode::Usage, message).into());
        }
    };
    let (mut names, mut samples, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let pitches_of_file = |content: Content| -> Vec<u8> {
        first_voice(&content.song.instruments).iter().map(|note| note.pitch).collect()
    };
    let data = DataConfig { midi: folder.into(), ..DataConfig::default() };
    let survey = survey(&data, &*RepresentationConfig::default().build(), pitches_of_file)?;
    if !survey.passed_over.is_empty() {
        eprint_line(format_args!("note: {folder}: {}", survey.passed_over));
    }
    for file in survey.files {
        match file.content {
            Ok(pitches) if pitches.len() >= style::MIN_NOTES => {
                names.push(file.name);
                samples.push(pitches);
            }
            Ok(pitches) => {
                left_out.push((
                    file.name,
                    format!("has {} notes; statistics need {}", pitches.len(), style::MIN_NOTES),
                ));
            }
            Err(reason) => left_out.push((file.name, reason)),
        }
    }
    if samples.is_empty()
        && let Some((name, reason)) = left_out.first()
    {
        let message = format!("{folder}: no sample can be compared; the first, {name}: {reason}");
        return Err(Failure::new(ExitCode::Data, message).into());
    }
    for (name, reason) in &left_out {
        eprint_line(format_args!("note: skipped {name}: {reason}"));
    }
    let style = style::compare(&samples, &corpus)
        .map_err(|error| Failure::new(ExitCode::Data, format!("{folder}: {error}")))?;
    if arguments.json {
        let mut object = serde_json::to_value(&style)?;
        object["files"] = json!(names);
        let left_out = left_out.iter().map(|(path, reason)| json!({ "path": path, "reason": reason }));
        object["left_out"] = left_out.collect();
        return Ok(print_line(object)?);
    }
    let files = names.iter().enumerate().map(|(number, name)| format!("sample {:<4} {name}\n", number + 1));
    Ok(print_line(format_args!("{}\n{style}", files.collect::<String>()))?)
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

/// The pitches of each piece.
fn pitches_of(config: &Config, pieces: &[Piece]) -> Vec<Vec<u8>> {
    let representation = config.representation.build();
    pieces.iter().map(|piece| pitches(&*representation, &piece.tokens)).collect()
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
    /// The music at a path as far as the checkpoint was not trained on it; without a path, what it was trained on.
    fn choose(checkpoint: &Checkpoint, path: Option<&str>, overrides: &[String]) -> Result<Music> {
        let training = &checkpoint.corpus.pieces;
        let Some(path) = path else {
            let description = format!("{} that it was trained on", count(training.len() as u64, "piece"));
            return Ok(Music { pieces: training.to_vec(), trained_on: true, description });
        };
        let config = config_for_reading(checkpoint, overrides)?;
        let length = config.data.sequence_length;
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
}

/// Scores of a network and of baselines on the same windows.
pub struct Evaluation {
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
    let length = config.data.sequence_length;
    let training = &checkpoint.corpus.pieces;
    let tokens = checkpoint.architecture.shape.tokens;
    let row = |predictions: &[f32], number: u64| predictions[number as usize * tokens..][..tokens].to_vec();
    let by_windows = predict_windows(checkpoint, pieces)?;
    let representation = &*config.representation.build();
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
    Ok(Evaluation { windows, with_cache, baselines })
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
    for first in (0..windows.len()).step_by(BATCH as usize) {
        let numbers = first..windows.len().min(first + BATCH);
        let batch: Vec<&[Token]> = numbers.map(|number| windows.get(number).tokens).collect();
        let lanes = batch
            .chunks(LANE)
            .map(|windows| LaneBatch::new(&*representation, 0, LANE, length, LossPositions::Last, windows));
        log_probs.extend(network.predict(&lanes.collect::<Vec<_>>())?);
    }
    Ok(log_probs)
}

impl Evaluation {
    /// Adds the scores of other pieces; the baselines are the same ones in the same order.
    pub fn extend(&mut self, other: Evaluation) {
        self.windows.extend(other.windows);
        self.with_cache.extend(other.with_cache);
        for ((_, scores), (_, others)) in self.baselines.iter_mut().zip(other.baselines) {
            scores.extend(others);
        }
    }

    /// The report that `eval` prints.
    pub fn report(&self) -> EvaluationReport {
        EvaluationReport::new(&self.windows, &self.with_cache, &self.baselines)
    }
}
