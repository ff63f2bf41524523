//! A melody with the runs that it shares with other music in color and named, and its share of novel n-grams.

use std::cmp::Reverse;

use super::canvas::{
    Align, Area, Color, EXACT, GRID, INK, Layers, MUTED, NEUTRAL, PAPER, Picture, TRANSPOSED, TextStyle,
    Words,
};
use super::chart::{BOTTOM, Chart, Columns, LABEL, Pitches, RIGHT, Room, USUAL_WIDTH, scale};
use super::piano_roll::draw_keys;

/// Lines of names; runs without a place on them are colored and counted, but not named.
const MAX_LINES: usize = 5;
/// From one line of names to the next.
const LINE_HEIGHT: f32 = 40.0;
/// Bands below this many others are invisible: they contribute 0.9⁶⁴, about a thousandth, of the color.
const MAX_BANDS: u8 = 64;
/// Space between two names on a line, and between the marks of two runs.
const NAMES_APART: f32 = 24.0;
const RUNS_APART: f32 = 3.0;

/// A run of a melody that other music has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedRun {
    /// The index of its first note.
    pub first: usize,
    /// How many notes it has.
    pub notes: usize,
    /// Whether it is shared only transposed.
    pub transposed: bool,
    /// Drawn in a pale color, because it is too short to mean anything.
    pub pale: bool,
    /// Where the other music has it.
    pub name: String,
}

/// A piano roll of a melody, all notes equally long and numbered from 1, with its shared runs in color and named above;
/// below it, the share of its n-grams that are novel, for n = 1, 2, ….
///
/// Names without a place on five lines are counted instead. The picture grows with the number of notes until its data
/// are 2,800 pixels wide.
pub fn shared_runs(pitches: &[u8], runs: &[SharedRun], novelty: &Novelty<'_>, title: &str) -> Picture {
    let columns = Columns::new(pitches.len());
    let width = columns.width.max(USUAL_WIDTH);
    let names = RunNames::place(runs, &columns, width);
    let room = Room { right: RIGHT, above: LINE_HEIGHT * names.lines as f32 - 16.0, below: NOVELTY_ROOM };
    let rows = Pitches::around(pitches.iter().copied(), 0..=127);
    let mut chart = Chart::with_room(title, rows, width, room);

    draw_keys(&mut chart);
    draw_bands(&mut chart, runs, &columns);
    for (note, (&pitch, color)) in pitches.iter().zip(note_colors(pitches.len(), runs)).enumerate() {
        draw_note(&mut chart, &columns, note, pitch, color);
    }
    names.draw(&mut chart, runs, &columns);
    chart.pitch_axis();
    chart.time_axis("generated note", &columns.ticks());
    if pitches.is_empty() {
        chart.empty_message("no notes");
    }
    draw_novelty(&mut chart, novelty);
    chart.canvas.done()
}

/// One color for each kind, mixed with white for pale runs.
fn color(run: &SharedRun) -> Color {
    let Color(r, g, b) = if run.transposed { TRANSPOSED } else { EXACT };
    let Color(white, ..) = PAPER;
    let pale = |byte: u8| if run.pale { ((u16::from(byte) + u16::from(white)) / 2) as u8 } else { byte };
    Color(pale(r), pale(g), pale(b))
}

/// A run's first pixel and the first one after it, from the plot's left edge.
fn extent(run: &SharedRun, columns: &Columns) -> (i32, i32) {
    if run.notes == 0 || run.first >= columns.notes {
        return (0, 0);
    }
    let last = (run.first + run.notes).min(columns.notes) - 1;
    (columns.edges(run.first).0, columns.edges(last).1)
}

/// A pale band behind each run; later ones cover earlier ones.
fn draw_bands(chart: &mut Chart, runs: &[SharedRun], columns: &Columns) {
    let width = columns.width.max(0) as usize;
    let (mut layers, mut bands) = (Layers::new(width, MAX_BANDS), vec![Vec::new(); width]);
    for run in runs.iter().rev() {
        let (left, right) = extent(run, columns);
        layers.cover(left as usize, right as usize, |x| bands[x].push(color(run)));
    }
    for (x, bands) in bands.iter().enumerate() {
        let left = chart.plot.left + x as i32;
        for &color in bands.iter().rev() {
            chart.canvas.fill(Area { left, right: left + 1, ..chart.plot }, color, 0.1);
        }
    }
}

