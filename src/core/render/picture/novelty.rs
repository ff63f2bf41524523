//! How much of a melody is new, by the length of its stretches: two stepped lines in a panel below a chart.

use super::canvas::{Area, Colour};
use super::chart::{BOTTOM, Chart, GAP, LABEL, NAME, TICK};
use super::colours::{EXACT, GRID, RULE, TRANSPOSED};
use super::text::{Align, Style, write, write_upwards};

/// Height of the panel, and the room between it and the time axis above.
const HEIGHT: f32 = 190.0;
const ABOVE: f32 = 62.0;
/// What the panel needs below a chart, with its own axis.
pub(super) const ROOM: f32 = ABOVE + HEIGHT + BOTTOM;

/// For 1, 2, … notes the share of a melody's stretches of that length that are new, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Novelty<'a> {
    /// New as they are.
    pub exact: &'a [f64],
    /// New however they are transposed.
    pub transposed: &'a [f64],
}

/// Draws the curves below a chart that has so much room, which they then are the plot of.
pub(super) fn draw(chart: &mut Chart, novelty: &Novelty<'_>) {
    let top = chart.plot.bottom + chart.px(BOTTOM + ABOVE);
    chart.plot = Area { top, bottom: top + chart.px(HEIGHT), ..chart.plot };
    let stretches = novelty.exact.len().max(novelty.transposed.len());
    for share in [0.25, 0.5, 0.75] {
        let y = height(chart, share);
        let line = Area { top: y, bottom: y + chart.px(1.0), ..chart.plot };
        chart.canvas.fill(line, GRID, 0.7);
    }
    curve(chart, novelty.transposed, stretches, TRANSPOSED);
    curve(chart, novelty.exact, stretches, EXACT);
    share_axis(chart);
    chart.time_axis("notes in a row", &ticks(chart, stretches));
    chart.keys(&[(EXACT, "new note for note"), (TRANSPOSED, "new however transposed")]);
    if stretches == 0 {
        chart.say_empty("no notes");
    }
}

/// A level for every length, joined by upright lines.
fn curve(chart: &mut Chart, shares: &[f64], stretches: usize, colour: Colour) {
    let thick = chart.px(4.0);
    let mut before = None;
    for (index, &share) in shares.iter().enumerate() {
        let (left, right) = (edge(chart, index, stretches), edge(chart, index + 1, stretches));
        let top = height(chart, share);
        chart.canvas.fill(Area { left, top, right, bottom: top + thick }, colour, 1.0);
        let from = before.replace(top).unwrap_or(top);
        let joint = Area { left, top: from.min(top), right: left + thick, bottom: from.max(top) + thick };
        chart.canvas.fill(joint, colour, 1.0);
    }
}

/// The upper edge of a curve's line at a share; all of it lies in the panel.
fn height(chart: &Chart, share: f64) -> i32 {
    let most = f64::from(chart.plot.height() - chart.px(4.0));
    chart.plot.top + ((1.0 - share.clamp(0.0, 1.0)) * most).round() as i32
}

/// The left edge of a length's column.
fn edge(chart: &Chart, index: usize, stretches: usize) -> i32 {
    let width = f64::from(chart.plot.right - chart.plot.left);
    chart.plot.left + (width * index as f64 / stretches as f64).round() as i32
}

fn ticks(chart: &Chart, stretches: usize) -> Vec<(i32, String)> {
    let fives = (5..=stretches).step_by(5);
    let numbers = (stretches > 0).then_some(1).into_iter().chain(fives);
    let middle = |n: usize| (edge(chart, n - 1, stretches) + edge(chart, n, stretches)) / 2 - chart.plot.left;
    numbers.map(|n| (middle(n), n.to_string())).collect()
}

/// The frame, and how much is new.
fn share_axis(chart: &mut Chart) {
    let frame = chart.frame(chart.plot);
    for (share, label) in [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")] {
        let y = height(chart, share) + chart.px(2.0);
        let tick = Area { left: frame.left - chart.px(TICK), right: frame.left, ..chart.tick_at(y) };
        chart.canvas.fill(tick, RULE, 1.0);
        let at = ((tick.left - chart.px(GAP)) as f32, chart.centred(y));
        let style = chart.style(Style { align: Align::End, ..LABEL });
        write(&mut chart.canvas, at, label, style);
    }
    let middle = (chart.plot.top + chart.plot.bottom) / 2;
    let (x, style) = (chart.px(34.0), chart.style(NAME));
    write_upwards(&mut chart.canvas, (x, middle), "new", style);
}
