//! Downloads sets of music from where they are published, and verifies each file by its SHA-256.
//!
//! Only a file with the right contents gets its name in the folder: bytes are collected in `NAME.part`, which is renamed
//! once verified. So a fetch may be interrupted anywhere and continues where it stopped when it is run again. A bad file
//! does not keep the others from being fetched; a missing connection ends the fetch at once.

use std::cmp::Ordering;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::failure::{ExitCode, HasExitCode};
use crate::store::{http, root_cause};

/// Requests for one file, if connections break or the partial file of an earlier run is wrong. More would hardly help:
/// what the user should hear about is that the connection is bad.
const MAX_ATTEMPTS: usize = 3;

/// The manifests that come with the program, by the name of their set.
const MANIFESTS: [(&str, &str); 3] = [
    ("cello", include_str!("../data/cello.manifest.json")),
    ("chorales", include_str!("../data/chorales.manifest.json")),
    ("fakes", include_str!("../data/fakes.manifest.json")),
];

/// Files to fetch, and where they are published.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// What music it is.
    pub about: String,
    /// Under which license it is published.
    pub license: String,
    /// A file's URL is this followed by its name.
    pub base_url: String,
    /// In the order of fetching.
    pub files: Vec<ManifestEntry>,
}

/// One file of a [`Manifest`].
#[derive(Debug, Clone, Deserialize)]
pub struct ManifestEntry {
    /// The name both at the source and in the folder.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Of the contents, in lower-case hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The names of the sets that [`Manifest::named`] knows.
    pub fn names() -> [&'static str; 3] {
        MANIFESTS.map(|(name, _)| name)
    }

    /// The manifest of a set that comes with the program.
    pub fn named(name: &str) -> Option<Self> {
        let (_, text) = MANIFESTS.iter().find(|(known, _)| *known == name)?;
        Some(serde_json::from_str(text).expect("the embedded manifests are valid, as a test verifies"))
    }
}

/// The progress of a fetch. Bytes include those of files that were there before.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The current file.
    pub file: &'a str,
    /// How many files come before it.
    pub files_done: usize,
    /// The number of files in the manifest.
    pub files: usize,
    /// Bytes so far. Decreases if a partial file proves useless.
    pub bytes: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
}

/// The result of a fetch after which all files of the manifest are in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files that were there before.
    pub kept: usize,
    /// Files downloaded now.
    pub fetched: usize,
}

/// Why files are missing from the folder. Each error is one line.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection to the server.
    #[error(
        "cannot reach {url} ({reason}): {have} of {files} files are in {}. Run again once there is a network, \
         or use the built-in Prelude: data.midi = \"embedded\"", .folder.display()
    )]
    Offline {
        /// The base URL.
        url: String,
        /// Why the connection failed.
        reason: String,
        /// The folder.
        folder: PathBuf,
        /// Verified files in the folder.
        have: usize,
        /// Files of the manifest.
        files: usize,
    },
    /// Some files could not be fetched; all others are in the folder.
    #[error("{} of {files} files could not be fetched from {url}: {}", .failures.len(), first_failures(.failures))]
    Incomplete {
        /// The base URL.
        url: String,
        /// One for each missing file.
        failures: Vec<FetchFailure>,
        /// Files of the manifest.
        files: usize,
    },
    /// The folder or a file in it cannot be used.
    #[error("cannot write {}: {source}", .path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// The base URL is invalid, or the HTTP client cannot be built.
    #[error("cannot fetch from {url}: {reason}")]
    Client {
        /// The base URL.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl HasExitCode for FetchError {
    fn exit_code(&self) -> ExitCode {
        match self {
            FetchError::Folder { .. } => ExitCode::Storage,
            _ => ExitCode::Data,
        }
    }
}

/// A file that could not be fetched.
#[derive(Debug)]
pub struct FetchFailure {
    /// The file's name in the manifest.
    pub file: String,
    /// Why it could not be fetched.
    pub problem: DownloadProblem,
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadProblem {
    /// The server refuses the request.
    #[error("the server answers HTTP {0}")]
    Status(u16),
    /// The server's file is not the one that the manifest describes.
    #[error("the server has {0}, not the file of the manifest; nothing of it was kept")]
    Wrong(String),
    /// The connection broke repeatedly. The partial file is kept for the next run.
    #[error("the connection broke after {have} of {size} bytes ({reason}); run again to continue")]
    Broken {
        /// Bytes in the partial file.
        have: u64,
        /// Bytes of the whole file.
        size: u64,
        /// How the connection broke.
        reason: String,
    },
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.problem)
    }
}

fn first_failures(failures: &[FetchFailure]) -> String {
    /// Enough to act on.
    const MAX_LISTED: usize = 3;
    let listed: Vec<_> = failures.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    match failures.len() - listed.len() {
        0 => listed.join("; "),
        more => format!("{}; and {more} more", listed.join("; ")),
    }
}