/// The color of each note: of several runs, an exact one comes before a transposed one, then a longer before a shorter.
fn note_colors(notes: usize, runs: &[SharedRun]) -> Vec<Color> {
    let (mut layers, mut colors) = (Layers::new(notes, 1), vec![NEUTRAL; notes]);
    let mut by_meaning: Vec<&SharedRun> = runs.iter().rev().collect();
    by_meaning.sort_by_key(|run| (run.transposed, Reverse(run.notes)));
    for run in by_meaning {
        layers.cover(run.first, run.first + run.notes, |note| colors[note] = color(run));
    }
    colors
}

fn draw_note(chart: &mut Chart, columns: &Columns, note: usize, pitch: u8, color: Color) {
    let row = chart.row(pitch);
    let (left, right) = columns.edges(note);
    let gap = if right - left >= chart.px(4.0) { chart.px(1.0) } else { 0 };
    let right = (right - gap).max(left + chart.px(1.5));
    let bar =
        Area { left: row.left + left, right: row.left + right, top: row.top + 1, bottom: row.bottom - 1 };
    chart.canvas.fill(bar, color, 1.0);
}

/// The names of the runs and their positions above the plot.
struct RunNames {
    /// Each run's name, as it can be shown.
    names: Vec<String>,
    /// Which of them could not be shown as they are.
    words: Words,
    /// Each run's line, counted from the plot upwards, and its name's left edge; `None` without a place.
    places: Vec<Option<(usize, i32)>>,
    lines: usize,
}

impl RunNames {
    /// Each name begins above its run, or ends with the plot, on the lowest line that has space.
    fn place(runs: &[SharedRun], columns: &Columns, width: i32) -> Self {
        let px = |length: f32| (length * scale(width)).round() as i32;
        let style = TextStyle { size: LABEL.size * scale(width), ..LABEL };
        let mut words = Words::default();
        let names: Vec<String> = runs.iter().map(|run| words.fit(&run.name, style, width as f32)).collect();
        let mut ends = [i32::MIN; MAX_LINES];
        let mut places = Vec::new();
        for (run, name) in runs.iter().zip(&names) {
            let (left, right) = extent(run, columns);
            let length = style.width(name).ceil() as i32;
            let from = left.min(width - length).max(0);
            let line = ends.iter().position(|&end| end <= from);
            if let Some(line) = line {
                ends[line] = (right + px(RUNS_APART)).max(from + length + px(NAMES_APART));
            }
            places.push(line.map(|line| (line, from)));
        }
        let lines = places.iter().flatten().map(|(line, _)| line + 1).max().unwrap_or(0);
        RunNames { names, words, places, lines: lines.max(1) }
    }

    fn draw(self, chart: &mut Chart, runs: &[SharedRun], columns: &Columns) {
        let (thick, gap, line) = (chart.px(6.0), chart.px(8.0), chart.px(LINE_HEIGHT));
        let style = chart.style(TextStyle { color: INK, align: Align::Start, ..LABEL });
        let plot = chart.plot;
        chart.canvas.words.add(self.words);
        for ((run, name), place) in runs.iter().zip(&self.names).zip(&self.places) {
            let &Some((number, from)) = place else { continue };
            let (left, right) = extent(run, columns);
            let bottom = plot.top - gap - number as i32 * line;
            let bar = Area { left: plot.left + left, top: bottom - thick, right: plot.left + right, bottom };
            chart.canvas.fill(bar, color(run), 1.0);
            let at = ((plot.left + from) as f32, (bar.top - gap) as f32);
            chart.canvas.write(at, name, style);
        }
        let missing = self.places.iter().filter(|place| place.is_none()).count();
        if missing > 0 {
            let style = TextStyle { color: MUTED, align: Align::End, ..style };
            let at = (plot.right as f32, (plot.top - gap - self.lines as i32 * line - gap) as f32);
            chart.canvas.write(at, &format!("and {missing} more"), style);
        }
    }
}

/// Height of the panel, and the space between it and the time axis above.
const NOVELTY_HEIGHT: f32 = 190.0;
const NOVELTY_ABOVE: f32 = 62.0;
/// What the panel needs below a chart, with its own axis.
const NOVELTY_ROOM: f32 = NOVELTY_ABOVE + NOVELTY_HEIGHT + BOTTOM;

/// The share, from 0 to 1, of a melody's n-grams that are novel, for n = 1, 2, ….
#[derive(Debug, Clone, Copy)]
pub struct Novelty<'a> {
    /// Absent from the training music as they are.
    pub exact: &'a [f64],
    /// Absent however they are transposed.
    pub transposed: &'a [f64],
}

