//! From lines of music to a sequence of notes, chords and rests with their lengths in units.
//!
//! The length of a bar is checked while it is read, so that a mistake is reported at the note that makes it and a repeat
//! expands to at most a bar. The caller joins tied notes.

use super::error::{NotationError, NotationProblem, TextPlace};

/// A note, a chord or a rest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NotatedEvent {
    /// MIDI keys, ascending; none for a rest.
    pub pitches: Vec<u8>,
    /// At least 1.
    pub units: u32,
    /// Tied to the next event.
    pub tied: bool,
    pub place: TextPlace,
}

/// Reads the bars of a voice line by line.
#[derive(Clone)]
pub(super) struct Bars {
    /// Units of a full bar.
    full: u32,
    /// The number of the bar being read; 1 until a bar numbered 0 is found.
    bar: u32,
    /// Whether its number was written.
    numbered: bool,
    /// Units of it read so far.
    units: u32,
    /// The repeat being read: where it opened, the units before it, and the index of its first event.
    repeat: Option<(TextPlace, u32, usize)>,
    /// If the piece begins with a bar 0, the units of it that were read; then its last bar may be short.
    upbeat: Option<u32>,
    /// The previous bar was short, which is an error unless it is the last bar.
    short: Option<NotationError>,
    events: Vec<NotatedEvent>,
}

impl Bars {
    pub(super) fn new(full: u32) -> Bars {
        let (bar, units, events) = (1, 0, Vec::new());
        Bars { full, bar, numbered: false, units, repeat: None, upbeat: None, short: None, events }
    }

    /// Reads a line from the column of `begin` on.
    pub(super) fn read_line(&mut self, begin: TextPlace, text: &str) -> Result<(), NotationError> {
        for (column, token) in (LineTokens { rest: text, column: begin.column }) {
            if let Some(error) = self.short.take() {
                return Err(error);
            }
            let place = TextPlace { column, bar: Some(self.bar), ..begin };
            match token.map_err(|problem| place.error(problem))? {
                NotationToken::BarLine => self.end_bar(place)?,
                NotationToken::Open => self.open_repeat(place)?,
                NotationToken::Close(times) => self.close_repeat(place, times)?,
                NotationToken::Number(number) => self.number(place, &number)?,
                NotationToken::Event { pitches, units, tied } => {
                    self.units = self.fill(place, self.units, units)?;
                    self.events.push(NotatedEvent { pitches, units, tied, place });
                }
            }
        }
        Ok(())
    }

    /// The events, the number of bars, and the units of the upbeat, 0 without one.
    pub(super) fn finish(self) -> Result<(Vec<NotatedEvent>, u32, u32), NotationError> {
        // `self.bar` is the bar after the last one; an upbeat has number 0.
        let bars = self.bar + u32::from(self.upbeat.is_some()) - 1;
        if let Some((opened, ..)) = self.repeat {
            return Err(opened.error(NotationProblem::RepeatOpen));
        }
        match self.events.last() {
            None => Err(TextPlace { line: 1, column: 1, bar: None }.error(NotationProblem::NoMusic)),
            Some(last) if self.units > 0 || self.numbered => Err(last.place.error(NotationProblem::BarOpen)),
            Some(_) => Ok((self.events, bars, self.upbeat.unwrap_or(0))),
        }
    }

    /// The sum of both lengths, if it fits into the bar.
    fn fill(&self, place: TextPlace, before: u32, more: u32) -> Result<u32, NotationError> {
        let (units, full) = (before.saturating_add(more), self.full);
        if units > full { Err(place.error(NotationProblem::BarLong { units, full })) } else { Ok(units) }
    }

