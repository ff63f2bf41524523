//! The files of a corpus: which there are, the notes in one, and an account of what was passed over. What notes mean
//! for training is [`load`](super::load)'s.
//!
//! Nothing but plain files is ever opened, and of a file that does not begin like music no more than its beginning is
//! read. What is found depends on names and kinds alone, not on the order in which a folder is listed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirEntry, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{CorpusError, notation};
use crate::location;
use crate::midi::{self, Instrument};
use crate::text;

/// `data.midi` of the Prelude that comes with the program.
pub const EMBEDDED: &str = "embedded";

/// The Prelude's name and text.
pub(super) const PRELUDE: (&str, &str) = ("bwv1007-prelude.txt", include_str!("../data/bwv1007-prelude.txt"));

/// Endings of MIDI files: plain ones, karaoke, and those wrapped in RIFF.
const MIDI: [&str; 5] = ["mid", "midi", "kar", "smf", "rmi"];

/// The ending of scores in notation.
const SCORE: &str = "txt";

/// So much of a file is read to see whether it is music. Scores begin with a header, and perhaps a long comment.
const HEAD_BYTES: u64 = 64 << 10;

/// Music is no larger: a MIDI file of this size has some sixty million notes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Names told of each kind of what was passed over.
const SHOWN: usize = 3;

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

/// What a file of music holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Music {
    /// In pretty_midi's order.
    pub instruments: Vec<Instrument>,
    /// What its reader should know.
    pub remarks: Vec<String>,
}

/// The files of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those to read, sorted by name.
    pub sources: Vec<Source>,
    /// What else there was.
    pub passed_over: PassedOver,
    /// What the reader should know of names and links.
    pub remarks: Vec<String>,
}

/// Why something in a folder of music is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its ending is none of music.
    NotMusic,
    /// A text that does not begin like a score.
    NotScore,
    /// Its name begins with a dot.
    Hidden,
    /// No plain file: a pipe, socket or device.
    Special,
    /// A reached under another name, or to a folder that it lies in.
    Repeated,
    /// The system does not let us look.
    Unreadable,
}

/// What was passed over, by the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PassedOver {
    groups: BTreeMap<Why, Group>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Group {
    files: usize,
    folders: usize,
    /// What to tell of them, and how often it is to be told: endings or names.
    details: BTreeMap<String, usize>,
}

impl PassedOver {
    fn add(&mut self, why: Why, is_folder: bool, detail: String) {
        let group = self.groups.entry(why).or_default();
        *(if is_folder { &mut group.folders } else { &mut group.files }) += 1;
        *group.details.entry(detail).or_default() += 1;
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// One line: how many files and folders, and why.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |number: usize, thing: &str| match number {
            0 => None,
            1 => Some(format!("1 {thing}")),
            _ => Some(format!("{number} {thing}s")),
        };
        let (files, folders) =
            self.groups.values().fold((0, 0), |all, group| (all.0 + group.files, all.1 + group.folders));
        let all: Vec<_> = [count(files, "file"), count(folders, "folder")].into_iter().flatten().collect();
        write!(f, "passed over {}: ", all.join(" and "))?;
        for (index, (why, group)) in self.groups.iter().enumerate() {
            let reason = match why {
                Why::NotMusic => "not music",
                Why::NotScore => "text without a score",
                Why::Hidden => "hidden",
                Why::Special => "pipe, socket or device",
                Why::Repeated => "reached under another name",
                Why::Unreadable => "that cannot be read",
            };
            // The most frequent first; of equals, by name.
            let mut details: Vec<_> = group.details.iter().collect();
            details.sort_by_key(|&(_, &times)| std::cmp::Reverse(times));
            let more = if details.len() > SHOWN { ", ..." } else { "" };
            let details: Vec<_> = details.iter().take(SHOWN).map(|(detail, _)| printable(detail)).collect();
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{} {reason} ({}{more})", group.files + group.folders, details.join(", "))?;
        }
        Ok(())
    }
}

/// A name or reason as it is printed: on one line, and not too long for it.
fn printable(text: &str) -> String {
    const END: usize = 60;
    let letters: Vec<char> = text.escape_debug().collect();
    if letters.len() <= 2 * END {
        return letters.into_iter().collect();
    }
    let end = |letters: &[char]| letters.iter().collect::<String>();
    format!("{}...{}", end(&letters[..END]), end(&letters[letters.len() - END..]))
}

