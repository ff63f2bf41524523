//! Which files of music a folder holds, and an account of whatever else it holds.
//!
//! The result depends on names and file types alone, not on the order in which the system lists a folder.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CorpusError;
use super::files::{
    CorpusFile, EMBEDDED, EMBEDDED_CHORALES, FilePlace, MIDI, ROLLS, SCORE, has_extension, head, is_score,
    special,
};
use super::piano_rolls::is_piano_rolls;
use crate::location;

/// Names listed for each reason of passing something over.
const MAX_LISTED: usize = 3;

/// The files of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files to read, sorted by name.
    pub sources: Vec<CorpusFile>,
    /// Whatever else the folder holds.
    pub passed_over: PassedOver,
    /// What the user should know about names and links.
    pub remarks: Vec<String>,
}

/// Why something in a folder of music is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassedOverReason {
    /// Its extension is not one of music.
    NotMusic,
    /// A text file that does not begin like a score.
    NotScore,
    /// Its name begins with a dot.
    Hidden,
    /// A pipe, socket or device.
    Special,
    /// A link to something that is read under another name, or to a folder that contains the link.
    Repeated,
    /// The system denies access.
    Unreadable,
}

/// What was passed over, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PassedOver {
    groups: BTreeMap<PassedOverReason, Group>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Group {
    files: usize,
    folders: usize,
    /// Extensions or names, and how often each occurred.
    details: BTreeMap<String, usize>,
}

impl PassedOver {
    fn add(&mut self, reason: PassedOverReason, is_folder: bool, detail: String) {
        let group = self.groups.entry(reason).or_default();
        *(if is_folder { &mut group.folders } else { &mut group.files }) += 1;
        *group.details.entry(detail).or_default() += 1;
    }

    /// Whether nothing was passed over.
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
        write!(f, "skipped {}: ", all.join(" and "))?;
        for (index, (reason, group)) in self.groups.iter().enumerate() {
            let reason = match reason {
                PassedOverReason::NotMusic => "not music",
                PassedOverReason::NotScore => "text without a score",
                PassedOverReason::Hidden => "hidden",
                PassedOverReason::Special => "pipe, socket or device",
                PassedOverReason::Repeated => "reached under another name",
                PassedOverReason::Unreadable => "unreadable",
            };
            // The most frequent first, then by name.
            let mut details: Vec<_> = group.details.iter().collect();
            details.sort_by_key(|&(_, &times)| std::cmp::Reverse(times));
            let more = if details.len() > MAX_LISTED { ", ..." } else { "" };
            let details: Vec<_> =
                details.iter().take(MAX_LISTED).map(|(detail, _)| printable(detail)).collect();
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{} {reason} ({}{more})", group.files + group.folders, details.join(", "))?;
        }
        Ok(())
    }
}

/// On one line, and shortened in the middle if it is long.
fn printable(text: &str) -> String {
    /// Characters kept at each end: enough to recognize a path.
    const END: usize = 60;
    let letters: Vec<char> = text.escape_debug().collect();
    if letters.len() <= 2 * END {
        return letters.into_iter().collect();
    }
    let end = |letters: &[char]| letters.iter().collect::<String>();
    format!("{}...{}", end(&letters[..END]), end(&letters[letters.len() - END..]))
}

/// What to do about a path that leads nowhere.
fn missing(path: &Path) -> String {
    if path.to_string_lossy().starts_with("embedded:") {
        return format!("no such music is inside the program; it has {EMBEDDED} and {EMBEDDED_CHORALES}");
    }
    if path.extension().is_some() {
        return "no such file (bachdist data fetch --help says what can be downloaded)".into();
    }
    format!(
        "no such file or folder (bachdist data fetch cello {} downloads the article's files; --set \
         data.midi={EMBEDDED} needs none)",
        path.display()
    )
}

/// Lists every file of music under `root`, the value of `data.midi`. MIDI files are not opened, and of texts and JSON in a
/// folder the beginning is read.
pub fn list(root: &str) -> Result<Listing, CorpusError> {
    if let Some(sources) = CorpusFile::embedded(root) {
        return Ok(Listing { sources, ..Listing::default() });
    }
    let fail = |reason: String| CorpusError::Path { path: root.to_owned(), reason };
    let path = &location::music(root)?;
    let found = fs::metadata(path).map_err(|error| {
        fail(match error.kind() {
            io::ErrorKind::NotFound => missing(path),
            _ => error.to_string(),
        })
    })?;
    if found.is_dir() {
        let walked = Walk::new(path).and_then(Walk::finish).map_err(|error| fail(error.to_string()))?;
        if walked.sources.is_empty() {
            let PassedOver { groups } = &walked.passed_over;
            let others = if groups.is_empty() { String::new() } else { format!("; {}", walked.passed_over) };
            return Err(fail(format!(
                "holds no .mid, .midi, .kar, .smf or .rmi file, no score (.txt) and no piano rolls (.json){others}"
            )));
        }
        return Ok(walked);
    }
    if !found.is_file() {
        return Err(fail(format!("is {}, not a file or folder", special(found.file_type()))));
    }
    let name = path.file_name().map_or(root.into(), |name| name.to_string_lossy().into_owned());
    let source =
        CorpusFile { name, bytes: found.len(), place: FilePlace::Path(path.into()), is_whole_corpus: true };
    Ok(Listing { sources: vec![source], ..Listing::default() })
}

