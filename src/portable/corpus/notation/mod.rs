//! Music as text that a musician can read and type: the notation of `data/bwv1007-prelude.txt`, whose opening comment
//! explains it, and of `data/chorales`, where each line belongs to one of several voices. [`parse`] reads a whole piece, or
//! reports the line, column and bar of the first mistake.
//!
//! Invariant: in a [`Score`] every bar fills the meter, all voices begin and end together, and the notes of a voice are in
//! order of onset, those of a chord from low to high.

mod bars;
mod error;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::str::FromStr;

use crate::midi::{DEFAULT_VELOCITY, Instrument, Meter, Note, Song, TempoChange};
use bars::{Bars, NotatedEvent};
use error::NAMES;
pub use error::{NotationError, NotationProblem, TextPlace};

/// A piece read from text.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Quarter notes per minute.
    pub tempo: f64,
    /// The number of bars, including an upbeat.
    pub bars: u32,
    /// From the first bar that is no upbeat.
    pub meter: Meter,
    /// Ticks per quarter note.
    pub resolution: u16,
    /// The voices in the order of the header, by name; one that is named like the piece if the header names none. Their
    /// notes are in order of onset, those of a chord from low to high.
    pub voices: Vec<Instrument>,
}

impl Score {
    /// The score as a song with an instrument for each voice.
    pub fn into_song(self) -> Song {
        let Score { tempo, meter, resolution, voices, bars: _ } = self;
        let ends = voices.iter().flat_map(|voice| &voice.notes).map(|note| note.end);
        Song {
            end: ends.fold(0.0, f64::max),
            instruments: voices,
            resolution,
            tempo_changes: vec![TempoChange { tick: 0, time: 0.0, quarters_per_minute: tempo }],
            meters: vec![meter],
            refused_by_pretty_midi: None,
        }
    }
}

/// Whether a text begins like a score: with at least two of the three header lines that every score has. One may be
/// missing or misspelled, which [`parse`] then reports.
pub fn is_score(text: &str) -> bool {
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(without_comment);
    let header = lines.take_while(|line| is_header(line));
    let names = header.filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let found: HashSet<String> = names.collect();
    REQUIRED.iter().filter(|name| found.contains(**name)).count() >= 2
}

/// Reads a piece.
///
/// # Errors
/// The first mistake, with its position and what to do about it.
pub fn parse(text: &str) -> Result<Score, NotationError> {
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().zip(1..).map(|(line, number)| (number, without_comment(line))).peekable();
    let mut header = HeaderLines::default();
    while let Some((number, line)) = lines.next_if(|(_, line)| is_header(line)) {
        header.read_line(number, line)?;
    }
    let first_music = lines.peek().map_or(1, |&(number, _)| number);
    let header = header.finish(first_music)?;

    // Without names of voices, every line belongs to the only one.
    let names = match &header.voices[..] {
        [] => std::slice::from_ref(&header.title),
        names => names,
    };
    let mut parts = vec![Bars::new(header.bar_units); names.len()];
    for (line, text) in lines {
        let mut begin = TextPlace { line, column: 1, bar: None };
        if header.voices.is_empty() {
            parts[0].read_line(begin, text)?;
        } else if !text.trim().is_empty() {
            let (name, music) = text.split_once(':').unwrap_or((text, ""));
            let voice = names.iter().position(|known| known == name.trim());
            let voice = voice
                .ok_or_else(|| begin.error(NotationProblem::VoiceUnknown { names: names.join(", ") }))?;
            begin.column += name.chars().count() + 1;
            parts[voice].read_line(begin, music)?;
        }
    }

    let mut voices = Vec::new();
    // What the first voice has, and the others must have too: bars, and units of the upbeat and of all.
    let mut first: Option<(u32, u32, u64)> = None;
    for (bars, name) in parts.into_iter().zip(names) {
        let voice = || name.clone();
        let (events, bars, upbeat) = bars.finish().map_err(|error| match error.problem {
            NotationProblem::NoMusic if !header.voices.is_empty() => {
                error.place.error(NotationProblem::VoiceEmpty { voice: voice() })
            }
            _ => error,
        })?;
        let units = events.iter().map(|event| u64::from(event.units)).sum();
        let (_, first_upbeat, first_units) = *first.get_or_insert((bars, upbeat, units));
        if upbeat != first_upbeat {
            let (first, first_units) = (names[0].clone(), first_upbeat);
            let problem = NotationProblem::VoiceBegins { voice: voice(), units: upbeat, first, first_units };
            return Err(events[0].place.error(problem));
        }
        if units != first_units {
            let first = names[0].clone();
            let problem = NotationProblem::VoiceEnds { voice: voice(), units, first, first_units };
            return Err(events[events.len() - 1].place.error(problem));
        }
        let notes = sound(&events, header.seconds_per_unit)?;
        voices.push(Instrument { program: header.program, is_drum: false, name: voice(), notes });
    }
    let (bars, upbeat, _) = first.unwrap_or_default();
    let Header { tempo, beats_per_bar, beat_unit, units_per_whole, .. } = header;
    let meter = Meter { tick: tick(upbeat.into()), beats_per_bar, beat_unit };
    Ok(Score { tempo, bars, meter, resolution: units_per_whole, voices })
}

