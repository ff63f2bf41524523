//! Reading one checkpoint, or finding the newest good one, and saying what was passed over.

use super::list::{Listed, list};
use super::origin::Whose;
use super::problem::Problem;
use super::{Checkpoint, Name};
use crate::failure::Failure;
use crate::store::{Kind, Store, StoreError};

/// A checkpoint whose bytes fit its name.
#[derive(Debug)]
pub struct Good {
    /// The bytes, as they are stored.
    pub bytes: Vec<u8>,
    /// What they say.
    pub checkpoint: Checkpoint,
}

/// What recovery found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The newest good checkpoint of the run in question, as it is stored.
    pub newest: Option<(Name, Vec<u8>)>,
    /// Newer ones that are damaged or another run's, newest first.
    pub passed_over: Vec<(Name, Problem)>,
}

impl Recovery {
    /// A line for each checkpoint passed over.
    pub fn notes(&self, store: &Store) -> Vec<String> {
        let note = |(name, problem): &(Name, Problem)| {
            format!("passed over {}, which {problem}", store.url_of(&name.to_string()))
        };
        self.passed_over.iter().map(note).collect()
    }

    /// The error of a run that finds only others' checkpoints, of which this names the newest.
    pub fn refusal(&self, store: &Store) -> Option<Failure> {
        let foreign = |(name, problem): &(Name, Problem)| match problem {
            Problem::Foreign(difference) => Some(difference.refusal(&store.url_of(&name.to_string()))),
            _ => None,
        };
        if self.newest.is_some() { None } else { self.passed_over.iter().find_map(foreign) }
    }
}

/// Reads one checkpoint, or says what is wrong with it. One that a running training has retired since it was
/// listed is [`Kind::NotFound`].
pub fn read(store: &Store, name: &Name) -> Result<Result<Good, Problem>, StoreError> {
    let tries = if store.is_local() { 1 } else { 2 };
    let bytes = read_fitting(name, tries, || store.get(&name.to_string()))?;
    if !name.fits(&bytes) {
        return Ok(Err(Problem::of_other_bytes(name, &bytes)));
    }
    Ok(match Checkpoint::decode(&bytes) {
        Ok(checkpoint) if checkpoint.step != name.step => Err(Problem::Step(checkpoint.step)),
        Ok(checkpoint) => Ok(Good { bytes, checkpoint }),
        Err(error) => Err(Problem::Format(error.to_string())),
    })
}

/// Over a network a transfer can be at fault too, so bytes that do not fit are read again before they are called
/// damaged.
fn read_fitting(
    name: &Name,
    tries: u32,
    mut get: impl FnMut() -> Result<Vec<u8>, StoreError>,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = get()?;
    for _ in 1..tries {
        if name.fits(&bytes) {
            break;
        }
        bytes = get()?;
    }
    Ok(bytes)
}

/// Like [`read`]; a checkpoint that is none of those looked for has a problem too.
pub fn read_of(store: &Store, name: &Name, whose: &Whose) -> Result<Result<Good, Problem>, StoreError> {
    Ok(read(store, name)?.and_then(|good| match whose.difference(&good.checkpoint) {
        Some(difference) => Err(Problem::Foreign(difference)),
        None => Ok(good),
    }))
}

/// The newest good checkpoint under a URL, of those looked for.
pub fn recover(store: &Store, whose: &Whose) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery::default();
    for Listed { name, .. } in list(store)?.into_iter().rev() {
        match read_of(store, &name, whose) {
            Ok(Ok(good)) => {
                recovery.newest = Some((name, good.bytes));
                break;
            }
            Ok(Err(problem)) => recovery.passed_over.push((name, problem)),
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(recovery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_damaged_is_read_once_more() {
        let name = Name::of(1, b"right");
        let read = |tries, answers: &[&[u8]]| {
            let mut answers = answers.iter();
            let bytes = read_fitting(&name, tries, || Ok(answers.next().unwrap().to_vec())).unwrap();
            assert_eq!(answers.next(), None, "read less often");
            bytes
        };
        assert_eq!(read(2, &[b"right"]), b"right");
        assert_eq!(read(2, &[b"wrong", b"right"]), b"right");
        assert_eq!(read(2, &[b"wrong", b"Wrong"]), b"Wrong");
        assert_eq!(read(1, &[b"wrong"]), b"wrong");
    }
}
