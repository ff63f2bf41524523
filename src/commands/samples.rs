//! `bachdist eval --samples`: whether what was composed is like its music.

use anyhow::Result;
use bachdist_portable::checkpoint::read::open_one;
use bachdist_portable::config::DataConfig;
use bachdist_portable::corpus::CorpusError;
use bachdist_portable::corpus::load::{Content, Survey, survey};
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::harmony::{HarmonyReport, PieceHarmony};
use bachdist_portable::midi::{Song, first_voice};
use bachdist_portable::print::{eprint_line, print_line};
use bachdist_portable::representation::RepresentationConfig;
use bachdist_portable::style;
use serde_json::json;

use crate::cli::EvalArguments;

/// Compares what was composed with a corpus: statistics of the pitches of the first voice, and the harmony of polyphonic
/// pieces.
pub fn compare(folder: &str, arguments: &EvalArguments) -> Result<()> {
    let corpus = corpus(arguments)?;
    let (mut names, mut samples, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for (name, piece) in read(folder)? {
        match piece {
            Ok(piece) if piece.pitches.len() >= style::MIN_NOTES => {
                names.push(name);
                samples.push(piece);
            }
            Ok(piece) => {
                let notes = piece.pitches.len();
                left_out.push((name, format!("has {notes} notes; statistics need {}", style::MIN_NOTES)));
            }
            Err(reason) => left_out.push((name, reason)),
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
    let [sample_pitches, corpus_pitches] = [&samples, &corpus]
        .map(|pieces| pieces.iter().map(|piece| piece.pitches.clone()).collect::<Vec<_>>());
    let style = style::compare(&sample_pitches, &corpus_pitches)
        .map_err(|error| Failure::new(ExitCode::Data, format!("{folder}: {error}")))?;

    let (mut harmony, mut harmony_files) = (Vec::new(), Vec::new());
    for (name, sample) in names.iter().zip(&samples) {
        if let Ok(figures) = &sample.harmony {
            harmony_files.push(json!({ "path": name, "figures": figures }));
            harmony.push(figures.clone());
        }
    }
    if !harmony.is_empty() {
        for (name, sample) in names.iter().zip(&samples) {
            if let Err(reason) = sample.harmony {
                eprint_line(format_args!("note: {name} is not in the harmony table: it {reason}"));
            }
        }
    }
    let corpus_harmony: Vec<PieceHarmony> =
        corpus.into_iter().filter_map(|piece| piece.harmony.ok()).collect();
    let report = (!harmony.is_empty()).then(|| HarmonyReport::new(&harmony, &corpus_harmony));
    if arguments.json {
        let mut object = serde_json::to_value(&style)?;
        object["files"] = json!(names);
        let left_out = left_out.iter().map(|(path, reason)| json!({ "path": path, "reason": reason }));
        object["left_out"] = left_out.collect();
        if let Some(report) = report {
            object["harmony"] = serde_json::to_value(&report)?;
            object["harmony"]["files"] = json!(harmony_files);
        }
        return Ok(print_line(object)?);
    }
    let files = names.iter().enumerate().map(|(number, name)| format!("sample {:<4} {name}\n", number + 1));
    print_line(files.collect::<String>())?;
    if let Some(report) = report {
        print_line(format_args!("{report}\nof each piece the first voice:"))?;
    }
    Ok(print_line(style)?)
}

/// What is compared of a piece.
struct ComparedPiece {
    /// Of the first voice.
    pitches: Vec<u8>,
    harmony: Result<PieceHarmony, &'static str>,
}

impl ComparedPiece {
    fn of(song: &Song) -> Self {
        let max_notes = DataConfig::default().max_notes;
        let notes = first_voice(&song.instruments).iter();
        ComparedPiece {
            pitches: notes.take(max_notes).map(|note| note.pitch).collect(),
            harmony: PieceHarmony::of(song),
        }
    }
}

/// The music that samples are compared with: that at `--data`, or what the checkpoint was trained on.
fn corpus(arguments: &EvalArguments) -> Result<Vec<ComparedPiece>> {
    if let Some(path) = &arguments.data {
        if let Some(location) = &arguments.checkpoint {
            eprint_line(format_args!("note: the samples are compared with {path}; {location} has no effect"));
        }
        let (mut pieces, mut unreadable) = (Vec::new(), Vec::new());
        for (name, piece) in read(path)? {
            match piece {
                Ok(piece) => pieces.push(piece),
                Err(reason) => unreadable.push(format!("{name}: {reason}")),
            }
        }
        return if unreadable.is_empty() { Ok(pieces) } else { Err(CorpusError::Files(unreadable).into()) };
    }
    let Some(location) = &arguments.checkpoint else {
        let message = "compare them with which music? Name a checkpoint, or --data PATH";
        return Err(Failure::new(ExitCode::Usage, message).into());
    };
    let checkpoint = open_one(location, arguments.best)?.checkpoint;
    let representation = checkpoint.config()?.representation.build();
    let pieces = checkpoint.corpus.pieces.iter();
    Ok(pieces.map(|piece| ComparedPiece::of(&representation.decode(&piece.tokens))).collect())
}

/// Every piece at a path with its name, or why it cannot be read.
fn read(path: &str) -> Result<Vec<(String, Result<ComparedPiece, String>)>> {
    let data = DataConfig { midi: path.into(), ..DataConfig::default() };
    let keep = |content: Content| ComparedPiece::of(&content.song);
    let Survey { files, passed_over, remarks } =
        survey(&data, &*RepresentationConfig::default().build(), keep)?;
    if !passed_over.is_empty() {
        eprint_line(format_args!("note: {path}: {passed_over}"));
    }
    for remark in &remarks {
        eprint_line(format_args!("note: {path}: {remark}"));
    }
    Ok(files.into_iter().map(|file| (file.name, file.content)).collect())
}
