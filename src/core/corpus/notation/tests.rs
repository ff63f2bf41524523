//! What the notation means, what it refuses, and the Prelude against another edition of it.

mod prelude;

use super::*;
use proptest::prelude::*;

const HEADER: &str = "title: Study\nmeter: 4/4\nunit: 1/16\ntempo: 60\n";

fn read(music: &str) -> Result<Score, NotationError> {
    parse(&format!("{HEADER}{music}"))
}

/// Pitch, start and end in units; at tempo 60 four sixteenths last a second.
fn units(music: &str) -> Vec<(u8, f64, f64)> {
    read(music).unwrap().notes.iter().map(|note| (note.pitch, note.start * 4.0, note.end * 4.0)).collect()
}

#[test]
fn a_bar_of_everything() {
    let music = "1 (C4 D4:2)2 [G4 C4 E4]:4 . E4:5~ | # a comment\n E4 .:14 F#4 |";
    let expected = [(60, 0., 1.), (62, 1., 3.), (60, 3., 4.), (62, 4., 6.), (60, 6., 10.), (64, 6., 10.)];
    assert_eq!(units(music), [&expected[..], &[(67, 6., 10.), (64, 11., 17.), (66, 31., 32.)]].concat());
}

#[test]
fn the_header_is_read() {
    let text = "\u{feff}# mine\n\ntitle: A: B\ncomposer: N. N.\r\nkey: G\nmeter: 6/8\nunit: 1/8\ntempo: 90.5\nprogram: 42\nA3:6 |\n";
    let score = parse(text).unwrap();
    assert_eq!((&*score.title, &*score.composer, &*score.key), ("A: B", "N. N.", "G"));
    assert_eq!((score.program, score.tempo, score.bars), (42, 90.5, 1));
    assert_eq!((score.notes[0].start, score.notes[0].velocity), (0.0, VELOCITY));
    assert!((score.notes[0].end - 60.0 / 90.5 * 3.0).abs() < 1e-12, "three quarters");
    assert_eq!(read("C4:16 |").unwrap().program, 0, "without the line it is a piano");
}

#[test]
fn a_tie_may_cross_bars_and_chords() {
    assert_eq!(units("C4:16~ | C4:16~ | C4:16 |"), [(60, 0., 48.)]);
    assert_eq!(units("[C4 E4]:8~ [E4 C4]:8 |"), [(60, 0., 16.), (64, 0., 16.)]);
    assert_eq!(units("(C4~ C4:7)2 |"), [(60, 0., 8.), (60, 8., 16.)]);
}

#[test]
fn an_upbeat_may_be_short_and_then_the_last_bar_too() {
    let score = read("0 C4 | 1 D4:16 | 2 E4:15 |").unwrap();
    assert_eq!((score.bars, score.notes.len()), (3, 3));
    let message = read("0 C4 | 1 D4:15 | 2 E4:16 |").unwrap_err().to_string();
    assert!(
        message.starts_with("line 5, column 16, bar 1: the bar has 15 of 16 units; add notes"),
        "{message}"
    );
}

