//! Writes the files that the programs make for users: music, sound, pictures.
//!
//! Invariant: a file has its name only when it is complete. It is written to a temporary file with a hidden name in the same
//! folder, then renamed. Any failure (a full disk, a size limit, an error of the caller) removes the temporary file and leaves
//! the older file unchanged.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use signal_hook::consts::SIGXFSZ;
use tempfile::NamedTempFile;

use crate::failure::{ExitCode, Failure};

/// Makes a write beyond the file size limit (`ulimit -f`) an error, like a full disk. Without this the system ends the
/// process without a message.
pub fn outlive_size_limits() -> io::Result<()> {
    // If the signal is caught, the write that caused it fails.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Writes a file, replacing one of the same name. Devices and pipes are written to directly.
pub fn write_whole(
    path: &Path,
    contents: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    replace(path, contents).map_err(|error| unwritable(path, &error))
}

fn replace(path: &Path, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let path = target(path)?;
    let before = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        // A folder, or a write-protected file.
        Err(error) => return Err(error),
    };
    let permissions = match &before {
        Some(file) if !file.metadata()?.is_file() => return write(file, contents),
        Some(file) => Some(file.metadata()?.permissions()),
        None => None,
    };
    let temp_file = TempFile::write(folder_of(&path), contents)?;
    if let Some(permissions) = permissions {
        temp_file.file.as_file().set_permissions(permissions)?;
    }
    temp_file.file.persist(&path)?;
    Ok(())
}

/// The failure of a file that cannot be written.
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::FileTooLarge => ": it would be larger than the limit that `ulimit -f` shows",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => ": a file is where the folder should be",
        _ => "",
    };
    Failure::new(ExitCode::Storage, format!("cannot write {}: {error}{hint}", path.display()))
}

/// A complete file without a name. It is deleted unless it gets one.
pub struct TempFile {
    file: NamedTempFile,
}

impl TempFile {
    /// Writes a file into an existing folder.
    pub fn write(folder: &Path, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Self> {
        // The mode of any new file, as the umask allows; temporary files are private by default.
        let file = tempfile::Builder::new()
            .prefix(".bachdist-")
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(without_path)?;
        write(file.as_file(), contents)?;
        Ok(TempFile { file })
    }

    /// Whether a file of this name has the same bytes.
    pub fn equals(&self, path: &Path) -> bool {
        self.compare(path).unwrap_or(false)
    }

    fn compare(&self, path: &Path) -> io::Result<bool> {
        // Checked first, because opening a pipe would wait.
        let theirs = fs::metadata(path)?;
        if !theirs.is_file() || theirs.len() != self.file.as_file().metadata()?.len() {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (BufReader::new(self.file.reopen()?), BufReader::new(File::open(path)?));
        loop {
            let (a, b) = (ours.fill_buf()?, theirs.fill_buf()?);
            let count = a.len().min(b.len());
            if count == 0 {
                return Ok(a.len() == b.len());
            }
            if a[..count] != b[..count] {
                return Ok(false);
            }
            ours.consume(count);
            theirs.consume(count);
        }
    }

    /// Gives the file a name if nothing has it; otherwise returns the file.
    pub fn persist_new(self, path: &Path) -> io::Result<Option<Self>> {
        let error = match self.file.persist_noclobber(path) {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        if path.symlink_metadata().is_ok() {
            return Ok(Some(TempFile { file: error.file }));
        }
        // Some network file systems support neither hard links nor a rename that refuses to replace.
        error.file.persist(path)?;
        Ok(None)
    }
}

/// The system's error without the hidden name that tempfile adds to its text.
fn without_path(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((reason, _)) => io::Error::new(error.kind(), reason),
        None => error,
    }
}

fn write(file: &File, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffered = BufWriter::with_capacity(1 << 16, file);
    contents(&mut buffered)?;
    buffered.flush()
}

/// Follows links, so that a link stays and its target is replaced.
fn target(path: &Path) -> io::Result<PathBuf> {
    /// The limit of Linux.
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(link) => path = folder_of(&path).join(link),
            // Not a link, or nothing there.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_whole_or_what_it_was_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mid");
        let half = |out: &mut dyn Write| {
            out.write_all(&[1; 1 << 20])?;
            Err(io::Error::other("no more"))
        };
        let error = write_whole(&path, half).unwrap_err();
        assert_eq!(error.code, ExitCode::Storage);
        assert_eq!(error.message, format!("cannot write {}: no more", path.display()));
        assert_eq!(names(folder.path()), [""; 0]);

        write_whole(&path, |out| out.write_all(b"whole")).unwrap();
        write_whole(&path, half).unwrap_err();
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"whole".to_vec(), vec!["a.mid".into()])
        );
    }

    #[test]
    fn modes_are_those_of_any_new_file_or_of_the_file_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, plain] = ["ours", "plain"].map(|name| folder.path().join(name));
        write_whole(&ours, |out| out.write_all(b"1")).unwrap();
        fs::write(&plain, "1").unwrap();
        assert_eq!(mode(&ours), mode(&plain));
        fs::set_permissions(&ours, Permissions::from_mode(0o640)).unwrap();
        write_whole(&ours, |out| out.write_all(b"2")).unwrap();
        assert_eq!((mode(&ours), fs::read(&ours).unwrap()), (0o640, b"2".to_vec()));
    }

    #[test]
    fn links_devices_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        for (link, to) in [("link", "deep/a"), ("again", "link")] {
            symlink(to, at(link)).unwrap();
        }
        // Nothing is there yet, then something is.
        for text in ["one", "two"] {
            write_whole(&at("again"), |out| out.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(at("deep/a")).unwrap(), text);
        }
        assert!(fs::symlink_metadata(at("again")).unwrap().is_symlink());
        symlink("b", at("b")).unwrap();
        assert!(write_whole(&at("b"), |_| Ok(())).unwrap_err().message.ends_with("too many links"));

        write_whole(Path::new("/dev/null"), |out| out.write_all(b"x")).unwrap();
        let full = write_whole(Path::new("/dev/full"), |out| out.write_all(b"x")).unwrap_err();
        assert!(full.message.starts_with("cannot write /dev/full: No space left"), "{full}");
        for (path, reason) in [("deep", "Is a directory"), ("none/a", "No such file")] {
            let error = write_whole(&at(path), |_| Ok(())).unwrap_err().message;
            assert!(error.contains(reason) && !error.contains(".part"), "{error}");
        }
        // The longest name there is.
        write_whole(&at(&"n".repeat(255)), |_| Ok(())).unwrap();
    }

    #[test]
    fn equal_bytes_and_names_that_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let aside =
            |bytes: &'static [u8]| TempFile::write(folder.path(), |out| out.write_all(bytes)).unwrap();
        assert!(!aside(b"one").equals(&path));
        assert!(aside(b"one").persist_new(&path).unwrap().is_none());
        assert!(aside(b"one").equals(&path));
        assert!(!aside(b"two").equals(&path) && !aside(b"on").equals(&path));
        assert!(!aside(b"one").equals(folder.path()));
        assert!(aside(b"two").persist_new(&path).unwrap().is_some());
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"one".to_vec(), vec!["a".into()]));
    }
}
