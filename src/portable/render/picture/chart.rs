//! What the pictures share: a title above, pitch up the side, time along the bottom, a color bar.
//!
//! A chart is a canvas and the area of its data. Rows have a whole number of pixels, so that all have the same height
//! and sharp edges. A wider plot has everything larger in proportion, letters included, so that a long piece looks the
//! same when the picture is fitted to a page, and shows more detail at full size.

use std::ops::{Range, RangeInclusive};

use super::canvas::{Align, Area, CAPITAL, Canvas, Color, INK, MUTED, PAPER, RULE, TextStyle, Weight};
use crate::midi::pitch_name;

/// The plot's width, in pixels, at which the nominal lengths below are pixels: fits a web page.
pub(super) const USUAL_WIDTH: i32 = 1400;
/// Wider pictures are slow to make and to view.
pub(super) const MAX_WIDTH: i32 = 2 * USUAL_WIDTH;
/// The plot's approximate height, before rows are rounded to whole pixels.
const HEIGHT: f32 = 660.0;

const LEFT: f32 = 156.0;
const TOP: f32 = 96.0;
pub(super) const BOTTOM: f32 = 88.0;
pub(super) const RIGHT: f32 = 40.0;
const RIGHT_WITH_BAR: f32 = 168.0;

/// Length of a tick mark, and the space between it and its label.
const TICK: f32 = 7.0;
const GAP: f32 = 8.0;

pub(super) const LABEL: TextStyle =
    TextStyle { size: 20.0, weight: Weight::Regular, color: MUTED, align: Align::Middle };
pub(super) const NAME: TextStyle =
    TextStyle { size: 21.0, weight: Weight::Regular, color: INK, align: Align::Middle };
pub(super) const TITLE: TextStyle =
    TextStyle { size: 28.0, weight: Weight::SemiBold, color: INK, align: Align::Start };

/// Room around the plot, in nominal pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// To its right, in total.
    pub right: f32,
    /// Between title and plot, in addition to the usual.
    pub above: f32,
    /// Below the time axis, in addition to the usual.
    pub below: f32,
}

/// Pixels per nominal pixel, at least 1, for a plot of this width.
pub(super) fn scale(width: i32) -> f32 {
    (width as f32 / USUAL_WIDTH as f32).max(1.0)
}

/// A picture with axes over time and pitch.
pub(super) struct Chart {
    pub canvas: Canvas,
    /// The area of the data.
    pub plot: Area,
    /// Empty for other axes.
    pitches: Pitches,
    row_height: i32,
    /// Pixels per nominal pixel, at least 1.
    scale: f32,
}

impl Chart {
    /// An empty chart whose plot is `width` pixels wide.
    pub(super) fn new(title: &str, pitches: Pitches, width: i32, with_color_bar: bool) -> Self {
        let right = if with_color_bar { RIGHT_WITH_BAR } else { RIGHT };
        Self::with_room(title, pitches, width, Room { right, above: 0.0, below: 0.0 })
    }

    pub(super) fn with_room(title: &str, pitches: Pitches, width: i32, room: Room) -> Self {
        let scale = scale(width);
        let px = |length: f32| (length * scale).round() as i32;
        let row_height = px((HEIGHT / pitches.rows() as f32).floor().clamp(7.0, 28.0));
        let (left, top) = (px(LEFT), px(TOP + room.above));
        let plot = Area { left, top, right: left + width, bottom: top + pitches.rows() * row_height };
        let canvas = Canvas::new(plot.right + px(room.right), plot.bottom + px(BOTTOM + room.below), PAPER);
        let mut chart = Self { canvas, plot, pitches, row_height, scale };
        chart.title(title);
        chart
    }

    /// A chart of other things than pitches. Its caller sets the plot and draws the title.
    pub(super) fn without_pitches(canvas: Canvas) -> Self {
        let plot = Area { left: 0, top: 0, right: 0, bottom: 0 };
        Self { canvas, plot, pitches: Pitches { low: 1, high: 0 }, row_height: 0, scale: 1.0 }
    }

