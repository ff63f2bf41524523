//! From files to pieces: every file of a folder, each to classes or to a line that says why not.
//!
//! [`survey`] reads everything and judges nothing, so that `data inspect` can list good and bad files alike;
//! [`Corpus::load`] is for training, and refuses files with anything wrong in them. Of a file that it has read
//! nothing stays but a byte for each note.

use super::files::{self, Source};
use super::{CLASSES, FIRST_PITCH, Piece, class_of};
use crate::config::{Data, OutOfRange};
use crate::midi::{Instrument, first_voice};
use crate::parallel::{cores, in_parallel};
use crate::place::NoPlace;

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
    /// It names no place that music is read from.
    #[error(transparent)]
    Place(#[from] NoPlace),
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
pub struct FileSurvey<T> {
    /// Path relative to the corpus folder, with forward slashes.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What was kept of its content, or why it cannot be read.
    pub content: Result<T, String>,
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

impl Corpus {
    /// Reads everything under `data.midi`, to train on windows of so many notes. All that is wrong is reported
    /// together.
    pub fn load(data: &Data, length: usize) -> Result<Corpus, CorpusError> {
        let sources = files::list(&data.midi)?;
        let read = in_parallel(cores(), &sources, |source| read_classes(source, data));
        Corpus::new(sources, read, data, length)
    }

    /// The corpus of these files, of each of which this was read.
    pub fn new(
        sources: Vec<Source>,
        read: Vec<Result<Vec<u8>, String>>,
        data: &Data,
        length: usize,
    ) -> Result<Corpus, CorpusError> {
        let mut wrong = Vec::new();
        let mut pieces = Vec::new();
        for (Source { name, .. }, read) in sources.into_iter().zip(read) {
            match read {
                Ok(classes) => pieces.push(Piece { name, classes }),
                Err(lines) => wrong.push(lines),
            }
        }
        if !wrong.is_empty() {
            return Err(CorpusError::Files(shortened(&wrong)));
        }
        let corpus = split(pieces, &data.holdout)?;
        if super::windows::Windows::new(&corpus.training, length).is_empty() {
            return Err(CorpusError::Empty { path: data.midi.clone(), length });
        }
        Ok(corpus)
    }
}

/// Lines that a message about files has at most, so that one wrong setting does not make thousands.
const SHOWN: usize = 10;

/// The first lines of all, and what the rest is.
fn shortened(wrong: &[String]) -> Vec<String> {
    let mut lines = wrong.iter().flat_map(|lines| lines.lines()).map(str::to_owned);
    let mut shown: Vec<_> = lines.by_ref().take(SHOWN).collect();
    if lines.next().is_some() {
        let files = wrong.len();
        shown.push(format!("and more; files that cannot be used: {files} (bachdist data inspect lists all)"));
    }
    shown
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

/// Reads every file under `data.midi`, sorted by name, and keeps of each what `keep` makes of it.
pub fn survey<T: Send>(
    data: &Data,
    keep: impl Fn(Content) -> T + Sync,
) -> Result<Vec<FileSurvey<T>>, CorpusError> {
    let mut files = Vec::new();
    survey_each(data, keep, |file| -> Result<(), CorpusError> {
        files.push(file);
        Ok(())
    })?;
    Ok(files)
}

/// The same, but each goes to `each` as soon as it and all before it are read, so that few are in memory at once.
pub fn survey_each<T: Send, E: From<CorpusError>>(
    data: &Data,
    keep: impl Fn(Content) -> T + Sync,
    mut each: impl FnMut(FileSurvey<T>) -> Result<(), E>,
) -> Result<(), E> {
    /// Files that a thread reads before they are handed on: some are longer than others.
    const FILES_A_THREAD: usize = 64;
    let read = |source: &Source| source.read().map(|instruments| keep(encode(instruments, data)));
    let mut sources = files::list(&data.midi)?.into_iter().peekable();
    while sources.peek().is_some() {
        let sources: Vec<Source> = sources.by_ref().take(FILES_A_THREAD * cores()).collect();
        let kept = in_parallel(cores(), &sources, read);
        for (Source { name, bytes, .. }, content) in sources.into_iter().zip(kept) {
            each(FileSurvey { name, bytes, content })?;
        }
    }
    Ok(())
}

/// A file's classes alone, or what is wrong with it: as many lines as are ever shown, and one that is not.
pub fn read_classes(source: &Source, data: &Data) -> Result<Vec<u8>, String> {
    let line = |reason: &String| format!("{}: {reason}", source.name);
    let instruments = source.read().map_err(|reason| line(&reason))?;
    let Content { classes, problems, .. } = encode(instruments, data);
    if problems.is_empty() {
        return Ok(classes);
    }
    Err(problems.iter().take(SHOWN + 1).map(line).collect::<Vec<_>>().join("\n"))
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
    use super::super::files::PRELUDE;
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
        assert_eq!(
            (content.classes.len(), content.problems.len(), content.instruments[0].notes.len()),
            (2, 0, 3)
        );
    }

    #[test]
    fn of_many_problems_the_first_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for (name, high) in [("a.mid", 10), ("b.mid", 11)] {
            let bytes = crate::midi::write(&[instrument(&vec![100; high])], &[]);
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let told = |file: &str| {
            let data = Data { midi: folder.path().join(file).display().to_string(), ..Data::default() };
            Corpus::load(&data, 20).unwrap_err().to_string().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(told("a.mid").len(), 10);
        assert!(told("a.mid")[9].starts_with("a.mid: note 9: pitch 100 is outside"));
        let more =
            |files| format!("and more; files that cannot be used: {files} (bachdist data inspect lists all)");
        assert_eq!(told("b.mid")[10], more(1));
        assert_eq!((told("").len(), &told("")[10]), (11, &more(2)));
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
        let files = survey(&data, |content| content).unwrap();
        let found: Vec<_> = files.iter().map(|f| (f.name.as_str(), f.content.is_ok())).collect();
        assert_eq!(found, [("a.txt", true), ("b/x.mid", false)]);
        assert!(Corpus::load(&data, 20).unwrap_err().to_string().starts_with("b/x.mid: "));
    }
}
