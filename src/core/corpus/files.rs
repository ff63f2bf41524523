//! The files of a corpus: which there are, and the notes in one. What notes mean for training is
//! [`load`](super::load)'s.

use std::path::{Path, PathBuf};

use super::{CorpusError, notation};
use crate::midi::{self, Instrument};
use crate::place;

/// `data.midi` of the Prelude that comes with the program.
pub const EMBEDDED: &str = "embedded";

/// The Prelude's name and text.
pub(super) const PRELUDE: (&str, &str) =
    ("bwv1007-prelude.txt", include_str!("../../../data/bwv1007-prelude.txt"));

/// The most folders inside one another that are looked through.
const DEEPEST: usize = 16;

/// A file of music, or the Prelude inside the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Path relative to the corpus folder, with forward slashes.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Where it lies; `None` for the Prelude inside the program.
    path: Option<PathBuf>,
}

impl Source {
    /// Its notes, or why it cannot be read.
    pub fn read(&self) -> Result<Vec<Instrument>, String> {
        match &self.path {
            Some(path) => read(path),
            None => read_notation(PRELUDE.1),
        }
    }
}

/// Every MIDI and notation file under `data.midi`, sorted by name. Of MIDI files nothing but the size is looked at.
pub fn list(root: &str) -> Result<Vec<Source>, CorpusError> {
    if root == EMBEDDED {
        return Ok(vec![Source { name: PRELUDE.0.into(), bytes: PRELUDE.1.len() as u64, path: None }]);
    }
    let fail = |reason: String| CorpusError::Path { path: root.to_owned(), reason };
    let path = &place::music(root)?;
    let found = std::fs::metadata(path).map_err(|error| {
        fail(match error.kind() {
            std::io::ErrorKind::NotFound => format!(
                "no such file or folder (bachdist data fetch {} gets the article's files; --set data.midi={EMBEDDED} needs \
                 none)",
                path.display()
            ),
            _ => error.to_string(),
        })
    })?;
    let mut files = Vec::new();
    if found.is_dir() {
        collect(path, "", 0, &mut files).map_err(|error| fail(error.to_string()))?;
        if files.is_empty() {
            return Err(fail("holds no .mid, .midi or .txt file".into()));
        }
        files.sort();
    } else {
        let name = path.file_name().map_or(root.into(), |name| name.to_string_lossy().into_owned());
        files.push(Source { name, bytes: found.len(), path: Some(path.into()) });
    }
    Ok(files)
}

fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<Source>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(file_name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            continue;
        };
        if file_name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{file_name}");
        // A link that leads nowhere is a file that cannot be read.
        let found = std::fs::metadata(&path).ok();
        if found.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            if depth < DEEPEST {
                collect(&path, &format!("{name}/"), depth + 1, files)?;
            }
        } else if is_midi(&path) || is_score(&path) {
            files.push(Source { name, bytes: found.map_or(0, |found| found.len()), path: Some(path) });
        }
    }
    Ok(())
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
}

fn is_midi(path: &Path) -> bool {
    has_extension(path, &["mid", "midi"])
}

/// Notation starts with a header line, so that a README.txt in a folder of music is no piece.
fn is_score(path: &Path) -> bool {
    has_extension(path, &["txt"])
        && std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line.starts_with("title:")))
}

/// Reads a MIDI file, or a score in notation.
pub fn read(path: &Path) -> Result<Vec<Instrument>, String> {
    if has_extension(path, &["txt"]) {
        return read_notation(&std::fs::read_to_string(path).map_err(|error| error.to_string())?);
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    midi::read(&bytes).map(|song| song.instruments).map_err(|error| error.to_string())
}

fn read_notation(text: &str) -> Result<Vec<Instrument>, String> {
    let score = notation::parse(text).map_err(|error| error.to_string())?;
    Ok(vec![Instrument { program: score.program, is_drum: false, name: score.title, notes: score.notes }])
}
