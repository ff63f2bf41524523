//! One file of music: a MIDI file, a score in notation or piano rolls, and the notes in it. What notes mean for training is
//! [`load`](super::load)'s concern.
//!
//! Only regular files are ever opened, and a file that does not begin like music is not read further than its beginning.

use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::{notation, piano_rolls};
use crate::midi::grid::NoteValue;
use crate::midi::{self, Song};
use crate::text;

/// The value of `data.midi` for the Prelude that comes with the program.
pub const EMBEDDED: &str = "embedded";

/// The value of `data.midi` for the chorales that come with the program.
pub const EMBEDDED_CHORALES: &str = "embedded:chorales";

/// The Prelude's name and text.
pub(super) const PRELUDE: (&str, &str) = ("bwv1007-prelude.txt", include_str!("../data/bwv1007-prelude.txt"));

/// The names and texts of the chorales.
pub(super) const CHORALES: [(&str, &str); 6] = [
    ("bwv227-1-jesu-meine-freude.txt", include_str!("../data/bwv227-1-jesu-meine-freude.txt")),
    ("bwv227-7-weg-mit-allen-schaetzen.txt", include_str!("../data/bwv227-7-weg-mit-allen-schaetzen.txt")),
    (
        "bwv244-54-o-haupt-voll-blut-und-wunden.txt",
        include_str!("../data/bwv244-54-o-haupt-voll-blut-und-wunden.txt"),
    ),
    ("bwv269-aus-meines-herzens-grunde.txt", include_str!("../data/bwv269-aus-meines-herzens-grunde.txt")),
    ("bwv347-ich-dank-dir-lieber-herre.txt", include_str!("../data/bwv347-ich-dank-dir-lieber-herre.txt")),
    (
        "bwv36-8-nun-komm-der-heiden-heiland.txt",
        include_str!("../data/bwv36-8-nun-komm-der-heiden-heiland.txt"),
    ),
];

/// Extensions of MIDI files: plain ones, karaoke, and those wrapped in RIFF.
pub(super) const MIDI: [&str; 5] = ["mid", "midi", "kar", "smf", "rmi"];

/// The extension of scores in notation.
pub(super) const SCORE: &str = "txt";

/// The extension of piano rolls.
pub(super) const ROLLS: &str = "json";

/// How much of a file is read to see whether it is music: a score begins with a header, perhaps after a long comment.
const HEAD_BYTES: u64 = 64 << 10;

/// A larger file is not music: a MIDI file of this size has some sixty million notes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A larger file of piano rolls is not read, as its notes take ten times its size. The largest benchmark has 6 MB.
const MAX_ROLLS_BYTES: u64 = 64 << 20;

/// A file of music, or one inside the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CorpusFile {
    /// Path relative to the corpus folder, with forward slashes.
    pub name: String,
    /// The file's size.
    pub bytes: u64,
    pub(super) place: FilePlace,
    /// Whether `data.midi` names this file, and not a folder.
    pub(super) is_whole_corpus: bool,
}

/// Where a file's contents are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FilePlace {
    /// At this path.
    Path(PathBuf),
    /// Inside the program: a score.
    Embedded(&'static str),
}

/// A piece in a file of music.
#[derive(Debug, Clone, PartialEq)]
pub struct Music {
    /// Its name inside of the file; `None` if the file is one piece.
    pub name: Option<String>,
    /// Its notes, those of a MIDI file in pretty_midi's order.
    pub song: Song,
    /// What the user should know about it.
    pub remarks: Vec<String>,
}

