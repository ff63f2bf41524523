//! `bachdist data inspect`: what is in music files, what is wrong with them, and how fast they are read.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use bachdist_portable::config::{Config, DataConfig};
use bachdist_portable::corpus::CorpusError;
use bachdist_portable::corpus::listing::PassedOver;
use bachdist_portable::corpus::load::{Content, FileSurvey, survey_each};
use bachdist_portable::corpus::windows::windows_of;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::midi::{Instrument, Note, first_voice};
use bachdist_portable::print::{Listing, count, eprint_line, print_line};
use bachdist_portable::process::cores;
use bachdist_portable::render;
use bachdist_portable::representation::{Changes, Representation, pitches};
use bachdist_portable::write::write_whole;
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::cli::InspectArguments;
use indicatif::HumanCount;

/// Reads, and prints each file as soon as it is read.
pub fn run(arguments: &InspectArguments) -> Result<()> {
    let config = match &arguments.config {
        Some(path) => Config::load(path, &arguments.set)?,
        None => Config::defaults(&arguments.set)?,
    };
    let length = arguments.sequence_length.unwrap_or(config.data.sequence_length);
    let data = DataConfig {
        midi: arguments.path.clone(),
        max_notes: arguments.max_notes.unwrap_or(config.data.max_notes),
        sequence_length: length,
        ..config.data
    };
    // The default one refuses what it cannot spell, so that problems are listed.
    let representation = config.representation.build();
    let keeps_notes = arguments.notes || arguments.plot.is_some();
    let (mut totals, mut listing, mut plotted) = (Totals::default(), None, false);
    let (begin, mut printing) = (Instant::now(), Duration::ZERO);
    let (passed_over, remarks) = survey_each(
        &data,
        &*representation,
        |content| Found::of(content, &*representation, keeps_notes, arguments.tokens),
        |file| -> Result<()> {
            let begin = Instant::now();
            if let (Some(path), Ok(found), false) = (&arguments.plot, &file.content, plotted) {
                plot(&file.name, found, path)?;
                plotted = true;
            }
            if arguments.tokens {
                print_tokens(&file)?;
            } else if arguments.json {
                let listing = match &mut listing {
                    Some(listing) => listing,
                    None => listing.insert(Listing::begin(&json!({}), "files")?),
                };
                listing.add(&Described::of(&file, length, arguments.notes))?;
            } else {
                if totals.files == 0 {
                    print_line(HEADING)?;
                }
                print_line(rows(&file, length))?;
            }
            totals.add(&file, length);
            printing += begin.elapsed();
            Ok(())
        },
    )?;
    totals.seconds = (begin.elapsed() - printing).as_secs_f64();
    match listing {
        Some(listing) => listing.end(&totals.json(&passed_over, &remarks))?,
        None => print_line(totals.lines(length, &*representation, &passed_over, &remarks))?,
    }
    if arguments.plot.is_some() && !plotted {
        let reason = "no file could be read, so there is nothing to plot";
        return Err(CorpusError::Files(vec![reason.into()]).into());
    }
    match totals.unreadable {
        0 => Ok(()),
        n => Err(Failure::new(
            ExitCode::Data,
            format!("{}: {n} of {} files cannot be read", data.midi, totals.files),
        )
        .into()),
    }
}

/// What is kept of a file's content, so that many files fit into memory.
struct Found {
    /// Of the instruments that are learnt from, like `range` and `seconds`.
    notes: usize,
    /// Lowest and highest pitch.
    range: Option<(u8, u8)>,
    /// To the last note's end.
    seconds: f64,
    /// How many there are.
    instruments: usize,
    /// How many tokens the notes that are used are.
    tokens: usize,
    notes_used: usize,
    /// Notes that the representation changes or leaves out.
    altered: usize,
    changes: Changes,
    /// The pitches of the notes used.
    pitches: BTreeSet<u8>,
    problems: Vec<String>,
    remarks: Vec<String>,
    /// All notes, where they are asked for.
    kept: Option<Vec<Instrument>>,
    /// The tokens, where they are asked for.
    texts: Vec<String>,
}