/// Draws the curves below a chart with [`NOVELTY_ROOM`], in an area that becomes the chart's plot.
fn draw_novelty(chart: &mut Chart, novelty: &Novelty<'_>) {
    let top = chart.plot.bottom + chart.px(BOTTOM + NOVELTY_ABOVE);
    chart.plot = Area { top, bottom: top + chart.px(NOVELTY_HEIGHT), ..chart.plot };
    let lengths = novelty.exact.len().max(novelty.transposed.len());
    for share in [0.25, 0.5, 0.75] {
        let y = share_height(chart, share);
        let line = Area { top: y, bottom: y + chart.px(1.0), ..chart.plot };
        chart.canvas.fill(line, GRID, 0.7);
    }
    novelty_curve(chart, novelty.transposed, lengths, TRANSPOSED);
    novelty_curve(chart, novelty.exact, lengths, EXACT);
    share_axis(chart);
    chart.time_axis("notes in a row", &length_ticks(chart, lengths));
    chart.legend(&[(EXACT, "new note for note"), (TRANSPOSED, "new however transposed")]);
    if lengths == 0 {
        chart.empty_message("no notes");
    }
}

/// A level for each length, joined by vertical lines.
fn novelty_curve(chart: &mut Chart, shares: &[f64], lengths: usize, color: Color) {
    let thick = chart.px(4.0);
    let mut before = None;
    for (index, &share) in shares.iter().enumerate() {
        let (left, right) = (length_edge(chart, index, lengths), length_edge(chart, index + 1, lengths));
        let top = share_height(chart, share);
        chart.canvas.fill(Area { left, top, right, bottom: top + thick }, color, 1.0);
        let from = before.replace(top).unwrap_or(top);
        let joint = Area { left, top: from.min(top), right: left + thick, bottom: from.max(top) + thick };
        chart.canvas.fill(joint, color, 1.0);
    }
}

/// The upper edge of a curve's line at a share; the whole line is in the panel.
fn share_height(chart: &Chart, share: f64) -> i32 {
    let range = f64::from(chart.plot.height() - chart.px(4.0));
    chart.plot.top + ((1.0 - share.clamp(0.0, 1.0)) * range).round() as i32
}

/// The left edge of a length's column.
fn length_edge(chart: &Chart, index: usize, lengths: usize) -> i32 {
    let width = f64::from(chart.plot.right - chart.plot.left);
    chart.plot.left + (width * index as f64 / lengths as f64).round() as i32
}

fn length_ticks(chart: &Chart, lengths: usize) -> Vec<(i32, String)> {
    let fives = (5..=lengths).step_by(5);
    let numbers = (lengths > 0).then_some(1).into_iter().chain(fives);
    let middle = |n: usize| {
        (length_edge(chart, n - 1, lengths) + length_edge(chart, n, lengths)) / 2 - chart.plot.left
    };
    numbers.map(|n| (middle(n), n.to_string())).collect()
}

