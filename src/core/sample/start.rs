//! The notes that a piece begins from: a window of the training music, or the end of a file.

use std::path::Path;
use std::str::FromStr;

use anyhow::Result;

use super::Arguments;
use crate::checkpoint::{Checkpoint, Training};
use crate::corpus::windows::Windows;
use crate::corpus::{CLASSES, FIRST_PITCH, class_of, files};
use crate::failure::{Code, Failure};
use crate::random::Stream;

/// `--start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Any window.
    Random,
    /// This one.
    Window(u64),
}

/// `random` or a number.
pub fn parse(text: &str) -> Result<Start, String> {
    match text {
        "random" => Ok(Start::Random),
        _ => u64::from_str(text)
            .map(Start::Window)
            .map_err(|_| "must be random or the number of a window".into()),
    }
}

/// Where pieces begin.
pub struct Source {
    training: Training,
    sequence_length: usize,
    from: Beginning,
}

enum Beginning {
    Training(Start),
    Primer(Begin),
}

/// The notes that one piece begins from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// As many classes as a window has.
    pub classes: Vec<u8>,
    /// The number of their window in the training music.
    pub window: Option<u64>,
    /// In words.
    pub description: String,
}

/// The source that the command line asks for.
pub fn source(arguments: &Arguments, checkpoint: &Checkpoint) -> Result<Source> {
    let sequence_length = checkpoint.config()?.data.sequence_length;
    let from = match &arguments.primer {
        Some(path) => Beginning::Primer(primer(path, sequence_length)?),
        None => Beginning::Training(arguments.start),
    };
    let source = Source { training: checkpoint.corpus.clone(), sequence_length, from };
    if let Beginning::Training(start) = source.from {
        source.check(start)?;
    }
    Ok(source)
}

impl Source {
    fn windows(&self) -> Windows<'_> {
        Windows::new(&self.training.pieces, self.sequence_length)
    }

    fn check(&self, start: Start) -> Result<(), Failure> {
        let windows = self.windows().len();
        let fail = |message: String| Err(Failure::new(Code::Usage, message));
        match start {
            _ if windows == 0 => {
                fail("the checkpoint has no training music to begin from; use --primer".into())
            }
            Start::Window(number) if number >= windows => {
                fail(format!("--start {number}: the training music has windows 0 to {}", windows - 1))
            }
            _ => Ok(()),
        }
    }

    /// The beginning of a piece; a random one is found by the first number of its stream.
    pub fn begin(&self, stream: Stream) -> Result<Begin> {
        let start = match &self.from {
            Beginning::Primer(begin) => return Ok(begin.clone()),
            Beginning::Training(start) => *start,
        };
        let windows = self.windows();
        let number = match start {
            Start::Window(number) => number,
            Start::Random => (stream.uniform(0) * windows.len() as f64) as u64,
        };
        let window = windows.get(number);
        let piece = &self.training.pieces[window.piece].name;
        Ok(Begin {
            classes: window.input.to_vec(),
            window: Some(number),
            description: format!(
                "window {number}: {piece}, notes {} to {}",
                window.at,
                window.at + window.input.len() - 1
            ),
        })
    }
}

/// The last notes of a file's first instrument that is no drum track: the keys of drums are no melody.
fn primer(path: &Path, sequence_length: usize) -> Result<Begin> {
    let fail = |reason: String| Failure::new(Code::Data, format!("{}: {reason}", path.display()));
    let instruments = files::read(path).map_err(fail)?.instruments;
    let Some(number) = instruments.iter().position(|instrument| !instrument.is_drum) else {
        let reason = if instruments.is_empty() { "it has no note" } else { "all its notes are drums" };
        return Err(
            fail(format!("{reason}, and a primer needs at least {sequence_length} of a melody")).into()
        );
    };
    let notes = &instruments[number].notes;
    let Some(first) = notes.len().checked_sub(sequence_length) else {
        let (which, found) = (number + 1, notes.len());
        let reason = format!(
            "its first melody, instrument {which}, has {found} notes, and a primer needs at least {sequence_length}"
        );
        return Err(fail(reason).into());
    };
    let outside: Vec<String> = (first..notes.len())
        .filter(|&note| class_of(notes[note].pitch).is_none())
        .map(|note| format!("note {note}: pitch {} is outside {FIRST_PITCH}..={CLASSES}", notes[note].pitch))
        .collect();
    if let [shown, more @ ..] = &outside[..] {
        let more = if more.is_empty() {
            String::new()
        } else {
            format!(", and {} more of its last notes", more.len())
        };
        let hint = format!("transpose it, or cut it to end with {sequence_length} notes inside");
        return Err(fail(format!("{shown}{more}; {hint}")).into());
    }
    let classes = notes[first..].iter().filter_map(|note| class_of(note.pitch)).collect();
    let without_drums = if number == 0 { "" } else { ", drums left out" };
    let description = format!("the last {sequence_length} notes of {}{without_drums}", path.display());
    Ok(Begin { classes, window: None, description })
}
