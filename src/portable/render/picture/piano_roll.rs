//! Notes as bars: time to the right, pitch up.

use std::collections::BTreeMap;

use super::canvas::{Area, Layers, Picture};
use super::chart::{Chart, MAX_WIDTH, Pitches, USUAL_WIDTH, is_black_key, tick_step};
use super::palette::{BLACK_KEY, Color, GRID, PAPER, ramp};
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
        let label = |i: i32| {
            let seconds = f64::from(i) * step;
            (self.pixel(seconds).min(self.pixels - 1), format!("{seconds:.decimals$}"))
        };
        (0..=count).map(label).collect()
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
