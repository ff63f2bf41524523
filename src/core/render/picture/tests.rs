use super::canvas::Colour;
use super::canvas::tests::decode;
use super::colours::{CHOSEN, ramp};
use super::*;
use crate::midi::Note;

const CLASSES: usize = 79;
const FIRST_PITCH: u8 = 1;

fn note(pitch: u8, velocity: u8, start: f64, end: f64) -> Note {
    Note { pitch, velocity, start, end }
}

/// `count` notes that wander over two octaves, and predictions that are sure of every other one.
fn predictions(count: usize) -> (Vec<Vec<f32>>, Vec<u8>) {
    let chosen: Vec<u8> = (0..count).map(|i| 40 + (i * 7 % 25) as u8).collect();
    let row = |(i, class): (usize, &u8)| {
        let sure = if i % 2 == 0 { 0.9 } else { 0.3 };
        let mut row = vec![0.0; CLASSES];
        for (step, share) in [(0, sure), (2, (1.0 - sure) * 0.6), (7, (1.0 - sure) * 0.4)] {
            row[usize::from(*class) + step] += share;
        }
        row
    };
    (chosen.iter().enumerate().map(row).collect(), chosen)
}

/// Where a colour occurs, as (x, y).
fn places(png: &[u8], colour: Colour) -> Vec<(u32, u32)> {
    let (width, _, pixels) = decode(png);
    let found = pixels.chunks_exact(3).enumerate().filter(|(_, rgb)| *rgb == [colour.0, colour.1, colour.2]);
    found.map(|(i, _)| (i as u32 % width, i as u32 / width)).collect()
}

#[test]
fn same_input_same_bytes() {
    let (rows, chosen) = predictions(30);
    let notes = [note(60, 100, 0.0, 0.3), note(64, 80, 0.3, 0.6)];
    assert_eq!(
        probabilities(&rows, &chosen, FIRST_PITCH, "title"),
        probabilities(&rows, &chosen, FIRST_PITCH, "title")
    );
    assert_eq!(piano_roll(&notes, "title"), piano_roll(&notes, "title"));
    assert_ne!(piano_roll(&notes, "title"), piano_roll(&notes, "another"));
}

#[test]
fn the_usual_picture_is_of_a_size_for_a_web_page() {
    let (rows, chosen) = predictions(200);
    let png = probabilities(&rows, &chosen, FIRST_PITCH, "What the network expected, and what it played");
    let (width, height, _) = decode(&png);
    println!("200 notes: {width} by {height} pixels, {} bytes", png.len());
    assert!((1500..2000).contains(&width) && (600..1000).contains(&height), "{width} by {height}");
    assert!(png.len() < 200_000, "{} bytes", png.len());
}

/// Each chosen note has its mark over its own number and on its own pitch's row.
#[test]
fn marks_stand_where_the_notes_are() {
    let (rows, chosen) = predictions(25);
    let png = probabilities(&rows, &chosen, FIRST_PITCH, "title");
    let marks = places(&png, CHOSEN);
    let plot_top = 96;
    let marks: Vec<_> = marks.into_iter().filter(|(_, y)| *y >= plot_top).collect();

    // 25 columns of 35 pixels, from the plot's left edge.
    let (left, column) = (156, 35);
    let centres: Vec<f64> = (0..25)
        .map(|i| {
            let here = |(x, _): &&(u32, u32)| (left + i * column..left + (i + 1) * column).contains(x);
            let ys: Vec<u32> = marks.iter().filter(here).map(|(_, y)| *y).collect();
            assert!(!ys.is_empty(), "note {} has no mark", i + 1);
            f64::from(ys.iter().sum::<u32>()) / ys.len() as f64
        })
        .collect();
    let row_height = (centres[0] - centres[1]) / (f64::from(chosen[1]) - f64::from(chosen[0]));
    assert!(row_height > 7.0, "a higher pitch stands lower");
    for (centre, class) in centres.iter().zip(&chosen) {
        let expected = centres[0] - row_height * (f64::from(*class) - f64::from(chosen[0]));
        assert!((centre - expected).abs() < 0.5, "class {class} at {centre}, not {expected}");
    }
}