impl Found {
    fn of(
        content: Content,
        representation: &dyn Representation,
        keeps_notes: bool,
        keeps_tokens: bool,
    ) -> Self {
        let Content { song, encoded, remarks } = content;
        // Representations of whole pieces are of all instruments.
        let learnt_from = match representation.end() {
            Some(_) => &song.instruments[..],
            None => &song.instruments[..song.instruments.len().min(1)],
        };
        let notes: Vec<&Note> = learnt_from.iter().flat_map(|instrument| &instrument.notes).collect();
        let of_notes = notes.iter().map(|note| note.pitch);
        let used = pitches(representation, &encoded.tokens);
        let texts = encoded.tokens.iter().filter(|_| keeps_tokens);
        let texts = texts.map(|&token| representation.vocabulary()[usize::from(token)].clone()).collect();
        Found {
            notes: notes.len(),
            range: of_notes.clone().min().zip(of_notes.max()),
            seconds: notes.iter().map(|note| note.end).fold(0.0, f64::max),
            instruments: song.instruments.len(),
            tokens: encoded.tokens.len(),
            notes_used: used.len(),
            altered: encoded.altered,
            changes: encoded.changes,
            pitches: used.into_iter().collect(),
            problems: encoded.problems.iter().map(ToString::to_string).collect(),
            remarks,
            kept: keeps_notes.then_some(song.instruments),
            texts,
        }
    }
}

/// Figures of a whole corpus.
#[derive(Default)]
struct Totals {
    files: usize,
    unreadable: usize,
    notes: usize,
    notes_used: usize,
    tokens: usize,
    altered: usize,
    changes: Changes,
    windows: usize,
    /// The pitches used.
    pitches: BTreeSet<u8>,
    /// In all files.
    bytes: u64,
    /// That reading took.
    seconds: f64,
}

impl Totals {
    fn add(&mut self, file: &FileSurvey<Found>, sequence_length: usize) {
        self.files += 1;
        self.bytes += file.bytes;
        let Ok(content) = &file.content else {
            self.unreadable += 1;
            return;
        };
        self.notes += content.notes;
        self.notes_used += content.notes_used;
        self.tokens += content.tokens;
        self.altered += content.altered;
        self.changes.add(content.changes);
        self.windows += windows_of(content.tokens, sequence_length);
        self.pitches.extend(&content.pitches);
    }

    /// In the JSON, beside the files.
    fn json(&self, passed_over: &PassedOver, remarks: &[String]) -> serde_json::Value {
        json!({
            "pieces": self.files - self.unreadable,
            "notes": self.notes,
            "notes_used": self.notes_used,
            "tokens": self.tokens,
            "notes_altered": self.altered,
            "changes": self.changes,
            "windows": self.windows,
            "distinct_pitches": self.pitches.len(),
            "pitch_min": self.pitches.first(),
            "pitch_max": self.pitches.last(),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "threads": cores(),
            "passed_over": passed_over,
            "remarks": remarks,
        })
    }

    /// Below the table.
    fn lines(
        &self,
        sequence_length: usize,
        representation: &dyn Representation,
        passed_over: &PassedOver,
        remarks: &[String],
    ) -> String {
        let mut lines = vec![format!(
            "\n{}, {}, {} used, {} of {sequence_length}",
            count((self.files - self.unreadable) as u64, "piece"),
            count(self.notes as u64, "note"),
            HumanCount(self.notes_used as u64),
            count(self.windows as u64, "window"),
        )];
        if let (Some(lowest), Some(highest)) = (self.pitches.first(), self.pitches.last()) {
            lines.push(format!("{} distinct pitches from {lowest} to {highest}", self.pitches.len()));
        }
        if representation.end().is_some() {
            lines.push(format!(
                "as {}: {}, {:.2} per note",
                representation.id(),
                count(self.tokens as u64, "token"),
                self.tokens as f64 / self.notes_used as f64
            ));
        }
        if self.altered > 0 {
            lines.push(format!("{}: {}", representation.alteration(), HumanCount(self.altered as u64)));
            // Not all representations tell them apart.
            if self.changes != Changes::default() {
                lines.push(format!("of them {}", self.changes));
            }
        }
        if !passed_over.is_empty() {
            lines.push(passed_over.to_string());
        }
        lines.extend(remarks.iter().cloned());
        lines.push(format!(
            "read in {:.3} s by {}: {:.0} files and {:.1} MB a second",
            self.seconds,
            count(cores() as u64, "thread"),
            self.files as f64 / self.seconds,
            self.bytes as f64 / 1e6 / self.seconds
        ));
        lines.join("\n")
    }
}

