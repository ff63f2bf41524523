//! From files to pieces: the pieces of each file become tokens, or a line says why it cannot be used.
//!
//! [`survey`] reads everything and judges nothing, so that `data inspect` can list good and bad files alike.
//! [`Corpus::load`] is for training, and refuses files with anything wrong in them. It keeps nothing of a file but its
//! tokens.

use globset::{Glob, GlobMatcher};

use super::Piece;
use super::files::{CorpusFile, Music, printable_name};
use super::listing::{self, Listing, PassedOver};
use super::windows::windows_of;
use crate::config::DataConfig;
use crate::failure::{ExitCode, HasExitCode};
use crate::location::InvalidLocation;
use crate::midi::Song;
use crate::parallel::in_parallel;
use crate::print::WorkBar;
use crate::process::cores;
use crate::representation::{Encoded, Representation};

/// The pieces that are trained on, and those held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// Sorted by name.
    pub training: Vec<Piece>,
    /// Sorted by name.
    pub held_out: Vec<Piece>,
    /// What people should know about it: what was passed over, and what is not as it seems. One line each.
    pub remarks: Vec<String>,
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
    Place(#[from] InvalidLocation),
    /// Some of its files cannot be used.
    #[error("{}", .0.join("\n"))]
    Files(Vec<String>),
    /// No piece is long enough for a window.
    #[error(
        "{path}: no piece{which} has more than {length} notes that can be used, so there is no window to {purpose} on"
    )]
    Empty {
        /// `data.midi`.
        path: String,
        /// Notes of a window.
        length: usize,
        /// What windows are for: `train` or `evaluate`.
        purpose: &'static str,
        /// Which pieces count, after the word; empty if all do.
        which: &'static str,
    },
    /// Nothing is left to train on.
    #[error("{path}: data.holdout holds all {pieces} pieces out, so there is none to train on")]
    AllHeldOut {
        /// `data.midi`.
        path: String,
        /// How many there are.
        pieces: usize,
    },
    /// A `data.holdout` pattern that no piece has.
    #[error("data.holdout: {0:?} matches no piece (see bachdist data inspect for their names)")]
    Holdout(String),
}

impl HasExitCode for CorpusError {
    fn exit_code(&self) -> ExitCode {
        match self {
            CorpusError::Place(_) => ExitCode::Usage,
            _ => ExitCode::Data,
        }
    }
}

/// A piece as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPiece {
    /// Its name in the corpus.
    pub name: String,
    /// Its tokens, without problems.
    pub encoded: Encoded,
}

/// What was found in one file, or of one piece in a file of many.
#[derive(Debug, Clone)]
pub struct FileSurvey<T> {
    /// The piece's name in the corpus, see [`Piece::name`].
    pub name: String,
    /// The file's size; 0 for all pieces of a file but the first, so that sums are right.
    pub bytes: u64,
    /// What was kept of its content, or why it cannot be read.
    pub content: Result<T, String>,
}

/// A readable file.
#[derive(Debug, Clone)]
pub struct Content {
    /// All notes, in pretty_midi's order.
    pub song: Song,
    /// Those that are used, as tokens.
    pub encoded: Encoded,
    /// What people should know about it.
    pub remarks: Vec<String>,
}

/// What was found in a folder.
#[derive(Debug, Clone)]
pub struct Survey<T> {
    /// Each file of music, sorted by name.
    pub files: Vec<FileSurvey<T>>,
    /// What else there was.
    pub passed_over: PassedOver,
    /// What the reader should know of names and links.
    pub remarks: Vec<String>,
}

impl Corpus {
    /// Reads everything under `data.midi`, for training on windows of this length. Reports all problems together.
    pub fn load(
        data: &DataConfig,
        representation: &dyn Representation,
        length: usize,
    ) -> Result<Corpus, CorpusError> {
        let corpus = Corpus::read(data, representation)?;
        corpus.require_windows(data, length)?;
        Ok(corpus)
    }

    /// Reads everything under `data.midi`, for any use.
    pub fn read(data: &DataConfig, representation: &dyn Representation) -> Result<Corpus, CorpusError> {
        let listing = listing::list(&data.midi)?;
        let bar = WorkBar::new("reading music", listing.sources.len() as u64);
        let encode = |source: &CorpusFile| {
            let encoded = encode_file(source, data, representation);
            bar.add(1);
            encoded
        };
        let encoded = in_parallel(cores(), &listing.sources, encode);
        Corpus::new(listing, encoded, data, representation)
    }