#[test]
fn a_likelier_pitch_is_drawn_in_its_own_colour() {
    let mut row = vec![0.0; CLASSES];
    row[50] = 0.25;
    row[55] = 0.75;
    let png = probabilities(&[row], &[55], FIRST_PITCH, "title");
    // A quarter is half-way up the ramp; the chosen cell shows above and below its mark.
    assert!(!places(&png, ramp(0.5)).is_empty());
    assert!(!places(&png, ramp(0.75f32.sqrt())).is_empty());
}

#[test]
fn bars_are_as_long_as_their_notes() {
    let png = piano_roll(&[note(60, 100, 0.0, 1.0), note(62, 100, 1.0, 3.0)], "title");
    let bars = places(&png, ramp(0.6));
    let rows: std::collections::BTreeSet<u32> = bars.iter().map(|(_, y)| *y).collect();
    let length = |row: u32| bars.iter().filter(|(_, y)| *y == row).count();
    let (higher, lower) = (length(*rows.first().unwrap()), length(*rows.last().unwrap()));
    // 1400 pixels for 3 seconds; one pixel is left free after each note.
    assert_eq!((higher, lower), (932, 466));
}

#[test]
fn pictures_of_nothing_of_one_note_and_of_thousands() {
    for count in [0, 1, 2, 79, 2000, 5000] {
        let (rows, chosen) = predictions(count);
        let (width, height, _) = decode(&probabilities(&rows, &chosen, FIRST_PITCH, "title"));
        assert!(width <= 3500 && height <= 1800, "{count} notes: {width} by {height}");
        let notes: Vec<Note> = (0..count)
            .map(|i| note(40 + (i * 7 % 30) as u8, 1 + (i % 127) as u8, i as f64 * 0.4, i as f64 * 0.4 + 0.4))
            .collect();
        let (width, height, _) = decode(&piano_roll(&notes, "title"));
        assert!(width <= 3500 && height <= 1800, "{count} notes: {width} by {height}");
    }
}

#[test]
fn odd_input_is_drawn_as_well_as_it_can_be() {
    let nan = vec![vec![f32::NAN; CLASSES], vec![], vec![f32::INFINITY; 3]];
    decode(&probabilities(&nan, &[0, 78, 255], FIRST_PITCH, "\u{0}\n"));
    decode(&probabilities(&nan, &[], 255, ""));
    decode(&probabilities(&[], &[1, 2, 3], 0, &"long ".repeat(1000)));
    let notes = [note(0, 127, 0.0, 1e9), note(127, 1, 5.0, 5.0 + 1e-9), note(60, 60, f64::NAN, f64::NAN)];
    decode(&piano_roll(&notes, "a billion seconds"));
}

#[test]
fn losses_of_runs() {
    let curve = |from: f64, to: f64| {
        (0..=20).map(|i| (f64::from(i) * 50.0, to + (from - to) * (-f64::from(i) / 5.0).exp())).collect()
    };
    let run = |name: &str, low: f64| RunLosses {
        name: name.into(),
        training: curve(3.5, low),
        held_out: curve(3.4, 2.1),
    };
    let png =
        losses("Loss", &[run("cello", 0.4), run("cello-best", 1.9)], &[("n-gram mix 2.39".into(), 2.39)]);
    let (width, height, pixels) = decode(&png);
    assert_eq!((width, height), (112 + 2 * 620 + 64 + 48, 128 + 460 + 92));
    // Both lines are there, the held-out one on top.
    let orange = pixels.as_chunks::<3>().0.iter().filter(|pixel| **pixel == [226, 84, 10]).count();
    assert!(orange > 2000, "{orange}");
    if let Some(folder) = std::env::var_os("BACHDIST_PICTURES") {
        std::fs::write(std::path::Path::new(&folder).join("losses.png"), &png).unwrap();
    }
    // Nothing to draw is no reason to panic.
    decode(&losses("Loss", &[], &[]));
    decode(&losses("Loss", &[RunLosses { name: String::new(), training: vec![], held_out: vec![] }], &[]));
}