    fn end_bar(&mut self, place: TextPlace) -> Result<(), NotationError> {
        let (units, full) = (self.units, self.full);
        if let Some((opened, ..)) = self.repeat {
            return Err(opened.error(NotationProblem::RepeatOpen));
        }
        if units == 0 {
            return Err(place.error(NotationProblem::BarEmpty { full }));
        }
        if units < full && self.bar > 0 {
            let error = place.error(NotationProblem::BarShort { units, full });
            if self.upbeat.is_none() {
                return Err(error);
            }
            self.short = Some(error);
        }
        if self.bar == 0 {
            self.upbeat = Some(units);
        }
        (self.bar, self.numbered, self.units) = (self.bar + 1, false, 0);
        Ok(())
    }

    fn number(&mut self, place: TextPlace, number: &str) -> Result<(), NotationError> {
        if self.numbered || self.units > 0 || self.repeat.is_some() {
            return Err(place.error(NotationProblem::Unexpected { found: number.to_owned() }));
        }
        if number == "0" && self.events.is_empty() {
            (self.bar, self.upbeat) = (0, Some(0));
        } else if number != self.bar.to_string() {
            return Err(place.error(NotationProblem::BarNumber { expected: self.bar }));
        }
        self.numbered = true;
        Ok(())
    }

    fn open_repeat(&mut self, place: TextPlace) -> Result<(), NotationError> {
        if self.repeat.is_some() {
            return Err(place.error(NotationProblem::RepeatInRepeat));
        }
        self.repeat = Some((place, self.units, self.events.len()));
        Ok(())
    }

    fn close_repeat(&mut self, place: TextPlace, times: u32) -> Result<(), NotationError> {
        let (_, before, first) =
            self.repeat.take().ok_or_else(|| place.error(NotationProblem::RepeatUnopened))?;
        let once = self.units - before;
        if once == 0 {
            return Err(place.error(NotationProblem::RepeatEmpty));
        }
        self.units = self.fill(place, before, once.saturating_mul(times))?;
        let events = first..self.events.len();
        for _ in 1..times {
            self.events.extend_from_within(events.clone());
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
enum NotationToken {
    /// `|`
    BarLine,
    /// `(`
    Open,
    /// `)2`, with the number of times.
    Close(u32),
    /// The number of a bar.
    Number(String),
    /// A note, a chord, or a rest, which has no pitches.
    Event { pitches: Vec<u8>, units: u32, tied: bool },
}

/// Reads a line's tokens, each with its column in characters, from 1.
struct LineTokens<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> LineTokens<'a> {
    /// Takes the longest prefix whose characters all fit.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }

    fn word(&mut self) -> &'a str {
        self.take_while(|c| !c.is_whitespace() && !"|()[]".contains(c))
    }

    /// Reads the token that begins with `first`, which is already taken unless it is part of a word.
    fn token(&mut self, first: char) -> Result<NotationToken, NotationProblem> {
        match first {
            '|' => Ok(NotationToken::BarLine),
            '(' => Ok(NotationToken::Open),
            ')' => self
                .word()
                .parse()
                .ok()
                .filter(|times| *times > 1)
                .map(NotationToken::Close)
                .ok_or(NotationProblem::RepeatCount),
            '[' => self.chord(),
            ']' => Err(NotationProblem::Unexpected { found: first.into() }),
            _ if first.is_ascii_digit() => Ok(NotationToken::Number(self.word().to_owned())),
            _ => single(self.word()),
        }
    }

    fn chord(&mut self) -> Result<NotationToken, NotationProblem> {
        let names = self.take_while(|c| c != ']');
        self.rest = self.rest.strip_prefix(']').ok_or(NotationProblem::ChordOpen)?;
        self.column += 1;
        let mut pitches = names.split_whitespace().map(key).collect::<Result<Vec<u8>, _>>()?;
        if pitches.is_empty() {
            return Err(NotationProblem::ChordEmpty);
        }
        pitches.sort_unstable();
        if pitches.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(NotationProblem::ChordTwice);
        }
        let after = self.word();
        match after.chars().next() {
            None | Some(':' | '~') => {
                length(after).map(|(units, tied)| NotationToken::Event { pitches, units, tied })
            }
            Some(_) => Err(NotationProblem::Unexpected { found: after.to_owned() }),
        }
    }
}

