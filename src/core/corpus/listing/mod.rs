//! Which files of music a place holds, and an account of whatever else it holds.
//!
//! What is found depends on names and kinds alone, not on the order in which a folder is listed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CorpusError;
use super::files::{CorpusFile, EMBEDDED, MIDI, PRELUDE, SCORE, has_extension, head, is_score, special};
use crate::location;

/// Names told of each kind of what was passed over.
const SHOWN: usize = 3;

/// The files of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those to read, sorted by name.
    pub sources: Vec<CorpusFile>,
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

/// Every file of music under `data.midi`. Of MIDI files nothing but the size is looked at.
pub fn list(root: &str) -> Result<Listing, CorpusError> {
    if root == EMBEDDED {
        let prelude = CorpusFile { name: PRELUDE.0.into(), bytes: PRELUDE.1.len() as u64, path: None };
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
    let source = CorpusFile { name, bytes: found.len(), path: Some(path.into()) };
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
        self.listing.sources.push(CorpusFile { name, bytes: found.len(), path: Some(path) });
    }

    /// Of what not even the kind is known, like a link that leads nowhere: what is called music cannot be read, and
    /// that is for whoever reads it to say.
    fn unknown(&mut self, name: String, path: PathBuf, error: &io::Error) {
        if has_extension(&path, &MIDI) || has_extension(&path, &[SCORE]) {
            self.listing.sources.push(CorpusFile { name, bytes: 0, path: Some(path) });
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

#[cfg(test)]
mod tests;
