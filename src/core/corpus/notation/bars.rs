//! The bars: from lines to a sequence of notes, chords and rests with their lengths in units.
//!
//! Every bar is measured as it is read, so that a mistake is reported at the note that makes it and a repeat
//! unfolds to no more than a bar. What ties join is the caller's work.

use super::error::{NotationError, Place, Problem};
use super::tokens::{Token, Tokens};

/// What sounds at one moment, or a rest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// MIDI keys, ascending; none for a rest.
    pub pitches: Vec<u8>,
    /// At least 1.
    pub units: u32,
    /// Held into the next event.
    pub tied: bool,
    pub place: Place,
}

/// Reads bars line by line.
pub(super) struct Bars {
    /// Units of a full bar.
    full: u32,
    /// The number of the bar being read; before a bar 0 shows itself, 1.
    bar: u32,
    /// Whether its number was written.
    numbered: bool,
    /// Units read of it.
    units: u32,
    /// The repeat being read: where it opened, the units before it, and its first event.
    repeat: Option<(Place, u32, usize)>,
    /// Whether the piece began with a bar 0; then its last bar may be short.
    upbeat: bool,
    /// What is wrong with the bar before, unless it was the last.
    short: Option<NotationError>,
    events: Vec<Event>,
}

impl Bars {
    pub(super) fn new(full: u32) -> Bars {
        let (bar, units, events) = (1, 0, Vec::new());
        Bars { full, bar, numbered: false, units, repeat: None, upbeat: false, short: None, events }
    }

    pub(super) fn read_line(&mut self, line: usize, text: &str) -> Result<(), NotationError> {
        for (column, token) in Tokens::of(text) {
            if let Some(error) = self.short.take() {
                return Err(error);
            }
            let place = Place { line, column, bar: Some(self.bar) };
            match token.map_err(|problem| place.error(problem))? {
                Token::BarLine => self.end_bar(place)?,
                Token::Open => self.open_repeat(place)?,
                Token::Close(times) => self.close_repeat(place, times)?,
                Token::Number(number) => self.number(place, &number)?,
                Token::Event { pitches, units, tied } => {
                    self.units = self.fill(place, self.units, units)?;
                    self.events.push(Event { pitches, units, tied, place });
                }
            }
        }
        Ok(())
    }

    /// All events, and how many bars they fill.
    pub(super) fn finish(self) -> Result<(Vec<Event>, u32), NotationError> {
        // The bar now begun, number 0 for an upbeat's own, is not one of them.
        let bars = self.bar + u32::from(self.upbeat) - 1;
        if let Some((opened, ..)) = self.repeat {
            return Err(opened.error(Problem::RepeatOpen));
        }
        match self.events.last() {
            None => Err(Place { line: 1, column: 1, bar: None }.error(Problem::NoMusic)),
            Some(last) if self.units > 0 || self.numbered => Err(last.place.error(Problem::BarOpen)),
            Some(_) => Ok((self.events, bars)),
        }
    }

    /// The sum of both lengths, if the bar holds it.
    fn fill(&self, place: Place, before: u32, more: u32) -> Result<u32, NotationError> {
        let (units, full) = (before.saturating_add(more), self.full);
        if units > full { Err(place.error(Problem::BarLong { units, full })) } else { Ok(units) }
    }

    fn end_bar(&mut self, place: Place) -> Result<(), NotationError> {
        let (units, full) = (self.units, self.full);
        if let Some((opened, ..)) = self.repeat {
            return Err(opened.error(Problem::RepeatOpen));
        }
        if units == 0 {
            return Err(place.error(Problem::BarEmpty { full }));
        }
        if units < full && self.bar > 0 {
            let error = place.error(Problem::BarShort { units, full });
            if !self.upbeat {
                return Err(error);
            }
            self.short = Some(error);
        }
        (self.bar, self.numbered, self.units) = (self.bar + 1, false, 0);
        Ok(())
    }

    fn number(&mut self, place: Place, number: &str) -> Result<(), NotationError> {
        if self.numbered || self.units > 0 || self.repeat.is_some() {
            return Err(place.error(Problem::Unexpected { found: number.to_owned() }));
        }
        if number == "0" && self.events.is_empty() {
            (self.bar, self.upbeat) = (0, true);
        } else if number != self.bar.to_string() {
            return Err(place.error(Problem::BarNumber { expected: self.bar }));
        }
        self.numbered = true;
        Ok(())
    }

    fn open_repeat(&mut self, place: Place) -> Result<(), NotationError> {
        if self.repeat.is_some() {
            return Err(place.error(Problem::RepeatInRepeat));
        }
        self.repeat = Some((place, self.units, self.events.len()));
        Ok(())
    }

    fn close_repeat(&mut self, place: Place, times: u32) -> Result<(), NotationError> {
        let (_, before, first) = self.repeat.take().ok_or_else(|| place.error(Problem::RepeatUnopened))?;
        let once = self.units - before;
        if once == 0 {
            return Err(place.error(Problem::RepeatEmpty));
        }
        self.units = self.fill(place, before, once.saturating_mul(times))?;
        let events = first..self.events.len();
        for _ in 1..times {
            self.events.extend_from_within(events.clone());
        }
        Ok(())
    }
}
