//! Everything under a URL that is a checkpoint, or looks like one: whether it is good, and why not.

use super::Name;
use super::list::{Listed, STEP};
use super::origin::Whose;
use super::problem::Problem;
use super::recover::read_of;
use crate::store::{Entry, Kind, Store, StoreError};

/// An object, and what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Its name.
    pub name: String,
    /// The step in its name, if that is the name of a checkpoint.
    pub step: Option<u64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// What is found.
    pub verdict: Verdict,
}

/// What is found about an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// A checkpoint as it should be.
    Good,
    /// What is wrong with a checkpoint.
    Bad(String),
    /// Why something that looks like a checkpoint is none, and harms nothing.
    Note(String),
}

/// Looks at everything under a URL: checkpoints, oldest first, then what only looks like them.
pub fn verify<E: From<StoreError>>(
    store: &Store,
    mut found: impl FnMut(Verified) -> Result<(), E>,
) -> Result<(), E> {
    let (mut checkpoints, mut others) = (Vec::new(), Vec::new());
    for entry in store.list(STEP)? {
        match entry.name.parse::<Name>() {
            Ok(name) => checkpoints.push(Listed { name, bytes: entry.size }),
            Err(_) => others.push(misnamed(entry)),
        }
    }
    checkpoints.sort_by(|a, b| a.name.cmp(&b.name));
    let whose = Whose::last_attempted(store)?;
    for Listed { name, bytes } in checkpoints {
        if let Some(verdict) = judge(store, &name, &whose)? {
            found(Verified { name: name.to_string(), step: Some(name.step), bytes, verdict })?;
        }
    }
    let unfinished = store.unfinished()?.into_iter().map(half_written);
    others.into_iter().chain(unfinished).try_for_each(found)
}

/// `None` for a checkpoint that a running training has retired since it was listed.
fn judge(store: &Store, name: &Name, whose: &Whose) -> Result<Option<Verdict>, StoreError> {
    let problem = match read_of(store, name, whose) {
        Ok(Ok(good)) => Problem::of_windows(&good.checkpoint),
        Ok(Err(problem)) => Some(problem),
        Err(error) if error.kind == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(problem.map_or(Verdict::Good, |problem| Verdict::Bad(problem.to_string()))))
}

fn misnamed(Entry { name, size }: Entry) -> Verified {
    let says = "is not named like a checkpoint, so nothing reads it";
    let verdict = if name.ends_with(".safetensors") {
        // Somebody may count on it.
        Verdict::Bad(format!("{says} (step-<8 digits>-<16 hexadecimal digits>.safetensors)"))
    } else {
        Verdict::Note(says.into())
    };
    Verified { name, step: None, bytes: size, verdict }
}

fn half_written(Entry { name, size }: Entry) -> Verified {
    let says = "is half-written, by a run under way or left by a crash; nothing reads it, and a launch an hour later \
                removes it";
    Verified { name, step: None, bytes: size, verdict: Verdict::Note(says.into()) }
}