/// A file in the JSON.
#[derive(Serialize)]
struct Described<'a> {
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instruments: Option<Vec<DescribedInstrument<'a>>>,
    notes: usize,
    path: &'a str,
    problems: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    remarks: &'a [String],
    windows: usize,
}

#[derive(Serialize)]
struct DescribedInstrument<'a> {
    is_drum: bool,
    name: &'a str,
    #[serde(serialize_with = "as_lists")]
    notes: &'a [Note],
    program: u8,
}

impl<'a> Described<'a> {
    fn of(file: &'a FileSurvey<Found>, sequence_length: usize, notes: bool) -> Self {
        let path = &file.name;
        match &file.content {
            Err(error) => Described {
                error: Some(error),
                instruments: None,
                notes: 0,
                path,
                problems: &[],
                remarks: &[],
                windows: 0,
            },
            Ok(content) => Described {
                error: None,
                instruments: content.kept.as_deref().filter(|_| notes).map(|kept| {
                    let mut described = Vec::new();
                    for Instrument { program, is_drum, name, notes } in kept {
                        described.push(DescribedInstrument {
                            is_drum: *is_drum,
                            name,
                            notes,
                            program: *program,
                        });
                    }
                    described
                }),
                notes: content.notes,
                path,
                problems: &content.problems,
                remarks: &content.remarks,
                windows: windows_of(content.tokens, sequence_length),
            },
        }
    }
}

fn as_lists<S: Serializer>(notes: &[Note], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(notes.iter().map(|note| (note.pitch, note.start, note.end, note.velocity)))
}

const NAME_COLUMNS: usize = 28;
const HEADING: &str = "piece                          notes instruments   pitches   seconds  windows";

/// A file's line in the table, and one for each problem and remark.
fn rows(file: &FileSurvey<Found>, sequence_length: usize) -> String {
    let name = &file.name;
    let content = match &file.content {
        Ok(content) => content,
        Err(error) => return format!("{name:<NAME_COLUMNS$} cannot be read: {error}"),
    };
    let range = match content.range {
        Some((lowest, highest)) => format!("{lowest}..{highest}"),
        None => "none".into(),
    };
    // A long name has a line of its own.
    let (mut rows, name) = match name.chars().count() {
        ..=NAME_COLUMNS => (String::new(), name.as_str()),
        _ => (format!("{name}\n"), ""),
    };
    rows += &format!(
        "{name:<NAME_COLUMNS$} {:>7} {:>11} {range:>9} {:>9.1} {:>8}",
        content.notes,
        content.instruments,
        content.seconds,
        windows_of(content.tokens, sequence_length)
    );
    for text in content.problems.iter().chain(&content.remarks) {
        rows.push_str(&format!("\n  {text}"));
    }
    rows
}

/// A piece's name, and its tokens as text.
fn print_tokens(file: &FileSurvey<Found>) -> Result<()> {
    const COLUMNS: usize = 100;
    print_line(&file.name)?;
    let mut line = String::new();
    match &file.content {
        Err(error) => line = format!("cannot be read: {error}"),
        Ok(content) => {
            for text in &content.texts {
                if !line.is_empty() && line.len() + text.len() > COLUMNS {
                    print_line(&line)?;
                    line.clear();
                }
                line.push_str(if line.is_empty() { "" } else { ", " });
                line.push_str(text);
            }
        }
    }
    Ok(print_line(&line)?)
}

fn plot(name: &str, found: &Found, path: &Path) -> Result<()> {
    let notes = first_voice(found.kept.as_deref().unwrap_or_default());
    let picture = render::piano_roll(notes, name);
    write_whole(path, |out| out.write_all(&picture.png))?;
    eprint_line(format_args!("wrote {}: {name}", path.display()));
    if let Some(note) = &picture.note {
        eprint_line(format_args!("note: {note}"));
    }
    Ok(())
}
