//! What a store in a folder needs beyond `object_store`'s `LocalFileSystem`, which writes a temporary file (`NAME#1`),
//! fsyncs it, renames or hard-links it, and fsyncs the folder: the real path of a folder that may not exist yet, a listing
//! of the files in it, and the removal of what a crash left half-written.

use object_store::path::Path as ObjectPath;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime};
use std::{fs, io};

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Relative to the store's URL, without `/`.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// No write takes this long, so an older temporary file belongs to a process that is gone.
const ABANDONED_AFTER: Duration = Duration::from_secs(60 * 60);

/// A folder that may not exist yet.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    swept: Once,
}

impl Folder {
    /// Makes the path absolute and free of links and `..`, as far as it exists, and keeps the rest.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: resolve(&std::path::absolute(path)?)?, swept: Once::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The files, without half-written ones. An absent folder is empty, but a file in its place is an error. Skipped are
    /// folders, pipes, dangling links, and names that are not text.
    pub(super) fn files(&self) -> io::Result<Vec<StoredObject>> {
        let mut files = Vec::new();
        for entry in self.entries()? {
            let name = entry.file_name();
            let Some(text) = name.to_str().filter(|text| ObjectPath::parse(text).is_ok()) else { continue };
            // Follows links. A file that is gone by now was deleted.
            if !is_partial_write(&name)
                && let Ok(found) = fs::metadata(entry.path())
                && found.is_file()
            {
                files.push(StoredObject { name: text.to_owned(), size: found.len() });
            }
        }
        Ok(files)
    }

    /// Fails if something is there that is not a file: reading a pipe would wait forever.
    pub(super) fn check_readable(&self, name: &str) -> io::Result<()> {
        match fs::metadata(self.path.join(name)) {
            Ok(found) if !found.is_file() => Err(io::Error::other("it is not a file (move it away)")),
            _ => Ok(()),
        }
    }

    fn entries(&self) -> io::Result<Vec<fs::DirEntry>> {
        match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.collect(),
        }
    }

    /// Half-written files, sorted by name.
    pub(super) fn partial_writes(&self) -> io::Result<Vec<StoredObject>> {
        let mut found = Vec::new();
        for entry in self.entries()? {
            let name = entry.file_name();
            // A file that is gone by now was a write in progress.
            if let (true, Ok(metadata)) = (is_partial_write(&name), entry.metadata())
                && metadata.is_file()
            {
                found.push(StoredObject { name: name.to_string_lossy().into_owned(), size: metadata.len() });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes half-written files of a crash, before this store's first write. Reading removes nothing.
    pub(super) fn sweep_once(&self) {
        self.swept.call_once(|| {
            // A failure here does not matter: if the folder cannot be written to, the write that follows fails.
            let _ = self.sweep();
        });
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in self.entries()? {
            let Ok(modified) = entry.metadata().and_then(|found| found.modified()) else { continue };
            let age = SystemTime::now().duration_since(modified).unwrap_or_default();
            if is_partial_write(&entry.file_name()) && age > ABANDONED_AFTER {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// Whether a name is that of a temporary file of `LocalFileSystem` for an object that a run writes. A user's own `draft#2`
/// is not.
fn is_partial_write(name: &OsStr) -> bool {
    let Some((object, suffix)) = name.to_str().and_then(|name| name.split_once('#')) else { return false };
    let is_ours = ["step-", "attempt-", "metrics.jsonl"].iter().any(|ours| object.starts_with(ours));
    is_ours && !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
}

/// The real path of what exists, then the names that do not exist yet; a `..` among those takes one away.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut exists = path;
    loop {
        match fs::canonicalize(exists) {
            Ok(mut real) => {
                for part in path.strip_prefix(exists).into_iter().flat_map(Path::components) {
                    match part {
                        Component::ParentDir => drop(real.pop()),
                        part => real.push(part),
                    }
                }
                return Ok(real);
            }
            Err(error) => match exists.parent() {
                // Also where it may not be looked into: the path stays as it is, and its use will tell.
                Some(parent) => exists = parent,
                None => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_paths_of_folders_to_come() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        fs::create_dir(root.join("there")).unwrap();
        std::os::unix::fs::symlink(root.join("there"), root.join("link")).unwrap();
        for (path, real) in [
            ("there", "there"),
            ("link/new/deep", "there/new/deep"),
            ("there/../new", "new"),
            ("new/../other", "other"),
            ("link/../new", "new"),
        ] {
            assert_eq!(resolve(&root.join(path)).unwrap(), root.join(real), "{path}");
        }
    }

    #[test]
    fn only_old_aside_files_go() {
        let temporary = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 2 * ABANDONED_AFTER;
        for (name, modified) in [
            ("step-1#1", old),
            ("step-1#2", SystemTime::now()),
            ("step-2", old),
            ("notes#mine", old),
            ("draft#2", old),
            ("odd#", old),
        ] {
            let file = fs::File::create(temporary.path().join(name)).unwrap();
            file.set_modified(modified).unwrap();
        }
        Folder::new(temporary.path()).unwrap().sweep_once();
        let mut left: Vec<_> = (fs::read_dir(temporary.path()).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["draft#2", "notes#mine", "odd#", "step-1#2", "step-2"]);
    }
}