impl Iterator for LineTokens<'_> {
    type Item = (usize, Result<NotationToken, NotationProblem>);

    fn next(&mut self) -> Option<Self::Item> {
        self.take_while(char::is_whitespace);
        let column = self.column;
        let first = self.rest.chars().next()?;
        if "|()[]".contains(first) {
            self.rest = &self.rest[1..];
            self.column += 1;
        }
        Some((column, self.token(first)))
    }
}

/// A note or a rest.
fn single(word: &str) -> Result<NotationToken, NotationProblem> {
    let (name, after) = word.split_at(word.find([':', '~']).unwrap_or(word.len()));
    let pitches = if name == "." { Vec::new() } else { vec![key(name)?] };
    let (units, tied) = length(after)?;
    if pitches.is_empty() && tied {
        return Err(NotationProblem::TieOfRest);
    }
    Ok(NotationToken::Event { pitches, units, tied })
}

/// What follows a name: `:4`, `:4~`, `~` or nothing. Returns units and whether the note is tied to the next one.
fn length(after: &str) -> Result<(u32, bool), NotationProblem> {
    let (units, tied) = after.strip_suffix('~').map_or((after, false), |units| (units, true));
    if units.is_empty() {
        return Ok((1, tied));
    }
    let number = units.strip_prefix(':').and_then(|number| number.parse().ok()).filter(|number| *number > 0);
    number.map(|number| (number, tied)).ok_or_else(|| NotationProblem::NotALength { text: units.to_owned() })
}

/// The MIDI key of a name like `F#3`, `Bb2` or `C-1`. Double accidentals are written `##` and `bb`.
fn key(name: &str) -> Result<u8, NotationProblem> {
    let text = || name.to_owned();
    let (step, octave) = parts(name).ok_or_else(|| NotationProblem::NotANote { text: text() })?;
    u8::try_from(12 * (octave + 1) + step)
        .ok()
        .filter(|key| *key < 128)
        .ok_or_else(|| NotationProblem::OutOfRange { text: text() })
}

/// Semitones above the octave's C, accidentals included, and the octave.
fn parts(name: &str) -> Option<(i32, i32)> {
    let letter = name.chars().next()?;
    let natural = match letter {
        'C' => 0,
        'D' => 2,
        'E' => 4,
        'F' => 5,
        'G' => 7,
        'A' => 9,
        'B' => 11,
        _ => return None,
    };
    let after = &name[1..];
    let octave = after.trim_start_matches(['#', 'b']);
    let shift = match &after[..after.len() - octave.len()] {
        "" => 0,
        "#" => 1,
        "##" => 2,
        "b" => -1,
        "bb" => -2,
        _ => return None,
    };
    // At most two characters: sums cannot overflow, and `C04` or `C+4` is a typing error.
    let written = octave == "-1" || (octave.len() == 1 && octave.as_bytes()[0].is_ascii_digit());
    written.then(|| octave.parse().ok().map(|octave: i32| (natural + shift, octave)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys() {
        let keys = [
            ("C4", 60),
            ("A4", 69),
            ("C2", 36),
            ("F#3", 54),
            ("Gb3", 54),
            ("Bb3", 58),
            ("G9", 127),
            ("C-1", 0),
        ];
        for (name, midi) in keys.into_iter().chain([("Cb4", 59), ("B#3", 60), ("F##3", 55), ("Abb3", 55)]) {
            assert_eq!(key(name), Ok(midi), "{name}");
        }
    }

    #[test]
    fn what_is_not_a_note_and_what_is_no_key() {
        for name in ["", "H3", "c4", "C", "C#", "4", "C44", "C+4", "C04", "C#b4", "F###3", "é3", "C٣"] {
            assert_eq!(key(name), Err(NotationProblem::NotANote { text: name.into() }));
        }
        for name in ["G#9", "Cb-1"] {
            assert_eq!(key(name), Err(NotationProblem::OutOfRange { text: name.into() }));
        }
    }
}
