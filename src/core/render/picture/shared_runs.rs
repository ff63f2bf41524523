//! A melody with the stretches that it shares with other music coloured and named, and how much of it is new.

use std::cmp::Reverse;

use super::canvas::{Area, Colour, Picture};
use super::chart::{Chart, LABEL, RIGHT, Room, USUAL_WIDTH, scale};
use super::colours::{EXACT, INK, MUTED, NEUTRAL, PAPER, TRANSPOSED};
use super::columns::Columns;
use super::layers::Layers;
use super::novelty::{self, Novelty};
use super::piano_roll::draw_keys;
use super::pitches::Pitches;
use super::text::{Align, Style, Words, write};

/// Lines of names at most; runs beyond them are coloured, and counted.
const LINES: usize = 5;
/// From one line of names to the next.
const LINE: f32 = 40.0;
/// Of bands over each other so many can be seen: those below have less than a thousandth of the colour.
const MAX_BANDS: u8 = 64;
/// Between two names on a line, and between the marks of two runs.
const NAMES_APART: f32 = 24.0;
const RUNS_APART: f32 = 3.0;

/// A stretch of a melody that other music has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedRun {
    /// Index of its first note.
    pub first: usize,
    /// Notes.
    pub notes: usize,
    /// Whether it is shared only transposed.
    pub transposed: bool,
    /// Whether it is too short to mean anything: it is drawn in a pale colour.
    pub pale: bool,
    /// Where it is from.
    pub name: String,
}

/// A piano roll of a melody's pitches as a PNG file, all notes equally long and numbered from 1, with its
/// shared runs coloured and named above; below, the share of its stretches of 1, 2, … notes that are new.
///
/// Names that find no place on five lines are counted instead. The picture grows with the number of notes until
/// its data are 2,800 pixels wide.
pub fn shared_runs(pitches: &[u8], runs: &[SharedRun], novelty: &Novelty<'_>, title: &str) -> Picture {
    let columns = Columns::new(pitches.len());
    let width = columns.width.max(USUAL_WIDTH);
    let names = Names::place(runs, &columns, width);
    let room = Room { right: RIGHT, above: LINE * names.lines as f32 - 16.0, below: novelty::ROOM };
    let rows = Pitches::around(pitches.iter().copied(), 0..=127);
    let mut chart = Chart::with_room(title, rows, width, room);

    draw_keys(&mut chart);
    draw_bands(&mut chart, runs, &columns);
    for (note, (&pitch, colour)) in pitches.iter().zip(note_colours(pitches.len(), runs)).enumerate() {
        draw_note(&mut chart, &columns, note, pitch, colour);
    }
    names.draw(&mut chart, runs, &columns);
    chart.pitch_axis();
    chart.time_axis("generated note", &columns.ticks());
    if pitches.is_empty() {
        chart.say_empty("no notes");
    }
    novelty::draw(&mut chart, novelty);
    chart.canvas.done()
}

/// A run's colour: one for each kind, with much white in it where it means little.
fn colour(run: &SharedRun) -> Colour {
    let Colour(r, g, b) = if run.transposed { TRANSPOSED } else { EXACT };
    let Colour(white, ..) = PAPER;
    let pale = |byte: u8| if run.pale { ((u16::from(byte) + u16::from(white)) / 2) as u8 } else { byte };
    Colour(pale(r), pale(g), pale(b))
}

/// The first pixel of a run and the first after it, from the plot's left edge.
fn extent(run: &SharedRun, columns: &Columns) -> (i32, i32) {
    if run.notes == 0 || run.first >= columns.notes {
        return (0, 0);
    }
    let last = (run.first + run.notes).min(columns.notes) - 1;
    (columns.edges(run.first).0, columns.edges(last).1)
}

/// A pale band behind each run, later ones over earlier ones.
fn draw_bands(chart: &mut Chart, runs: &[SharedRun], columns: &Columns) {
    let width = columns.width.max(0) as usize;
    let (mut layers, mut bands) = (Layers::new(width, MAX_BANDS), vec![Vec::new(); width]);
    for run in runs.iter().rev() {
        let (left, right) = extent(run, columns);
        layers.cover(left as usize, right as usize, |x| bands[x].push(colour(run)));
    }
    for (x, bands) in bands.iter().enumerate() {
        let left = chart.plot.left + x as i32;
        for &colour in bands.iter().rev() {
            chart.canvas.fill(Area { left, right: left + 1, ..chart.plot }, colour, 0.1);
        }
    }
}