    fn title(&mut self, title: &str) {
        let style = self.style(TITLE);
        let room = (self.canvas.width() - self.plot.left - self.px(RIGHT)) as f32;
        let at = (self.plot.left as f32, self.px(50.0) as f32);
        let title = self.canvas.words.fit(title, style, room);
        self.canvas.write(at, &title, style);
    }

    /// A nominal length in this chart's pixels.
    pub(super) fn px(&self, length: f32) -> i32 {
        (length * self.scale).round() as i32
    }

    pub(super) fn style(&self, style: TextStyle) -> TextStyle {
        TextStyle { size: style.size * self.scale, ..style }
    }

    /// The row of a pitch, over the plot's whole width.
    pub(super) fn row(&self, pitch: u8) -> Area {
        let top = self.plot.top + (i32::from(self.pitches.high) - i32::from(pitch)) * self.row_height;
        Area { top, bottom: top + self.row_height, ..self.plot }
    }

    /// From the top row to the bottom one.
    pub(super) fn pitches(&self) -> impl Iterator<Item = u8> + use<> {
        (self.pitches.low..=self.pitches.high).rev()
    }

    /// The frame, and the names of as many pitches as fit, the Cs in a stronger ink.
    pub(super) fn pitch_axis(&mut self) {
        let labelled = labelled_keys(self.row_height as f32 / self.scale);
        let mut ticks = Vec::new();
        for pitch in self.pitches().filter(|pitch| labelled.contains(&(pitch % 12))) {
            let row = self.row(pitch);
            let color = if pitch.is_multiple_of(12) { INK } else { MUTED };
            ticks.push(((row.top + row.bottom) / 2, pitch_name(pitch), color));
        }
        self.value_axis("pitch", &ticks);
    }

    /// The frame, and an axis to the left of the plot; `ticks` are pixel rows with labels and their inks.
    pub(super) fn value_axis(&mut self, name: &str, ticks: &[(i32, String, Color)]) {
        let frame = self.frame(self.plot);
        for (y, label, color) in ticks {
            let tick = Area { left: frame.left - self.px(TICK), right: frame.left, ..self.tick_at(*y) };
            self.canvas.fill(tick, RULE, 1.0);
            let style = self.style(TextStyle { color: *color, align: Align::End, ..LABEL });
            let at = ((tick.left - self.px(GAP)) as f32, self.centered(*y));
            self.canvas.write(at, label, style);
        }
        let at = (self.px(34.0), (self.plot.top + self.plot.bottom) / 2);
        let style = self.style(NAME);
        self.canvas.write_upwards(at, name, style);
    }

    /// `ticks` are distances from the plot's left edge in pixels, with labels.
    pub(super) fn time_axis(&mut self, name: &str, ticks: &[(i32, String)]) {
        let (thin, length, style) = (self.px(1.0), self.px(TICK), self.style(LABEL));
        let top = self.plot.bottom + thin;
        let baseline = ((top + length + self.px(GAP)) as f32 + CAPITAL * style.size).round();
        let mut free = f32::MIN;
        for (x, label) in ticks {
            let left = self.plot.left + x - thin / 2;
            self.canvas.fill(Area { left, top, right: left + thin, bottom: top + length }, RULE, 1.0);
            let half = style.width(label) / 2.0;
            // Long numbers must not leave the picture or overlap.
            let middle = (left as f32 + thin as f32 / 2.0).min(self.canvas.width() as f32 - half - GAP);
            if middle - half > free {
                self.canvas.write((middle, baseline), label, style);
                free = middle + half;
            }
        }
        let middle = (self.plot.left + self.plot.right) as f32 / 2.0;
        let y = (self.plot.bottom + self.px(BOTTOM - 20.0)) as f32;
        let style = self.style(NAME);
        self.canvas.write((middle, y), name, style);
    }

