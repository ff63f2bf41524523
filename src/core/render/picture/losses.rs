//! Losses of runs by step: a panel for each run, side by side over one axis of nats, each with its own steps.

use super::canvas::{Area, Canvas, Colour, EXACT, GRID, INK, MUTED, PAPER, Picture, RULE, ramp};
use super::chart::tick_step;
use super::text::{Align, CAPITAL, Style, Weight, write, write_upwards};

/// One run's losses.
#[derive(Debug, Clone, PartialEq)]
pub struct RunLosses {
    /// What stands above its panel.
    pub name: String,
    /// (step, nats) on what it learns from.
    pub training: Vec<(f64, f64)>,
    /// (step, nats) on what it never sees.
    pub held_out: Vec<(f64, f64)>,
}

/// Sizes in pixels.
const PANEL: (i32, i32) = (620, 460);
const LEFT: i32 = 112;
const TOP: i32 = 128;
const BETWEEN: i32 = 64;
const RIGHT: i32 = 48;
const BOTTOM: i32 = 92;
const THICK: f32 = 3.0;

const LABEL: Style = Style { size: 20.0, weight: Weight::Regular, colour: MUTED, align: Align::Middle };
const NAME: Style = Style { size: 21.0, weight: Weight::Regular, colour: INK, align: Align::Middle };
const PANEL_NAME: Style = Style { size: 21.0, weight: Weight::SemiBold, colour: INK, align: Align::Start };
const TITLE: Style = Style { size: 28.0, weight: Weight::SemiBold, colour: INK, align: Align::Start };

/// Colours of the two lines.
fn training_colour() -> Colour {
    ramp(0.55)
}
const HELD_OUT: Colour = EXACT;

/// Draws them. `marks` are levels to compare with, each with its name: dashed lines through all panels.
pub fn losses(title: &str, runs: &[RunLosses], marks: &[(String, f64)]) -> Picture {
    let panels = runs.len().max(1) as i32;
    let width = LEFT + panels * PANEL.0 + (panels - 1) * BETWEEN + RIGHT;
    let mut canvas = Canvas::new(width, TOP + PANEL.1 + BOTTOM, PAPER);
    let title = canvas.words.fit(title, TITLE, (width - LEFT - RIGHT) as f32);
    write(&mut canvas, (LEFT as f32, 50.0), &title, TITLE);
    let highest = runs
        .iter()
        .flat_map(|run| run.training.iter().chain(&run.held_out).map(|&(_, nats)| nats))
        .chain(marks.iter().map(|&(_, nats)| nats))
        .filter(|nats| nats.is_finite())
        .fold(1.0, f64::max);
    let scale = Scale { highest: (highest * 1.05 * 2.0).ceil() / 2.0 };
    for (index, run) in runs.iter().enumerate() {
        let left = LEFT + index as i32 * (PANEL.0 + BETWEEN);
        let plot = Area { left, top: TOP, right: left + PANEL.0, bottom: TOP + PANEL.1 };
        Panel { canvas: &mut canvas, plot, scale: &scale }.draw(run, marks, index == 0);
    }
    canvas.done()
}

/// The axis of nats, from 0.
struct Scale {
    highest: f64,
}

impl Scale {
    fn height(&self, plot: Area, nats: f64) -> f32 {
        let share = (nats / self.highest).clamp(0.0, 1.0) as f32;
        plot.bottom as f32 - share * plot.height() as f32
    }
}

struct Panel<'a> {
    canvas: &'a mut Canvas,
    plot: Area,
    scale: &'a Scale,
}

