//! `bachdist data inspect`: what is in music files, what is wrong with them, and how fast they are read.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use bachdist_core::config::{self, OutOfRange};
use bachdist_core::corpus::load::{Content, FileSurvey, Survey, survey};
use bachdist_core::corpus::windows::windows_of;
use bachdist_core::corpus::{CorpusError, pitch_of};
use bachdist_core::failure::{Code, Failure};
use bachdist_core::midi::{Instrument, Note, first_voice};
use bachdist_core::parallel::cores;
use bachdist_core::print::{say, tell};
use bachdist_core::render;
use serde_json::{Value, json};

use crate::cli::Inspect;
use crate::report::layers::{count, thousands};

/// Reads, and prints.
pub fn run(arguments: &Inspect) -> Result<()> {
    let data = config::Data {
        midi: arguments.path.clone(),
        max_notes: arguments.max_notes,
        sequence_length: arguments.sequence_length,
        out_of_range: OutOfRange::Refuse,
        ..config::Data::default()
    };
    let keeps_notes = arguments.notes || arguments.plot.is_some();
    let begin = Instant::now();
    let survey = survey(&data, |content| Found::of(content, keeps_notes))?;
    let seconds = begin.elapsed().as_secs_f64();
    let files = &survey.files;
    let totals = Totals { seconds, ..Totals::of(files, data.sequence_length) };
    if arguments.json {
        say(json(&survey, &totals, data.sequence_length, arguments.notes))?;
    } else {
        say(table(&survey, &totals, data.sequence_length))?;
    }
    if let Some(path) = &arguments.plot {
        plot(files, path)?;
    }
    match totals.unreadable {
        0 => Ok(()),
        n => Err(Failure::new(
            Code::Data,
            format!("{}: {n} of {} files cannot be read", data.midi, files.len()),
        )
        .into()),
    }
}

/// What is kept of a file's content, so that many files fit into memory.
struct Found {
    /// Of the instrument that is learnt from, like `range` and `seconds`.
    notes: usize,
    /// Lowest and highest pitch.
    range: Option<(u8, u8)>,
    /// To the last note's end.
    seconds: f64,
    /// How many there are.
    instruments: usize,
    classes: Vec<u8>,
    problems: Vec<String>,
    remarks: Vec<String>,
    /// All notes, where they are asked for.
    kept: Option<Vec<Instrument>>,
}

impl Found {
    fn of(content: Content, keeps_notes: bool) -> Self {
        let Content { instruments, classes, problems, remarks, outside: _ } = content;
        let notes = first_voice(&instruments);
        let pitches = notes.iter().map(|note| note.pitch);
        Found {
            notes: notes.len(),
            range: pitches.clone().min().zip(pitches.max()),
            seconds: notes.iter().map(|note| note.end).fold(0.0, f64::max),
            instruments: instruments.len(),
            classes,
            problems,
            remarks,
            kept: keeps_notes.then_some(instruments),
        }
    }
}

/// Figures of a whole corpus.
#[derive(Default)]
struct Totals {
    unreadable: usize,
    notes: usize,
    notes_used: usize,
    windows: usize,
    /// The pitches used.
    pitches: BTreeSet<u8>,
    /// In all files.
    bytes: u64,
    /// That reading took.
    seconds: f64,
}

impl Totals {
    fn of(files: &[FileSurvey<Found>], sequence_length: usize) -> Self {
        let mut totals = Totals::default();
        for file in files {
            totals.bytes += file.bytes;
            let Ok(content) = &file.content else {
                totals.unreadable += 1;
                continue;
            };
            totals.notes += content.notes;
            totals.notes_used += content.classes.len();
            totals.windows += windows_of(content.classes.len(), sequence_length);
            totals.pitches.extend(content.classes.iter().map(|&class| pitch_of(class)));
        }
        totals
    }

    /// How fast the files were read.
    fn speed(&self, files: usize) -> String {
        let megabytes = self.bytes as f64 / 1e6;
        format!(
            "read in {:.3} s by {}: {:.0} files and {:.1} MB a second",
            self.seconds,
            count(cores() as u64, "thread"),
            files as f64 / self.seconds,
            megabytes / self.seconds
        )
    }
}

