//! Music of several voices: beats to the right, pitch up, each voice in its color, on the probabilities that its notes were
//! chosen from.

use super::canvas::{Area, Color, GRID, INK, MUTED, PAPER, Picture, RULE, TextStyle};
use super::chart::{Chart, LABEL, MAX_WIDTH, Pitches, USUAL_WIDTH};
use super::piano_roll::{BAR_TICKS, VISIBLE, draw_keys, shade};

/// Colors of voices, which color-blind people can tell apart (Okabe and Ito 2008), in an order that keeps neighbors far
/// apart in lightness too. There are at most eight voices.
const VOICES: [Color; 8] = [
    Color(213, 94, 0),
    Color(0, 158, 115),
    Color(0, 114, 178),
    Color(204, 121, 167),
    Color(230, 159, 0),
    Color(86, 180, 233),
    Color(70, 74, 84),
    Color(146, 116, 0),
];

/// How much of a voice's color a certain choice has; less than the chosen note itself.
const MAX_SHADE: f32 = 0.6;

/// Below this width of a beat, the picture is as wide as pictures get.
const BEAT_PIXELS: f64 = 22.0;

/// A note of a score.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreNote {
    /// Index of its voice.
    pub voice: usize,
    /// MIDI key.
    pub pitch: u8,
    /// In quarter notes from the beginning.
    pub start: f64,
    /// In quarter notes from the beginning.
    pub end: f64,
    /// Whether it prolongs the note before it.
    pub is_held: bool,
    /// Whether the training music has it in a run longer than chance.
    pub is_shared: bool,
    /// The probability of each MIDI key in its place; empty for a note that was given.
    pub probabilities: Vec<f32>,
}

/// A piano roll of several voices. Notes before `composed_from`, in quarter notes, were given.
///
/// Shown are the pitches that were chosen or had at least 1%. A pale cell is a choice that a voice had, darker if it was more
/// probable, in proportion to the square root. The picture grows with time until its axis is 2,800 pixels long.
pub fn score(notes: &[ScoreNote], voices: &[&str], composed_from: Option<f64>, title: &str) -> Picture {
    let end = notes.iter().map(|note| note.end).fold(1.0, f64::max);
    let width = ((end * BEAT_PIXELS) as i32).clamp(USUAL_WIDTH, MAX_WIDTH);
    let likely = notes.iter().flat_map(|note| (0u8..128).zip(&note.probabilities));
    let likely = likely.filter(|&(_, &probability)| probability >= VISIBLE).map(|(pitch, _)| pitch);
    let pitches = Pitches::around(likely.chain(notes.iter().map(|note| note.pitch)), 0..=127);
    let mut chart = Chart::new(title, pitches, width, true);
    let left = chart.plot.left;
    let pixel = |beats: f64| left + (beats / end * f64::from(width)).round() as i32;

    draw_keys(&mut chart);
    let ticks = bar_ticks(end);
    for &beat in &ticks {
        let line = Area { left: pixel(beat), right: pixel(beat) + chart.px(1.0), ..chart.plot };
        chart.canvas.fill(line, GRID, 0.9);
    }
    if let Some(composed_from) = composed_from {
        draw_given(&mut chart, pixel(composed_from));
    }
    for note in notes {
        for (pitch, &probability) in (0u8..128).zip(&note.probabilities) {
            if probability >= VISIBLE {
                let cell = Area { left: pixel(note.start), right: pixel(note.end), ..chart.row(pitch) };
                chart.canvas.fill(cell, color(note.voice), MAX_SHADE * shade(probability));
            }
        }
    }
    for note in notes {
        draw_note(&mut chart, note, pixel(note.start), pixel(note.end));
    }
    chart.pitch_axis();
    let ticks: Vec<(i32, String)> =
        ticks.into_iter().map(|beat| ((pixel(beat) - left).min(width - 1), format!("{beat}"))).collect();
    chart.time_axis("time (beats)", &ticks);
    let gray = |position: f32| mixed(MUTED, MAX_SHADE * position);
    chart.color_bar("probability", gray, &BAR_TICKS.map(|(value, label)| (shade(value), label)));
    let mut keys: Vec<(Color, &str)> =
        voices.iter().enumerate().map(|(voice, name)| (color(voice), *name)).collect();
    if notes.iter().any(|note| note.is_shared) {
        keys.push((INK, "edged: as in the training music"));
    }
    chart.legend(&keys);
    if notes.is_empty() {
        chart.empty_message("no notes");
    }
    chart.canvas.done()
}

fn color(voice: usize) -> Color {
    VOICES[voice % VOICES.len()]
}

/// A color on paper.
fn mixed(Color(r, g, b): Color, share: f32) -> Color {
    let Color(white, ..) = PAPER;
    let mix = |byte: u8| (f32::from(white) + (f32::from(byte) - f32::from(white)) * share).round() as u8;
    Color(mix(r), mix(g), mix(b))
}

/// Beats of a round number of bars of four, few enough for their labels.
fn bar_ticks(end: f64) -> Vec<f64> {
    const MAX_TICKS: f64 = 17.0;
    let mut step = 4.0;
    while end / step > MAX_TICKS {
        step *= 2.0;
    }
    (0..=(end / step + 1e-9) as u32).map(|tick| f64::from(tick) * step).collect()
}

