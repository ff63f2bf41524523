//! What a store in a folder needs beside `object_store`'s `LocalFileSystem`, which writes aside (as
//! `NAME#1`), fsyncs, renames or hard-links, and fsyncs the folder: the folder's real path before it
//! exists, an error for a file in its place, and the removal of what a crash left half-written.

use super::Entry;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime};
use std::{fs, io};

/// No write takes this long, so an older aside file is nobody's.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

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

    /// An absent folder is an empty one, but a file is no folder, which `LocalFileSystem` does not mind.
    pub(super) fn check_listable(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(found) if !found.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Aside files, by name.
    pub(super) fn unfinished(&self) -> io::Result<Vec<Entry>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            // One that is gone by now was a write under way.
            if let (true, Ok(metadata)) = (is_aside(&name), entry.metadata()) {
                found.push(Entry { name: name.to_string_lossy().into_owned(), size: metadata.len() });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes aside files that a crash left, before this store's first write. Reading removes nothing.
    pub(super) fn sweep_once(&self) {
        self.swept.call_once(|| {
            // Tidying is no reason to fail: what matters will fail in the write that follows.
            let _ = self.sweep();
        });
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(modified) = entry.metadata().and_then(|found| found.modified()) else { continue };
            let age = SystemTime::now().duration_since(modified).unwrap_or_default();
            if is_aside(&entry.file_name()) && age > ABANDONED {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// Whether `LocalFileSystem` gives such names to files that it has not finished.
fn is_aside(name: &OsString) -> bool {
    let Some((_, suffix)) = name.to_str().and_then(|name| name.split_once('#')) else { return false };
    !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
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
        let old = SystemTime::now() - 2 * ABANDONED;
        for (name, modified) in [
            ("step-1#1", old),
            ("step-1#2", SystemTime::now()),
            ("step-2", old),
            ("notes#mine", old),
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
        assert_eq!(left, ["notes#mine", "odd#", "step-1#2", "step-2"]);
    }
}
