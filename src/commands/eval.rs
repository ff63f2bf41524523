//! `bachdist eval`: how well a checkpoint predicts music, beside models without a network; and whether what it
//! composed is like its music.

use anyhow::Result;
use bachdist_core::checkpoint::Checkpoint;
use bachdist_core::checkpoint::open::{Opened, open_one};
use bachdist_core::config::{Config, Data};
use bachdist_core::corpus::load::{Content, survey};
use bachdist_core::corpus::{Corpus, Piece};
use bachdist_core::failure::{Code, Failure};
use bachdist_core::midi::first_voice;
use bachdist_core::print::{say, tell};
use bachdist_core::style;
use serde_json::json;

use crate::cli::Eval;
use crate::evaluate::evaluate;
use crate::report::layers::count;

/// Evaluates, and prints.
pub fn run(arguments: &Eval) -> Result<()> {
    if let Some(folder) = &arguments.samples {
        return compare_samples(folder, arguments);
    }
    let Some(location) = &arguments.checkpoint else {
        let message = "which checkpoint? Name a file, a folder or a URL, or --cross-validate CONFIG";
        return Err(Failure::new(Code::Usage, message).into());
    };
    let Opened { checkpoint, location, notes, .. } = open_one(location, arguments.best)?;
    notes.iter().for_each(|note| tell(format_args!("note: {note}")));
    let music = Music::choose(&checkpoint, arguments.data.as_deref())?;
    let report = evaluate(&checkpoint, &music.pieces)?.report();
    if arguments.json {
        let mut object = serde_json::to_value(&report)?;
        object["checkpoint"] = json!(location);
        object["trained_on"] = json!(music.trained_on);
        say(object)?;
    } else {
        say(format_args!(
            "checkpoint  {location} (step {})\nmusic       {}\n",
            checkpoint.step, music.description
        ))?;
        say(report.to_string().trim_end())?;
    }
    Ok(())
}

/// Compares what was composed with a corpus.
fn compare_samples(folder: &str, arguments: &Eval) -> Result<()> {
    let corpus = match (&arguments.data, &arguments.checkpoint) {
        (Some(path), _) => all_pieces(path, Data::default())?,
        (None, Some(location)) => open_one(location, arguments.best)?.checkpoint.corpus.pieces.to_vec(),
        (None, None) => {
            let message = "compare them with which music? Name a checkpoint, or --data PATH";
            return Err(Failure::new(Code::Usage, message).into());
        }
    };
    let mut names = Vec::new();
    let mut samples = Vec::new();
    let pitches = |content: Content| -> Vec<u8> {
        first_voice(&content.instruments).iter().map(|note| note.pitch).collect()
    };
    for file in survey(&Data { midi: folder.into(), ..Data::default() }, pitches)? {
        let pitches =
            file.content.map_err(|reason| Failure::new(Code::Data, format!("{}: {reason}", file.name)))?;
        names.push(file.name);
        samples.push(pitches);
    }
    let style = style::compare(&samples, &corpus)
        .map_err(|error| Failure::new(Code::Data, format!("{folder}: {error}")))?;
    if arguments.json {
        let mut object = serde_json::to_value(&style)?;
        object["files"] = json!(names);
        return Ok(say(object)?);
    }
    let files = names.iter().enumerate().map(|(number, name)| format!("sample {:<4} {name}\n", number + 1));
    Ok(say(format_args!("{}\n{style}", files.collect::<String>()))?)
}

/// All pieces at a path, read as this says.
fn all_pieces(path: &str, data: Data) -> Result<Vec<Piece>> {
    let length = data.sequence_length;
    let data = Data { midi: path.into(), holdout: Vec::new(), ..data };
    Ok(Corpus::load(&data, length)?.training)
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
    fn choose(checkpoint: &Checkpoint, path: Option<&str>) -> Result<Music> {
        let training = &checkpoint.corpus.pieces;
        let Some(path) = path else {
            let description = format!("{} that it was trained on", count(training.len() as u64, "piece"));
            return Ok(Music { pieces: training.to_vec(), trained_on: true, description });
        };
        let Config { data, .. } = checkpoint.config()?;
        let all = all_pieces(path, data)?;
        // By their notes: a file that was only renamed is no new music.
        let known = |piece: &Piece| training.iter().any(|trained| trained.classes == piece.classes);
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
