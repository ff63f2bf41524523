//! Predicted probabilities over time, with the generated notes drawn on them.

use super::canvas::{Area, Picture};
use super::chart::{Chart, Columns, Pitches, USUAL_WIDTH};
use super::palette::{CHOSEN, INK, ramp};

/// A pitch that never reaches this probability gets no row: it would look white.
const VISIBLE: f32 = 0.01;

/// A heat map: generated notes to the right (numbered from 1), pitch up, darker for more probable pitches, and a bright
/// mark on each generated note.
///
/// `probabilities` has one row for each generated note, one column for each class; `chosen` is the class that
/// was taken, for each row; `first_pitch` is the MIDI key of class 0. Shown are the pitches that were chosen or
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

const BAR_TICKS: [(f32, &str); 7] =
    [(0.0, "0%"), (0.01, "1%"), (0.05, "5%"), (0.1, "10%"), (0.25, "25%"), (0.5, "50%"), (1.0, "100%")];

/// A probability's position on the color ramp; the square root makes 5% visible.
fn shade(probability: f32) -> f32 {
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
