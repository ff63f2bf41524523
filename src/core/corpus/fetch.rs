//! Fetches the article's MIDI files from where they are published, each verified by its SHA-256.
//!
//! Only a file with the right contents ever gets its name in the folder: bytes gather in `NAME.part` and
//! are renamed when they prove right. So fetching may stop anywhere, and goes on where it stopped when it
//! runs again. One bad file does not keep the others from coming; no connection stops it at once. How the
//! files are read is left to the rest of [`corpus`](super).

mod download;

use crate::failure::{Code, ExitCode};
use crate::store::{http, root_cause};
use download::{Download, Stop, holds};
use reqwest::Client;
use serde::Deserialize;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which files there are, and where.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// Where the files are published: a file's URL is this and its name.
    pub base_url: String,
    /// In the order of fetching.
    pub files: Vec<Listed>,
}

/// One file of a [`Manifest`].
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    /// Its name at the source and in the folder.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Of its contents, in lower-case hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The 36 files of the article: the six cello suites.
    pub fn cello() -> Self {
        serde_json::from_str(include_str!("../data/cello.manifest.json"))
            .expect("the embedded manifest is right, as a test makes sure")
    }
}

/// How far fetching is. Bytes count what is in the folder, whoever brought it there.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The file at hand.
    pub file: &'a str,
    /// Files before it.
    pub files_done: usize,
    /// Files of the manifest.
    pub files: usize,
    /// Bytes so far; fewer than before where a part proved useless.
    pub bytes: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
}

/// What a successful fetch did. All files of the manifest are in the folder now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files that were there already.
    pub kept: usize,
    /// Files that came now.
    pub fetched: usize,
}

/// Why the folder lacks files now. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection to the server.
    #[error(
        "cannot reach {url} ({reason}): {have} of {files} files are in {}. Run again once there is a network, \
         or use the Prelude inside the program: data.midi = \"embedded\"", .folder.display()
    )]
    Offline {
        /// The base URL.
        url: String,
        /// Why not.
        reason: String,
        /// The folder.
        folder: PathBuf,
        /// Right files in the folder.
        have: usize,
        /// Files of the manifest.
        files: usize,
    },
    /// Some files could not be had; all others are in the folder.
    #[error("{} of {files} files could not be fetched from {url}: {}", .failures.len(), join(.failures))]
    Incomplete {
        /// The base URL.
        url: String,
        /// One for each missing file.
        failures: Vec<Failure>,
        /// Files of the manifest.
        files: usize,
    },
    /// The folder or a file in it cannot be used.
    #[error("cannot write {}: {source}", .path.display())]
    Folder {
        /// What cannot be used.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The base URL is none, or the HTTP client cannot be built.
    #[error("cannot fetch from {url}: {reason}")]
    Client {
        /// The base URL.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl ExitCode for FetchError {
    fn exit_code(&self) -> Code {
        match self {
            FetchError::Folder { .. } => Code::Storage,
            _ => Code::Data,
        }
    }
}

/// One file that could not be had.
#[derive(Debug)]
pub struct Failure {
    /// Its name in the manifest.
    pub file: String,
    /// Why not.
    pub problem: Problem,
}

/// Why one file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The server does not give it.
    #[error("the server answers HTTP {0}")]
    Status(u16),
    /// The server gives other contents than the manifest describes.
    #[error("the server has {0}, not the file of the manifest, and none of it was kept")]
    Wrong(String),
    /// The connection broke, again and again. What came is kept for the next run.
    #[error("the connection broke after {have} of {size} bytes ({reason}), run again to go on")]
    Broken {
        /// Bytes in the partial file.
        have: u64,
        /// Bytes of the whole.
        size: u64,
        /// How it broke.
        reason: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.problem)
    }
}

/// The first few failures, which are enough to act on.
fn join(failures: &[Failure]) -> String {
    let shown: Vec<_> = failures.iter().take(3).map(ToString::to_string).collect();
    let more = failures.len() - shown.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    shown.join("; ") + &more
}

/// Brings all files of a manifest into a folder, which is made where it is missing. Files that are there
/// with the right contents are kept, and their server is not asked.
///
/// `base_url` is the manifest's own, or a mirror's; `progress` is called at each file and each piece of it.
///
/// # Errors
/// See [`FetchError`]. Files that came before an error stay.
pub fn fetch(
    manifest: &Manifest,
    base_url: &str,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, FetchError> {
    fs::create_dir_all(folder).map_err(in_folder(folder))?;
    let base_url = format!("{}/", base_url.trim_end_matches('/'));
    let unusable = |reason| FetchError::Client { url: base_url.clone(), reason };
    reqwest::Url::parse(&base_url).map_err(|error| unusable(error.to_string()))?;
    let client = client().map_err(|error| unusable(root_cause(&error)))?;
    let runtime = http::runtime().map_err(|error| unusable(error.to_string()))?;
    runtime.block_on(fetch_all(manifest, &client, &base_url, folder, progress))
}

fn client() -> reqwest::Result<Client> {
    http::choose_tls();
    Client::builder()
        .user_agent(concat!("bachdist/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        // Between two pieces, not for the whole.
        .read_timeout(Duration::from_secs(30))
        .build()
}

async fn fetch_all(
    manifest: &Manifest,
    client: &Client,
    base_url: &str,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, FetchError> {
    let files = manifest.files.len();
    let bytes_total = manifest.files.iter().map(|file| file.size).sum();
    let (mut summary, mut failures, mut bytes_before) = (Summary::default(), Vec::new(), 0);
    for (files_done, file) in manifest.files.iter().enumerate() {
        let mut report = |bytes: u64| {
            let bytes = bytes_before + bytes;
            progress(Progress { file: &file.name, files_done, files, bytes, bytes_total });
        };
        let path = folder.join(&file.name);
        if holds(&path, file).map_err(in_folder(&path))? {
            report(file.size);
            summary.kept += 1;
            bytes_before += file.size;
            continue;
        }
        report(0);
        let download = Download::new(file, format!("{base_url}{}", file.name), &path);
        match download.run(client, &mut report).await {
            Ok(()) => {
                summary.fetched += 1;
                bytes_before += file.size;
            }
            Err(Stop::File(problem)) => failures.push(Failure { file: file.name.clone(), problem }),
            Err(Stop::Disk(source)) => return Err(FetchError::Folder { path: download.part, source }),
            Err(Stop::NoConnection(reason)) => {
                let right = |file: &&Listed| holds(&folder.join(&file.name), file).unwrap_or(false);
                let have = manifest.files.iter().filter(right).count();
                let (url, folder) = (base_url.to_owned(), folder.to_owned());
                return Err(FetchError::Offline { url, reason, folder, have, files });
            }
        }
    }
    if failures.is_empty() {
        return Ok(summary);
    }
    Err(FetchError::Incomplete { url: base_url.to_owned(), failures, files })
}

fn in_folder(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Folder { path, source }
}