impl Panel<'_> {
    fn draw(&mut self, run: &RunLosses, marks: &[(String, f64)], is_first: bool) {
        let steps = run.training.iter().chain(&run.held_out).map(|&(step, _)| step).fold(1.0, f64::max);
        self.grid(is_first);
        self.steps(steps);
        for (name, nats) in marks {
            self.mark(name, *nats);
        }
        let width = f64::from(self.plot.right - self.plot.left);
        let place = |&(step, nats): &(f64, f64)| {
            let x = f64::from(self.plot.left) + width * step / steps;
            (x as f32, self.scale.height(self.plot, nats))
        };
        let lines = [(&run.training, training_colour()), (&run.held_out, HELD_OUT)];
        let lines = lines.map(|(points, colour)| (points.iter().map(place).collect::<Vec<_>>(), colour));
        for (points, colour) in lines {
            points.windows(2).for_each(|pair| self.segment(pair[0], pair[1], colour));
        }
        self.heading(run);
    }

    /// The frame, and a line for each tick of nats; their labels beside the first panel.
    fn grid(&mut self, is_first: bool) {
        let plot = self.plot;
        let step = tick_step(self.scale.highest, 8);
        let ticks = (0..).map(|i| f64::from(i) * step).take_while(|&nats| nats <= self.scale.highest + 1e-9);
        for nats in ticks {
            let y = self.scale.height(plot, nats).round() as i32;
            self.canvas.fill(Area { top: y, bottom: y + 1, ..plot }, GRID, 1.0);
            if is_first {
                let baseline = (y as f32 + CAPITAL * LABEL.size / 2.0).round();
                let style = Style { align: Align::End, ..LABEL };
                write(self.canvas, (plot.left as f32 - 12.0, baseline), &format!("{nats:.1}"), style);
            }
        }
        for x in [plot.left - 1, plot.right] {
            self.canvas.fill(Area { left: x, right: x + 1, ..plot }, RULE, 1.0);
        }
        for y in [plot.top - 1, plot.bottom] {
            self.canvas.fill(Area { top: y, bottom: y + 1, ..plot }, RULE, 1.0);
        }
        if is_first {
            write_upwards(self.canvas, (36, (plot.top + plot.bottom) / 2), "nats a note", NAME);
        }
    }

    fn steps(&mut self, last: f64) {
        let plot = self.plot;
        let step = tick_step(last, 6);
        let width = f64::from(plot.right - plot.left);
        let mut free = f32::MIN;
        for at in (0..).map(|i| f64::from(i) * step).take_while(|&at| at <= last + 1e-9) {
            let x = plot.left + (width * at / last).round() as i32;
            self.canvas.fill(
                Area { left: x, top: plot.bottom, right: x + 1, bottom: plot.bottom + 8 },
                RULE,
                1.0,
            );
            let label = format!("{at:.0}");
            let half = LABEL.width(&label) / 2.0;
            // Long numbers stay in the picture, and out of each other.
            let middle = (x as f32).min(self.canvas.width() as f32 - half - 4.0);
            if middle - half > free {
                write(self.canvas, (middle, plot.bottom as f32 + 30.0), &label, LABEL);
                free = middle + half;
            }
        }
        let middle = (plot.left + plot.right) as f32 / 2.0;
        write(self.canvas, (middle, plot.bottom as f32 + 66.0), "steps", NAME);
    }

    /// A dashed line with its name above it, on the right.
    fn mark(&mut self, name: &str, nats: f64) {
        let y = self.scale.height(self.plot, nats).round() as i32;
        for left in (self.plot.left..self.plot.right).step_by(14) {
            let right = (left + 8).min(self.plot.right);
            self.canvas.fill(Area { left, top: y - 1, right, bottom: y + 1 }, MUTED, 1.0);
        }
        let style = Style { align: Align::End, size: 18.0, ..LABEL };
        let name = self.canvas.words.fit(name, style, PANEL.0 as f32 - 16.0);
        write(self.canvas, (self.plot.right as f32 - 8.0, y as f32 - 8.0), &name, style);
    }

    /// The run's name, and what each line is, with where it ends.
    fn heading(&mut self, run: &RunLosses) {
        let Area { left, right, top, .. } = self.plot;
        let style = Style { align: Align::End, ..LABEL };
        let mut end = right as f32;
        let lines = [("held out", &run.held_out, HELD_OUT), ("training", &run.training, training_colour())];
        for (name, points, colour) in lines {
            let Some((_, last)) = points.last() else { continue };
            let text = format!("{name} {last:.2}");
            write(self.canvas, (end, top as f32 - 20.0), &text, style);
            end -= style.width(&text) + 10.0;
            let line = Area { left: end as i32 - 28, top: top - 29, right: end as i32, bottom: top - 25 };
            self.canvas.fill(line, colour, 1.0);
            end -= 28.0 + 24.0;
        }
        let name = self.canvas.words.fit(&run.name, PANEL_NAME, end - left as f32);
        write(self.canvas, (left as f32, top as f32 - 20.0), &name, PANEL_NAME);
    }

    /// A straight line with soft edges.
    fn segment(&mut self, (x0, y0): (f32, f32), (x1, y1): (f32, f32), colour: Colour) {
        let (dx, dy) = (x1 - x0, y1 - y0);
        let length = (dx * dx + dy * dy).max(f32::EPSILON);
        let reach = THICK + 1.0;
        for y in (y0.min(y1) - reach) as i32..=(y0.max(y1) + reach) as i32 {
            for x in (x0.min(x1) - reach) as i32..=(x0.max(x1) + reach) as i32 {
                let (px, py) = (x as f32 + 0.5 - x0, y as f32 + 0.5 - y0);
                let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                let (ex, ey) = (px - along * dx, py - along * dy);
                let cover = THICK / 2.0 + 0.5 - (ex * ex + ey * ey).sqrt();
                if cover > 0.0 {
                    self.canvas.blend(x, y, colour, cover.min(1.0));
                }
            }
        }
    }
}