/// Fetches all files of a manifest into a folder, which is created if it does not exist. Files that are there with the
/// right contents are kept without asking the server.
///
/// `base_url` is the manifest's own, or a mirror's; `progress` is called for each file and each chunk of it.
///
/// # Errors
/// See [`FetchError`]. Files that were fetched before an error stay.
pub fn fetch(
    manifest: &Manifest,
    base_url: &str,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, FetchError> {
    fs::create_dir_all(folder).map_err(|source| FetchError::Folder { path: folder.to_owned(), source })?;
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
        // For each chunk, not for the whole file.
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
        if holds(&path, file).map_err(|source| FetchError::Folder { path: path.clone(), source })? {
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
            Err(Stop::File(problem)) => failures.push(FetchFailure { file: file.name.clone(), problem }),
            Err(Stop::Disk(source)) => return Err(FetchError::Folder { path: download.part, source }),
            Err(Stop::NoConnection(reason)) => {
                let is_there = |file: &&ManifestEntry| holds(&folder.join(&file.name), file).unwrap_or(false);
                let have = manifest.files.iter().filter(is_there).count();
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

/// The download of one file.
struct Download<'a> {
    file: &'a ManifestEntry,
    url: String,
    path: &'a Path,
    /// The partial file.
    part: PathBuf,
}

/// Why a download ended without its file.
enum Stop {
    /// Other files may succeed.
    File(DownloadProblem),
    /// No other file will succeed.
    NoConnection(String),
    /// No other file will succeed in this folder.
    Disk(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Disk(error)
    }
}

impl<'a> Download<'a> {
    fn new(file: &'a ManifestEntry, url: String, path: &'a Path) -> Self {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        Self { file, url, path, part: part.into() }
    }

    /// Continues an earlier run's partial file, and continues again if the connection breaks.
    async fn run(&self, client: &Client, report: &mut dyn FnMut(u64)) -> Result<(), Stop> {
        let mut attempts = 1;
        loop {
            let resumed = self.part_length()?;
            let received =
                if resumed < self.file.size { self.receive(client, resumed, report).await? } else { Ok(()) };
            let problem = match received {
                Err(reason) => {
                    DownloadProblem::Broken { have: self.part_length()?, size: self.file.size, reason }
                }
                Ok(()) if holds(&self.part, self.file)? => return Ok(fs::rename(&self.part, self.path)?),
                Ok(()) => {
                    let problem = self.wrong()?;
                    fs::remove_file(&self.part)?;
                    problem
                }
            };
            // Wrong contents in a single answer are what the server has: another request would bring the same.
            let is_final = resumed == 0 && matches!(problem, DownloadProblem::Wrong(_));
            if is_final || attempts == MAX_ATTEMPTS {
                return Err(Stop::File(problem));
            }
            attempts += 1;
        }
    }

    fn part_length(&self) -> io::Result<u64> {
        match fs::metadata(&self.part) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Requests the missing bytes and appends them to the partial file, until the server has no more. The inner error is
    /// a broken connection: whatever came before it is kept.
    async fn receive(
        &self,
        client: &Client,
        resumed: u64,
        report: &mut dyn FnMut(u64),
    ) -> Result<Result<(), String>, Stop> {
        let mut request = client.get(&self.url);
        if resumed > 0 {
            request = request.header(header::RANGE, format!("bytes={resumed}-"));
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Err(Stop::NoConnection(root_cause(&error))),
            Err(error) => return Ok(Err(root_cause(&error))),
        };
        let mut have = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, resumed) => resumed,
            // A server without ranges sends the whole file.
            StatusCode::OK => 0,
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
                fs::remove_file(&self.part)?;
                return Ok(Err("the server cannot continue at the end of the partial file".into()));
            }
            status => return Err(Stop::File(DownloadProblem::Status(status.as_u16()))),
        };
        let mut part = OpenOptions::new().create(true).append(true).open(&self.part)?;
        part.set_len(have)?;
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    part.write_all(&bytes)?;
                    have += bytes.len() as u64;
                    report(have.min(self.file.size));
                    // Already too long; it might never end.
                    if have > self.file.size {
                        return Ok(Ok(()));
                    }
                }
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(root_cause(&error))),
            }
        }
    }

    /// How the contents of the partial file differ from the manifest.
    fn wrong(&self) -> io::Result<DownloadProblem> {
        let (have, size) = (self.part_length()?, self.file.size);
        Ok(DownloadProblem::Wrong(match have.cmp(&size) {
            Ordering::Less => format!("{have} bytes instead of {size}"),
            Ordering::Greater => format!("more than {size} bytes"),
            Ordering::Equal => format!("other contents (SHA-256 {}...)", &sha256(&self.part)?[..8]),
        }))
    }
}

/// Whether a partial answer begins at `offset` (RFC 9110, 14.4: `bytes FIRST-LAST/SIZE`).
fn starts_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

/// Whether the file exists with the contents that the manifest describes.
fn holds(path: &Path, file: &ManifestEntry) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len() == file.size && sha256(path)? == file.sha256),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Of a file whose size was compared with the manifest's, so that it fits into memory.
fn sha256(path: &Path) -> io::Result<String> {
    Ok(crate::hex(&Sha256::digest(fs::read(path)?)))
}
