//! Losses of runs by step: one panel per run, side by side, with a common axis of nats and separate axes of steps.

use super::canvas::{
    Align, Area, Canvas, Color, EXACT, GRID, MUTED, PAPER, Picture, TextStyle, Weight, ramp,
};
use super::chart::{Chart, LABEL, NAME, TITLE, tick_step};

/// One run's losses.
#[derive(Debug, Clone, PartialEq)]
pub struct RunLosses {
    /// Shown above its panel.
    pub name: String,
    /// (step, nats) on the training pieces.
    pub training: Vec<(f64, f64)>,
    /// (step, nats) on the held-out pieces.
    pub held_out: Vec<(f64, f64)>,
}

/// Sizes in pixels.
const PANEL: (i32, i32) = (620, 460);
const LEFT: i32 = 112;
const TOP: i32 = 128;
const BETWEEN: i32 = 64;
const RIGHT: i32 = 48;
const BOTTOM: i32 = 92;
const LINE_WIDTH: f32 = 3.0;

const PANEL_NAME: TextStyle = TextStyle { weight: Weight::SemiBold, align: Align::Start, ..NAME };
const HELD_OUT: Color = EXACT;

fn training_color() -> Color {
    ramp(0.55)
}

/// `marks` are named levels to compare with, drawn as dashed lines through all panels.
pub fn losses(title: &str, runs: &[RunLosses], marks: &[(String, f64)]) -> Picture {
    let panels = runs.len().max(1) as i32;
    let width = LEFT + panels * PANEL.0 + (panels - 1) * BETWEEN + RIGHT;
    let mut canvas = Canvas::new(width, TOP + PANEL.1 + BOTTOM, PAPER);
    let title = canvas.words.fit(title, TITLE, (width - LEFT - RIGHT) as f32);
    canvas.write((LEFT as f32, 50.0), &title, TITLE);
    let values = runs.iter().flat_map(|run| run.training.iter().chain(&run.held_out)).map(|&(_, nats)| nats);
    let values = values.chain(marks.iter().map(|&(_, nats)| nats)).filter(|nats| nats.is_finite());
    // Some room above the highest value, rounded up to a half.
    let max_nats = (values.fold(1.0, f64::max) * 1.05 * 2.0).ceil() / 2.0;
    let mut chart = Chart::without_pitches(canvas);
    for (index, run) in runs.iter().enumerate() {
        let left = LEFT + index as i32 * (PANEL.0 + BETWEEN);
        chart.plot = Area { left, top: TOP, right: left + PANEL.0, bottom: TOP + PANEL.1 };
        draw_panel(&mut chart, run, marks, max_nats, index == 0);
    }
    chart.canvas.done()
}

fn draw_panel(
    chart: &mut Chart,
    run: &RunLosses,
    marks: &[(String, f64)],
    max_nats: f64,
    has_value_axis: bool,
) {
    let plot = chart.plot;
    let last_step = run.training.iter().chain(&run.held_out).map(|&(step, _)| step).fold(1.0, f64::max);
    nats_axis(chart, max_nats, has_value_axis);
    steps_axis(chart, last_step);
    for (name, nats) in marks {
        draw_mark(chart, name, height(plot, *nats, max_nats).round() as i32);
    }
    let width = f64::from(plot.right - plot.left);
    for (curve, color) in [(&run.training, training_color()), (&run.held_out, HELD_OUT)] {
        let mut points = curve.iter().map(|&(step, nats)| {
            let x = f64::from(plot.left) + width * step / last_step;
            (x as f32, height(plot, nats, max_nats))
        });
        let Some(mut from) = points.next() else { continue };
        for to in points {
            draw_segment(&mut chart.canvas, from, to, color);
            from = to;
        }
    }
    draw_heading(chart, run);
}

/// The pixel row of a loss.
fn height(plot: Area, nats: f64, max_nats: f64) -> f32 {
    plot.bottom as f32 - (nats / max_nats).clamp(0.0, 1.0) as f32 * plot.height() as f32
}

