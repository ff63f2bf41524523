//! Piano rolls in JSON, the form in which the public benchmarks of polyphonic music are distributed: one file with many
//! pieces, either a list of them or an object of lists such as `{"train": [...], "valid": [...]}`. A piece is a list of
//! frames of equal length, and a frame is a list of MIDI pitches, of one of two kinds:
//!
//! - a *set* of the pitches that sound, in any order, empty where none does;
//! - one entry for each *voice*, −1 where the voice rests. All frames of the file have an entry for each voice.
//!
//! A file is of voices if all its frames have the same number of entries and some frame is not a strictly ascending set.
//!
//! The data does not tell a held note from a repeated one: see [`grid`].

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};

use crate::midi::grid::{self, NoteValue, PitchSet, held_notes};
use crate::midi::{Instrument, Song};

/// More pieces are not read, as each takes more memory than it may have bytes in the file. The largest benchmark has 1,200.
const MAX_PIECES: usize = 100_000;

/// More entries are no frame: there are no more pitches.
const MAX_ENTRIES: usize = 128;

/// In place of a pitch: the voice rests.
const REST: i8 = -1;

/// A piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PianoRoll {
    /// Its name inside of the file: its number, after the name of its list if that has one, like `train/0`.
    pub name: String,
    /// The number of voices; `None` if frames are sets.
    voices: Option<usize>,
    frames: Frames,
}

/// The frames of a piece, in one vector: a file may have millions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Frames {
    entries: Vec<i8>,
    /// Where each frame ends in `entries`.
    ends: Vec<u32>,
}

/// Whether a file begins like piano rolls: with a list of lists of lists, perhaps under a name. Other JSON is no music.
pub fn is_piano_rolls(head: &[u8]) -> bool {
    let mut rest = head.trim_ascii_start();
    if let Some(object) = rest.strip_prefix(b"{") {
        let mut bytes = object.trim_ascii_start().iter();
        if bytes.next() != Some(&b'"') {
            return false;
        }
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => break,
                b'\\' => drop(bytes.next()),
                _ => {}
            }
        }
        let Some(value) = bytes.as_slice().trim_ascii_start().strip_prefix(b":") else { return false };
        rest = value.trim_ascii_start();
    }
    let mut nonblank = rest.iter().filter(|byte| !byte.is_ascii_whitespace());
    nonblank.next() == Some(&b'[')
        && nonblank.next() == Some(&b'[')
        && matches!(nonblank.next(), Some(b'[' | b']'))
}

/// The pieces of a file, in its order.
pub fn parse(bytes: &[u8]) -> Result<Vec<PianoRoll>, String> {
    let Lists(lists) = serde_json::from_slice(bytes).map_err(|error| format!("no piano rolls: {error}"))?;
    let (mut rolls, mut names) = (Vec::new(), HashSet::new());
    for (list, pieces) in lists {
        let prefix = list.map_or(String::new(), |list| format!("{list}/"));
        for (number, frames) in pieces.into_iter().enumerate() {
            rolls.push(PianoRoll { name: format!("{prefix}{number}"), voices: None, frames });
        }
        if !names.insert(prefix) {
            return Err("no piano rolls: two lists have the same name".into());
        }
    }
    if rolls.is_empty() {
        return Err("no piano rolls: there is no piece".into());
    }
    let voices = voices(&rolls);
    for roll in &mut rolls {
        roll.voices = voices;
        if voices.is_none() {
            roll.check_sets()?;
        }
    }
    Ok(rolls)
}

/// The number of voices if the frames have one entry for each.
fn voices(rolls: &[PianoRoll]) -> Option<usize> {
    let mut frames = rolls.iter().flat_map(|roll| roll.frames.iter());
    let first = frames.next()?;
    let mut all_ascend = is_ascending_set(first);
    for frame in frames {
        if frame.len() != first.len() {
            return None;
        }
        all_ascend &= is_ascending_set(frame);
    }
    (!all_ascend).then_some(first.len())
}

/// Rests are in no set.
fn pitch_set(entries: &[i8]) -> PitchSet {
    entries.iter().filter_map(|&entry| u8::try_from(entry).ok()).fold(0, |set, pitch| set | 1 << pitch)
}

fn is_ascending_set(frame: &[i8]) -> bool {
    frame.first() != Some(&REST) && frame.is_sorted_by(|a, b| a < b)
}

impl PianoRoll {
    /// Its notes. Sets are one instrument; of voices each is an instrument, and one that always rests is none.
    pub fn song(&self, frame: NoteValue) -> Song {
        let mut instruments = Vec::new();
        for part in 0..self.voices.unwrap_or(1) {
            let (name, notes) = match self.voices {
                None => (String::new(), held_notes(self.frames.iter().map(pitch_set), frame)),
                Some(_) => {
                    let entries = self.frames.iter().map(|entries| pitch_set(&entries[part..=part]));
                    (format!("voice {}", part + 1), held_notes(entries, frame))
                }
            };
            if !notes.is_empty() {
                instruments.push(Instrument { program: 0, is_drum: false, name, notes });
            }
        }
        grid::song(instruments, self.frames.ends.len(), frame)
    }

