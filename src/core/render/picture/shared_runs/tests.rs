use super::super::canvas::tests::decode;
use super::*;

const NOTHING: Novelty<'_> = Novelty { exact: &[], transposed: &[] };

/// A hundred notes in two octaves, 14 pixels each, of which none follows itself.
fn melody() -> Vec<u8> {
    (0..100).map(|i| 48 + (i * 7 % 25) as u8).collect()
}

fn run(first: usize, notes: usize, transposed: bool) -> SharedRun {
    SharedRun { first, notes, transposed, pale: false, name: format!("{notes} notes, a.mid note {first}") }
}

/// Where a colour occurs, as (x, y).
fn places(png: &[u8], Colour(r, g, b): Colour) -> Vec<(i32, i32)> {
    let (width, _, pixels) = decode(png);
    let found = pixels.chunks_exact(3).enumerate().filter(|(_, rgb)| *rgb == [r, g, b]);
    found.map(|(i, _)| ((i as u32 % width) as i32, (i as u32 / width) as i32)).collect()
}

/// The notes whose columns have some of a colour between two heights, from 0.
fn notes_with(png: &[u8], colour: Colour, heights: std::ops::Range<i32>) -> Vec<i32> {
    let mut notes: Vec<i32> = places(png, colour)
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
const ABOVE: std::ops::Range<i32> = 0..120;

#[test]
fn the_notes_of_runs_have_their_colour_and_a_mark_above() {
    let runs = [run(10, 20, false), run(70, 5, true)];
    let png = shared_runs(&melody(), &runs, &NOTHING, "title").png;
    for (colour, expected) in [(EXACT, 10..30), (TRANSPOSED, 70..75)] {
        let expected: Vec<i32> = expected.collect();
        assert_eq!(notes_with(&png, colour, ROLL), expected);
        assert_eq!(notes_with(&png, colour, ABOVE), expected);
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
    assert_eq!(notes_with(&png, colour(&pale), ROLL), (40..46).collect::<Vec<_>>());
    assert!(notes_with(&png, EXACT, ROLL).is_empty());
}

#[test]
fn names_stand_apart_inside_the_picture_until_lines_are_full() {
    let columns = Columns::new(100);
    let place = |runs: &[SharedRun]| Names::place(runs, &columns, USUAL_WIDTH);
    let names = place(&[run(0, 40, false), run(41, 4, false), run(44, 30, false), run(97, 3, true)]);
    // The third would run into the second's name, the last one's name would leave the picture.
    let lines: Vec<_> = names.places.iter().map(|place| place.map(|(line, _)| line)).collect();
    assert_eq!(lines, [Some(0), Some(0), Some(1), Some(0)]);
    assert!(names.places[3].unwrap().1 < 97 * 14 - 100);
    assert_eq!(names.lines, 2);

    let crowd = place(&vec![run(5, 20, false); 9]);
    assert_eq!((crowd.lines, crowd.places.iter().flatten().count()), (LINES, LINES));
}

/// The curve's upper edge over each length.
#[test]
fn the_curves_are_as_high_as_the_shares() {
    let novelty = Novelty { exact: &[0.0, 0.5, 1.0, 1.0], transposed: &[0.0, 0.0, 0.25, 0.25] };
    let png = shared_runs(&melody(), &[], &novelty, "title").png;
    let (_, height, _) = decode(&png);
    // 350 pixels for each of four lengths; the panel's 190 pixels end 88 above the picture's end.
    let bottom = height as i32 - 88;
    let level = |colour, length: i32| {
        let x = 156 + 350 * length + 175;
        let in_panel = |&(at, y): &(i32, i32)| at == x && (bottom - 190..bottom).contains(&y);
        places(&png, colour).into_iter().filter(in_panel).map(|(_, y)| bottom - y).max()
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
