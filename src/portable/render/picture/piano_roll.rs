//! Notes in time to the right, pitch up: as bars, and on the probabilities that they were chosen from.

use std::collections::BTreeMap;

use super::canvas::{Area, BLACK_KEY, CHOSEN, Color, GRID, INK, Layers, PAPER, Picture, ramp};
use super::chart::{Chart, Columns, MAX_WIDTH, Pitches, USUAL_WIDTH, is_black_key, tick_step};
use crate::midi::Note;

/// A piano roll of `notes`: time in seconds to the right, one row per key, darker bars for higher velocities (with a
/// color bar if velocities differ).
///
/// The picture grows with the number of notes until its time axis is 2,800 pixels long; beyond that bars get
/// narrower, but none vanishes.
pub fn piano_roll(notes: &[Note], title: &str) -> Picture {
    let width = i32::try_from(3 * notes.len()).unwrap_or(i32::MAX).clamp(USUAL_WIDTH, MAX_WIDTH);
    let pitches = Pitches::around(notes.iter().map(|note| note.pitch), 0..=127);
    let velocities = Velocities::of(notes);
    let mut chart = Chart::new(title, pitches, width, velocities.differ());

    let end = notes.iter().map(|note| note.end).fold(0.0, f64::max);
    let scale = TimeScale { seconds: if end > 0.0 { end } else { 1.0 }, pixels: width };

    draw_keys(&mut chart);
    let ticks = scale.ticks();
    for (x, _) in &ticks {
        let left = chart.plot.left + x;
        let line = Area { left, right: left + chart.px(1.0), ..chart.plot };
        chart.canvas.fill(line, GRID, 0.7);
    }
    draw_notes(&mut chart, notes, &scale, &velocities);
    chart.pitch_axis();
    chart.time_axis("time (s)", &ticks);
    if velocities.differ() {
        velocities.color_bar(&mut chart);
    }
    if notes.is_empty() {
        chart.empty_message("no notes");
    }
    chart.canvas.done()
}

/// The keyboard behind the notes: shaded rows for black keys, a line below each C.
pub(super) fn draw_keys(chart: &mut Chart) {
    for pitch in chart.pitches() {
        let row = chart.row(pitch);
        chart.canvas.fill(row, if is_black_key(pitch) { BLACK_KEY } else { PAPER }, 1.0);
        if pitch % 12 == 0 {
            let line = Area { top: row.bottom - chart.px(1.0), ..row };
            chart.canvas.fill(line, GRID, 1.0);
        }
    }
}

/// Later notes cover earlier ones. Each pixel is drawn once, however many notes overlap there.
fn draw_notes(chart: &mut Chart, notes: &[Note], scale: &TimeScale, velocities: &Velocities) {
    let width = scale.pixels as usize;
    let mut rows: BTreeMap<u8, (Layers, Vec<Option<Color>>)> = BTreeMap::new();
    for note in notes.iter().rev() {
        let (left, end) = (scale.pixel(note.start), scale.pixel(note.end));
        // A gap separates repeated notes where there is room for it; no note is too thin to see.
        let gap = if end - left >= chart.px(4.0) { chart.px(1.0) } else { 0 };
        let right = (end - gap).max(left + chart.px(1.5));
        let (layers, colors) =
            rows.entry(note.pitch).or_insert_with(|| (Layers::new(width, 1), vec![None; width]));
        let color = velocities.color(note.velocity);
        layers.cover(left.max(0) as usize, right.max(0) as usize, |x| colors[x] = Some(color));
    }
    for (pitch, (_, colors)) in rows {
        let row = chart.row(pitch);
        let mut x = row.left;
        for alike in colors.chunk_by(|a, b| a == b) {
            let right = x + alike.len() as i32;
            if let Some(color) = alike[0] {
                let bar = Area { left: x, top: row.top + 1, right, bottom: row.bottom - 1 };
                chart.canvas.fill(bar, color, 1.0);
            }
            x = right;
        }
    }
}

/// Converts seconds to pixels.
struct TimeScale {
    seconds: f64,
    pixels: i32,
}

impl TimeScale {
    fn pixel(&self, seconds: f64) -> i32 {
        (seconds / self.seconds * f64::from(self.pixels)).round() as i32
    }

    fn ticks(&self) -> Vec<(i32, String)> {
        // As many in a wide picture as in one of the usual width, since letters grow with the picture.
        const MAX_TICKS: i32 = 11;
        let step = tick_step(self.seconds, MAX_TICKS);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        // The small excess keeps a last tick that rounding put just beyond the end.
        let count = (self.seconds / step + 1e-9) as i32;
        let mut ticks = Vec::new();
        for index in 0..=count {
            let seconds = f64::from(index) * step;
            ticks.push((self.pixel(seconds).min(self.pixels - 1), format!("{seconds:.decimals$}")));
        }
        ticks
    }
}

/// The range of velocities, and their colors.
struct Velocities {
    min: u8,
    max: u8,
}

impl Velocities {
    fn of(notes: &[Note]) -> Self {
        let velocities = || notes.iter().map(|note| note.velocity);
        Self { min: velocities().min().unwrap_or(0), max: velocities().max().unwrap_or(0) }
    }

