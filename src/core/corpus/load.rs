//! From files to pieces: every file of a folder, each to classes or to a line that says why not.
//!
//! [`survey`] reads everything and judges nothing, so that `data inspect` can list good and bad files alike;
//! [`Corpus::load`] is for training, and refuses files with anything wrong in them. Of a file that it has read
//! nothing stays but a byte for each note.

use super::files::{CorpusFile, Music, printable_name};
use super::listing::{self, Listing, PassedOver};
use super::windows::windows_of;
use super::{CLASSES, FIRST_PITCH, Piece, class_of};
use crate::config::{DataConfig, OutOfRange};
use crate::failure::{Code, ExitCode};
use crate::location::InvalidLocation;
use crate::midi::{Instrument, first_voice};
use crate::parallel::in_parallel;
use crate::process::cores;

/// The pieces that are trained on, and those held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// What training sees, sorted by name.
    pub training: Vec<Piece>,
    /// What it never sees, sorted by name.
    pub held_out: Vec<Piece>,
    /// What its reader should know: what was passed over, and what is not as it seems. One line each.
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

impl ExitCode for CorpusError {
    fn exit_code(&self) -> Code {
        match self {
            CorpusError::Place(_) => Code::Usage,
            _ => Code::Data,
        }
    }
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
    /// Notes outside the range that were dropped or moved.
    pub outside: usize,
    /// What its reader should know.
    pub remarks: Vec<String>,
}

/// What training needs of a readable file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// Classes of the notes used.
    pub classes: Vec<u8>,
    /// Whether they are keys of a drum track.
    pub are_drums: bool,
    /// Notes outside the range, which `data.out_of_range` drops or moves.
    pub outside: usize,
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
    /// Reads everything under `data.midi`, to train on windows of so many notes. All that is wrong is reported
    /// together.
    pub fn load(data: &DataConfig, length: usize) -> Result<Corpus, CorpusError> {
        let corpus = Corpus::read(data)?;
        corpus.require_windows(data, length)?;
        Ok(corpus)
    }

    /// Reads everything under `data.midi`, whatever it is to be used for.
    pub fn read(data: &DataConfig) -> Result<Corpus, CorpusError> {
        let listing = listing::list(&data.midi)?;
        let read = in_parallel(cores(), &listing.sources, |source| read_classes(source, data));
        Corpus::new(listing, read, data)
    }

    /// The corpus of these files, of each of which this was read.
    pub fn new(
        listing: Listing,
        read: Vec<Result<Classes, String>>,
        data: &DataConfig,
    ) -> Result<Corpus, CorpusError> {
        let Listing { sources, passed_over, mut remarks } = listing;
        let (mut wrong, mut pieces) = (Vec::new(), Vec::new());
        let (mut drums, mut beyond, mut outside_in_all) = (Vec::new(), Vec::new(), 0);
        for (CorpusFile { name, .. }, read) in sources.into_iter().zip(read) {
            match read {
                Ok(Classes { classes, are_drums, outside }) => {
                    if outside > 0 {
                        beyond.push(name.clone());
                        outside_in_all += outside;
                    }
                    if are_drums {
                        drums.push(name.clone());
                    }
                    pieces.push(Piece { name, classes });
                }
                Err(lines) => wrong.push(lines),
            }
        }
        if !wrong.is_empty() {
            return Err(CorpusError::Files(shortened(&wrong)));
        }
        if !passed_over.is_empty() {
            remarks.insert(0, passed_over.to_string());
        }
        if !drums.is_empty() {
            remarks.push(format!(
                "drums are taken for a melody in {}: it is the first track with notes",
                named(&drums)
            ));
        }
        if outside_in_all > 0 {
            let what = match data.out_of_range {
                OutOfRange::Transpose => "moves by octaves",
                OutOfRange::Drop | OutOfRange::Refuse => "leaves out",
            };
            remarks.push(format!(
                "data.out_of_range {what} notes outside {FIRST_PITCH}..={CLASSES}: {outside_in_all}, of {}",
                named(&beyond)
            ));
        }
        let (held_out, training) = split(pieces, &data.holdout)?;
        Ok(Corpus { training, held_out, remarks })
    }

    /// An error unless there is a window of so many notes to train on.
    pub fn require_windows(&self, data: &DataConfig, length: usize) -> Result<(), CorpusError> {
        let path = data.midi.clone();
        if self.training.is_empty() {
            return Err(CorpusError::AllHeldOut { path, pieces: self.held_out.len() });
        }
        if self.training.iter().all(|piece| windows_of(piece.classes.len(), length) == 0) {
            let which = if self.held_out.is_empty() { "" } else { " that is not held out" };
            return Err(CorpusError::Empty { path, length, purpose: "train", which });
        }
        Ok(())
    }
}

