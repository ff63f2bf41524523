use super::canvas::tests::decode;
use super::canvas::{CHOSEN, Color, ramp};
use super::*;
use crate::midi::Note;

const CLASSES: usize = 79;
const FIRST_PITCH: u8 = 1;

fn note(pitch: u8, velocity: u8, start: f64, end: f64) -> Note {
    Note::in_seconds(pitch, velocity, start, end)
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

/// Where a color occurs, as (x, y).
fn places(png: &[u8], color: Color) -> Vec<(u32, u32)> {
    let (width, _, pixels) = decode(png);
    let found = pixels.chunks_exact(3).enumerate().filter(|(_, rgb)| *rgb == [color.0, color.1, color.2]);
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
    let png = probabilities(&rows, &chosen, FIRST_PITCH, "What the network expected, and what it played").png;
    let (width, height, _) = decode(&png);
    println!("200 notes: {width} by {height} pixels, {} bytes", png.len());
    assert!((1500..2000).contains(&width) && (600..1000).contains(&height), "{width} by {height}");
    assert!(png.len() < 200_000, "{} bytes", png.len());
}

/// Each chosen note has its mark over its own number and on its own pitch's row.
#[test]
fn marks_stand_where_the_notes_are() {
    let (rows, chosen) = predictions(25);
    let png = probabilities(&rows, &chosen, FIRST_PITCH, "title").png;
    let marks = places(&png, CHOSEN);
    let plot_top = 96;
    let marks: Vec<_> = marks.into_iter().filter(|(_, y)| *y >= plot_top).collect();

    // 25 columns of 35 pixels, from the plot's left edge.
    let (left, column) = (156, 35);
    let centers: Vec<f64> = (0..25)
        .map(|i| {
            let here = |(x, _): &&(u32, u32)| (left + i * column..left + (i + 1) * column).contains(x);
            let ys: Vec<u32> = marks.iter().filter(here).map(|(_, y)| *y).collect();
            assert!(!ys.is_empty(), "note {} has no mark", i + 1);
            f64::from(ys.iter().sum::<u32>()) / ys.len() as f64
        })
        .collect();
    let row_height = (centers[0] - centers[1]) / (f64::from(chosen[1]) - f64::from(chosen[0]));
    assert!(row_height > 7.0, "a higher pitch stands lower");
    for (center, class) in centers.iter().zip(&chosen) {
        let expected = centers[0] - row_height * (f64::from(*class) - f64::from(chosen[0]));
        assert!((center - expected).abs() < 0.5, "class {class} at {center}, not {expected}");
    }
}

#[test]
fn a_likelier_pitch_is_drawn_in_its_own_color() {
    let mut row = vec![0.0; CLASSES];
    row[50] = 0.25;
    row[55] = 0.75;
    let png = probabilities(&[row], &[55], FIRST_PITCH, "title").png;
    // A quarter is half-way up the ramp; the chosen cell shows above and below its mark.
    assert!(!places(&png, ramp(0.5)).is_empty());
    assert!(!places(&png, ramp(0.75f32.sqrt())).is_empty());
}

#[test]
fn bars_are_as_long_as_their_notes() {
    let png = piano_roll(&[note(60, 100, 0.0, 1.0), note(62, 100, 1.0, 3.0)], "title").png;
    let bars = places(&png, ramp(0.6));
    let rows: std::collections::BTreeSet<u32> = bars.iter().map(|(_, y)| *y).collect();
    let length = |row: u32| bars.iter().filter(|(_, y)| *y == row).count();
    let (higher, lower) = (length(*rows.first().unwrap()), length(*rows.last().unwrap()));
    // 1400 pixels for 3 seconds; one pixel is left free after each note.
    assert_eq!((higher, lower), (932, 466));
}

/// What lies under other notes is not drawn: a million notes of one pitch cost and look like a thousand.
#[test]
fn notes_that_lie_over_each_other_are_drawn_once() {
    let stack = |count| piano_roll(&vec![note(60, 100, 0.0, 2.0); count], "title");
    assert!(stack(1_000_000) == stack(1_000));
    // Of two at one place the later one is seen.
    let [soft, loud] = [note(60, 20, 0.0, 2.0), note(60, 120, 0.0, 2.0)];
    let width = |notes: &[Note], velocity: f32| {
        places(&piano_roll(notes, "title").png, ramp(0.25 + 0.75 * velocity / 127.0)).len()
    };
    assert!(width(&[soft, loud], 120.0) > 10_000 && width(&[loud, soft], 20.0) > 10_000);
    assert!(width(&[soft, loud], 20.0) < 1_000 && width(&[loud, soft], 120.0) < 1_000);
}

/// A greedy network that repeats itself shares a run with every note, each as long as the piece.
#[test]
fn runs_that_lie_over_each_other_cost_what_is_seen() {
    let notes = 60_000;
    let run = |first: usize| SharedRun {
        first,
        notes: notes / 2,
        transposed: first.is_multiple_of(2),
        pale: false,
        name: "a.mid".into(),
    };
    let runs: Vec<SharedRun> = (0..notes / 2).map(run).collect();
    let novelty = Novelty { exact: &[], transposed: &[] };
    decode(&shared_runs(&vec![60; notes], &runs, &novelty, "title").png);
}

/// No word leaves the picture: its outermost pixels are all paper.
#[test]
fn long_names_and_numbers_stay_in_the_picture() {
    let name = "long 音楽 ".repeat(100);
    let run = SharedRun { first: 0, notes: 3, transposed: false, pale: false, name: name.clone() };
    let losses_of = |name: &str, last: f64| RunLosses {
        name: name.into(),
        training: vec![(0.0, 3.0), (last, 2.0)],
        held_out: vec![(0.0, 3.0), (last, 2.0)],
    };
    let pictures = [
        piano_roll(&[note(60, 100, 0.0, 3_000_000_000.0)], &name),
        piano_roll(&[note(60, 100, 0.0, 1e-7)], &name),
        probabilities(&[vec![1.0; CLASSES]], &[5], FIRST_PITCH, &name),
        shared_runs(&[60; 9], &[run], &Novelty { exact: &[], transposed: &[] }, &name),
        losses(&name, &[losses_of(&name, 1e12), losses_of(&name, 1.0)], &[(name.clone(), 1.5)]),
    ];
    for (number, picture) in pictures.iter().enumerate() {
        let (width, height, pixels) = decode(&picture.png);
        let pixel = |x: u32, y: u32| &pixels[3 * (y * width + x) as usize..][..3];
        let columns = (0..height).flat_map(|y| [pixel(0, y), pixel(width - 1, y)]);
        let rows = (0..width).flat_map(|x| [pixel(x, 0), pixel(x, height - 1)]);
        assert!(columns.chain(rows).all(|pixel| pixel == [255; 3]), "picture {number}");
        let told = picture.note.as_deref().unwrap();
        assert!(told.contains("font lacks ('楽', '音')") && told.contains("too long"), "{told}");
        if let Some(folder) = std::env::var_os("BACHDIST_PICTURES") {
            let path = std::path::Path::new(&folder).join(format!("names-{number}.png"));
            std::fs::write(path, &picture.png).unwrap();
        }
    }
}

#[test]
fn pictures_of_nothing_of_one_note_and_of_thousands() {
    for count in [0, 1, 2, 79, 2000, 5000] {
        let (rows, chosen) = predictions(count);
        let (width, height, _) = decode(&probabilities(&rows, &chosen, FIRST_PITCH, "title").png);
        assert!(width <= 3500 && height <= 1800, "{count} notes: {width} by {height}");
        let notes: Vec<Note> = (0..count)
            .map(|i| note(40 + (i * 7 % 30) as u8, 1 + (i % 127) as u8, i as f64 * 0.4, i as f64 * 0.4 + 0.4))
            .collect();
        let (width, height, _) = decode(&piano_roll(&notes, "title").png);
        assert!(width <= 3500 && height <= 1800, "{count} notes: {width} by {height}");
    }
}

#[test]
fn odd_input_is_drawn_as_well_as_it_can_be() {
    let nan = vec![vec![f32::NAN; CLASSES], vec![], vec![f32::INFINITY; 3]];
    decode(&probabilities(&nan, &[0, 78, 255], FIRST_PITCH, "\u{0}\n").png);
    decode(&probabilities(&nan, &[], 255, "").png);
    decode(&probabilities(&[], &[1, 2, 3], 0, &"long ".repeat(1000)).png);
    let notes = [note(0, 127, 0.0, 1e9), note(127, 1, 5.0, 5.0 + 1e-9), note(60, 60, f64::NAN, f64::NAN)];
    decode(&piano_roll(&notes, "a billion seconds").png);
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
        losses("Loss", &[run("cello", 0.4), run("cello-best", 1.9)], &[("n-gram mix 2.39".into(), 2.39)]).png;
    let (width, height, pixels) = decode(&png);
    assert_eq!((width, height), (112 + 2 * 620 + 64 + 48, 128 + 460 + 92));
    // Both lines are there, the held-out one on top.
    let orange = pixels.as_chunks::<3>().0.iter().filter(|pixel| **pixel == [226, 84, 10]).count();
    assert!(orange > 2000, "{orange}");
    if let Some(folder) = std::env::var_os("BACHDIST_PICTURES") {
        std::fs::write(std::path::Path::new(&folder).join("losses.png"), &png).unwrap();
    }
    // Nothing to draw is no reason to panic.
    decode(&losses("Loss", &[], &[]).png);
    decode(
        &losses("Loss", &[RunLosses { name: String::new(), training: vec![], held_out: vec![] }], &[]).png,
    );
}