    fn differ(&self) -> bool {
        self.min != self.max
    }

    /// A clear blue if all are equal.
    fn color(&self, velocity: u8) -> Color {
        if self.differ() { velocity_color(of_full(velocity)) } else { ramp(0.6) }
    }

    fn color_bar(&self, chart: &mut Chart) {
        let ticks = [(1, "1"), (32, "32"), (64, "64"), (96, "96"), (127, "127")]
            .map(|(v, label)| (of_full(v), label));
        chart.color_bar("velocity", velocity_color, &ticks);
    }
}

/// A velocity as a fraction of the highest.
fn of_full(velocity: u8) -> f32 {
    f32::from(velocity) / 127.0
}

/// The ramp without its lightest part, which is too close to the background.
fn velocity_color(fraction: f32) -> Color {
    ramp(0.25 + 0.75 * fraction)
}

/// A pitch that never reaches this probability gets no row: it would look white.
pub(super) const VISIBLE: f32 = 0.01;

/// A heat map: generated notes to the right (numbered from 1), pitch up, darker for more probable pitches, and a bright
/// mark on each generated note.
///
/// `probabilities` has one row for each generated note, one column for each pitch; `chosen` is the column that
/// was taken, for each row; `first_pitch` is the MIDI key of column 0. Shown are the pitches that were chosen or
/// had at least 1%. The colors go with the square root of the probability, so that an alternative of 5%
/// can be seen; the color bar says so by its labels.
///
/// The picture grows with the number of notes until its data are 2,800 pixels wide; where several notes share
/// a pixel it shows the largest probability.
pub fn probabilities(probabilities: &[Vec<f32>], chosen: &[u8], first_pitch: u8, title: &str) -> Picture {
    let columns = Columns::new(probabilities.len());
    let pitches = visible_pitches(probabilities, chosen, first_pitch);
    let mut chart = Chart::new(title, pitches, columns.width.max(USUAL_WIDTH / 2), true);

    for pitch in chart.pitches() {
        draw_row(&mut chart, pitch, &columns, |note| {
            let class = usize::from(pitch.checked_sub(first_pitch)?);
            probabilities[note].get(class).copied()
        });
    }
    for (note, class) in chosen.iter().enumerate().take(columns.notes) {
        let pitch = first_pitch.saturating_add(*class);
        if pitches.contains(pitch) {
            draw_choice(&mut chart, &columns, note, pitch);
        }
    }
    chart.pitch_axis();
    chart.time_axis("generated note", &columns.ticks());
    chart.color_bar("probability", ramp, &BAR_TICKS.map(|(value, label)| (shade(value), label)));
    chart.legend(&[(CHOSEN, "chosen note")]);
    if columns.notes == 0 {
        chart.empty_message("no notes");
    }
    chart.canvas.done()
}

pub(super) const BAR_TICKS: [(f32, &str); 7] =
    [(0.0, "0%"), (0.01, "1%"), (0.05, "5%"), (0.1, "10%"), (0.25, "25%"), (0.5, "50%"), (1.0, "100%")];

/// A probability's position on the color ramp; the square root makes 5% visible.
pub(super) fn shade(probability: f32) -> f32 {
    probability.max(0.0).sqrt()
}

fn visible_pitches(probabilities: &[Vec<f32>], chosen: &[u8], first_pitch: u8) -> Pitches {
    let classes = probabilities.iter().map(Vec::len).max().unwrap_or(79);
    let pitch = |class: usize| first_pitch.saturating_add(u8::try_from(class).unwrap_or(u8::MAX)).min(127);
    let likely = probabilities.iter().flat_map(|row| {
        row.iter().enumerate().filter(|(_, probability)| **probability >= VISIBLE).map(|(class, _)| class)
    });
    let used = likely.chain(chosen.iter().map(|class| usize::from(*class))).map(pitch);
    Pitches::around(used, first_pitch.min(127)..=pitch(classes.saturating_sub(1)))
}

/// Each pixel shows the largest probability of the notes under it.
fn draw_row(chart: &mut Chart, pitch: u8, columns: &Columns, probability: impl Fn(usize) -> Option<f32>) {
    let row = chart.row(pitch);
    for x in 0..columns.width {
        let largest = columns.notes_at(x).filter_map(&probability).fold(0.0, f32::max);
        let left = row.left + x;
        chart.canvas.fill(Area { left, right: left + 1, ..row }, ramp(shade(largest)), 1.0);
    }
    if pitch.is_multiple_of(12) {
        let below = Area { top: row.bottom - chart.px(1.0), right: row.left + columns.width, ..row };
        chart.canvas.fill(below, INK, 0.12);
    }
}

/// A bar through the middle of the cell, so that the cell's color stays visible above and below.
fn draw_choice(chart: &mut Chart, columns: &Columns, note: usize, pitch: u8) {
    let row = chart.row(pitch);
    let thickness = (row.height() / 2).max(3);
    let top = row.top + (row.height() - thickness) / 2;
    let (left, right) = columns.edges(note);
    let bar = Area {
        left: row.left + left,
        top,
        right: row.left + right.max(left + 2).min(columns.width),
        bottom: top + thickness,
    };
    chart.canvas.fill(bar, CHOSEN, 1.0);
}