/// Each mistake once: the text after the header, and the place and the beginning of what is said.
#[test]
fn mistakes_in_the_music() {
    let mistakes = [
        ("X3:16 |", "line 5, column 1, bar 1: `X3` is not a note"),
        ("C4:16 |\n  c4 |", "line 6, column 3, bar 2: `c4` is not a note"),
        ("C4:16 |\ntempo: 80", "line 6, column 1, bar 2: `tempo` is not a note"),
        ("C4:8 G#9:8 |", "line 5, column 6, bar 1: `G#9` is outside of MIDI's keys"),
        ("C4:0 |", "line 5, column 1, bar 1: `:0` is not a length"),
        ("C4:1/2 |", "line 5, column 1, bar 1: `:1/2` is not a length"),
        ("C4: |", "line 5, column 1, bar 1: `:` is not a length"),
        ("C4:8 ] |", "line 5, column 6, bar 1: `]` has no meaning here"),
        ("[C4 E4]x4 |", "line 5, column 1, bar 1: `x4` has no meaning here"),
        ("[C4 E4\n]:16 |", "line 5, column 1, bar 1: this chord is not closed"),
        ("[ ]:16 |", "line 5, column 1, bar 1: this chord has no notes"),
        ("[C#4 Db4]:16 |", "line 5, column 1, bar 1: this chord has one key twice"),
        ("[C4 .]:16 |", "line 5, column 1, bar 1: `.` is not a note"),
        ("(C4:8 | C4:8)2 |", "line 5, column 1, bar 1: this repeat is not closed"),
        ("C4:16 | (C4:8", "line 5, column 9, bar 2: this repeat is not closed"),
        ("(C4 (D4)2 C4)4 |", "line 5, column 5, bar 1: a repeat cannot stand inside another"),
        ("C4:16 )2 |", "line 5, column 7, bar 1: there is no ( before this )"),
        ("(C4:8) |", "line 5, column 6, bar 1: say how often"),
        ("(C4:8)1 |", "line 5, column 6, bar 1: say how often"),
        ("()2 |", "line 5, column 2, bar 1: this repeat has no notes"),
        ("(C4)4000000000 |", "line 5, column 4, bar 1: with this the bar has 4000000000 units"),
        ("(C4:9)4000000000 |", "line 5, column 6, bar 1: with this the bar has 4294967295 units"),
        (
            "C4:15 |",
            "line 5, column 7, bar 1: the bar has 15 of 16 units; add notes, or rests, which are written . or .:1",
        ),
        ("C4:15 D4 E4 |", "line 5, column 10, bar 1: with this the bar has 17 units, and the meter 16"),
        ("C4:16 | |", "line 5, column 9, bar 2: this bar is empty; write its rests as .:16"),
        ("1 C4:16 | 3 D4:16 |", "line 5, column 11, bar 2: this is bar 2; correct the number"),
        ("C4:16 | 0 D4:16 |", "line 5, column 9, bar 2: this is bar 2; correct the number"),
        ("C4:8 1 C4:8 |", "line 5, column 6, bar 1: `1` has no meaning here"),
        ("1 1 C4:16 |", "line 5, column 3, bar 1: `1` has no meaning here"),
        ("C4:16 | 2", "line 5, column 1, bar 1: the last bar does not end"),
        ("C4:16", "line 5, column 1, bar 1: the last bar does not end"),
        ("# nothing", "line 1, column 1: there is no bar in this text"),
        ("0", "line 1, column 1: there is no bar in this text"),
        ("C4:8~ D4:8 |", "line 5, column 7, bar 1: a tie holds a note into this place"),
        ("C4:16~ |", "line 5, column 1, bar 1: this tie has no note after it"),
        (".:16~ |", "line 5, column 1, bar 1: a rest cannot be tied"),
    ];
    for (music, expected) in mistakes {
        let message = read(music).expect_err(music).to_string();
        assert!(message.starts_with(expected), "{music}\n{message}\n{expected}");
    }
}

