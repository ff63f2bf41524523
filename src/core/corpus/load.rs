//! Reading pieces: every file of a folder, each to classes or to a line that says why not.
//!
//! [`survey`] reads everything and judges nothing, so that `data inspect` can list good and bad files alike;
//! [`Corpus::load`] is for training, and refuses a survey with anything wrong in it.

use std::path::{Path, PathBuf};

use super::{CLASSES, FIRST_PITCH, Piece, class_of, notation};
use crate::config::{Data, OutOfRange};
use crate::midi::{self, Instrument, first_voice};

/// `data.midi` of the Prelude that comes with the program.
pub const EMBEDDED: &str = "embedded";

const PRELUDE: (&str, &str) = ("bwv1007-prelude.txt", include_str!("../../../data/bwv1007-prelude.txt"));

/// The most folders inside one another that are looked through.
const DEEPEST: usize = 16;

/// The pieces that are trained on, and those held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// What training sees, sorted by name.
    pub training: Vec<Piece>,
    /// What it never sees, sorted by name.
    pub held_out: Vec<Piece>,
}

/// Why there is no corpus.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The path itself cannot be read.
    #[error("{path}: {reason}")]
    Path {
        /// `data.midi`.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Some of its files cannot be used.
    #[error("{}", .0.join("\n"))]
    Files(Vec<String>),
    /// No piece is long enough for a window.
    #[error("{path}: no piece has more than {length} notes, so there is no window to train on")]
    Empty {
        /// `data.midi`.
        path: String,
        /// Notes of a window.
        length: usize,
    },
    /// A `data.holdout` pattern that no piece has.
    #[error("data.holdout: {0:?} matches no piece (see bachdist data inspect for their names)")]
    Holdout(String),
}

/// What was found in one file.
#[derive(Debug, Clone)]
pub struct FileSurvey {
    /// Path relative to the corpus folder, with forward slashes.
    pub name: String,
    /// Its notes, or why it cannot be read.
    pub content: Result<Content, String>,
}

/// The notes of a readable file.
#[derive(Debug, Clone)]
pub struct Content {
    /// All of them, in pretty_midi's order.
    pub instruments: Vec<Instrument>,
    /// Classes of the notes used: those of the first instrument, up to `max_notes`.
    pub classes: Vec<u8>,
    /// Notes that have no class, each with its number (from 0) and pitch.
    pub problems: Vec<String>,
}

impl Content {
    /// Notes of the instrument that is learnt from.
    pub fn notes(&self) -> usize {
        first_voice(&self.instruments).len()
    }
}

impl Corpus {
    /// Reads everything under `data.midi`, to train on windows of so many notes. All that is wrong is reported
    /// together.
    pub fn load(data: &Data, length: usize) -> Result<Corpus, CorpusError> {
        let files = survey(data)?;
        let mut wrong = Vec::new();
        let mut pieces = Vec::new();
        for file in files {
            match file.content {
                Err(reason) => wrong.push(format!("{}: {reason}", file.name)),
                Ok(content) => {
                    wrong.extend(content.problems.iter().map(|problem| format!("{}: {problem}", file.name)));
                    pieces.push(Piece { name: file.name, classes: content.classes });
                }
            }
        }
        if !wrong.is_empty() {
            return Err(CorpusError::Files(shortened(wrong)));
        }
        let corpus = split(pieces, &data.holdout)?;
        if super::windows::Windows::new(&corpus.training, length).is_empty() {
            return Err(CorpusError::Empty { path: data.midi.clone(), length });
        }
        Ok(corpus)
    }
}

/// The first few of many lines and how many more there were.
fn shortened(mut lines: Vec<String>) -> Vec<String> {
    const SHOWN: usize = 10;
    if lines.len() > SHOWN {
        let more = lines.len() - SHOWN;
        lines.truncate(SHOWN);
        lines.push(format!("and {more} more (bachdist data inspect lists them)"));
    }
    lines
}

fn split(pieces: Vec<Piece>, holdout: &[String]) -> Result<Corpus, CorpusError> {
    let mut matched = vec![false; holdout.len()];
    let matchers: Vec<_> = holdout
        .iter()
        .map(|pattern| globset::Glob::new(pattern).map(|glob| glob.compile_matcher()))
        .collect::<Result<_, _>>()
        .map_err(|error| CorpusError::Holdout(error.to_string()))?;
    let (held_out, training) = pieces.into_iter().partition(|piece| {
        let stem = piece.name.rsplit_once('.').map_or(piece.name.as_str(), |(stem, _)| stem);
        let mut found = false;
        for (matcher, matched) in matchers.iter().zip(&mut matched) {
            if matcher.is_match(&piece.name) || matcher.is_match(stem) {
                (*matched, found) = (true, true);
            }
        }
        found
    });
    match matched.iter().position(|&matched| !matched) {
        Some(index) => Err(CorpusError::Holdout(holdout[index].clone())),
        None => Ok(Corpus { training, held_out }),
    }
}

/// Reads every MIDI and notation file under `data.midi`, sorted by name.
pub fn survey(data: &Data) -> Result<Vec<FileSurvey>, CorpusError> {
    if data.midi == EMBEDDED {
        let content = read_notation(PRELUDE.1).map(|instruments| encode(instruments, data));
        return Ok(vec![FileSurvey { name: PRELUDE.0.into(), content }]);
    }
    let files = find(&data.midi)?;
    Ok(files
        .into_iter()
        .map(|(name, path)| FileSurvey {
            content: read(&path).map(|instruments| encode(instruments, data)),
            name,
        })
        .collect())
}