impl Source {
    /// What it holds, or why it cannot be read.
    pub fn read(&self) -> Result<Music, String> {
        match &self.path {
            Some(path) => read(path),
            None => read_notation(PRELUDE.1),
        }
    }
}

/// Every file of music under `data.midi`. Of MIDI files nothing but the size is looked at.
pub fn list(root: &str) -> Result<Listing, CorpusError> {
    if root == EMBEDDED {
        let prelude = Source { name: PRELUDE.0.into(), bytes: PRELUDE.1.len() as u64, path: None };
        return Ok(Listing { sources: vec![prelude], ..Listing::default() });
    }
    let fail = |reason: String| CorpusError::Path { path: root.to_owned(), reason };
    let path = &location::music(root)?;
    let found = fs::metadata(path).map_err(|error| {
        fail(match error.kind() {
            io::ErrorKind::NotFound => format!(
                "no such file or folder (bachdist data fetch {} gets the article's files; --set data.midi={EMBEDDED} needs \
                 none)",
                path.display()
            ),
            _ => error.to_string(),
        })
    })?;
    if found.is_dir() {
        let walked = Walk::new(path).and_then(Walk::finish).map_err(|error| fail(error.to_string()))?;
        if walked.sources.is_empty() {
            let PassedOver { groups } = &walked.passed_over;
            let others = if groups.is_empty() { String::new() } else { format!("; {}", walked.passed_over) };
            return Err(fail(format!(
                "holds no .mid, .midi, .kar, .smf or .rmi file and no score (.txt){others}"
            )));
        }
        return Ok(walked);
    }
    if !found.is_file() {
        return Err(fail(format!("is {}, not a file or folder", special(found.file_type()))));
    }
    let name = path.file_name().map_or(root.into(), |name| name.to_string_lossy().into_owned());
    let source = Source { name, bytes: found.len(), path: Some(path.into()) };
    Ok(Listing { sources: vec![source], ..Listing::default() })
}

/// A way through a folder and all that it leads to. Folders in it come before what its links lead to, so that what is
/// there itself is never taken for a repetition of what a link shows; and every folder comes once.
struct Walk {
    /// Still to be looked through, with the beginning of their files' names.
    folders: Vec<(PathBuf, String)>,
    /// Still to be followed, by name.
    links: BTreeSet<(String, PathBuf)>,
    /// Devices and inodes of folders.
    seen: HashSet<(u64, u64)>,
    /// Names of music files by device and inode.
    names: HashMap<(u64, u64), String>,
    listing: Listing,
    /// Names that are no UTF-8.
    garbled: Vec<String>,
}

impl Walk {
    fn new(root: &Path) -> io::Result<Self> {
        let mut walk = Walk {
            folders: Vec::new(),
            links: BTreeSet::new(),
            seen: HashSet::from([id(&fs::metadata(root)?)]),
            names: HashMap::new(),
            listing: Listing::default(),
            garbled: Vec::new(),
        };
        // Where the corpus itself cannot be listed, there is none.
        walk.folder(root, "")?;
        Ok(walk)
    }

    fn finish(mut self) -> io::Result<Listing> {
        loop {
            if let Some((path, prefix)) = self.folders.pop() {
                if let Err(error) = self.folder(&path, &prefix) {
                    self.unreadable(true, prefix.trim_end_matches('/'), &error);
                }
            } else if let Some((name, path)) = self.links.pop_first() {
                self.follow(name, path);
            } else {
                break;
            }
        }
        let Walk { mut listing, garbled, .. } = self;
        if let Some(first) = garbled.iter().min() {
            let names = garbled.len();
            listing
                .remarks
                .push(format!("names that are not UTF-8, shown with \u{fffd}: {names}, like {first}"));
        }
        listing.sources.sort();
        listing.remarks.sort();
        Ok(listing)
    }