impl CorpusFile {
    /// The files inside the program that a value of `data.midi` means, if it is one of the two that mean any.
    pub(super) fn embedded(root: &str) -> Option<Vec<CorpusFile>> {
        let texts: &[(&str, &'static str)] = match root {
            EMBEDDED => &[PRELUDE],
            EMBEDDED_CHORALES => &CHORALES,
            _ => return None,
        };
        let file = |&(name, text): &(&str, &'static str)| CorpusFile {
            name: name.into(),
            bytes: text.len() as u64,
            place: FilePlace::Embedded(text),
            is_whole_corpus: texts.len() == 1,
        };
        Some(texts.iter().map(file).collect())
    }

    /// The pieces in it, or why it cannot be read. The frames of piano rolls are this long.
    pub fn read(&self, frame: NoteValue) -> Result<Vec<Music>, String> {
        match &self.place {
            FilePlace::Path(path) => read(path, frame),
            FilePlace::Embedded(text) => Ok(vec![read_notation(text)?]),
        }
    }

    /// The name that one of its pieces has in the corpus: the file's own, or that of the piece in the file.
    pub fn piece_name(&self, inside: Option<&str>) -> String {
        match inside {
            None => self.name.clone(),
            Some(inside) if self.is_whole_corpus => inside.to_owned(),
            Some(inside) => format!("{}/{inside}", self.name),
        }
    }
}

/// A file's name as messages show it: on one line, whatever characters it has.
pub fn printable_name(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Reads the pieces of a file: piano rolls are many, a MIDI file or a score in notation is one. An error is worded to follow
/// the file's name.
pub fn read(path: &Path, frame: NoteValue) -> Result<Vec<Music>, String> {
    let message = |error: io::Error| error.to_string();
    let found = fs::metadata(path).map_err(message)?;
    if found.is_dir() {
        return Err("is a folder, not a file of music".into());
    }
    if !found.is_file() {
        return Err(format!("is {}, not a file of music", special(found.file_type())));
    }
    let (file, mut bytes) = head(path).map_err(message)?;
    let is_midi = bytes.starts_with(b"MThd") || bytes.starts_with(b"RIFF");
    let is_rolls = !is_midi && (has_extension(path, &[ROLLS]) || piano_rolls::is_piano_rolls(&bytes));
    let is_text = !is_midi && !is_rolls && (has_extension(path, &[SCORE]) || is_score(&bytes));
    if is_midi || is_text || is_rolls {
        let (limit, what) =
            if is_rolls { (MAX_ROLLS_BYTES, "piano rolls") } else { (MAX_FILE_BYTES, "music") };
        if found.len() > limit {
            let [bytes, limit] = [found.len(), limit].map(|bytes| bytes >> 20);
            return Err(format!("has {bytes} MB; a file of {what} has at most {limit} MB"));
        }
        file.take(limit).read_to_end(&mut bytes).map_err(message)?;
    }
    if is_rolls {
        let rolls = piano_rolls::parse(&bytes)?;
        let pieces = rolls.into_iter().map(|roll| {
            let song = roll.song(frame);
            Music { name: Some(roll.name), song, remarks: Vec::new() }
        });
        return Ok(pieces.collect());
    }
    if is_text {
        let (text, _) = text::decode(&bytes).ok_or("is not a text file: it has NUL characters")?;
        return Ok(vec![read_notation(&text)?]);
    }
    // The beginning suffices to report that a file is not MIDI.
    let song = midi::read(&bytes).map_err(|error| error.to_string())?;
    let refused = song.refused_by_pretty_midi;
    let remarks = refused.map(|why| format!("pretty_midi would not read it: {why}"));
    Ok(vec![Music { name: None, song, remarks: remarks.into_iter().collect() }])
}

fn read_notation(text: &str) -> Result<Music, String> {
    let score = notation::parse(text).map_err(|error| error.to_string())?;
    Ok(Music { name: None, song: score.into_song(), remarks: Vec::new() })
}

pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
}

/// The kind of something that is neither a file nor a folder.
pub(super) fn special(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The beginning of a file, and the file positioned after it.
pub(super) fn head(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((file, head))
}

pub(super) fn is_score(head: &[u8]) -> bool {
    text::decode(head).is_some_and(|(text, _)| notation::is_score(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_control_characters_stay_on_one_line() {
        assert_eq!(printable_name("suite 1\n/\u{1b}[31mprélude.mid"), "suite 1\\n/\\u{1b}[31mprélude.mid");
        assert_eq!(printable_name("音楽 \u{fffd}\\.mid"), "音楽 \u{fffd}\\.mid");
    }
}
