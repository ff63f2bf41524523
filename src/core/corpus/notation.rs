//! Music as text that a musician can read and type: the notation of `data/bwv1007-prelude.txt`, whose
//! opening comment explains it.
//!
//! `parse` reads a whole piece or says at which line, column and bar it cannot. Pictures, MIDI files and
//! windows are other modules' work: they see the notes alone. What holds of a `Score`: every bar filled the
//! meter, and the notes are in the order of their onsets, those of a chord from low to high.

mod bars;
mod error;
mod header;
mod pitch;
#[cfg(test)]
mod tests;
mod tokens;

use crate::midi::Note;
use bars::{Bars, Event};
pub use error::{NotationError, Place, Problem};
use header::Header;

/// The velocity of every note: the notation has no dynamics.
pub const VELOCITY: u8 = 100;

/// A piece read from text.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// For the reader; empty where the text has none, like the two below.
    pub title: String,
    /// Who wrote the music.
    pub composer: String,
    /// As in the text. It changes no note.
    pub key: String,
    /// MIDI program, 0 to 127; 42 is a cello.
    pub program: u8,
    /// Quarter notes a minute.
    pub tempo: f64,
    /// How many bars were read, an upbeat included.
    pub bars: u32,
    /// In the order of onsets, the notes of a chord from low to high.
    pub notes: Vec<Note>,
}

/// Whether a text begins like a score, right or wrong: with two of the three header lines that every score has. One may
/// be forgotten or misspelled, which [`parse`] says.
pub fn is_score(text: &str) -> bool {
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(without_comment);
    let header = lines.take_while(|line| header::is_header(line));
    let names = header.filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let found: std::collections::HashSet<String> = names.collect();
    header::REQUIRED.iter().filter(|name| found.contains(**name)).count() >= 2
}

/// Reads a piece.
///
/// # Errors
/// The first thing that cannot be read, with its place and what to do about it.
pub fn parse(text: &str) -> Result<Score, NotationError> {
    // Some editors begin a file with this mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().zip(1..).map(|(line, number)| (number, without_comment(line))).peekable();
    let mut header = header::Lines::default();
    while let Some((number, line)) = lines.next_if(|(_, line)| header::is_header(line)) {
        header.read_line(number, line)?;
    }
    let first_music = lines.peek().map_or(1, |&(number, _)| number);
    let header = header.finish(first_music)?;

    let mut bars = Bars::new(header.bar_units);
    for (number, line) in lines {
        bars.read_line(number, line)?;
    }
    let (events, bars) = bars.finish()?;
    let notes = sound(&events, header.seconds_per_unit)?;
    let Header { title, composer, key, program, tempo, .. } = header;
    Ok(Score { title, composer, key, program, tempo, bars, notes })
}

/// A `#` begins a comment where it cannot be a sharp: at the beginning of a line and after white space.
fn without_comment(line: &str) -> &str {
    let comment = line
        .char_indices()
        .find(|&(at, c)| c == '#' && line[..at].chars().next_back().is_none_or(char::is_whitespace));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Times in seconds, tied events joined.
fn sound(events: &[Event], seconds_per_unit: f64) -> Result<Vec<Note>, NotationError> {
    let seconds = |units: u64| units as f64 * seconds_per_unit;
    let mut notes = Vec::new();
    let mut now = 0;
    let mut held_since = None;
    for (index, event) in events.iter().enumerate() {
        let begun = held_since.take().unwrap_or(now);
        now += u64::from(event.units);
        if event.tied {
            match events.get(index + 1) {
                Some(next) if next.pitches == event.pitches => held_since = Some(begun),
                Some(next) => return Err(next.place.error(Problem::TieToOther)),
                None => return Err(event.place.error(Problem::TieToNothing)),
            }
            continue;
        }
        let (start, end) = (seconds(begun), seconds(now));
        notes.extend(event.pitches.iter().map(|&pitch| Note { pitch, velocity: VELOCITY, start, end }));
    }
    Ok(notes)
}
