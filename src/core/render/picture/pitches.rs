//! The pitches that a chart has rows for, and what they are called.

use std::ops::RangeInclusive;

/// The pitches of the rows, lowest and highest included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pitches {
    pub low: u8,
    pub high: u8,
}

impl Pitches {
    /// Rows for all of `used` with one above and below, at least 13 (so that there is a C), inside `limits`.
    pub(super) fn around(used: impl Iterator<Item = u8>, limits: RangeInclusive<u8>) -> Self {
        const LEAST: u8 = 13;
        let (first, last) = (*limits.start(), *limits.end());
        let span = used.fold(None, |span, pitch| match span {
            None => Some((pitch, pitch)),
            Some((low, high)) => Some((pitch.min(low), pitch.max(high))),
        });
        let (low, high) = span.unwrap_or((54, 66));
        let clamp = |pitch: u8| pitch.clamp(first, last);
        let (mut low, mut high) = (clamp(low.saturating_sub(1)), clamp(high.saturating_add(1)));
        while high - low + 1 < LEAST && (low > first || high < last) {
            high = clamp(high.saturating_add(1));
            if high - low + 1 < LEAST {
                low = clamp(low.saturating_sub(1));
            }
        }
        Self { low, high }
    }

    pub(super) fn contains(self, pitch: u8) -> bool {
        (self.low..=self.high).contains(&pitch)
    }

    pub(super) fn rows(self) -> i32 {
        i32::from(self.high) - i32::from(self.low) + 1
    }
}

/// Which keys of an octave (C is 0) get a label, so that labels never touch at a
/// nominal row height: naturals, or C, E and G, or C.
pub(super) fn labelled_keys(row_height: f32) -> &'static [u8] {
    match row_height {
        ..8.0 => &[0],
        8.0..23.0 => &[0, 4, 7],
        _ => &[0, 2, 4, 5, 7, 9, 11],
    }
}

/// "C3 (48)": the note in scientific pitch notation (60 is C4) and its MIDI key.
pub(super) fn pitch_name(pitch: u8) -> String {
    const NAMES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
    format!("{}{} ({pitch})", NAMES[usize::from(pitch % 12)], i32::from(pitch / 12) - 1)
}

/// Is this a black key of the piano?
pub(super) fn is_black_key(pitch: u8) -> bool {
    matches!(pitch % 12, 1 | 3 | 6 | 8 | 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_a_margin_an_octave_and_stay_inside() {
        let rows = |used: &[u8], limits| {
            let Pitches { low, high } = Pitches::around(used.iter().copied(), limits);
            (low, high)
        };
        assert_eq!(rows(&[36, 60], 1..=79), (35, 61));
        assert_eq!(rows(&[60], 0..=127), (54, 66));
        assert_eq!(rows(&[1], 1..=79), (1, 13));
        assert_eq!(rows(&[127], 0..=127), (115, 127));
        assert_eq!(rows(&[5], 3..=9), (3, 9));
        assert_eq!(rows(&[0, 127], 0..=127), (0, 127));
        assert_eq!(rows(&[], 0..=127), (53, 67));
    }

    #[test]
    fn pitches_are_named_as_musicians_do() {
        let names = [0, 21, 48, 60, 61, 127].map(pitch_name);
        assert_eq!(names, ["C-1 (0)", "A0 (21)", "C3 (48)", "C4 (60)", "C#4 (61)", "G9 (127)"]);
    }
}