    /// To the right of the plot; `color` and `ticks` take positions from 0 (bottom) to 1 (top).
    pub(super) fn color_bar(&mut self, name: &str, color: impl Fn(f32) -> Color, ticks: &[(f32, &str)]) {
        let left = self.plot.right + self.px(30.0);
        let bar = Area { left, right: left + self.px(22.0), ..self.plot };
        let highest = (bar.height() - 1) as f32;
        for y in bar.top..bar.bottom {
            let position = (bar.bottom - 1 - y) as f32 / highest;
            self.canvas.fill(Area { top: y, bottom: y + 1, ..bar }, color(position), 1.0);
        }
        let frame = self.frame(bar);
        let style = self.style(TextStyle { align: Align::Start, ..LABEL });
        for (position, label) in ticks {
            let y = bar.bottom - 1 - (position * highest).round() as i32;
            let tick = Area { left: frame.right, right: frame.right + self.px(TICK), ..self.tick_at(y) };
            self.canvas.fill(tick, RULE, 1.0);
            let at = ((tick.right + self.px(GAP)) as f32, self.centered(y));
            self.canvas.write(at, label, style);
        }
        let at = (self.plot.right + self.px(RIGHT_WITH_BAR - 24.0), (bar.top + bar.bottom) / 2);
        let style = self.style(NAME);
        self.canvas.write_upwards(at, name, style);
    }

    /// Swatches with their meanings, above the plot, aligned to its right edge.
    pub(super) fn legend(&mut self, keys: &[(Color, &str)]) {
        let style = self.style(TextStyle { align: Align::End, ..LABEL });
        let y = self.plot.top - self.px(20.0);
        let mut end = self.plot.right;
        for &(color, meaning) in keys.iter().rev() {
            let at = (end as f32, self.centered(y));
            self.canvas.write(at, meaning, style);
            let right = end - style.width(meaning) as i32 - self.px(10.0);
            let half = self.px(3.5);
            let swatch = Area { left: right - self.px(28.0), top: y - half, right, bottom: y + half };
            self.canvas.fill(swatch, color, 1.0);
            end = swatch.left - self.px(30.0);
        }
    }

    /// A text in place of missing data.
    pub(super) fn empty_message(&mut self, message: &str) {
        let Area { left, top, right, bottom } = self.plot;
        let at = ((left + right) as f32 / 2.0, self.centered((top + bottom) / 2));
        let style = self.style(LABEL);
        self.canvas.write(at, message, style);
    }

    /// Draws a line around `inner` and returns the area that includes it.
    pub(super) fn frame(&mut self, inner: Area) -> Area {
        let thin = self.px(1.0);
        let Area { left, top, right, bottom } = inner;
        let outer = Area { left: left - thin, top: top - thin, right: right + thin, bottom: bottom + thin };
        self.canvas.fill(Area { bottom: top, ..outer }, RULE, 1.0);
        self.canvas.fill(Area { top: bottom, ..outer }, RULE, 1.0);
        self.canvas.fill(Area { right: left, ..outer }, RULE, 1.0);
        self.canvas.fill(Area { left: right, ..outer }, RULE, 1.0);
        outer
    }

    /// A horizontal tick around pixel row `y`; the caller sets its ends.
    fn tick_at(&self, y: i32) -> Area {
        let thin = self.px(1.0);
        Area { left: 0, top: y - thin / 2, right: 0, bottom: y - thin / 2 + thin }
    }

    /// The baseline that centers a label's capitals on pixel row `y`; a whole number, so that digits are sharp.
    fn centered(&self, y: i32) -> f32 {
        (y as f32 + 0.5 + CAPITAL * LABEL.size * self.scale / 2.0).round()
    }
}

/// The smallest of …, 0.2, 0.5, 1, 2, 5, 10, … that divides `span` into at most `parts` parts.
pub(super) fn tick_step(span: f64, parts: i32) -> f64 {
    let rough = span / f64::from(parts.max(1));
    let magnitude = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * magnitude);
    steps.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * magnitude)
}

/// Notes of equal length side by side, each a column of pixels.
pub(super) struct Columns {
    pub notes: usize,
    /// Of all columns together, in pixels.
    pub width: i32,
}

impl Columns {
    pub(super) fn new(notes: usize) -> Self {
        let column = (USUAL_WIDTH as usize / notes.max(1)).clamp(2, 35);
        Self { notes, width: column.saturating_mul(notes).min(MAX_WIDTH as usize) as i32 }
    }

    /// A note's first pixel and the first one after it.
    pub(super) fn edges(&self, note: usize) -> (i32, i32) {
        let edge = |note: usize| (note as u128 * self.width as u128 / self.notes as u128) as i32;
        (edge(note), edge(note + 1))
    }

