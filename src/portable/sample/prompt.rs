//! Prompts: the tokens that a piece begins from. For a network that reads windows that is a window of the training music or
//! the end of a file; for one that reads whole pieces it is nothing, or a file from its beginning.

use std::path::Path;
use std::str::FromStr;

use anyhow::Result;

use super::decode::Reading;
use crate::checkpoint::TrainingCorpus;
use crate::config::Config;
use crate::corpus::files;
use crate::corpus::windows::Windows;
use crate::failure::{ExitCode, Failure};
use crate::midi::Song;
use crate::print::{count, eprint_line};
use crate::random::RandomStream;
use crate::representation::{EncodeProblem, Encoded, Representation, Token, pitches};

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

/// The file that pieces begin with.
#[derive(Debug, Clone, Copy)]
pub struct Primer<'a> {
    /// Any file of music.
    pub path: &'a Path,
    /// Quarter notes of it that count, from its beginning; all of them if `None`.
    pub beats: Option<u32>,
}

/// Where the prompts of pieces come from.
pub struct PromptSource {
    training: TrainingCorpus,
    sequence_length: usize,
    from: From,
    /// The primer that pieces begin with.
    primer: Option<Song>,
}

enum From {
    Training(StartWindow),
    Fixed(Prompt),
}

/// The tokens that one piece begins from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// As many as a window has, or all that a piece has before the first one that is composed.
    pub tokens: Vec<Token>,
    /// The number of their window in the training music.
    pub window: Option<u64>,
    /// In words.
    pub description: String,
}

impl PromptSource {
    /// The primer if there is one, and otherwise this window of the training music, or for a network that reads whole pieces
    /// nothing.
    pub fn new(
        primer: Option<Primer<'_>>,
        start: StartWindow,
        training: &TrainingCorpus,
        config: &Config,
    ) -> Result<Self> {
        let sequence_length = config.data.sequence_length;
        let representation = config.representation.build();
        let usage = |message: String| Err(Failure::new(ExitCode::Usage, message).into());
        let reads_pieces = representation.end().is_some() && Reading::of(config) == Reading::Piece;
        let mut beginning = None;
        let from = match (primer, start) {
            (Some(primer), _) if reads_pieces => {
                let (prompt, song) = read_beginning(primer, config.data.max_notes, &*representation)?;
                beginning = Some(song);
                From::Fixed(prompt)
            }
            (Some(_), _) if representation.end().is_some() => {
                return usage(format!(
                    "--primer: this network of {} reads windows; train one with train.carry_state = true",
                    representation.id()
                ));
            }
            (Some(Primer { beats: Some(_), .. }), _) => {
                return usage(format!(
                    "--primer-beats: {} has no beats; the last {sequence_length} notes of the primer count",
                    representation.id()
                ));
            }
            (Some(Primer { path, .. }), _) => {
                From::Fixed(read_last_notes(path, sequence_length, &*config.representation.strict().build())?)
            }
            (None, StartWindow::Random) if reads_pieces => From::Fixed(Prompt {
                tokens: Vec::new(),
                window: None,
                description: "none: from the beginning of a piece".into(),
            }),
            (None, StartWindow::Number(number)) if reads_pieces => {
                return usage(format!(
                    "--start {number}: this network reads pieces from their beginning, not windows"
                ));
            }
            (None, start) => From::Training(start),
        };
        let training = training.clone();
        let source = PromptSource { training, sequence_length, from, primer: beginning };
        if let From::Training(start) = source.from {
            source.check(start)?;
        }
        Ok(source)
    }

    /// The music of a primer that pieces begin with: they go on in its tempo and meter.
    pub fn primer(&self) -> Option<&Song> {
        self.primer.as_ref()
    }

    /// The prompt of a piece. A random one is picked by the first number of the piece's stream.
    pub fn prompt(&self, stream: RandomStream) -> Prompt {
        let start = match &self.from {
            From::Fixed(prompt) => return prompt.clone(),
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

/// A file from its beginning, as training would read it.
fn read_beginning(
    Primer { path, beats }: Primer<'_>,
    max_notes: usize,
    representation: &dyn Representation,
) -> Result<(Prompt, Song), Failure> {
    let failure = |reason: String| Failure::new(ExitCode::Data, format!("{}: {reason}", path.display()));
    let mut song = read_song(path, representation, "primer")?;
    if let Some(beats) = beats {
        if song.resolution == 0 {
            return Err(failure("it has seconds and no beats; leave out --primer-beats".into()));
        }
        keep_beats(&mut song, beats);
    }
    let Encoded { tokens, problems, altered, .. } = representation.encode_prompt(&song, max_notes);
    if let [EncodeProblem { note, reason, .. }, more @ ..] = &problems[..] {
        let more = match more.len() {
            0 => String::new(),
            n => format!(", and {n} more of its notes"),
        };
        return Err(failure(format!(
            "note {note}: {reason}{more}; {} cannot spell it, so change the file",
            representation.id()
        )));
    }
    let notes = pitches(representation, &tokens).len();
    if notes == 0 {
        let within =
            beats.map_or(String::new(), |beats| format!(" in its first {}", count(beats.into(), "beat")));
        return Err(failure(format!("it has no note{within} to begin from")));
    }
    if altered > 0 {
        eprint_line(format_args!(
            "note: {}: {}: {}",
            path.display(),
            representation.alteration(),
            count(altered as u64, "note")
        ));
    }
    let what = beats.map_or(String::new(), |beats| format!("the first {} of ", count(beats.into(), "beat")));
    let description = format!("{what}{}, {}", path.display(), count(notes as u64, "note"));
    Ok((Prompt { tokens, window: None, description }, song))
}

/// Leaves the first quarter notes of a song with beats. Notes that sound on end there.
fn keep_beats(song: &mut Song, beats: u32) {
    let end_tick = beats.saturating_mul(song.resolution.into());
    for instrument in &mut song.instruments {
        instrument.notes.retain(|note| note.start_tick < end_tick);
        for note in &mut instrument.notes {
            note.end_tick = note.end_tick.min(end_tick);
        }
    }
    song.tempo_changes.retain(|change| change.tick < end_tick);
    song.meters.retain(|meter| meter.tick < end_tick);
}

/// The last notes of the file's first instrument that is not a drum track: the keys of drums are no melody.
fn read_last_notes(
    path: &Path,
    sequence_length: usize,
    strict: &dyn Representation,
) -> Result<Prompt, Failure> {
    let failure = |reason: String| Failure::new(ExitCode::Data, format!("{}: {reason}", path.display()));
    let song = read_song(path, strict, "primer")?;
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

/// The music of a file that is one piece, as a primer, say, has to be.
pub(super) fn read_song(
    path: &Path,
    representation: &dyn Representation,
    purpose: &str,
) -> Result<Song, Failure> {
    let failure = |reason: String| Failure::new(ExitCode::Data, format!("{}: {reason}", path.display()));
    let mut pieces = files::read(path, representation.frame()).map_err(failure)?;
    match pieces.len() {
        1 => Ok(pieces.remove(0).song),
        pieces => Err(failure(format!("it has {pieces} pieces, and a {purpose} is one"))),
    }
}