/// A walk through a folder and everything that it links to. Real folders come before links, so that a real file is never
/// taken for a repetition of a linked one, and every folder is visited once.
struct Walk {
    /// Folders to visit, each with the prefix of its files' names.
    folders: Vec<(PathBuf, String)>,
    /// Links to follow, by name.
    links: BTreeSet<(String, PathBuf)>,
    /// Devices and inodes of the folders found so far.
    visited: HashSet<(u64, u64)>,
    /// Names of the music files found so far, by device and inode.
    names: HashMap<(u64, u64), String>,
    listing: Listing,
    /// Names that are not UTF-8.
    not_utf8: Vec<String>,
}

impl Walk {
    fn new(root: &Path) -> io::Result<Self> {
        let mut walk = Walk {
            folders: Vec::new(),
            links: BTreeSet::new(),
            visited: HashSet::from([id(&fs::metadata(root)?)]),
            names: HashMap::new(),
            listing: Listing::default(),
            not_utf8: Vec::new(),
        };
        // If the root itself cannot be listed, there is no corpus.
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
        let Walk { mut listing, not_utf8, .. } = self;
        if let Some(first) = not_utf8.iter().min() {
            let names = not_utf8.len();
            listing.remarks.push(format!(
                "names that are not UTF-8, shown with \u{fffd}: {names}, like {}",
                printable(first)
            ));
        }
        listing.sources.sort();
        listing.remarks.sort();
        Ok(listing)
    }

    fn folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        // The file type from the listing is all that is known about an entry that cannot be accessed.
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
                self.pass(PassedOverReason::Hidden, is_folder, name);
                continue;
            }
            if file_name.to_str().is_none() {
                self.not_utf8.push(name.clone());
            }
            match found {
                Ok(found) if found.is_symlink() => drop(self.links.insert((name, path))),
                // A folder that is mounted inside itself.
                Ok(found) if found.is_dir() && !self.visited.insert(id(&found)) => {
                    self.pass(PassedOverReason::Repeated, true, name);
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
        // A link to a folder above would include whatever is beside the corpus.
        let is_inside = |target: &Path| {
            let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
            folder.is_some_and(|folder| folder.starts_with(target))
        };
        if path.canonicalize().is_ok_and(|target| is_inside(&target)) || !self.visited.insert(id(&found)) {
            self.pass(PassedOverReason::Repeated, true, name);
        } else {
            self.folders.push((path, format!("{name}/")));
        }
    }

    fn file(&mut self, name: String, path: PathBuf, found: &Metadata, is_link: bool) {
        if !found.is_file() {
            return self.pass(PassedOverReason::Special, false, name);
        }
        if has_extension(&path, &[SCORE]) {
            match head(&path) {
                Ok((_, head)) if is_score(&head) => {}
                Ok(_) => return self.pass(PassedOverReason::NotScore, false, name),
                Err(error) => return self.unreadable(false, &name, &error),
            }
        } else if has_extension(&path, &[ROLLS]) {
            match head(&path) {
                Ok((_, head)) if is_piano_rolls(&head) => {}
                Ok(_) => return self.not_music(&path),
                Err(error) => return self.unreadable(false, &name, &error),
            }
        } else if !has_extension(&path, &MIDI) {
            return self.not_music(&path);
        }
        if let Some(other) = self.names.get(&id(found)) {
            if is_link {
                let detail = format!("{name} is {other}");
                return self.pass(PassedOverReason::Repeated, false, detail);
            }
            let (name, other) = (printable(&name), printable(other));
            self.listing.remarks.push(format!("{name} and {other} are one file (a hard link), read twice"));
        }
        self.names.entry(id(found)).or_insert_with(|| name.clone());
        let source =
            CorpusFile { name, bytes: found.len(), place: FilePlace::Path(path), is_whole_corpus: false };
        self.listing.sources.push(source);
    }

    /// An entry of unknown type, such as a dangling link. If it is named like music it is listed, so that reading it
    /// reports the error.
    fn unknown(&mut self, name: String, path: PathBuf, error: &io::Error) {
        if has_extension(&path, &MIDI) || has_extension(&path, &[SCORE]) {
            let source = CorpusFile { name, bytes: 0, place: FilePlace::Path(path), is_whole_corpus: false };
            self.listing.sources.push(source);
        } else {
            self.unreadable(false, &name, error);
        }
    }

    fn not_music(&mut self, path: &Path) {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let ending = extension.map_or("no ending".into(), |extension| format!(".{extension}"));
        self.pass(PassedOverReason::NotMusic, false, ending);
    }

    fn unreadable(&mut self, is_folder: bool, name: &str, error: &io::Error) {
        self.pass(PassedOverReason::Unreadable, is_folder, format!("{name}: {error}"));
    }

    fn pass(&mut self, reason: PassedOverReason, is_folder: bool, detail: String) {
        self.listing.passed_over.add(reason, is_folder, detail);
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests;
