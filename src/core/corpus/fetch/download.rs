//! One file on its way: ask for what is missing, gather it in `NAME.part`, verify, rename.

use super::{Listed, Problem};
use crate::store::root_cause;
use reqwest::{Client, Response, StatusCode, header};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Tries for one file, where connections break or the part of an earlier run was wrong.
const ATTEMPTS: usize = 3;

/// One file on its way.
pub(super) struct Download<'a> {
    file: &'a Listed,
    url: String,
    path: &'a Path,
    /// Where its bytes gather.
    pub(super) part: PathBuf,
}

/// Why a download ended without its file.
pub(super) enum Stop {
    /// Other files may do better.
    File(Problem),
    /// No file will do better.
    NoConnection(String),
    /// Nor with this folder.
    Disk(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Disk(error)
    }
}

impl<'a> Download<'a> {
    pub(super) fn new(file: &'a Listed, url: String, path: &'a Path) -> Self {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        Self { file, url, path, part: part.into() }
    }

    /// Goes on from what an earlier run left, and again where the connection breaks.
    pub(super) async fn run(&self, client: &Client, report: &mut dyn FnMut(u64)) -> Result<(), Stop> {
        let mut attempts = 1;
        loop {
            let resumed = self.have()?;
            let problem = match self.attempt(client, resumed, report).await? {
                None => return Ok(fs::rename(&self.part, self.path)?),
                Some(problem) => problem,
            };
            // Contents in one piece are the server's: asking again would bring the same.
            let final_word = resumed == 0 && matches!(problem, Problem::Wrong(_));
            if final_word || attempts == ATTEMPTS {
                return Err(Stop::File(problem));
            }
            attempts += 1;
        }
    }

    /// Asks for what is missing, if anything is; `None` once the partial file is the file of the manifest.
    async fn attempt(
        &self,
        client: &Client,
        resumed: u64,
        report: &mut dyn FnMut(u64),
    ) -> Result<Option<Problem>, Stop> {
        if resumed < self.file.size
            && let Err(reason) = self.receive(client, resumed, report).await?
        {
            return Ok(Some(Problem::Broken { have: self.have()?, size: self.file.size, reason }));
        }
        if holds(&self.part, self.file)? {
            return Ok(None);
        }
        let problem = self.wrong()?;
        fs::remove_file(&self.part)?;
        Ok(Some(problem))
    }

    /// Bytes that wait in the partial file.
    fn have(&self) -> io::Result<u64> {
        match fs::metadata(&self.part) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Asks for what is missing and adds it to the partial file, until the server has no more. The inner
    /// error is a connection that broke: what came before it is kept.
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
            // A server that does not do ranges sends the whole.
            StatusCode::OK => 0,
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
                fs::remove_file(&self.part)?;
                return Ok(Err("the server cannot go on where the partial file ends".into()));
            }
            status => return Err(Stop::File(Problem::Status(status.as_u16()))),
        };
        let mut part = OpenOptions::new().create(true).append(true).open(&self.part)?;
        part.set_len(have)?;
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    part.write_all(&bytes)?;
                    have += bytes.len() as u64;
                    report(have.min(self.file.size));
                    // Too long to be right, and who knows how long.
                    if have > self.file.size {
                        return Ok(Ok(()));
                    }
                }
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(root_cause(&error))),
            }
        }
    }

    /// What is wrong with the contents of the partial file.
    fn wrong(&self) -> io::Result<Problem> {
        let (have, size) = (self.have()?, self.file.size);
        Ok(Problem::Wrong(match have.cmp(&size) {
            Ordering::Less => format!("{have} bytes instead of {size}"),
            Ordering::Greater => format!("more than {size} bytes"),
            Ordering::Equal => format!("other contents (SHA-256 {}...)", &sha256(&self.part)?[..8]),
        }))
    }
}

/// Whether a partial answer begins where ours ends (RFC 9110, 14.4: `bytes FIRST-LAST/SIZE`).
fn starts_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

/// Whether a file is there with the contents that the manifest describes.
pub(super) fn holds(path: &Path, file: &Listed) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len() == file.size && sha256(path)? == file.sha256),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// In lower-case hexadecimal.
fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hash.update(&buffer[..count]),
        }
    }
}
