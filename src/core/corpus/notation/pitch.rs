//! Scientific pitch names: C4 is the middle C, MIDI key 60, and every octave begins at its C.

use super::error::Problem;

/// The MIDI key of a name like `F#3`, `Bb2` or `C-1`. Double accidentals are written `##` and `bb`.
pub(super) fn key(name: &str) -> Result<u8, Problem> {
    let text = || name.to_owned();
    let (step, octave) = parts(name).ok_or_else(|| Problem::NotANote { text: text() })?;
    u8::try_from(12 * (octave + 1) + step)
        .ok()
        .filter(|key| *key < 128)
        .ok_or_else(|| Problem::OutOfRange { text: text() })
}

/// Semitones above the octave's C, accidentals included, and the octave.
fn parts(name: &str) -> Option<(i32, i32)> {
    let letter = name.chars().next()?;
    let natural = match letter {
        'C' => 0,
        'D' => 2,
        'E' => 4,
        'F' => 5,
        'G' => 7,
        'A' => 9,
        'B' => 11,
        _ => return None,
    };
    let after = &name[1..];
    let octave = after.trim_start_matches(['#', 'b']);
    let shift = match &after[..after.len() - octave.len()] {
        "" => 0,
        "#" => 1,
        "##" => 2,
        "b" => -1,
        "bb" => -2,
        _ => return None,
    };
    // At most two characters: no sum can overflow, and `C04` or `C+4` is a slip of the pen.
    let written = octave == "-1" || (octave.len() == 1 && octave.as_bytes()[0].is_ascii_digit());
    written.then(|| octave.parse().ok().map(|octave: i32| (natural + shift, octave)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys() {
        let keys = [
            ("C4", 60),
            ("A4", 69),
            ("C2", 36),
            ("F#3", 54),
            ("Gb3", 54),
            ("Bb3", 58),
            ("G9", 127),
            ("C-1", 0),
        ];
        for (name, midi) in keys.into_iter().chain([("Cb4", 59), ("B#3", 60), ("F##3", 55), ("Abb3", 55)]) {
            assert_eq!(key(name), Ok(midi), "{name}");
        }
    }

    #[test]
    fn what_is_not_a_note_and_what_is_no_key() {
        for name in ["", "H3", "c4", "C", "C#", "4", "C44", "C+4", "C04", "C#b4", "F###3", "é3", "C٣"] {
            assert_eq!(key(name), Err(Problem::NotANote { text: name.into() }));
        }
        for name in ["G#9", "Cb-1"] {
            assert_eq!(key(name), Err(Problem::OutOfRange { text: name.into() }));
        }
    }
}