    fn folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        // The kind that the folder itself gives is all that is known of what may not be looked at.
        let described = |entry: io::Result<DirEntry>| -> io::Result<(OsString, bool)> {
            let entry = entry?;
            Ok((entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_dir())))
        };
        let mut entries = fs::read_dir(folder)?.map(described).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        for (file_name, is_folder) in entries {
            let path = folder.join(&file_name);
            let name = format!("{prefix}{}", file_name.to_string_lossy());
            let found = fs::symlink_metadata(&path);
            if file_name.as_encoded_bytes().starts_with(b".") {
                self.pass(Why::Hidden, is_folder, name);
                continue;
            }
            if file_name.to_str().is_none() {
                self.garbled.push(name.clone());
            }
            match found {
                Ok(found) if found.is_symlink() => drop(self.links.insert((name, path))),
                // A folder that is mounted inside itself is a link, too.
                Ok(found) if found.is_dir() && !self.seen.insert(id(&found)) => {
                    self.pass(Why::Repeated, true, name);
                }
                Ok(found) if found.is_dir() => self.folders.push((path, format!("{name}/"))),
                Ok(found) => self.file(name, path, &found, false),
                Err(error) if is_folder => self.unreadable(true, &name, &error),
                Err(error) => self.unknown(name, path, &error),
            }
        }
        Ok(())
    }

    fn follow(&mut self, name: String, path: PathBuf) {
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) => return self.unknown(name, path, &error),
        };
        if !found.is_dir() {
            return self.file(name, path, &found, true);
        }
        // One that leads upwards would bring in what lies beside the corpus.
        let lies_in = |target: &Path| {
            let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
            folder.is_some_and(|folder| folder.starts_with(target))
        };
        if path.canonicalize().is_ok_and(|target| lies_in(&target)) || !self.seen.insert(id(&found)) {
            self.pass(Why::Repeated, true, name);
        } else {
            self.folders.push((path, format!("{name}/")));
        }
    }

    fn file(&mut self, name: String, path: PathBuf, found: &Metadata, is_link: bool) {
        if !found.is_file() {
            return self.pass(Why::Special, false, name);
        }
        if has_extension(&path, &[SCORE]) {
            match head(&path) {
                Ok((_, head)) if is_score(&head) => {}
                Ok(_) => return self.pass(Why::NotScore, false, name),
                Err(error) => return self.unreadable(false, &name, &error),
            }
        } else if !has_extension(&path, &MIDI) {
            return self.not_music(&path);
        }
        if let Some(other) = self.names.get(&id(found)) {
            if is_link {
                let detail = format!("{name} is {other}");
                return self.pass(Why::Repeated, false, detail);
            }
            self.listing.remarks.push(format!("{name} and {other} are one file (a hard link), read twice"));
        }
        self.names.entry(id(found)).or_insert_with(|| name.clone());
        self.listing.sources.push(Source { name, bytes: found.len(), path: Some(path) });
    }

    /// Of what not even the kind is known, like a link that leads nowhere: what is called music cannot be read, and
    /// that is for whoever reads it to say.
    fn unknown(&mut self, name: String, path: PathBuf, error: &io::Error) {
        if has_extension(&path, &MIDI) || has_extension(&path, &[SCORE]) {
            self.listing.sources.push(Source { name, bytes: 0, path: Some(path) });
        } else {
            self.unreadable(false, &name, error);
        }
    }

    fn not_music(&mut self, path: &Path) {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let ending = extension.map_or("no ending".into(), |extension| format!(".{extension}"));
        self.pass(Why::NotMusic, false, ending);
    }

    fn unreadable(&mut self, is_folder: bool, name: &str, error: &io::Error) {
        self.pass(Why::Unreadable, is_folder, format!("{name}: {error}"));
    }

    fn pass(&mut self, why: Why, is_folder: bool, detail: String) {
        self.listing.passed_over.add(why, is_folder, detail);
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
}

