//! The lines before the first bar: what the piece is called, how long its bars and units are, and what plays it.

use super::error::{NotationError, Place, Problem};
use std::str::FromStr;

/// Every header line there is.
pub(super) const NAMES: [&str; 7] = ["title", "composer", "key", "meter", "unit", "tempo", "program"];

/// Those that every score has.
pub(super) const REQUIRED: [&str; 3] = ["meter", "unit", "tempo"];

/// No more units than this in one bar: a bar is something that a person types, and the limit bounds what a
/// few characters like `(C4)9999` can unfold to.
const MOST_UNITS: u32 = 1024;

/// What the header lines say; `None` is not said yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    values: [Option<(Place, String)>; NAMES.len()],
}

/// A complete header.
#[derive(Debug)]
pub(super) struct Header {
    pub title: String,
    pub composer: String,
    pub key: String,
    pub program: u8,
    pub tempo: f64,
    pub bar_units: u32,
    pub seconds_per_unit: f64,
}

/// Notes begin with a capital letter, so that a line that begins with a small one, or is empty, belongs here.
pub(super) fn is_header(line: &str) -> bool {
    line.trim_start().chars().next().is_none_or(|c| c.is_lowercase())
}

impl Lines {
    /// Reads a line, which may be empty.
    pub(super) fn read_line(&mut self, number: usize, line: &str) -> Result<(), NotationError> {
        let place = Place { line: number, column: 1 + line.len() - line.trim_start().len(), bar: None };
        if line.trim().is_empty() {
            return Ok(());
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let (name, value) = (name.trim(), value.trim());
        let Some(slot) = NAMES.iter().position(|known| *known == name) else {
            return Err(place.error(Problem::HeaderUnknown { name: name.to_owned() }));
        };
        if self.values[slot].replace((place, value.to_owned())).is_some() {
            return Err(place.error(Problem::HeaderTwice { name: name.to_owned() }));
        }
        Ok(())
    }

    /// Reads the values. `first_music` is the line at which the bars begin, for what is missing.
    pub(super) fn finish(self, first_music: usize) -> Result<Header, NotationError> {
        let missing = |example| {
            Place { line: first_music, column: 1, bar: None }.error(Problem::HeaderMissing { example })
        };
        let [title, composer, key, meter, unit, tempo, program] = self.values;
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

        // beats/beat of a whole note, in units of 1/per_whole.
        let (units, left) = (u64::from(beats) * u64::from(per_whole), u64::from(beat));
        let bar_units = u32::try_from(units / left).unwrap_or(u32::MAX);
        if units % left != 0 || bar_units > MOST_UNITS {
            let units = if units % left == 0 { bar_units.to_string() } else { format!("{units}/{left}") };
            return Err(meter_place.error(Problem::MeterInUnits { meter, unit, units, most: MOST_UNITS }));
        }
        let text = |line: Option<(Place, String)>| line.map(|(_, text)| text).unwrap_or_default();
        Ok(Header {
            title: text(title),
            composer: text(composer),
            key: text(key),
            program,
            tempo,
            bar_units,
            seconds_per_unit: 60.0 / tempo * 4.0 / f64::from(per_whole),
        })
    }
}

/// Two whole numbers from 1 to 1000 around a slash.
fn fraction(text: &str) -> Option<(u32, u32)> {
    let (above, below) = text.split_once('/')?;
    let number = |text: &str| text.trim().parse().ok().filter(|n| (1..=1000).contains(n));
    Some((number(above)?, number(below)?))
}

/// The value of a line that holds one number.
fn value<T: FromStr>(
    (place, text): (Place, String),
    name: &str,
    wanted: &'static str,
    fits: impl Fn(&T) -> bool,
) -> Result<T, NotationError> {
    text.parse().ok().filter(fits).ok_or_else(|| refused(place, name, &text, wanted))
}

fn refused(place: Place, name: &str, value: &str, wanted: &'static str) -> NotationError {
    place.error(Problem::HeaderValue { name: name.to_owned(), value: value.to_owned(), wanted })
}
