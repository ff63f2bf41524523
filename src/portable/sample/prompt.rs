//! Prompts: the tokens that a piece begins from, a window of the training music or the end of a file.

use std::path::Path;
use std::str::FromStr;

use anyhow::Result;

use crate::checkpoint::{Checkpoint, TrainingCorpus};
use crate::corpus::files;
use crate::corpus::windows::Windows;
use crate::failure::{ExitCode, Failure};
use crate::midi::Song;
use crate::random::RandomStream;
use crate::representation::{EncodeProblem, Representation, Token};

/// `--start`: which window of the training music is the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartWindow {
    /// Another one for each piece.
    Random,
    /// The one with this number.
    Number(u64),
}

/// `--start`: `random` or a number.
pub fn parse_start(text: &str) -> Result<StartWindow, String> {
    match text {
        "random" => Ok(StartWindow::Random),
        _ => u64::from_str(text)
            .map(StartWindow::Number)
            .map_err(|_| "must be random or the number of a window".into()),
    }
}

/// Where the prompts of pieces come from.
pub struct PromptSource {
    training: TrainingCorpus,
    sequence_length: usize,
    from: From,
}

enum From {
    Training(StartWindow),
    Primer(Prompt),
}

/// The tokens that one piece begins from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// As many as a window has.
    pub tokens: Vec<Token>,
    /// The number of their window in the training music.
    pub window: Option<u64>,
    /// In words.
    pub description: String,
}

impl PromptSource {
    /// The end of the primer if there is one, and otherwise this window of the training music. `strict` is the checkpoint's
    /// representation, made to report what it cannot spell.
    pub fn new(
        primer: Option<&Path>,
        start: StartWindow,
        checkpoint: &Checkpoint,
        strict: &dyn Representation,
    ) -> Result<Self> {
        let sequence_length = checkpoint.config()?.data.sequence_length;
        let training = checkpoint.corpus.clone();
        let from = match (primer, start) {
            (Some(_), _) if strict.end().is_some() => {
                // What is composed would have to be decoded together with the primer.
                let message = format!("--primer is not made yet for representations such as {}", strict.id());
                return Err(Failure::new(ExitCode::Usage, message).into());
            }
            (Some(path), _) => From::Primer(read_primer(path, sequence_length, strict)?),
            (None, StartWindow::Random) if strict.end().is_some() => From::Primer(Prompt {
                tokens: Vec::new(),
                window: None,
                description: "none: from the beginning of a piece".into(),
            }),
            (None, StartWindow::Number(number)) if strict.end().is_some() => {
                let message =
                    format!("--start {number}: this network reads pieces from their beginning, not windows");
                return Err(Failure::new(ExitCode::Usage, message).into());
            }
            (None, start) => From::Training(start),
        };
        let source = PromptSource { training, sequence_length, from };
        if let From::Training(start) = source.from {
            source.check(start)?;
        }
        Ok(source)
    }

    /// The prompt of a piece. A random one is picked by the first number of the piece's stream.
    pub fn prompt(&self, stream: RandomStream) -> Prompt {
        let start = match &self.from {
            From::Primer(prompt) => return prompt.clone(),
            From::Training(start) => *start,
        };
        let windows = self.windows();
        let number = match start {
            StartWindow::Number(number) => number,
            StartWindow::Random => (stream.uniform(0) * windows.len() as f64) as u64,
        };
        let window = windows.get(number);
        let tokens = window.input().to_vec();
        let (first, last) = (window.at, window.at + tokens.len() - 1);
        let description =
            format!("window {number}: {}, notes {first} to {last}", windows.piece(&window).name);
        Prompt { tokens, window: Some(number), description }
    }

    fn windows(&self) -> Windows<'_> {
        Windows::new(&self.training.pieces, self.sequence_length)
    }

    fn check(&self, start: StartWindow) -> Result<(), Failure> {
        let windows = self.windows().len();
        let message = match start {
            _ if windows == 0 => "the checkpoint has no training music to begin from; use --primer".into(),
            StartWindow::Number(number) if number >= windows => {
                format!("--start {number}: the training music has windows 0 to {}", windows - 1)
            }
            _ => return Ok(()),
        };
        Err(Failure::new(ExitCode::Usage, message))
    }
}

/// The last notes of the file's first instrument that is not a drum track: the keys of drums are no melody.
fn read_primer(path: &Path, sequence_length: usize, strict: &dyn Representation) -> Result<Prompt, Failure> {
    let failure = |reason: String| Failure::new(ExitCode::Data, format!("{}: {reason}", path.display()));
    let song = read_song(path, strict)?;
    let Some(number) = song.instruments.iter().position(|instrument| !instrument.is_drum) else {
        let reason = if song.instruments.is_empty() { "it has no note" } else { "all its notes are drums" };
        return Err(failure(format!("{reason}, and a primer needs at least {sequence_length} of a melody")));
    };
    let mut melody = song.instruments[number].clone();
    let Some(first) = melody.notes.len().checked_sub(sequence_length) else {
        let (number, notes) = (number + 1, melody.notes.len());
        return Err(failure(format!(
            "its first melody, instrument {number}, has {notes} notes, and a primer needs at least {sequence_length}"
        )));
    };
    melody.notes.drain(..first);
    let encoded = strict.encode(&Song { instruments: vec![melody], ..song }, usize::MAX);
    if let [EncodeProblem { note, reason, .. }, more @ ..] = &encoded.problems[..] {
        let more = match more.len() {
            0 => String::new(),
            n => format!(", and {n} more of its last notes"),
        };
        return Err(failure(format!(
            "note {}: {reason}{more}; transpose it, or cut it to end with {sequence_length} notes inside",
            first + note
        )));
    }
    let without_drums = if number == 0 { "" } else { ", drums left out" };
    let description = format!("the last {sequence_length} notes of {}{without_drums}", path.display());
    Ok(Prompt { tokens: encoded.tokens, window: None, description })
}

/// The music of a file that is one piece.
fn read_song(path: &Path, strict: &dyn Representation) -> Result<Song, Failure> {
    let failure = |reason: String| Failure::new(ExitCode::Data, format!("{}: {reason}", path.display()));
    let mut pieces = files::read(path, strict.frame()).map_err(failure)?;
    match pieces.len() {
        1 => Ok(pieces.remove(0).song),
        pieces => Err(failure(format!("it has {pieces} pieces, and a primer is one"))),
    }
}