    /// The notes under a pixel column: one, or several in a long piece.
    pub(super) fn notes_at(&self, x: i32) -> Range<usize> {
        let note = |x: i32| (x as u128 * self.notes as u128 / self.width as u128) as usize;
        note(x)..note(x + 1).max(note(x) + 1)
    }

    /// Ticks in the middle of note 1 and of every round number, counted from 1.
    pub(super) fn ticks(&self) -> Vec<(i32, String)> {
        // As many as their labels leave room for; labels grow with the picture.
        let max_ticks = (self.width / 100).clamp(1, 14);
        let step = tick_step(self.notes as f64, max_ticks).max(1.0) as usize;
        let round = (step..=self.notes).step_by(step).filter(|number| *number > 1);
        let numbers = (self.notes > 0).then_some(1).into_iter().chain(round);
        numbers
            .map(|number| {
                let (left, right) = self.edges(number - 1);
                ((left + right) / 2, number.to_string())
            })
            .collect()
    }
}

/// The pitches of the rows, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pitches {
    pub low: u8,
    pub high: u8,
}

impl Pitches {
    /// Rows for all of `used` and one more above and below, at least 13 (so that one is a C), within `limits`.
    pub(super) fn around(used: impl Iterator<Item = u8>, limits: RangeInclusive<u8>) -> Self {
        const MIN_ROWS: u8 = 13;
        let (first, last) = (*limits.start(), *limits.end());
        let span = used.fold(None, |span, pitch| match span {
            None => Some((pitch, pitch)),
            Some((low, high)) => Some((pitch.min(low), pitch.max(high))),
        });
        let (low, high) = span.unwrap_or((54, 66));
        let clamp = |pitch: u8| pitch.clamp(first, last);
        let (mut low, mut high) = (clamp(low.saturating_sub(1)), clamp(high.saturating_add(1)));
        while high - low + 1 < MIN_ROWS && (low > first || high < last) {
            high = clamp(high.saturating_add(1));
            if high - low + 1 < MIN_ROWS {
                low = clamp(low.saturating_sub(1));
            }
        }
        Self { low, high }
    }

    pub(super) fn contains(self, pitch: u8) -> bool {
        (self.low..=self.high).contains(&pitch)
    }

    pub(super) fn rows(self) -> i32 {
        i32::from(self.high) - i32::from(self.low) + 1
    }
}

/// Which keys of an octave (C is 0) get a label, so that labels never touch: naturals, or C, E and G, or C. Takes the
/// nominal row height.
pub(super) fn labelled_keys(row_height: f32) -> &'static [u8] {
    match row_height {
        ..8.0 => &[0],
        8.0..23.0 => &[0, 4, 7],
        _ => &[0, 2, 4, 5, 7, 9, 11],
    }
}

/// Is this a black key of the piano?
pub(super) fn is_black_key(pitch: u8) -> bool {
    matches!(pitch % 12, 1 | 3 | 6 | 8 | 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_or_five() {
        for (span, parts, expected) in [
            (200.0, 10, 20.0),
            (800.0, 12, 100.0),
            (0.3, 10, 0.05),
            (1.0, 10, 0.1),
            (1e6, 9, 2e5),
            (7.0, 7, 1.0),
        ] {
            let step = tick_step(span, parts);
            assert!((step / expected - 1.0).abs() < 1e-9, "{span} in {parts}: {step}");
        }
    }

    #[test]
    fn rows_have_a_margin_an_octave_and_stay_inside() {
        let rows = |used: &[u8], limits| {
            let Pitches { low, high } = Pitches::around(used.iter().copied(), limits);
            (low, high)
        };
        assert_eq!(rows(&[36, 60], 1..=79), (35, 61));
        assert_eq!(rows(&[60], 0..=127), (54, 66));
        assert_eq!(rows(&[1], 1..=79), (1, 13));
        assert_eq!(rows(&[127], 0..=127), (115, 127));
        assert_eq!(rows(&[5], 3..=9), (3, 9));
        assert_eq!(rows(&[0, 127], 0..=127), (0, 127));
        assert_eq!(rows(&[], 0..=127), (53, 67));
    }
}