/// Names and paths of the files of a corpus, sorted by name.
fn find(root: &str) -> Result<Vec<(String, PathBuf)>, CorpusError> {
    let fail = |reason: String| CorpusError::Path { path: root.to_owned(), reason };
    let path = Path::new(root);
    let kind = std::fs::metadata(path).map_err(|error| {
        fail(match error.kind() {
            std::io::ErrorKind::NotFound => format!(
                "no such file or folder (bachdist data fetch {root} gets the article's files; \
                 --set data.midi={EMBEDDED} needs none)"
            ),
            _ => error.to_string(),
        })
    })?;
    let mut files = Vec::new();
    if kind.is_dir() {
        collect(path, "", 0, &mut files).map_err(|error| fail(error.to_string()))?;
        if files.is_empty() {
            return Err(fail("holds no .mid, .midi or .txt file".into()));
        }
        files.sort();
    } else {
        let name = path.file_name().map_or(root.into(), |name| name.to_string_lossy().into_owned());
        files.push((name, path.into()));
    }
    Ok(files)
}

fn collect(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<(String, PathBuf)>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(file_name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            continue;
        };
        if file_name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{file_name}");
        if path.is_dir() {
            if depth < DEEPEST {
                collect(&path, &format!("{name}/"), depth + 1, files)?;
            }
        } else if is_midi(&path) || is_score(&path) {
            files.push((name, path));
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

/// The first instrument's notes as classes.
fn encode(instruments: Vec<Instrument>, data: &Data) -> Content {
    let mut classes = Vec::new();
    let mut problems = Vec::new();
    let notes = first_voice(&instruments);
    for (number, note) in notes.iter().enumerate() {
        if classes.len() + problems.len() == data.max_notes {
            break;
        }
        match (class_of(note.pitch), data.out_of_range) {
            (Some(class), _) => classes.push(class),
            (None, OutOfRange::Drop) => {}
            (None, OutOfRange::Transpose) => classes.push(transposed(note.pitch)),
            (None, OutOfRange::Refuse) => problems.push(format!(
                "note {number}: pitch {} is outside {FIRST_PITCH}..={} (data.out_of_range = \"drop\" or \
                 \"transpose\" accepts it)",
                note.pitch, CLASSES
            )),
        }
    }
    Content { instruments, classes, problems }
}

/// The class of a pitch moved by octaves to the nearest that has one.
fn transposed(pitch: u8) -> u8 {
    let mut pitch = pitch;
    loop {
        match class_of(pitch) {
            Some(class) => return class,
            None if pitch < FIRST_PITCH => pitch += 12,
            None => pitch -= 12,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::midi::Note;

    fn instrument(pitches: &[u8]) -> Instrument {
        let notes = pitches.iter().enumerate().map(|(i, &pitch)| Note {
            pitch,
            velocity: 100,
            start: i as f64,
            end: i as f64 + 1.0,
        });
        Instrument { program: 42, is_drum: false, name: String::new(), notes: notes.collect() }
    }

    fn encoded(pitches: &[u8], out_of_range: OutOfRange, max_notes: usize) -> Content {
        encode(vec![instrument(pitches)], &Data { out_of_range, max_notes, ..Data::default() })
    }

    #[test]
    fn pitches_without_a_class() {
        let pitches = [0, 1, 79, 80, 127];
        let refused = encoded(&pitches, OutOfRange::Refuse, 10);
        assert_eq!(refused.classes, [0, 78]);
        assert_eq!(refused.problems.len(), 3);
        assert!(refused.problems[1].starts_with("note 3: pitch 80 is outside 1..=79"));
        assert_eq!(encoded(&pitches, OutOfRange::Drop, 10).classes, [0, 78]);
        assert_eq!(encoded(&pitches, OutOfRange::Transpose, 10).classes, [11, 0, 78, 67, 78]);
    }

    #[test]
    fn only_notes_that_are_used_can_be_problems() {
        let content = encoded(&[60, 61, 80], OutOfRange::Refuse, 2);
        assert_eq!((content.classes.len(), content.problems.len(), content.notes()), (2, 0, 3));
    }

    #[test]
    fn pieces_are_held_out_by_name_or_glob() {
        let piece = |name: &str| Piece { name: name.into(), classes: vec![] };
        let pieces = || vec![piece("cs1-1pre.mid"), piece("cs6-1pre.mid"), piece("cs6-2all.mid")];
        let names = |pieces: &[Piece]| pieces.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let corpus = split(pieces(), &["cs6-*".into()]).unwrap();
        assert_eq!(names(&corpus.training), ["cs1-1pre.mid"]);
        assert_eq!(names(&corpus.held_out), ["cs6-1pre.mid", "cs6-2all.mid"]);
        assert_eq!(split(pieces(), &["cs1-1pre".into()]).unwrap().held_out.len(), 1);
        assert!(matches!(split(pieces(), &["cs7-*".into()]), Err(CorpusError::Holdout(p)) if p == "cs7-*"));
    }

    #[test]
    fn a_folder_is_read_by_name_and_a_bad_file_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("b/x.mid"), b"no midi").unwrap();
        std::fs::write(folder.path().join("a.txt"), PRELUDE.1).unwrap();
        std::fs::write(folder.path().join("README.txt"), "not music").unwrap();
        let data = Data { midi: folder.path().display().to_string(), ..Data::default() };
        let files = survey(&data).unwrap();
        let found: Vec<_> = files.iter().map(|f| (f.name.as_str(), f.content.is_ok())).collect();
        assert_eq!(found, [("a.txt", true), ("b/x.mid", false)]);
        assert!(Corpus::load(&data, 20).unwrap_err().to_string().starts_with("b/x.mid: "));
    }
}