    /// An error unless every frame is a set of pitches.
    fn check_sets(&self) -> Result<(), String> {
        for (number, frame) in self.frames.iter().enumerate() {
            let mut seen = 0u128;
            for &entry in frame {
                let problem = match u8::try_from(entry) {
                    Err(_) => "a rest (-1), but not every frame has an entry for each voice".to_owned(),
                    Ok(pitch) if seen & 1 << pitch != 0 => format!("pitch {pitch} twice"),
                    Ok(pitch) => {
                        seen |= 1 << pitch;
                        continue;
                    }
                };
                return Err(format!("no piano rolls: {}: frame {number} has {problem}", self.name));
            }
        }
        Ok(())
    }
}

impl Frames {
    fn iter(&self) -> impl Iterator<Item = &[i8]> {
        let starts = [0].iter().chain(&self.ends);
        starts.zip(&self.ends).map(|(&start, &end)| &self.entries[start as usize..end as usize])
    }
}

/// The lists of pieces, with their names if they have any.
struct Lists(Vec<(Option<String>, Vec<Frames>)>);

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListsVisitor)
    }
}

struct ListsVisitor;

impl<'de> Visitor<'de> for ListsVisitor {
    type Value = Lists;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of pieces, or an object with such lists")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lists, A::Error> {
        let mut lists = Vec::new();
        while let Some((name, Pieces(pieces))) = map.next_entry::<String, _>()? {
            lists.push((Some(name), pieces));
        }
        Ok(Lists(lists))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Lists, A::Error> {
        let Pieces(pieces) = PiecesVisitor.visit_seq(sequence)?;
        Ok(Lists(vec![(None, pieces)]))
    }
}

struct Pieces(Vec<Frames>);

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PiecesVisitor)
    }
}

struct PiecesVisitor;

impl<'de> Visitor<'de> for PiecesVisitor {
    type Value = Pieces;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of pieces")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Pieces, A::Error> {
        let mut pieces = Vec::new();
        while let Some(frames) = sequence.next_element::<Frames>()? {
            if pieces.len() == MAX_PIECES {
                return Err(de::Error::custom(format_args!("more than {MAX_PIECES} pieces")));
            }
            pieces.push(frames);
        }
        Ok(Pieces(pieces))
    }
}

impl<'de> Deserialize<'de> for Frames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FramesVisitor)
    }
}

struct FramesVisitor;

impl<'de> Visitor<'de> for FramesVisitor {
    type Value = Frames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a piece: a list of frames, at least one")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Frames, A::Error> {
        let mut frames = Frames::default();
        while let Some(()) = sequence.next_element_seed(FrameSeed(&mut frames))? {}
        if frames.ends.is_empty() {
            return Err(de::Error::invalid_length(0, &self));
        }
        frames.entries.shrink_to_fit();
        frames.ends.shrink_to_fit();
        Ok(frames)
    }
}

/// Reads a frame, and adds it to these.
struct FrameSeed<'a>(&'a mut Frames);

impl<'de> DeserializeSeed<'de> for FrameSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for FrameSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame: a list of pitches")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let Frames { entries, ends } = self.0;
        let start = entries.len();
        while let Some(Entry(entry)) = sequence.next_element()? {
            if entries.len() - start == MAX_ENTRIES {
                return Err(de::Error::custom(format_args!("a frame with more than {MAX_ENTRIES} pitches")));
            }
            entries.push(entry);
        }
        ends.push(u32::try_from(entries.len()).map_err(|_| de::Error::custom("a piece is too long"))?);
        Ok(())
    }
}

/// A MIDI pitch, or [`REST`].
struct Entry(i8);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(EntryVisitor).map(Entry)
    }
}

struct EntryVisitor;

