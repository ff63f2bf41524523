//! Predicted probabilities over time, with the notes that were chosen drawn on them.

use super::canvas::{Area, CHOSEN, INK, Picture, ramp};
use super::chart::{Chart, Columns, Pitches, USUAL_WIDTH};

/// Below this a probability is not worth a row of its own.
const VISIBLE: f32 = 0.01;

/// A heat map as a PNG file: generated notes across (numbered from 1), pitch up, the darker the likelier, and
/// a bright mark on each chosen note.
///
/// `probabilities` has one row for each generated note, one column for each class; `chosen` is the class that
/// was taken, for each row; `first_pitch` is the MIDI key of class 0. Shown are the pitches that were chosen or
/// had at least 1%. The colours go with the square root of the probability, so that an alternative of 5%
/// can be seen; the colour bar says so by its labels.
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
    chart.colour_bar("probability", ramp, &BAR_TICKS.map(|(value, label)| (shade(value), label)));
    chart.key(CHOSEN, "chosen note");
    if columns.notes == 0 {
        chart.say_empty("no notes");
    }
    chart.canvas.done()
}

const BAR_TICKS: [(f32, &str); 7] =
    [(0.0, "0%"), (0.01, "1%"), (0.05, "5%"), (0.1, "10%"), (0.25, "25%"), (0.5, "50%"), (1.0, "100%")];

/// A probability's place on the colour ramp.
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

/// One row of pixels' colours, from the largest probability of the notes under each pixel.
fn draw_row(chart: &mut Chart, pitch: u8, columns: &Columns, probability: impl Fn(usize) -> Option<f32>) {
    let row = chart.row(pitch);
    for x in 0..columns.width {
        let most = columns.notes_at(x).filter_map(&probability).fold(0.0, f32::max);
        let left = row.left + x;
        chart.canvas.fill(Area { left, right: left + 1, ..row }, ramp(shade(most)), 1.0);
    }
    if pitch.is_multiple_of(12) {
        let below = Area { top: row.bottom - chart.px(1.0), right: row.left + columns.width, ..row };
        chart.canvas.fill(below, INK, 0.12);
    }
}

/// A bar through the middle of the cell: the cell's own colour stays visible above and below.
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
