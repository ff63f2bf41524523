//! A checkpoint from wherever a user says: a file, a folder, or a URL.

use std::path::Path;

use super::list::list;
use super::origin::Whose;
use super::recover::{Good, read, recover};
use super::{Checkpoint, Name};
use crate::failure::{Code, Failure};
use crate::metrics::{METRICS, Validations};
use crate::place::{self, Place};
use crate::store::{Store, StoreError};

/// A checkpoint and where it came from.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes, as they are stored.
    pub bytes: Vec<u8>,
    /// Its contents.
    pub checkpoint: Checkpoint,
    /// Its URL or path.
    pub location: String,
    /// What the user should know: an unverified name, damaged newer ones.
    pub notes: Vec<String>,
}

/// Opens one checkpoint by its file or object, or the newest good one in a folder or under a URL.
pub fn open(location: &str) -> anyhow::Result<Opened> {
    let is_object = match place::parse(location)? {
        Place::Local(path) => path.is_file() || is_named_so(&path.to_string_lossy()),
        Place::S3 { prefix, .. } => is_named_so(&prefix),
        Place::Memory => false,
    };
    if is_object { open_object(location) } else { open_newest(location) }
}

/// Opens the best checkpoint of a run, or as [`open`] does.
pub fn open_one(location: &str, best: bool) -> anyhow::Result<Opened> {
    if best { open_best(location) } else { open(location) }
}

/// Opens the checkpoint that did best in the validations of the run in a folder or under a URL.
fn open_best(location: &str) -> anyhow::Result<Opened> {
    let store = open_folder(location)?;
    let fail = |problem: String| Failure::new(Code::Storage, format!("{location}: {problem}"));
    let Some(best) = Validations::of(&store)?.best else {
        let problem =
            format!("{METRICS} there tells of no validation, so none is the best (data.holdout makes some)");
        return Err(fail(problem).into());
    };
    let names = list(&store)?.into_iter().map(|listed| listed.name);
    match names.into_iter().find(|name| name.step == best.step) {
        Some(name) => open_object(&store.url_of(&name.to_string())),
        None => {
            Err(fail(format!("the best checkpoint, that of step {}, is not there any more", best.step))
                .into())
        }
    }
}

fn is_named_so(name: &str) -> bool {
    name.ends_with(".safetensors")
}

/// The store that a file or object lies in, and its name there.
pub fn place_of(location: &str) -> Result<(Store, String), StoreError> {
    let (parent, name) = match place::parse(location) {
        // As a path, because a variable may stand for both.
        Ok(Place::Local(path)) => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                (parent.to_string_lossy().into_owned(), name.to_string_lossy().into_owned())
            }
            _ => (location.to_owned(), String::new()),
        },
        _ => {
            let (parent, name) = location.rsplit_once('/').unwrap_or((location, ""));
            (parent.to_owned(), name.to_owned())
        }
    };
    Ok((Store::open(&parent)?, name))
}

fn open_object(location: &str) -> anyhow::Result<Opened> {
    let (store, name) = place_of(location)?;
    let fail = |problem: String| Failure::new(Code::Storage, format!("{location}: {problem}"));
    let (Good { bytes, checkpoint }, notes) = match name.parse::<Name>() {
        Ok(name) => (read(&store, &name)?.map_err(|problem| fail(problem.to_string()))?, Vec::new()),
        Err(_) => {
            let note = format!("{location} has no hash in its name, so its bytes are not verified");
            let bytes = store.get(&name)?;
            let decoded = Checkpoint::decode(&bytes);
            let checkpoint = decoded.map_err(|error| fail(format!("is no checkpoint: {error}")))?;
            (Good { bytes, checkpoint }, vec![note])
        }
    };
    Ok(Opened { bytes, checkpoint, location: location.into(), notes })
}

fn open_folder(location: &str) -> anyhow::Result<Store> {
    let store = Store::open(location)?;
    if store.local_path("").is_some_and(|folder| !folder.exists()) {
        return Err(Failure::new(Code::Storage, format!("{location}: no such file or folder")).into());
    }
    Ok(store)
}

fn open_newest(location: &str) -> anyhow::Result<Opened> {
    let store = open_folder(location)?;
    let recovery = recover(&store, &Whose::last_attempted(&store)?)?;
    let notes = recovery.notes(&store);
    let Some((name, bytes)) = recovery.newest else {
        let fail = |problem: String| Failure::new(Code::Storage, format!("{location}: {problem}"));
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        return Err(fail(format!("holds no good checkpoint{notes}")).into());
    };
    let checkpoint = Checkpoint::decode(&bytes)?;
    Ok(Opened { bytes, checkpoint, location: store.url_of(&name.to_string()), notes })
}