/// The colour of each note: of several runs that of the one that is shared note for note, then of the longest.
fn note_colours(notes: usize, runs: &[SharedRun]) -> Vec<Colour> {
    let (mut layers, mut colours) = (Layers::new(notes, 1), vec![NEUTRAL; notes]);
    let mut by_meaning: Vec<&SharedRun> = runs.iter().rev().collect();
    by_meaning.sort_by_key(|run| (run.transposed, Reverse(run.notes)));
    for run in by_meaning {
        layers.cover(run.first, run.first + run.notes, |note| colours[note] = colour(run));
    }
    colours
}

fn draw_note(chart: &mut Chart, columns: &Columns, note: usize, pitch: u8, colour: Colour) {
    let row = chart.row(pitch);
    let (left, right) = columns.edges(note);
    let gap = if right - left >= chart.px(4.0) { chart.px(1.0) } else { 0 };
    let right = (right - gap).max(left + chart.px(1.5));
    let bar =
        Area { left: row.left + left, right: row.left + right, top: row.top + 1, bottom: row.bottom - 1 };
    chart.canvas.fill(bar, colour, 1.0);
}

/// Names and where they stand above the plot.
struct Names {
    /// For each run its name, as it can be shown.
    names: Vec<String>,
    /// What became of them.
    words: Words,
    /// For each run its line, from the plot upwards, and the left edge of its name; none without a place.
    places: Vec<Option<(usize, i32)>>,
    lines: usize,
}

impl Names {
    /// Each name begins above its run, or ends with the plot, on the lowest line with room for it.
    fn place(runs: &[SharedRun], columns: &Columns, width: i32) -> Self {
        let px = |length: f32| (length * scale(width)).round() as i32;
        let style = Style { size: LABEL.size * scale(width), ..LABEL };
        let mut words = Words::default();
        let names: Vec<String> = runs.iter().map(|run| words.fit(&run.name, style, width as f32)).collect();
        let mut ends = [i32::MIN; LINES];
        let mut place = |(run, name): (&SharedRun, &String)| {
            let (left, right) = extent(run, columns);
            let length = style.width(name).ceil() as i32;
            let from = left.min(width - length).max(0);
            let line = ends.iter().position(|&end| end <= from)?;
            ends[line] = (right + px(RUNS_APART)).max(from + length + px(NAMES_APART));
            Some((line, from))
        };
        let places: Vec<_> = runs.iter().zip(&names).map(&mut place).collect();
        let lines = places.iter().flatten().map(|(line, _)| line + 1).max().unwrap_or(0);
        Names { names, words, places, lines: lines.max(1) }
    }

    fn draw(self, chart: &mut Chart, runs: &[SharedRun], columns: &Columns) {
        let (thick, gap, line) = (chart.px(6.0), chart.px(8.0), chart.px(LINE));
        let style = chart.style(Style { colour: INK, align: Align::Start, ..LABEL });
        let plot = chart.plot;
        chart.canvas.words.add(self.words);
        for ((run, name), place) in runs.iter().zip(&self.names).zip(&self.places) {
            let &Some((number, from)) = place else { continue };
            let (left, right) = extent(run, columns);
            let bottom = plot.top - gap - number as i32 * line;
            let bar = Area { left: plot.left + left, top: bottom - thick, right: plot.left + right, bottom };
            chart.canvas.fill(bar, colour(run), 1.0);
            let at = ((plot.left + from) as f32, (bar.top - gap) as f32);
            write(&mut chart.canvas, at, name, style);
        }
        let missing = self.places.iter().filter(|place| place.is_none()).count();
        if missing > 0 {
            let style = Style { colour: MUTED, align: Align::End, ..style };
            let at = (plot.right as f32, (plot.top - gap - self.lines as i32 * line - gap) as f32);
            write(&mut chart.canvas, at, &format!("and {missing} more"), style);
        }
    }
}

#[cfg(test)]
mod tests;