/// The frame, a line across the panel for each tick, and the labels if they belong to this panel.
fn nats_axis(chart: &mut Chart, max_nats: f64, has_labels: bool) {
    let plot = chart.plot;
    let step = tick_step(max_nats, 8);
    let mut ticks = Vec::new();
    for nats in (0..).map(|i| f64::from(i) * step).take_while(|&nats| nats <= max_nats + 1e-9) {
        let y = height(plot, nats, max_nats).round() as i32;
        chart.canvas.fill(Area { top: y, bottom: y + 1, ..plot }, GRID, 1.0);
        ticks.push((y, format!("{nats:.1}"), MUTED));
    }
    if has_labels {
        chart.value_axis("nats per note", &ticks);
    } else {
        chart.frame(plot);
    }
}

fn steps_axis(chart: &mut Chart, last_step: f64) {
    let step = tick_step(last_step, 6);
    let width = f64::from(chart.plot.right - chart.plot.left);
    let ticks: Vec<(i32, String)> = (0..)
        .map(|i| f64::from(i) * step)
        .take_while(|&at| at <= last_step + 1e-9)
        .map(|at| ((width * at / last_step).round() as i32, format!("{at:.0}")))
        .collect();
    chart.time_axis("steps", &ticks);
}

/// A dashed line, with its name above it on the right.
fn draw_mark(chart: &mut Chart, name: &str, y: i32) {
    let plot = chart.plot;
    for left in (plot.left..plot.right).step_by(14) {
        let right = (left + 8).min(plot.right);
        chart.canvas.fill(Area { left, top: y - 1, right, bottom: y + 1 }, MUTED, 1.0);
    }
    let style = TextStyle { align: Align::End, size: 18.0, ..LABEL };
    let name = chart.canvas.words.fit(name, style, PANEL.0 as f32 - 16.0);
    chart.canvas.write((plot.right as f32 - 8.0, y as f32 - 8.0), &name, style);
}

/// The run's name, and a legend with each curve's last value.
fn draw_heading(chart: &mut Chart, run: &RunLosses) {
    let Area { left, right, top, .. } = chart.plot;
    let style = TextStyle { align: Align::End, ..LABEL };
    let mut end = right as f32;
    let lines = [("held out", &run.held_out, HELD_OUT), ("training", &run.training, training_color())];
    for (name, points, color) in lines {
        let Some((_, last)) = points.last() else { continue };
        let text = format!("{name} {last:.2}");
        chart.canvas.write((end, top as f32 - 20.0), &text, style);
        end -= style.width(&text) + 10.0;
        let line = Area { left: end as i32 - 28, top: top - 29, right: end as i32, bottom: top - 25 };
        chart.canvas.fill(line, color, 1.0);
        end -= 28.0 + 24.0;
    }
    let name = chart.canvas.words.fit(&run.name, PANEL_NAME, end - left as f32);
    chart.canvas.write((left as f32, top as f32 - 20.0), &name, PANEL_NAME);
}

/// An anti-aliased straight line: coverage falls from 1 to 0 within a pixel around the line's edge.
fn draw_segment(canvas: &mut Canvas, (x0, y0): (f32, f32), (x1, y1): (f32, f32), color: Color) {
    let (dx, dy) = (x1 - x0, y1 - y0);
    let squared_length = (dx * dx + dy * dy).max(f32::EPSILON);
    let reach = LINE_WIDTH + 1.0;
    for y in (y0.min(y1) - reach) as i32..=(y0.max(y1) + reach) as i32 {
        for x in (x0.min(x1) - reach) as i32..=(x0.max(x1) + reach) as i32 {
            let (px, py) = (x as f32 + 0.5 - x0, y as f32 + 0.5 - y0);
            let along = ((px * dx + py * dy) / squared_length).clamp(0.0, 1.0);
            let distance = (px - along * dx).hypot(py - along * dy);
            let coverage = LINE_WIDTH / 2.0 + 0.5 - distance;
            if coverage > 0.0 {
                canvas.blend(x, y, color, coverage.min(1.0));
            }
        }
    }
}