/// A `#` begins a comment where it cannot be a sharp: at the start of a line and after white space.
fn without_comment(line: &str) -> &str {
    let comment = line
        .char_indices()
        .find(|&(at, c)| c == '#' && line[..at].chars().next_back().is_none_or(char::is_whitespace));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// With as many ticks in a quarter note as a whole note has units, a unit is four ticks, and all are whole numbers.
fn tick(units: u64) -> u32 {
    u32::try_from(4 * units).unwrap_or(u32::MAX)
}

/// The notes with their times, and tied ones joined.
fn sound(events: &[NotatedEvent], seconds_per_unit: f64) -> Result<Vec<Note>, NotationError> {
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
                Some(next) => return Err(next.place.error(NotationProblem::TieToOther)),
                None => return Err(event.place.error(NotationProblem::TieToNothing)),
            }
            continue;
        }
        let (start, end) = (seconds(begun), seconds(now));
        notes.extend(event.pitches.iter().map(|&pitch| Note {
            pitch,
            velocity: DEFAULT_VELOCITY,
            start,
            end,
            start_tick: tick(begun),
            end_tick: tick(now),
        }));
    }
    Ok(notes)
}

/// Those that every score has.
const REQUIRED: [&str; 3] = ["meter", "unit", "tempo"];

/// People type shorter bars, and the limit bounds how much a few characters like `(C4)9999` can expand to.
const MAX_BAR_UNITS: u32 = 1024;

/// More than any orchestra's score has lines for.
const MAX_VOICES: usize = 32;

/// The header lines read so far.
#[derive(Debug, Default)]
struct HeaderLines {
    values: [Option<(TextPlace, String)>; NAMES.len()],
}

/// A complete header.
#[derive(Debug)]
struct Header {
    pub title: String,
    pub program: u8,
    /// The names of the voices; empty if the piece has one.
    pub voices: Vec<String>,
    pub tempo: f64,
    pub beats_per_bar: u16,
    pub beat_unit: u16,
    pub bar_units: u32,
    pub units_per_whole: u16,
    pub seconds_per_unit: f64,
}

/// Notes begin with a capital letter, so that a line that is empty or begins with a small letter belongs to the header.
fn is_header(line: &str) -> bool {
    line.trim_start().chars().next().is_none_or(|c| c.is_lowercase())
}