fn json(survey: &Survey<Found>, totals: &Totals, sequence_length: usize, notes: bool) -> Value {
    let Survey { files, passed_over, remarks } = survey;
    let file = |file: &FileSurvey<Found>| {
        let mut object =
            json!({ "path": file.name, "notes": 0, "windows": 0, "error": null, "problems": [] });
        match &file.content {
            Err(error) => object["error"] = json!(error),
            Ok(content) => {
                object["notes"] = json!(content.notes);
                object["windows"] = json!(windows_of(content.classes.len(), sequence_length));
                object["problems"] = json!(content.problems);
                if !content.remarks.is_empty() {
                    object["remarks"] = json!(content.remarks);
                }
                if let Some(kept) = content.kept.as_ref().filter(|_| notes) {
                    object["instruments"] = kept.iter().map(instrument).collect();
                }
            }
        }
        object
    };
    json!({
        "pieces": files.len() - totals.unreadable,
        "notes": totals.notes,
        "notes_used": totals.notes_used,
        "windows": totals.windows,
        "distinct_pitches": totals.pitches.len(),
        "pitch_min": totals.pitches.first(),
        "pitch_max": totals.pitches.last(),
        "bytes": totals.bytes,
        "seconds": totals.seconds,
        "threads": cores(),
        "passed_over": passed_over,
        "remarks": remarks,
        "files": files.iter().map(file).collect::<Vec<_>>(),
    })
}

fn instrument(instrument: &Instrument) -> Value {
    let note = |note: &Note| json!([note.pitch, note.start, note.end, note.velocity]);
    json!({
        "program": instrument.program,
        "is_drum": instrument.is_drum,
        "name": instrument.name,
        "notes": instrument.notes.iter().map(note).collect::<Vec<_>>(),
    })
}

fn table(survey: &Survey<Found>, totals: &Totals, sequence_length: usize) -> String {
    let Survey { files, passed_over, remarks } = survey;
    let mut lines = vec![format!(
        "{:<28} {:>7} {:>11} {:>9} {:>9} {:>8}",
        "piece", "notes", "instruments", "pitches", "seconds", "windows"
    )];
    for file in files {
        match &file.content {
            Err(error) => lines.push(format!("{:<28} cannot be read: {error}", file.name)),
            Ok(content) => lines.extend(row(&file.name, content, sequence_length)),
        }
    }
    lines.push(format!(
        "\n{}, {}, {} used, {} of {sequence_length}",
        count((files.len() - totals.unreadable) as u64, "piece"),
        count(totals.notes as u64, "note"),
        thousands(totals.notes_used as u64),
        count(totals.windows as u64, "window"),
    ));
    if let (Some(lowest), Some(highest)) = (totals.pitches.first(), totals.pitches.last()) {
        lines.push(format!("{} distinct pitches from {lowest} to {highest}", totals.pitches.len()));
    }
    if !passed_over.is_empty() {
        lines.push(passed_over.to_string());
    }
    lines.extend(remarks.iter().cloned());
    lines.push(totals.speed(files.len()));
    lines.join("\n")
}

/// The line of a readable file, and one for each problem and remark.
fn row(name: &str, content: &Found, sequence_length: usize) -> Vec<String> {
    let range = match content.range {
        Some((lowest, highest)) => format!("{lowest}..{highest}"),
        None => "none".into(),
    };
    let line = format!(
        "{name:<28} {:>7} {:>11} {range:>9} {:>9.1} {:>8}",
        content.notes,
        content.instruments,
        content.seconds,
        windows_of(content.classes.len(), sequence_length)
    );
    let below = content.problems.iter().chain(&content.remarks).map(|text| format!("  {text}"));
    std::iter::once(line).chain(below).collect()
}

/// Draws the first readable piece.
fn plot(files: &[FileSurvey<Found>], path: &Path) -> Result<()> {
    let notes_of = |found: &Found| found.kept.as_deref().map(|kept| first_voice(kept).to_vec());
    let piece = files.iter().find_map(|file| Some((&file.name, notes_of(file.content.as_ref().ok()?)?)));
    let Some((name, notes)) = piece else {
        return Err(
            CorpusError::Files(vec!["no file could be read, so there is nothing to plot".into()]).into()
        );
    };
    fs::write(path, render::piano_roll(&notes, name))
        .map_err(|error| Failure::new(Code::Storage, format!("cannot write {}: {error}", path.display())))?;
    tell(format_args!("wrote {}: {name}", path.display()));
    Ok(())
}
