//! A checkpoint from wherever a user says: a file, a folder, or a URL.

use std::path::Path;

use super::run::{self, Recovery};
use super::{Checkpoint, Name};
use crate::failure::{Code, Failure};
use crate::store::Store;

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
    let is_object = location.ends_with(".safetensors") || Path::new(location).is_file();
    if is_object { open_object(location) } else { open_newest(location) }
}

fn open_object(location: &str) -> anyhow::Result<Opened> {
    let (parent, name) = location.rsplit_once('/').unwrap_or((".", location));
    let parent = if parent.is_empty() { "/" } else { parent };
    let bytes = Store::open(parent)?.get(name)?;
    let fail = |problem: String| Failure::new(Code::Storage, format!("{location}: {problem}"));
    let mut notes = Vec::new();
    match name.parse::<Name>() {
        Ok(name) if !name.fits(&bytes) => {
            return Err(
                fail("its bytes do not have the hash in its name: damaged or cut short".into()).into()
            );
        }
        Ok(_) => {}
        Err(_) => notes.push(format!("{location} has no hash in its name, so its bytes are not verified")),
    }
    let checkpoint = Checkpoint::decode(&bytes).map_err(|error| fail(error.to_string()))?;
    Ok(Opened { bytes, checkpoint, location: location.into(), notes })
}

fn open_newest(location: &str) -> anyhow::Result<Opened> {
    let store = Store::open(location)?;
    let Recovery { newest, damaged } = run::recover(&store)?;
    let Some((name, bytes)) = newest else {
        let damaged = damaged.iter().map(|line| format!("; {line}")).collect::<String>();
        let message = format!("{location}: holds no good checkpoint{damaged}");
        return Err(Failure::new(Code::Storage, message).into());
    };
    let checkpoint = Checkpoint::decode(&bytes)?;
    let notes = damaged.into_iter().map(|line| format!("passed over {line}")).collect();
    Ok(Opened { bytes, checkpoint, location: format!("{}/{name}", store.url()), notes })
}