impl HeaderLines {
    /// Reads a line, which may be empty.
    fn read_line(&mut self, number: usize, line: &str) -> Result<(), NotationError> {
        let place = TextPlace { line: number, column: 1 + line.len() - line.trim_start().len(), bar: None };
        if line.trim().is_empty() {
            return Ok(());
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let (name, value) = (name.trim(), value.trim());
        let Some(slot) = NAMES.iter().position(|known| *known == name) else {
            return Err(place.error(NotationProblem::HeaderUnknown { name: name.to_owned() }));
        };
        if self.values[slot].replace((place, value.to_owned())).is_some() {
            return Err(place.error(NotationProblem::HeaderTwice { name: name.to_owned() }));
        }
        Ok(())
    }

    /// Parses the values. Missing ones are reported at `first_music`, the line where the bars begin.
    fn finish(self, first_music: usize) -> Result<Header, NotationError> {
        let missing = |example| {
            TextPlace { line: first_music, column: 1, bar: None }
                .error(NotationProblem::HeaderMissing { example })
        };
        // Composer and key are for the reader of the text.
        let [title, _composer, _key, meter, unit, tempo, program, voices] = self.values;
        let (meter_place, meter) = meter.ok_or_else(|| missing("meter: 4/4"))?;
        let (unit_place, unit) = unit.ok_or_else(|| missing("unit: 1/16"))?;
        let tempo = tempo.ok_or_else(|| missing("tempo: 72"))?;

        let (beats, beat) = fraction(&meter).ok_or_else(|| {
            refused(meter_place, "meter", &meter, "beats and a note value, like 4/4 or 6/8")
        })?;
        let (_, per_whole) = fraction(&unit)
            .filter(|&(one, _)| one == 1)
            .ok_or_else(|| refused(unit_place, "unit", &unit, "a note value, like 1/16"))?;
        let tempo: f64 = value(tempo, "tempo", "quarter notes a minute, from 1 to 1000", |tempo| {
            (1.0..=1000.0).contains(tempo)
        })?;
        let program = program.map_or(Ok(0), |line| {
            value(line, "program", "a General MIDI program from 0 to 127", |program| *program < 128)
        })?;

        let voices = voices.map_or(Ok(Vec::new()), |(place, text)| {
            let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
            // A line that begins with a small letter would belong to the header.
            let are_names =
                names.iter().all(|name| name.starts_with(char::is_uppercase) && !name.contains(':'));
            let different: HashSet<&String> = names.iter().collect();
            if are_names && different.len() == names.len() && names.len() <= MAX_VOICES {
                return Ok(names);
            }
            let wanted = "up to 32 different names with a capital letter, like Soprano, Alto, Tenor, Bass";
            Err(refused(place, "voices", &text, wanted))
        })?;

        // beats/beat of a whole note, in units of 1/per_whole.
        let (units, left) = (u32::from(beats) * u32::from(per_whole), u32::from(beat));
        let bar_units = units / left;
        if units % left != 0 || bar_units > MAX_BAR_UNITS {
            let units = if units % left == 0 { bar_units.to_string() } else { format!("{units}/{left}") };
            return Err(meter_place.error(NotationProblem::MeterInUnits {
                meter,
                unit,
                units,
                most: MAX_BAR_UNITS,
            }));
        }
        Ok(Header {
            title: title.map(|(_, text)| text).unwrap_or_default(),
            program,
            voices,
            tempo,
            beats_per_bar: beats,
            beat_unit: beat,
            bar_units,
            units_per_whole: per_whole,
            seconds_per_unit: 60.0 / tempo * 4.0 / f64::from(per_whole),
        })
    }
}

/// Two whole numbers from 1 to 1000 around a slash.
fn fraction(text: &str) -> Option<(u16, u16)> {
    let (above, below) = text.split_once('/')?;
    let number = |text: &str| text.trim().parse().ok().filter(|n| (1..=1000).contains(n));
    Some((number(above)?, number(below)?))
}

/// The value of a line with one number.
fn value<T: FromStr>(
    (place, text): (TextPlace, String),
    name: &str,
    wanted: &'static str,
    fits: impl Fn(&T) -> bool,
) -> Result<T, NotationError> {
    text.parse().ok().filter(fits).ok_or_else(|| refused(place, name, &text, wanted))
}

fn refused(place: TextPlace, name: &str, value: &str, wanted: &'static str) -> NotationError {
    place.error(NotationProblem::HeaderValue { name: name.to_owned(), value: value.to_owned(), wanted })
}