impl Visitor<'_> for EntryVisitor {
    type Value = i8;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MIDI pitch from 0 to 127, or -1 for a rest")
    }

    fn visit_i64<E: de::Error>(self, entry: i64) -> Result<i8, E> {
        let found = i8::try_from(entry).ok().filter(|&entry| entry >= REST);
        found.ok_or_else(|| E::invalid_value(Unexpected::Signed(entry), &self))
    }

    fn visit_u64<E: de::Error>(self, entry: u64) -> Result<i8, E> {
        i8::try_from(entry).map_err(|_| E::invalid_value(Unexpected::Unsigned(entry), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn songs(json: &str) -> Vec<(String, Song)> {
        let rolls = parse(json.as_bytes()).unwrap();
        rolls.into_iter().map(|roll| (roll.name.clone(), roll.song(NoteValue::Eighth))).collect()
    }

    /// Pitch and ticks of each note.
    fn notes_of(instrument: &Instrument) -> Vec<(u8, u32, u32)> {
        instrument.notes.iter().map(|note| (note.pitch, note.start_tick, note.end_tick)).collect()
    }

    fn refused(json: &str) -> String {
        let reason = parse(json.as_bytes()).unwrap_err();
        assert!(!reason.contains('\n'), "{reason:?}");
        reason.strip_prefix("no piano rolls: ").unwrap().to_owned()
    }

    #[test]
    fn sets_become_one_instrument_of_held_notes() {
        let found = songs(r#"{"train": [[[], [60, 64], [64, 60, 67], [60]], [[60]]], "valid": [[[], []]]}"#);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["train/0", "train/1", "valid/0"]);
        let Song { instruments, resolution, end, .. } = &found[0].1;
        assert_eq!((instruments.len(), *resolution, *end), (1, 24, 1.0));
        assert_eq!(notes_of(&instruments[0]), [(64, 12, 36), (67, 24, 36), (60, 12, 48)]);
        assert_eq!(instruments[0].notes[0].start, 0.25);
        assert_eq!((found[2].1.instruments.len(), found[2].1.end), (0, 0.5));
    }

    #[test]
    fn voices_become_instruments() {
        let found = songs("[[[67, 60, -1], [67, 60, -1], [60, 60, -1], [-1, 62, -1]]]");
        let [(name, Song { instruments, .. })] = &found[..] else { panic!("{found:?}") };
        assert_eq!((name.as_str(), instruments.len()), ("0", 2));
        assert_eq!(notes_of(&instruments[0]), [(67, 0, 24), (60, 24, 36)]);
        assert_eq!(notes_of(&instruments[1]), [(60, 0, 36), (62, 36, 48)]);
        assert_eq!(instruments[1].name, "voice 2");
        // Without a rest, a unison or a voice below the one before, they are sets, of the same notes.
        assert_eq!(songs("[[[60, 67], [60, 67]]]")[0].1.instruments.len(), 1);
    }

    #[test]
    fn what_is_no_piano_roll_is_one_clear_line() {
        let pitch = "expected a MIDI pitch from 0 to 127, or -1 for a rest at line 1 column ";
        assert_eq!(refused("[[[128]]]"), format!("invalid value: integer `128`, {pitch}6"));
        assert_eq!(refused("[[[-2]]]"), format!("invalid value: integer `-2`, {pitch}5"));
        assert_eq!(refused("[[[60.0]]]"), format!("invalid type: floating point `60.0`, {pitch}7"));
        assert_eq!(refused("[[[null]]]"), format!("invalid type: null, {pitch}7"));
        let whole = "expected a list of pieces, or an object with such lists";
        assert!(refused("3").contains(whole) && refused("\"x\"").contains(whole));
        assert!(refused("{\"a\": 3}").contains("expected a list of pieces at"));
        assert!(refused("[3]").contains("expected a piece: a list of frames, at least one at"));
        assert!(refused("[[]]").contains("expected a piece: a list of frames, at least one at"));
        assert!(refused("[[60]]").contains("expected a frame: a list of pitches at"));
        assert_eq!(refused("[]"), "there is no piece");
        assert_eq!(refused("{\"train\": []}"), "there is no piece");
        assert_eq!(refused("{\"a\": [[[1]]], \"a\": [[[1]]]}"), "two lists have the same name");
        let rest = "0: frame 1 has a rest (-1), but not every frame has an entry for each voice";
        assert_eq!(refused("[[[60, 64], [-1]]]"), rest);
        assert_eq!(refused("[[[60, 64], [60, 61, 60]]]"), "0: frame 1 has pitch 60 twice");
        assert!(refused("").starts_with("EOF"));
        assert!(refused("[[[60]]] x").starts_with("trailing characters"));
        // Deep, and long.
        let deep = "[".repeat(1 << 20);
        assert!(refused(&deep).contains("expected a MIDI pitch"), "{}", refused(&deep));
        let many = format!("[{}[[]]]", "[[]],".repeat(MAX_PIECES));
        assert!(refused(&many).starts_with("more than 100000 pieces"));
        let wide = format!("[[[{}60]]]", "60,".repeat(MAX_ENTRIES));
        assert!(refused(&wide).starts_with("a frame with more than 128 pitches"));
    }

    #[test]
    fn a_file_is_known_by_its_beginning() {
        for roll in ["[[[", " [ [ [60", "[[]", "{\"train\": [[[60", "{ \"a\\\"b\" :[[[", "[[[60, 64"] {
            assert!(is_piano_rolls(roll.as_bytes()), "{roll}");
        }
        for other in
            ["", "{", "{}", "[", "[[1, 2]]", "[{\"a\": 1}]", "{\"a\": 1}", "{\"a", "{\"a\\", "{\"a\"", "3"]
        {
            assert!(!is_piano_rolls(other.as_bytes()), "{other}");
        }
    }
}