#[test]
fn mistakes_in_the_header() {
    let mistakes = [
        (
            "metre: 4/4\n",
            "line 1, column 1: there is no header line named metre; there are title, composer, key",
        ),
        (" just words\n", "line 1, column 2: there is no header line named just words"),
        ("tempo: 60\n\ntempo: 70\n", "line 3, column 1: tempo was given before"),
        ("unit: 1/16\ntempo: 60\nC4 |", "line 3, column 1: the header lacks a line like `meter: 4/4`"),
        ("meter: 4/4\ntempo: 60\nC4 |", "line 3, column 1: the header lacks a line like `unit: 1/16`"),
        ("meter: 4/4\nunit: 1/16\nC4 |", "line 3, column 1: the header lacks a line like `tempo: 72`"),
        ("meter: C\nunit: 1/16\ntempo: 60\n", "line 1, column 1: meter must be beats and a note value"),
        ("meter: 0/4\nunit: 1/16\ntempo: 60\n", "line 1, column 1: meter must be beats and a note value"),
        (
            "meter: 4/4\nunit: 2/16\ntempo: 60\n",
            "line 2, column 1: unit must be a note value, like 1/16, not `2/16`",
        ),
        ("meter: 4/4\nunit: 1/16\ntempo: 0\n", "line 3, column 1: tempo must be quarter notes a minute"),
        ("meter: 4/4\nunit: 1/16\ntempo: NaN\n", "line 3, column 1: tempo must be quarter notes a minute"),
        (
            "meter: 4/4\nunit: 1/16\ntempo: 60\nprogram: 128\n",
            "line 4, column 1: program must be a General MIDI program from 0 to 127, not `128`",
        ),
        (
            "meter: 3/8\nunit: 1/4\ntempo: 60\n",
            "line 1, column 1: a bar of 3/8 is 12/8 units of 1/4, which is not",
        ),
        (
            "meter: 1000/1\nunit: 1/1000\ntempo: 60\n",
            "line 1, column 1: a bar of 1000/1 is 1000000 units of 1/1000",
        ),
    ];
    for (text, expected) in mistakes {
        let message = parse(text).expect_err(text).to_string();
        assert!(message.starts_with(expected), "{text}\n{message}\n{expected}");
    }
}

/// Music without bars: the keys of each event and its length in units.
fn music() -> impl Strategy<Value = Vec<(Vec<u8>, u32)>> {
    let keys = proptest::collection::btree_set(0u8..128, 0..4).prop_map(Vec::from_iter);
    proptest::collection::vec((keys, 1u32..40), 1..60)
}

/// Writes music into bars, as a person would: what does not fit goes on in the next bar with a tie, and the
/// last bar is filled with rests. `flats` chooses the spelling.
fn write(music: &[(Vec<u8>, u32)], full: u32, flats: bool) -> String {
    let mut text = String::new();
    let mut left = full;
    for (keys, units) in music {
        let mut units = *units;
        while units > 0 {
            let now = units.min(left);
            let tie = if units > now && !keys.is_empty() { "~" } else { "" };
            text += &format!("{}:{now}{tie} ", write_keys(keys, flats));
            (units, left) = (units - now, left - now);
            if left == 0 {
                text += "|\n";
                left = full;
            }
        }
    }
    if left < full { text + &format!(".:{left} |\n") } else { text }
}

fn write_keys(keys: &[u8], flats: bool) -> String {
    let sharp = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
    let flat = ["C", "Db", "D", "Eb", "Fb", "E#", "Gb", "G", "Ab", "A", "Bb", "B"];
    let name = |key: &u8| {
        let names = if flats { flat } else { sharp };
        format!("{}{}", names[usize::from(key % 12)], i32::from(key / 12) - 1)
    };
    let names: Vec<String> = keys.iter().rev().map(name).collect();
    match &names[..] {
        [] => ".".into(),
        [one] => one.clone(),
        chord => format!("[{}]", chord.join(" ")),
    }
}

proptest! {
    #![proptest_config(bachdist_test_support::properties(256))]

    #[test]
    fn what_is_written_is_what_is_read(music in music(), full in prop::sample::select(vec![3u32, 16, 24]), flats: bool) {
        let text = format!("meter: {full}/16\nunit: 1/16\ntempo: 60\n{}", write(&music, full, flats));
        let score = parse(&text).unwrap();

        let mut now = 0;
        let mut expected = Vec::new();
        for (keys, units) in &music {
            let (start, end) = (f64::from(now) / 4.0, f64::from(now + units) / 4.0);
            expected.extend(keys.iter().map(|&pitch| Note { pitch, velocity: VELOCITY, start, end }));
            now += units;
        }
        prop_assert_eq!(score.notes, expected);
        prop_assert_eq!(score.bars, now.div_ceil(full));
    }

    #[test]
    fn no_text_panics(text in "[ -~]{0,20}|[0-9A-G#b:~. |()\\[\\]\n]{0,80}|\\PC{0,20}") {
        let _ = parse(&text);
        let _ = read(&text);
    }
}