/// Some names, and how many more there are.
pub fn named<T: AsRef<str>>(names: &[T]) -> String {
    const MOST: usize = 3;
    let shown: Vec<&str> = names.iter().take(MOST).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
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

/// The pieces that a pattern names, and the others.
fn split(pieces: Vec<Piece>, holdout: &[String]) -> Result<(Vec<Piece>, Vec<Piece>), CorpusError> {
    let mut matched = vec![false; holdout.len()];
    let matchers: Vec<_> = holdout
        .iter()
        .map(|pattern| globset::Glob::new(pattern).map(|glob| glob.compile_matcher()))
        .collect::<Result<_, _>>()
        .map_err(|error| CorpusError::Holdout(error.to_string()))?;
    let parts = pieces.into_iter().partition(|piece| {
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
        None => Ok(parts),
    }
}

/// Reads every file under `data.midi`, sorted by name, and keeps of each what `keep` makes of it.
pub fn survey<T: Send>(
    data: &DataConfig,
    keep: impl Fn(Content) -> T + Sync,
) -> Result<Survey<T>, CorpusError> {
    let mut files = Vec::new();
    let (passed_over, remarks) = survey_each(data, keep, |file| -> Result<(), CorpusError> {
        files.push(file);
        Ok(())
    })?;
    Ok(Survey { files, passed_over, remarks })
}

/// The same, but each file goes to `each` as soon as it and all before it are read, so that few are in memory at once.
/// Gives back what else there was, and what the reader should know of names and links.
pub fn survey_each<T: Send, E: From<CorpusError>>(
    data: &DataConfig,
    keep: impl Fn(Content) -> T + Sync,
    mut each: impl FnMut(FileSurvey<T>) -> Result<(), E>,
) -> Result<(PassedOver, Vec<String>), E> {
    /// Files that a thread reads before they are handed on: some are longer than others.
    const FILES_A_THREAD: usize = 64;
    let read = |source: &CorpusFile| source.read().map(|music| keep(encode(music, data)));
    let Listing { sources, passed_over, remarks } = listing::list(&data.midi)?;
    let mut sources = sources.into_iter().peekable();
    while sources.peek().is_some() {
        let sources: Vec<CorpusFile> = sources.by_ref().take(FILES_A_THREAD * cores()).collect();
        let kept = in_parallel(cores(), &sources, read);
        for (CorpusFile { name, bytes, .. }, content) in sources.into_iter().zip(kept) {
            each(FileSurvey { name, bytes, content })?;
        }
    }
    Ok((passed_over, remarks))
}

/// A file's classes alone, or what is wrong with it: as many lines as are ever shown, and one that is not.
pub fn read_classes(source: &CorpusFile, data: &DataConfig) -> Result<Classes, String> {
    let line = |reason: &String| format!("{}: {reason}", printable_name(&source.name));
    let music = source.read().map_err(|reason| line(&reason))?;
    let Content { instruments, classes, problems, outside, .. } = encode(music, data);
    if problems.is_empty() {
        return Ok(Classes { classes, are_drums: are_drums(&instruments), outside });
    }
    Err(problems.iter().take(SHOWN + 1).map(line).collect::<Vec<_>>().join("\n"))
}

/// The first instrument's notes as classes.
fn encode(music: Music, data: &DataConfig) -> Content {
    let Music { instruments, mut remarks } = music;
    if are_drums(&instruments) {
        remarks.push("its first instrument is a drum track, whose keys are no melody".into());
    }
    let mut classes = Vec::new();
    let mut problems = Vec::new();
    let mut outside = 0;
    let notes = first_voice(&instruments);
    for (number, note) in notes.iter().enumerate() {
        if classes.len() + problems.len() == data.max_notes {
            break;
        }
        match (class_of(note.pitch), data.out_of_range) {
            (Some(class), _) => classes.push(class),
            (None, OutOfRange::Drop) => outside += 1,
            (None, OutOfRange::Transpose) => {
                outside += 1;
                classes.push(transposed(note.pitch));
            }
            (None, OutOfRange::Refuse) => problems.push(format!(
                "note {number}: pitch {} is outside {FIRST_PITCH}..={} (data.out_of_range = \"drop\" or \
                 \"transpose\" accepts it)",
                note.pitch, CLASSES
            )),
        }
    }
    Content { instruments, classes, problems, outside, remarks }
}

/// Whether what is learnt from are the keys of drums.
fn are_drums(instruments: &[Instrument]) -> bool {
    instruments.first().is_some_and(|instrument| instrument.is_drum)
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
        let music = Music { instruments: vec![instrument(pitches)], remarks: Vec::new() };
        encode(music, &DataConfig { out_of_range, max_notes, ..DataConfig::default() })
    }

    #[test]
    fn pitches_without_a_class() {
        let pitches = [0, 1, 79, 80, 127];
        let refused = encoded(&pitches, OutOfRange::Refuse, 10);
        assert_eq!(refused.classes, [0, 78]);
        assert_eq!(refused.problems.len(), 3);
        assert!(refused.problems[1].starts_with("note 3: pitch 80 is outside 1..=79"));
        let dropped = encoded(&pitches, OutOfRange::Drop, 10);
        assert_eq!((&dropped.classes[..], dropped.outside), (&[0, 78][..], 3));
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
            let data =
                DataConfig { midi: folder.path().join(file).display().to_string(), ..DataConfig::default() };
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
        let (held_out, training) = split(pieces(), &["cs6-*".into()]).unwrap();
        assert_eq!(names(&training), ["cs1-1pre.mid"]);
        assert_eq!(names(&held_out), ["cs6-1pre.mid", "cs6-2all.mid"]);
        assert_eq!(split(pieces(), &["cs1-1pre".into()]).unwrap().0.len(), 1);
        assert!(matches!(split(pieces(), &["cs7-*".into()]), Err(CorpusError::Holdout(p)) if p == "cs7-*"));
    }

    #[test]
    fn a_folder_is_read_by_name_and_a_bad_file_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("b/x.mid"), b"no midi").unwrap();
        std::fs::write(folder.path().join("a.txt"), PRELUDE.1).unwrap();
        std::fs::write(folder.path().join("README.txt"), "not music").unwrap();
        let data = DataConfig { midi: folder.path().display().to_string(), ..DataConfig::default() };
        let Survey { files, passed_over, .. } = survey(&data, |content| content).unwrap();
        assert_eq!(passed_over.to_string(), "passed over 1 file: 1 text without a score (README.txt)");
        let found: Vec<_> = files.iter().map(|f| (f.name.as_str(), f.content.is_ok())).collect();
        assert_eq!(found, [("a.txt", true), ("b/x.mid", false)]);
        assert!(Corpus::load(&data, 20).unwrap_err().to_string().starts_with("b/x.mid: "));
    }
}
