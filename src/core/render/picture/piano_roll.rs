//! Notes as bars: time across, key up.

use std::collections::BTreeMap;

use super::canvas::{Area, BLACK_KEY, Colour, GRID, Layers, PAPER, Picture, ramp};
use super::chart::{Chart, Pitches, USUAL_WIDTH, WIDEST, is_black_key, tick_step};
use crate::midi::Note;

/// A piano roll of `notes` as a PNG file: time in seconds across, one row a key, darker bars for harder
/// strikes (with a colour bar where notes differ in velocity).
///
/// The picture grows with the number of notes, until its time axis is 2,800 pixels long; beyond that bars
/// get narrower, but none vanishes.
pub fn piano_roll(notes: &[Note], title: &str) -> Picture {
    let width = i32::try_from(3 * notes.len()).unwrap_or(i32::MAX).clamp(USUAL_WIDTH, WIDEST);
    let pitches = Pitches::around(notes.iter().map(|note| note.pitch), 0..=127);
    let loudness = Loudness::of(notes);
    let mut chart = Chart::new(title, pitches, width, loudness.differs());

    let end = notes.iter().map(|note| note.end).fold(0.0, f64::max);
    let scale = Scale { seconds: if end > 0.0 { end } else { 1.0 }, pixels: width };

    draw_keys(&mut chart);
    let ticks = scale.ticks();
    for (x, _) in &ticks {
        let left = chart.plot.left + x;
        let line = Area { left, right: left + chart.px(1.0), ..chart.plot };
        chart.canvas.fill(line, GRID, 0.7);
    }
    draw_notes(&mut chart, notes, &scale, &loudness);
    chart.pitch_axis();
    chart.time_axis("time (s)", &ticks);
    if loudness.differs() {
        loudness.colour_bar(&mut chart);
    }
    if notes.is_empty() {
        chart.say_empty("no notes");
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

/// Later notes lie over earlier ones. Each pixel is drawn once, however many notes lie there.
fn draw_notes(chart: &mut Chart, notes: &[Note], scale: &Scale, loudness: &Loudness) {
    let width = scale.pixels as usize;
    let mut rows: BTreeMap<u8, (Layers, Vec<Option<Colour>>)> = BTreeMap::new();
    for note in notes.iter().rev() {
        let (left, end) = (scale.pixel(note.start), scale.pixel(note.end));
        // A gap keeps repeated notes apart where there is room for one, and no note is too thin to see.
        let gap = if end - left >= chart.px(4.0) { chart.px(1.0) } else { 0 };
        let right = (end - gap).max(left + chart.px(1.5));
        let new_row = || (Layers::new(width, 1), vec![None; width]);
        let (layers, colours) = rows.entry(note.pitch).or_insert_with(new_row);
        let colour = loudness.colour(note.velocity);
        layers.cover(left.max(0) as usize, right.max(0) as usize, |x| colours[x] = Some(colour));
    }
    for (pitch, (_, colours)) in rows {
        let row = chart.row(pitch);
        let mut x = row.left;
        for alike in colours.chunk_by(|a, b| a == b) {
            let right = x + alike.len() as i32;
            if let Some(colour) = alike[0] {
                let bar = Area { left: x, top: row.top + 1, right, bottom: row.bottom - 1 };
                chart.canvas.fill(bar, colour, 1.0);
            }
            x = right;
        }
    }
}

/// Seconds to pixels.
struct Scale {
    seconds: f64,
    pixels: i32,
}

impl Scale {
    fn pixel(&self, seconds: f64) -> i32 {
        (seconds / self.seconds * f64::from(self.pixels)).round() as i32
    }

    fn ticks(&self) -> Vec<(i32, String)> {
        // Ticks are as far apart in a wide picture as in one of usual width: its letters are larger.
        const MOST: i32 = 11;
        let step = tick_step(self.seconds, MOST);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        // The tiny excess keeps a last tick that rounding put just beyond the end.
        let count = (self.seconds / step + 1e-9) as i32;
        let label = |i: i32| {
            let seconds = f64::from(i) * step;
            (self.pixel(seconds).min(self.pixels - 1), format!("{seconds:.decimals$}"))
        };
        (0..=count).map(label).collect()
    }
}

/// The velocities that occur, and their colours.
struct Loudness {
    least: u8,
    most: u8,
}

impl Loudness {
    fn of(notes: &[Note]) -> Self {
        let velocities = || notes.iter().map(|note| note.velocity);
        Self { least: velocities().min().unwrap_or(0), most: velocities().max().unwrap_or(0) }
    }

    fn differs(&self) -> bool {
        self.least != self.most
    }

    /// Where all are struck alike there is nothing to tell: a clear blue.
    fn colour(&self, velocity: u8) -> Colour {
        if self.differs() { velocity_colour(share(velocity)) } else { ramp(0.6) }
    }

    fn colour_bar(&self, chart: &mut Chart) {
        let ticks =
            [(1, "1"), (32, "32"), (64, "64"), (96, "96"), (127, "127")].map(|(v, label)| (share(v), label));
        chart.colour_bar("velocity", velocity_colour, &ticks);
    }
}

/// A velocity as a part of the loudest there is.
fn share(velocity: u8) -> f32 {
    f32::from(velocity) / 127.0
}

/// The ramp without its lightest part, which could not be told from the background.
fn velocity_colour(share: f32) -> Colour {
    ramp(0.25 + 0.75 * share)
}