/// A shade over what was given, and a line at its end.
fn draw_given(chart: &mut Chart, right: i32) {
    let plot = chart.plot;
    chart.canvas.fill(Area { right, ..plot }, RULE, 0.22);
    let line = Area { left: right, right: right + chart.px(3.0), ..plot };
    chart.canvas.fill(line, INK, 1.0);
    let style = chart.style(TextStyle { color: INK, ..LABEL });
    let at = ((plot.left + right) as f32 / 2.0, (plot.top + chart.px(26.0)) as f32);
    let text = chart.canvas.words.fit("primer", style, (right - plot.left) as f32);
    chart.canvas.write(at, &text, style);
}

/// A bar through the middle of the row, so that what is behind it stays visible; a note that was given fills the row.
fn draw_note(chart: &mut Chart, note: &ScoreNote, left: i32, right: i32) {
    let row = chart.row(note.pitch);
    let gap = if !note.is_held && right - left >= chart.px(4.0) { chart.px(1.0) } else { 0 };
    let left = left + gap;
    let right = right.max(left + chart.px(1.5));
    let margin = if note.probabilities.is_empty() { 1 } else { row.height() / 4 };
    let bar = Area { left, right, top: row.top + margin, bottom: row.bottom - margin };
    chart.canvas.fill(bar, color(note.voice), 1.0);
    if note.is_shared {
        let thin = chart.px(2.0);
        chart.canvas.fill(Area { bottom: bar.top, top: bar.top - thin, ..bar }, INK, 1.0);
        chart.canvas.fill(Area { top: bar.bottom, bottom: bar.bottom + thin, ..bar }, INK, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::render::picture::canvas::tests::decode;

    fn note(voice: usize, pitch: u8, start: f64, end: f64) -> ScoreNote {
        let mut probabilities = vec![0.0; 128];
        probabilities[usize::from(pitch)] = 0.75;
        probabilities[usize::from(pitch) + 2] = 0.25;
        ScoreNote { voice, pitch, start, end, is_held: false, is_shared: false, probabilities }
    }

    /// Pixels of a color below the legend, as columns and rows.
    fn places(png: &[u8], Color(r, g, b): Color) -> Vec<(i32, i32)> {
        let (width, _, pixels) = decode(png);
        let found = pixels.chunks_exact(3).enumerate().filter(|(_, rgb)| *rgb == [r, g, b]);
        let at = found.map(|(i, _)| ((i as u32 % width) as i32, (i as u32 / width) as i32));
        at.filter(|&(_, y)| y >= 96).collect()
    }

    #[test]
    fn bars_stand_at_their_beats_in_the_color_of_their_voice() {
        let notes = [note(0, 72, 0.0, 8.0), note(1, 60, 8.0, 16.0)];
        let png = score(&notes, &["Soprano", "Alto"], None, "title").png;
        for (voice, columns) in [(0, 157..856), (1, 857..1556)] {
            let found = places(&png, VOICES[voice]);
            let columns_found = found.iter().map(|&(x, _)| x);
            assert_eq!(columns_found.clone().min(), Some(columns.start));
            assert_eq!(columns_found.max(), Some(columns.end - 1));
        }
        let height = |voice: usize| places(&png, VOICES[voice])[0].1;
        assert!(height(0) < height(1), "a higher pitch stands lower");
        // Each choice that a voice had is pale beside it.
        assert!(!places(&png, mixed(VOICES[0], MAX_SHADE * 0.5)).is_empty());
    }

    #[test]
    fn what_is_shared_is_edged_and_what_is_given_is_shaded() {
        let plain = [note(0, 60, 0.0, 4.0), note(0, 62, 4.0, 8.0)];
        let shared = [ScoreNote { is_shared: true, ..plain[0].clone() }, plain[1].clone()];
        let ink = |notes: &[ScoreNote], from| places(&score(notes, &["Melody"], from, "").png, INK);
        // Ink left of the second note and of the axis's name.
        let first_note = |notes: &[ScoreNote]| {
            ink(notes, None).into_iter().filter(|&(x, _)| (200..800).contains(&x)).count()
        };
        assert!(first_note(&shared) >= first_note(&plain) + 2 * 600);
        // The line at the fourth beat is as high as the plot.
        let line = ink(&plain, Some(4.0)).into_iter().filter(|&(x, _)| x == 156 + 700).count();
        assert!(line > 300, "{line}");
    }

    #[test]
    fn odd_input_is_drawn_as_well_as_it_can_be() {
        let far = ScoreNote { end: 1e9, probabilities: vec![f32::NAN; 3], ..note(99, 120, 5.0, 6.0) };
        let nan = ScoreNote { start: f64::NAN, end: f64::NAN, ..note(0, 0, 0.0, 0.0) };
        for notes in [&[][..], slice::from_ref(&far), &[nan, far.clone()]] {
            let (width, height, _) = decode(&score(notes, &[], Some(f64::NAN), "\u{0}").png);
            assert!(width <= 3500 && height <= 3500, "{width} by {height}");
        }
    }
}