    /// The corpus of these files, given what [`encode_file`] says of each.
    pub fn new(
        listing: Listing,
        encoded: Vec<Result<Vec<EncodedPiece>, String>>,
        data: &DataConfig,
        representation: &dyn Representation,
    ) -> Result<Corpus, CorpusError> {
        let Listing { passed_over, mut remarks, .. } = listing;
        let (mut wrong, mut pieces) = (Vec::new(), Vec::new());
        let (mut drums, mut altered, mut altered_notes) = (Vec::new(), Vec::new(), 0);
        for file in encoded {
            let file = match file {
                Ok(file) => file,
                Err(lines) => {
                    wrong.push(lines);
                    continue;
                }
            };
            for EncodedPiece { name, encoded } in file {
                if encoded.altered > 0 {
                    altered.push(name.clone());
                    altered_notes += encoded.altered;
                }
                if encoded.is_drum {
                    drums.push(name.clone());
                }
                pieces.push(Piece { name, tokens: encoded.tokens });
            }
        }
        pieces.sort_by(|a, b| a.name.cmp(&b.name));
        if !wrong.is_empty() {
            return Err(CorpusError::Files(shortened(&wrong)));
        }
        if !passed_over.is_empty() {
            remarks.insert(0, passed_over.to_string());
        }
        if !drums.is_empty() {
            remarks.push(format!(
                "drums are taken for a melody in {}: they are the first track with notes",
                list_some(&drums)
            ));
        }
        if altered_notes > 0 {
            let what = representation.alteration();
            remarks.push(format!("{what}: {altered_notes}, of {}", list_some(&altered)));
        }
        let (held_out, training) = split(pieces, &data.holdout)?;
        Ok(Corpus { training, held_out, remarks })
    }

    /// An error unless there is a window of this length to train on.
    pub fn require_windows(&self, data: &DataConfig, length: usize) -> Result<(), CorpusError> {
        let path = data.midi.clone();
        if self.training.is_empty() {
            return Err(CorpusError::AllHeldOut { path, pieces: self.held_out.len() });
        }
        if self.training.iter().all(|piece| windows_of(piece.tokens.len(), length) == 0) {
            let which = if self.held_out.is_empty() { "" } else { " that is not held out" };
            return Err(CorpusError::Empty { path, length, purpose: "train", which });
        }
        Ok(())
    }
}