fn share_axis(chart: &mut Chart) {
    let ticks = [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")]
        .map(|(share, label)| (share_height(chart, share) + chart.px(2.0), label.to_owned(), MUTED));
    chart.value_axis("new", &ticks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::picture::canvas::tests::decode;

    const NOTHING: Novelty<'_> = Novelty { exact: &[], transposed: &[] };

    /// A hundred notes in two octaves, 14 pixels each, of which none follows itself.
    fn melody() -> Vec<u8> {
        (0..100).map(|i| 48 + (i * 7 % 25) as u8).collect()
    }

    fn run(first: usize, notes: usize, transposed: bool) -> SharedRun {
        SharedRun {
            first,
            notes,
            transposed,
            pale: false,
            name: format!("{notes} notes, a.mid note {first}"),
        }
    }

    /// Where a color occurs, as (x, y).
    fn places(png: &[u8], Color(r, g, b): Color) -> Vec<(i32, i32)> {
        let (width, _, pixels) = decode(png);
        let found = pixels.chunks_exact(3).enumerate().filter(|(_, rgb)| *rgb == [r, g, b]);
        found.map(|(i, _)| ((i as u32 % width) as i32, (i as u32 / width) as i32)).collect()
    }

    /// The notes whose columns have some of a color between two heights, from 0.
    fn notes_with(png: &[u8], color: Color, heights: std::ops::Range<i32>) -> Vec<i32> {
        let mut notes: Vec<i32> = places(png, color)
            .into_iter()
            .filter(|(_, y)| heights.contains(y))
            .map(|(x, _)| (x - 156).div_euclid(14))
            .collect();
        notes.sort_unstable();
        notes.dedup();
        notes
    }

    /// The plot of a picture with one line of names, and all above it.
    const ROLL: std::ops::Range<i32> = 120..770;
    const NOVELTY_ABOVE: std::ops::Range<i32> = 0..120;

    #[test]
    fn the_notes_of_runs_have_their_color_and_a_mark_above() {
        let runs = [run(10, 20, false), run(70, 5, true)];
        let png = shared_runs(&melody(), &runs, &NOTHING, "title").png;
        for (color, expected) in [(EXACT, 10..30), (TRANSPOSED, 70..75)] {
            let expected: Vec<i32> = expected.collect();
            assert_eq!(notes_with(&png, color, ROLL), expected);
            assert_eq!(notes_with(&png, color, NOVELTY_ABOVE), expected);
        }
        let neutral: Vec<i32> = (0..100).filter(|i| !(10..30).contains(i) && !(70..75).contains(i)).collect();
        assert_eq!(notes_with(&png, NEUTRAL, ROLL), neutral);
    }

    #[test]
    fn where_runs_overlap_note_for_note_goes_before_transposed() {
        let png = shared_runs(&melody(), &[run(10, 20, false), run(20, 60, true)], &NOTHING, "title").png;
        let below_the_names = 160..810;
        assert_eq!(notes_with(&png, EXACT, below_the_names.clone()), (10..30).collect::<Vec<_>>());
        assert_eq!(notes_with(&png, TRANSPOSED, below_the_names), (30..80).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_that_means_little_is_pale() {
        let pale = SharedRun { pale: true, ..run(40, 6, false) };
        let png = shared_runs(&melody(), std::slice::from_ref(&pale), &NOTHING, "title").png;
        assert_eq!(notes_with(&png, color(&pale), ROLL), (40..46).collect::<Vec<_>>());
        assert!(notes_with(&png, EXACT, ROLL).is_empty());
    }

    #[test]
    fn names_stand_apart_inside_the_picture_until_lines_are_full() {
        let columns = Columns::new(100);
        let place = |runs: &[SharedRun]| RunNames::place(runs, &columns, USUAL_WIDTH);
        let names = place(&[run(0, 40, false), run(41, 4, false), run(44, 30, false), run(97, 3, true)]);
        // The third would run into the second's name, the last one's name would leave the picture.
        let lines: Vec<_> = names.places.iter().map(|place| place.map(|(line, _)| line)).collect();
        assert_eq!(lines, [Some(0), Some(0), Some(1), Some(0)]);
        assert!(names.places[3].unwrap().1 < 97 * 14 - 100);
        assert_eq!(names.lines, 2);

        let crowd = place(&vec![run(5, 20, false); 9]);
        assert_eq!((crowd.lines, crowd.places.iter().flatten().count()), (MAX_LINES, MAX_LINES));
    }

    /// The curve's upper edge over each length.
    #[test]
    fn the_curves_are_as_high_as_the_shares() {
        let novelty = Novelty { exact: &[0.0, 0.5, 1.0, 1.0], transposed: &[0.0, 0.0, 0.25, 0.25] };
        let png = shared_runs(&melody(), &[], &novelty, "title").png;
        let (_, height, _) = decode(&png);
        // 350 pixels for each of four lengths; the panel's 190 pixels end 88 above the picture's end.
        let bottom = height as i32 - 88;
        let level = |color, length: i32| {
            let x = 156 + 350 * length + 175;
            let in_panel = |&(at, y): &(i32, i32)| at == x && (bottom - 190..bottom).contains(&y);
            places(&png, color).into_iter().filter(in_panel).map(|(_, y)| bottom - y).max()
        };
        assert_eq!([0, 1, 2, 3].map(|length| level(EXACT, length)), [4, 97, 190, 190].map(Some));
        // Where both are alike the exact one is on top.
        assert_eq!([0, 1, 2, 3].map(|length| level(TRANSPOSED, length)), [None, Some(4), Some(50), Some(50)]);
    }

    #[test]
    fn odd_input_is_drawn_as_well_as_it_can_be() {
        let far = run(usize::MAX / 2, 5, false);
        let long = SharedRun { name: "long ".repeat(1000), ..run(0, 0, true) };
        let share = [f64::NAN, 7.0, -1.0];
        for notes in [0, 1, 2, 3000] {
            let melody: Vec<u8> = (0..notes).map(|i| (i % 200) as u8).collect();
            let novelty = Novelty { exact: &share, transposed: &[] };
            let png = shared_runs(&melody, &[far.clone(), long.clone()], &novelty, "\u{0}").png;
            let (width, height, _) = decode(&png);
            assert!(width <= 3500 && height <= 3500, "{notes} notes: {width} by {height}");
        }
    }

    #[test]
    fn same_input_same_bytes() {
        let novelty = Novelty { exact: &[0.5], transposed: &[0.1] };
        let draw = |title| shared_runs(&melody(), &[run(1, 2, false)], &novelty, title);
        assert_eq!(draw("title"), draw("title"));
        assert_ne!(draw("title"), draw("another"));
    }
}
