//! A melody with the stretches that it shares with other music coloured and named, and how much of it is new.

use super::canvas::{Area, Colour};
use super::chart::{Chart, LABEL, RIGHT, Room, USUAL_WIDTH, scale};
use super::colours::{EXACT, INK, MUTED, NEUTRAL, PAPER, TRANSPOSED};
use super::columns::Columns;
use super::novelty::{self, Novelty};
use super::piano_roll::draw_keys;
use super::pitches::Pitches;
use super::text::{Align, Style, shorten, write};

/// Lines of names at most; runs beyond them are coloured, and counted.
const LINES: usize = 5;
/// From one line of names to the next.
const LINE: f32 = 40.0;
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
pub fn shared_runs(pitches: &[u8], runs: &[SharedRun], novelty: &Novelty<'_>, title: &str) -> Vec<u8> {
    let columns = Columns::new(pitches.len());
    let width = columns.width.max(USUAL_WIDTH);
    let names = Names::place(runs, &columns, width);
    let room = Room { right: RIGHT, above: LINE * names.lines as f32 - 16.0, below: novelty::ROOM };
    let rows = Pitches::around(pitches.iter().copied(), 0..=127);
    let mut chart = Chart::with_room(title, rows, width, room);

    draw_keys(&mut chart);
    for run in runs {
        let (left, right) = extent(run, &columns);
        let band = Area { left: chart.plot.left + left, right: chart.plot.left + right, ..chart.plot };
        chart.canvas.fill(band, colour(run), 0.1);
    }
    for (note, &pitch) in pitches.iter().enumerate() {
        let of = |run: &&SharedRun| (run.first..run.first + run.notes).contains(&note);
        // Of several the one that is shared note for note, then the longest.
        let run = runs.iter().filter(of).max_by_key(|run| (!run.transposed, run.notes));
        draw_note(&mut chart, &columns, note, pitch, run.map_or(NEUTRAL, colour));
    }
    names.draw(&mut chart, runs, &columns);
    chart.pitch_axis();
    chart.time_axis("generated note", &columns.ticks());
    if pitches.is_empty() {
        chart.say_empty("no notes");
    }
    novelty::draw(&mut chart, novelty);
    chart.canvas.png()
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

fn draw_note(chart: &mut Chart, columns: &Columns, note: usize, pitch: u8, colour: Colour) {
    let row = chart.row(pitch);
    let (left, right) = columns.edges(note);
    let gap = if right - left >= chart.px(4.0) { chart.px(1.0) } else { 0 };
    let right = (right - gap).max(left + chart.px(1.5));
    let bar =
        Area { left: row.left + left, right: row.left + right, top: row.top + 1, bottom: row.bottom - 1 };
    chart.canvas.fill(bar, colour, 1.0);
}

/// Where names stand above the plot.
struct Names {
    /// For each run its line, from the plot upwards, and the left edge of its name; none without a place.
    places: Vec<Option<(usize, i32)>>,
    lines: usize,
}

impl Names {
    /// Each name begins above its run, or ends with the plot, on the lowest line with room for it.
    fn place(runs: &[SharedRun], columns: &Columns, width: i32) -> Self {
        let px = |length: f32| (length * scale(width)).round() as i32;
        let style = Style { size: LABEL.size * scale(width), ..LABEL };
        let mut ends = [i32::MIN; LINES];
        let mut place = |run: &SharedRun| {
            let (left, right) = extent(run, columns);
            let length = style.width(&run.name).ceil() as i32;
            let from = left.min(width - length).max(0);
            let line = ends.iter().position(|&end| end <= from)?;
            ends[line] = (right + px(RUNS_APART)).max(from + length + px(NAMES_APART));
            Some((line, from))
        };
        let places: Vec<_> = runs.iter().map(&mut place).collect();
        let lines = places.iter().flatten().map(|(line, _)| line + 1).max().unwrap_or(0);
        Names { places, lines: lines.max(1) }
    }

    fn draw(&self, chart: &mut Chart, runs: &[SharedRun], columns: &Columns) {
        let (thick, gap, line) = (chart.px(6.0), chart.px(8.0), chart.px(LINE));
        let style = chart.style(Style { colour: INK, align: Align::Start, ..LABEL });
        let (plot, room) = (chart.plot, (chart.plot.right - chart.plot.left) as f32);
        for (run, place) in runs.iter().zip(&self.places) {
            let &Some((number, from)) = place else { continue };
            let (left, right) = extent(run, columns);
            let bottom = plot.top - gap - number as i32 * line;
            let bar = Area { left: plot.left + left, top: bottom - thick, right: plot.left + right, bottom };
            chart.canvas.fill(bar, colour(run), 1.0);
            let at = ((plot.left + from) as f32, (bar.top - gap) as f32);
            write(&mut chart.canvas, at, &shorten(&run.name, style, room), style);
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