/// The first names, and how many more there are.
pub fn list_some<T: AsRef<str>>(names: &[T]) -> String {
    const MAX_NAMES: usize = 3;
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A message about files has no more lines: one wrong setting can make thousands.
const MAX_LINES: usize = 10;

/// The first lines of all, and how many files they stand for.
fn shortened(wrong: &[String]) -> Vec<String> {
    let mut lines = wrong.iter().flat_map(|lines| lines.lines()).map(str::to_owned);
    let mut shown: Vec<_> = lines.by_ref().take(MAX_LINES).collect();
    if lines.next().is_some() {
        let files = wrong.len();
        shown.push(format!("and more; files that cannot be used: {files} (bachdist data inspect lists all)"));
    }
    shown
}

/// The pieces that the patterns name, and the others.
fn split(pieces: Vec<Piece>, holdout: &[String]) -> Result<(Vec<Piece>, Vec<Piece>), CorpusError> {
    let mut matched = vec![false; holdout.len()];
    let matchers = compile(holdout).map_err(|error| CorpusError::Holdout(error.to_string()))?;
    let parts = pieces.into_iter().partition(|piece| {
        let mut found = false;
        for (matcher, matched) in matchers.iter().zip(&mut matched) {
            if names(matcher, &piece.name) {
                (*matched, found) = (true, true);
            }
        }
        found
    });
    match matched.iter().position(|&matched| !matched) {
        Some(index) => Err(CorpusError::Holdout(holdout[index].clone())),
        None => Ok(parts),
    }
}

fn compile(patterns: &[String]) -> Result<Vec<GlobMatcher>, globset::Error> {
    patterns.iter().map(|pattern| Ok(Glob::new(pattern)?.compile_matcher())).collect()
}

/// Whether a pattern names a piece, with the ending of its file or without.
fn names(matcher: &GlobMatcher, piece: &str) -> bool {
    let stem = piece.rsplit_once('.').map_or(piece, |(stem, _)| stem);
    matcher.is_match(piece) || matcher.is_match(stem)
}

/// The pieces of a file that `data.exclude` does not name.
fn read_pieces(
    source: &CorpusFile,
    data: &DataConfig,
    representation: &dyn Representation,
) -> Result<Vec<(String, Music)>, String> {
    let excluded = compile(&data.exclude).map_err(|error| format!("data.exclude: {error}"))?;
    let is_excluded = |name: &str| excluded.iter().any(|matcher| names(matcher, name));
    if is_excluded(&source.name) {
        return Ok(Vec::new());
    }
    let pieces = source.read(representation.frame())?.into_iter();
    let named = pieces.map(|music| (source.piece_name(music.name.as_deref()), music));
    Ok(named.filter(|(name, _)| !is_excluded(name)).collect())
}

/// Reads every file under `data.midi`, sorted by name, and keeps of each what `keep` makes of it.
pub fn survey<T: Send>(
    data: &DataConfig,
    representation: &dyn Representation,
    keep: impl Fn(Content) -> T + Sync,
) -> Result<Survey<T>, CorpusError> {
    let mut files = Vec::new();
    let (passed_over, remarks) =
        survey_each(data, representation, keep, |file| -> Result<(), CorpusError> {
            files.push(file);
            Ok(())
        })?;
    Ok(Survey { files, passed_over, remarks })
}

/// Like [`survey`], but passes each file to `each` as soon as it and all before it are read, so that few are in memory at
/// once. Returns what was passed over, and what people should know about names and links.
pub fn survey_each<T: Send, E: From<CorpusError>>(
    data: &DataConfig,
    representation: &dyn Representation,
    keep: impl Fn(Content) -> T + Sync,
    mut each: impl FnMut(FileSurvey<T>) -> Result<(), E>,
) -> Result<(PassedOver, Vec<String>), E> {
    /// Files that a thread reads before the next ones are begun. Some files are much longer than others, so each thread
    /// has many.
    const FILES_PER_THREAD: usize = 64;
    let read = |source: &CorpusFile| -> Result<Vec<(String, T)>, String> {
        let mut pieces = Vec::new();
        for (name, Music { song, mut remarks, .. }) in read_pieces(source, data, representation)? {
            let encoded = representation.encode(&song, data.max_notes);
            if encoded.is_drum {
                remarks.push("its first instrument is a drum track, whose keys are no melody".into());
            }
            pieces.push((name, keep(Content { song, encoded, remarks })));
        }
        Ok(pieces)
    };
    let Listing { sources, passed_over, remarks } = listing::list(&data.midi)?;
    let bar = WorkBar::new("reading music", sources.len() as u64);
    let mut sources = sources.into_iter().peekable();
    while sources.peek().is_some() {
        let sources: Vec<CorpusFile> = sources.by_ref().take(FILES_PER_THREAD * cores()).collect();
        let kept = in_parallel(cores(), &sources, read);
        bar.add(sources.len() as u64);
        // Files may be printed.
        bar.suspend(|| {
            for (CorpusFile { name, mut bytes, .. }, pieces) in sources.into_iter().zip(kept) {
                match pieces {
                    Err(reason) => each(FileSurvey { name, bytes, content: Err(reason) })?,
                    Ok(pieces) => {
                        for (name, content) in pieces {
                            let bytes = std::mem::take(&mut bytes);
                            each(FileSurvey { name, bytes, content: Ok(content) })?;
                        }
                    }
                }
            }
            Ok::<(), E>(())
        })?;
    }
    Ok((passed_over, remarks))
}

/// The pieces of a file as tokens, or what is wrong with it: one line more than is ever shown, so that [`Corpus::new`] knows
/// that there are more.
pub fn encode_file(
    source: &CorpusFile,
    data: &DataConfig,
    representation: &dyn Representation,
) -> Result<Vec<EncodedPiece>, String> {
    let read = read_pieces(source, data, representation);
    let (mut pieces, mut problems) = (Vec::new(), Vec::new());
    for (name, music) in read.map_err(|reason| format!("{}: {reason}", printable_name(&source.name)))? {
        let encoded = representation.encode(&music.song, data.max_notes);
        for problem in encoded.problems.iter().take(MAX_LINES + 1 - problems.len()) {
            problems.push(format!("{}: {problem}", printable_name(&name)));
        }
        pieces.push(EncodedPiece { name, encoded });
    }
    if problems.is_empty() { Ok(pieces) } else { Err(problems.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::super::files::PRELUDE;
    use super::*;
    use crate::midi::{Instrument, Note};
    use crate::representation::RepresentationConfig;

    fn instrument(pitches: &[u8]) -> Instrument {
        let notes = pitches
            .iter()
            .enumerate()
            .map(|(i, &pitch)| Note::in_seconds(pitch, 100, i as f64, i as f64 + 1.0));
        Instrument { program: 42, is_drum: false, name: String::new(), notes: notes.collect() }
    }

    fn load(midi: String) -> Result<Corpus, CorpusError> {
        let data = DataConfig { midi, ..DataConfig::default() };
        Corpus::load(&data, &*RepresentationConfig::default().build(), 20)
    }

    #[test]
    fn of_many_problems_the_first_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for (name, high) in [("a.mid", 10), ("b.mid", 11)] {
            let bytes = crate::midi::write(&Song::in_seconds(vec![instrument(&vec![100; high])]), &[]);
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let told = |file: &str| {
            let error = load(folder.path().join(file).display().to_string()).unwrap_err();
            error.to_string().lines().map(str::to_owned).collect::<Vec<_>>()
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
        let piece = |name: &str| Piece { name: name.into(), tokens: vec![] };
        let pieces = || vec![piece("cs1-1pre.mid"), piece("cs6-1pre.mid"), piece("cs6-2all.mid")];
        let names = |pieces: &[Piece]| pieces.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let (held_out, training) = split(pieces(), &["cs6-*".into()]).unwrap();
        assert_eq!(names(&training), ["cs1-1pre.mid"]);
        assert_eq!(names(&held_out), ["cs6-1pre.mid", "cs6-2all.mid"]);
        assert_eq!(split(pieces(), &["cs1-1pre".into()]).unwrap().0.len(), 1);
        assert!(matches!(split(pieces(), &["cs7-*".into()]), Err(CorpusError::Holdout(p)) if p == "cs7-*"));
    }

    #[test]
    fn excluded_pieces_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let rolls = r#"{"train": [[[60], [62]]], "valid": [[[64]]], "test": [[[100]]]}"#;
        std::fs::write(folder.path().join("set.json"), rolls).unwrap();
        std::fs::write(folder.path().join("broken.mid"), b"no midi").unwrap();
        let midi = folder.path().display().to_string();
        let names = |exclude: &[&str]| {
            let exclude = exclude.iter().map(|&pattern| pattern.to_owned()).collect();
            let data = DataConfig { midi: midi.clone(), exclude, ..DataConfig::default() };
            let corpus = Corpus::read(&data, &*RepresentationConfig::default().build())?;
            Ok::<_, CorpusError>(corpus.training.into_iter().map(|piece| piece.name).collect::<Vec<_>>())
        };
        let test = "set.json/test/*";
        assert!(matches!(names(&[]), Err(CorpusError::Files(_))));
        assert!(matches!(names(&[test]), Err(CorpusError::Files(_))));
        assert_eq!(names(&[test, "broken", "none"]).unwrap(), ["set.json/train/0", "set.json/valid/0"]);
    }

    #[test]
    fn a_folder_is_read_by_name_and_a_bad_file_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("b/x.mid"), b"no midi").unwrap();
        std::fs::write(folder.path().join("a.txt"), PRELUDE.1).unwrap();
        std::fs::write(folder.path().join("README.txt"), "not music").unwrap();
        let data = DataConfig { midi: folder.path().display().to_string(), ..DataConfig::default() };
        let representation = RepresentationConfig::default().build();
        let Survey { files, passed_over, .. } = survey(&data, &*representation, |content| content).unwrap();
        assert_eq!(passed_over.to_string(), "skipped 1 file: 1 text without a score (README.txt)");
        let found: Vec<_> = files.iter().map(|f| (f.name.as_str(), f.content.is_ok())).collect();
        assert_eq!(found, [("a.txt", true), ("b/x.mid", false)]);
        assert!(load(data.midi).unwrap_err().to_string().starts_with("b/x.mid: "));
    }
}