/// What something is that is neither file nor folder.
fn special(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The beginning of a file, and the file to read on from there.
fn head(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((file, head))
}

fn is_score(head: &[u8]) -> bool {
    text::decode(head).is_some_and(|(text, _)| notation::is_score(&text))
}

/// Reads a MIDI file, or a score in notation.
pub fn read(path: &Path) -> Result<Music, String> {
    let told = |error: io::Error| error.to_string();
    let found = fs::metadata(path).map_err(told)?;
    if found.is_dir() {
        return Err("is a folder, not a file of music".into());
    }
    if !found.is_file() {
        return Err(format!("is {}, not a file of music", special(found.file_type())));
    }
    let (file, mut bytes) = head(path).map_err(told)?;
    let is_midi = bytes.starts_with(b"MThd") || bytes.starts_with(b"RIFF");
    let is_text = !is_midi && (has_extension(path, &[SCORE]) || is_score(&bytes));
    if is_midi || is_text {
        if found.len() > MAX_FILE_BYTES {
            let [bytes, most] = [found.len(), MAX_FILE_BYTES].map(|bytes| bytes >> 20);
            return Err(format!("has {bytes} MB, and no file of music more than {most}"));
        }
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(told)?;
    }
    if is_text {
        let (text, _) = text::decode(&bytes).ok_or("is no text: it has NUL characters")?;
        return read_notation(&text);
    }
    // Of what is no MIDI file the beginning is enough to say so.
    let song = midi::read(&bytes).map_err(|error| error.to_string())?;
    let refused = song.refused_by_pretty_midi;
    let remarks = refused.map(|why| format!("pretty_midi would not read it: {why}"));
    Ok(Music { instruments: song.instruments, remarks: remarks.into_iter().collect() })
}

fn read_notation(text: &str) -> Result<Music, String> {
    let score = notation::parse(text).map_err(|error| error.to_string())?;
    let instrument =
        Instrument { program: score.program, is_drum: false, name: score.title, notes: score.notes };
    Ok(Music { instruments: vec![instrument], remarks: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    const SCORE_TEXT: &str = "meter: 4/4\nunit: 1/4\ntempo: 90\n\nC4 D4 E4 F4 |\n";

    /// A folder with files of this content.
    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn listed(folder: &tempfile::TempDir) -> Listing {
        list(folder.path().to_str().unwrap()).unwrap()
    }

    fn names(listing: &Listing) -> Vec<&str> {
        listing.sources.iter().map(|source| source.name.as_str()).collect()
    }

    /// A pipe that nobody writes to: whoever opens it waits for ever.
    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn every_real_folder_comes_once_whatever_links_lead_to_it() {
        let folder = folder(&[("a.mid", b""), ("sub/b.mid", b""), ("sub/deep/c.mid", b"")]);
        let outside = folder_beside(&folder);
        let path = |name: &str| folder.path().join(name);
        symlink("..", path("sub/up")).unwrap();
        symlink("../..", path("sub/deep/beyond")).unwrap();
        symlink(".", path("self")).unwrap();
        symlink("sub", path("again")).unwrap();
        symlink("/", path("everything")).unwrap();
        symlink(folder.path().parent().unwrap(), path("parent")).unwrap();
        symlink(outside.path(), path("other")).unwrap();
        symlink(path("a.mid"), path("z.mid")).unwrap();
        symlink(outside.path().join("x.mid"), path("x.mid")).unwrap();
        let listing = listed(&folder);
        // The link to x.mid itself comes after the folder that has it.
        assert_eq!(names(&listing), ["a.mid", "other/x.mid", "sub/b.mid", "sub/deep/c.mid"]);
        let repeated = &listing.passed_over.groups[&Why::Repeated];
        let details: Vec<_> = repeated.details.keys().map(String::as_str).collect();
        let expected = [
            "again",
            "everything",
            "other/back",
            "parent",
            "self",
            "sub/deep/beyond",
            "sub/up",
            "x.mid is other/x.mid",
            "z.mid is a.mid",
        ];
        assert_eq!((details, repeated.files, repeated.folders), (expected.to_vec(), 2, 7));
    }

    /// Another folder, with a piece and a link back.
    fn folder_beside(other: &tempfile::TempDir) -> tempfile::TempDir {
        let folder = folder(&[("x.mid", b"")]);
        symlink(other.path(), folder.path().join("back")).unwrap();
        folder
    }

    #[test]
    fn two_links_to_one_file_are_one_piece_and_hard_links_are_told() {
        let outside = folder(&[("x.mid", b"")]);
        let folder = folder(&[("a.mid", b"")]);
        for name in ["l1.mid", "l2.mid"] {
            symlink(outside.path().join("x.mid"), folder.path().join(name)).unwrap();
        }
        fs::hard_link(folder.path().join("a.mid"), folder.path().join("b.mid")).unwrap();
        let listing = listed(&folder);
        assert_eq!(names(&listing), ["a.mid", "b.mid", "l1.mid"]);
        assert_eq!(
            listing.passed_over.to_string(),
            "passed over 1 file: 1 reached under another name (l2.mid is l1.mid)"
        );
        assert_eq!(listing.remarks, ["b.mid and a.mid are one file (a hard link), read twice"]);
    }

    #[test]
    fn what_is_no_plain_file_is_never_opened() {
        let folder = folder(&[("a.mid", b"")]);
        pipe(&folder.path().join("p.mid"));
        pipe(&folder.path().join("p.txt"));
        symlink("p.txt", folder.path().join("q.txt")).unwrap();
        symlink("/dev/zero", folder.path().join("zero.mid")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s.mid")).unwrap();
        let listing = listed(&folder);
        assert_eq!(names(&listing), ["a.mid"]);
        assert_eq!(
            listing.passed_over.to_string(),
            "passed over 5 files: 5 pipe, socket or device (p.mid, p.txt, q.txt, ...)"
        );
        // Nor where it is named itself.
        for (name, what) in [("p.mid", "a pipe"), ("s.mid", "a socket"), ("zero.mid", "a device")] {
            let path = folder.path().join(name);
            let error = list(path.to_str().unwrap()).unwrap_err().to_string();
            assert!(error.ends_with(&format!("is {what}, not a file or folder")), "{error}");
            assert_eq!(read(&path), Err(format!("is {what}, not a file of music")));
        }
        assert_eq!(read(folder.path()), Err("is a folder, not a file of music".into()));
    }

    #[test]
    fn of_huge_files_the_beginning_is_enough() {
        let score = format!("{SCORE_TEXT}{}", "# words\n".repeat(9000));
        let folder = folder(&[("huge.txt", b""), ("huge.mid", b""), ("score.txt", score.as_bytes())]);
        let path = |name: &str| folder.path().join(name);
        for name in ["huge.txt", "huge.mid", "score.txt"] {
            // A hole, which takes no room on the disk; reading it would take 2^41 bytes of memory.
            fs::OpenOptions::new().write(true).open(path(name)).unwrap().set_len(1 << 41).unwrap();
        }
        let listing = listed(&folder);
        assert_eq!(names(&listing), ["huge.mid", "score.txt"]);
        assert!(listing.passed_over.to_string().ends_with("1 text without a score (huge.txt)"));
        assert_eq!(
            read(&path("huge.mid")),
            Err("byte 0: not a MIDI file: it does not begin with MThd".into())
        );
        let too_large = Err("has 2097152 MB, and no file of music more than 256".into());
        assert_eq!(read(&path("score.txt")), too_large);
        fs::OpenOptions::new()
            .write(true)
            .open(path("huge.mid"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"MThd"))
            .unwrap();
        assert_eq!(read(&path("huge.mid")), too_large);
    }

    #[test]
    fn scores_are_known_by_their_header_in_any_encoding() {
        let with_title = format!("title: Prélude\n{SCORE_TEXT}");
        let latin1: Vec<u8> = with_title.chars().map(|c| c as u8).collect();
        let utf16: Vec<u8> = with_title.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let windows = format!("\u{feff}{}", with_title.replace('\n', "\r\n"));
        let misspelled = SCORE_TEXT.replace("tempo", "tmpo");
        let long_comment = format!("{}{SCORE_TEXT}", "# words\n".repeat(5000));
        let folder = folder(&[
            ("big-comment.txt", long_comment.as_bytes()),
            ("bom.txt", windows.as_bytes()),
            ("latin1.txt", &latin1),
            ("misspelled.txt", misspelled.as_bytes()),
            ("untitled.TXT", SCORE_TEXT.as_bytes()),
            ("utf16.txt", &[b"\xfe\xff", &utf16[..]].concat()),
            ("catalog.txt", b"title: Suites\ncomposer: Bach\n\nSix of them.\n"),
            ("later.txt", format!("Words first.\n{SCORE_TEXT}").as_bytes()),
            ("zeros.txt", &[0; 999]),
        ]);
        let listing = listed(&folder);
        let expected =
            ["big-comment.txt", "bom.txt", "latin1.txt", "misspelled.txt", "untitled.TXT", "utf16.txt"];
        assert_eq!(names(&listing), expected);
        let not_scores = listing.passed_over.groups[&Why::NotScore].details.keys();
        assert_eq!(not_scores.collect::<Vec<_>>(), ["catalog.txt", "later.txt", "zeros.txt"]);
        for source in &listing.sources {
            let found = source.read().map(|music| music.instruments[0].notes.len());
            match source.name.as_str() {
                "misspelled.txt" => {
                    assert!(found.unwrap_err().contains("there is no header line named tmpo"))
                }
                name => assert_eq!(found, Ok(4), "{name}"),
            }
        }
        // Named itself, a score may have any name.
        fs::rename(folder.path().join("bom.txt"), folder.path().join("bom.score")).unwrap();
        assert!(read(&folder.path().join("bom.score")).is_ok());
    }

    #[test]
    fn endings_depths_and_names() {
        let deep = format!("{}e.mid", "d/".repeat(40));
        let files =
            ["A.MID", "b.Kar", "c.smf", "d.rmi", "x.pdf", "x.PDF", "y.png", "bare", ".h.mid", ".git/config"];
        let mut files: Vec<(&str, &[u8])> = files.iter().map(|&name| (name, &b""[..])).collect();
        files.push((&deep, b""));
        let folder = folder(&files);
        let garbled = std::ffi::OsStr::from_bytes(b"caf\xe9.mid");
        fs::write(folder.path().join(garbled), "").unwrap();
        let listing = listed(&folder);
        assert_eq!(names(&listing), ["A.MID", "b.Kar", "c.smf", "caf\u{fffd}.mid", "d.rmi", &deep]);
        assert_eq!(
            listing.passed_over.to_string(),
            "passed over 5 files and 1 folder: 4 not music (.pdf, .png, no ending), 2 hidden (.git, .h.mid)"
        );
        assert_eq!(
            listing.remarks,
            ["names that are not UTF-8, shown with \u{fffd}: 1, like caf\u{fffd}.mid"]
        );
        assert!(
            listing.sources[3].read().unwrap_err().contains("the file is empty"),
            "it is opened by its own name"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_told() {
        let folder = folder(&[("a.mid", b"")]);
        // Its path is longer than the system takes, which holds for root, too.
        let name = "n".repeat(250);
        let chain = |root: &Path, length: usize| {
            let end = (0..length).fold(root.to_owned(), |path, _| path.join(&name));
            fs::create_dir_all(&end).unwrap();
            end
        };
        let inner = folder.path().join("inner");
        chain(&inner, 10);
        let end = chain(&folder.path().join("outer"), 10);
        fs::rename(inner, end.join("inner")).unwrap();
        let listing = listed(&folder);
        assert_eq!(names(&listing), ["a.mid"]);
        let told = listing.passed_over.to_string();
        assert!(told.starts_with("passed over 1 folder: 1 that cannot be read (outer/nnn"), "{told}");
        assert!(told.ends_with("nnn: File name too long (os error 36))") && told.len() < 200, "{told}");
        // Links that lead nowhere: music that cannot be read is for its reader to say.
        symlink("nowhere", folder.path().join("b.mid")).unwrap();
        symlink("c", folder.path().join("c")).unwrap();
        let listing = listed(&folder);
        assert_eq!(names(&listing), ["a.mid", "b.mid"]);
        assert!(listing.sources[1].read().unwrap_err().contains("No such file"));
        let unreadable = &listing.passed_over.groups[&Why::Unreadable];
        assert_eq!((unreadable.files, unreadable.folders), (1, 1));
    }

    #[test]
    fn a_folder_without_music_says_what_it_has() {
        let folder = folder(&[("a.pdf", b""), ("b.txt", b"words")]);
        let error = list(folder.path().to_str().unwrap()).unwrap_err().to_string();
        let said = "holds no .mid, .midi, .kar, .smf or .rmi file and no score (.txt); passed over 2 files: 1 not music \
                    (.pdf), 1 text without a score (b.txt)";
        assert!(error.ends_with(said), "{error}");
    }
}
