//! The Prelude as typed, against what is known of it and against a sequenced edition.

use super::super::parse;
use bachdist_test_support::tools::{peer_python, shared};
use std::path::Path;
use std::process::Command;

const PRELUDE: &str = include_str!("../../../data/bwv1007-prelude.txt");

#[test]
fn forty_two_bars_from_the_open_c_to_g4() {
    let score = parse(PRELUDE).unwrap();
    assert_eq!((score.bars, score.program), (42, 42));
    // 41 bars of 16; the D held in bar 22 stands for three, the eighth of bar 29 for two; a chord of three.
    assert_eq!(score.notes.len(), 41 * 16 - 2 - 1 + 3);
    let pitches = || score.notes.iter().map(|note| note.pitch);
    assert_eq!((pitches().min(), pitches().max()), (Some(36), Some(67)));
    // 42 bars of four quarters at 72 a minute.
    let end = score.notes.last().unwrap().end;
    assert!((end - 140.0).abs() < 1e-9, "{end}");
    assert!(
        score.notes.is_sorted_by(|a, b| (a.start, a.pitch) < (b.start, b.pitch)),
        "in the order of onsets"
    );
}

/// Editions differ in a few notes; more than 3% would be mistakes in the typing.
#[test]
#[ignore = "needs pretty_midi, shared"]
fn agrees_with_a_sequenced_edition() {
    let Some(edition) = shared("data/cello/cs1-1pre.mid") else { return };
    let Some(python) = peer_python() else { return };
    let theirs = pitches(&python, &edition);
    let score = parse(PRELUDE).unwrap();
    let ours: Vec<u8> = score.notes.iter().map(|note| note.pitch).collect();

    let differences = differences(&ours, &theirs);
    println!("{} notes here, {} there, {} differences", ours.len(), theirs.len(), differences.len());
    for &(at, here, there) in &differences {
        let bar = score
            .notes
            .get(at)
            .map_or(score.bars.into(), |note| (note.start * score.tempo / 240.0).floor() + 1.0);
        println!("bar {bar}, note {at}: {here:?} here, {there:?} there");
    }
    assert!(differences.len() * 100 <= ours.len() * 3, "{differences:?}");
}

/// All voices of a MIDI file, by pretty_midi, in the order of onsets.
fn pitches(python: &Path, file: &Path) -> Vec<u8> {
    let script = "import sys, pretty_midi
notes = [n for i in pretty_midi.PrettyMIDI(sys.argv[1]).instruments for n in i.notes]
print(*(n.pitch for n in sorted(notes, key=lambda n: (n.start, n.pitch))))";
    let output = Command::new(python).args(["-c", script]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(|pitch| pitch.parse().unwrap()).collect()
}

/// The fewest changes that turn `ours` into `theirs` (Levenshtein's distance, traced back), so that a note
/// too many shifts nothing: the position in `ours`, and the pitch on each side, if there is one.
fn differences(ours: &[u8], theirs: &[u8]) -> Vec<(usize, Option<u8>, Option<u8>)> {
    // cost[i][j]: changes between what follows i in ours and j in theirs.
    let mut cost = vec![vec![0usize; theirs.len() + 1]; ours.len() + 1];
    for i in (0..=ours.len()).rev() {
        for j in (0..=theirs.len()).rev() {
            cost[i][j] = match (ours.get(i), theirs.get(j)) {
                (None, _) => theirs.len() - j,
                (_, None) => ours.len() - i,
                (a, b) if a == b => cost[i + 1][j + 1],
                _ => 1 + cost[i + 1][j + 1].min(cost[i + 1][j]).min(cost[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while let (Some(&a), Some(&b)) = (ours.get(i), theirs.get(j)) {
        let (skip_ours, skip_theirs) = match cost[i][j] {
            _ if a == b => (1, 1),
            cost_here if cost_here == 1 + cost[i + 1][j + 1] => (1, 1),
            cost_here if cost_here == 1 + cost[i + 1][j] => (1, 0),
            _ => (0, 1),
        };
        if a != b {
            found.push((i, (skip_ours == 1).then_some(a), (skip_theirs == 1).then_some(b)));
        }
        (i, j) = (i + skip_ours, j + skip_theirs);
    }
    found.extend((i..ours.len()).map(|i| (i, Some(ours[i]), None)));
    found.extend((j..theirs.len()).map(|j| (ours.len(), None, Some(theirs[j]))));
    found
}

#[test]
fn differences_are_the_fewest_and_tell_what_is_missing() {
    assert_eq!(differences(&[1, 2, 3, 4], &[1, 2, 3, 4]), []);
    assert_eq!(differences(&[1, 2, 3, 4], &[1, 3, 4]), [(1, Some(2), None)]);
    assert_eq!(
        differences(&[1, 3, 4], &[1, 2, 3, 5, 6]),
        [(1, None, Some(2)), (2, Some(4), Some(5)), (3, None, Some(6))]
    );
}
