//! Reading checkpoints: one by its name, the newest valid one of a run, one from wherever a user says; and the verdict on
//! every object under a run's URL.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::Metadata;

use super::identity::{CheckpointFilter, IdentityMismatch};
use super::{Checkpoint, CheckpointEntry, CheckpointName, STEP_PREFIX, list};
use crate::failure::{ExitCode, Failure};
use crate::location::{self, Location};
use crate::metrics::{METRICS, Validations};
use crate::store::{Store, StoreError, StoreErrorKind, StoredObject};

/// A checkpoint and where it came from.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    /// Its bytes, as they are stored.
    pub bytes: Vec<u8>,
    /// Its contents.
    pub checkpoint: Checkpoint,
    /// Its URL or path.
    pub location: String,
    /// Warnings for the user: an unverified name, skipped newer checkpoints.
    pub notes: Vec<String>,
}

/// Opens a checkpoint by its file or object, or the newest valid one in a folder or under a URL.
pub fn open(location: &str) -> anyhow::Result<LoadedCheckpoint> {
    let is_object = match location::parse(location)? {
        Location::Local(path) => path.is_file() || has_checkpoint_suffix(&path.to_string_lossy()),
        Location::S3 { prefix, .. } => has_checkpoint_suffix(&prefix),
        Location::Memory => false,
    };
    if is_object { open_object(location) } else { open_newest(location) }
}

/// Opens the checkpoint that was best in validation, or as [`open`] does.
pub fn open_one(location: &str, best: bool) -> anyhow::Result<LoadedCheckpoint> {
    if best { open_best(location) } else { open(location) }
}

fn open_best(location: &str) -> anyhow::Result<LoadedCheckpoint> {
    let store = open_folder(location)?;
    let fail = |problem: String| Failure::new(ExitCode::Storage, format!("{location}: {problem}"));
    let Some(best) = Validations::of(&store)?.best else {
        let problem =
            format!("{METRICS} has no validations, so there is no best checkpoint (set data.holdout)");
        return Err(fail(problem).into());
    };
    let names = list(&store)?.into_iter().map(|listed| listed.name);
    match names.into_iter().find(|name| name.step == best.step) {
        Some(name) => open_object(&store.url_of(&name.to_string())),
        None => Err(fail(format!("the best checkpoint, of step {}, was deleted", best.step)).into()),
    }
}

fn has_checkpoint_suffix(name: &str) -> bool {
    name.ends_with(".safetensors")
}

/// The store that holds a file or object, and its name there.
pub fn store_and_name(location: &str) -> Result<(Store, String), StoreError> {
    let (parent, name) = match location::parse(location) {
        // Split the expanded path, because one variable may hold folder and name.
        Ok(Location::Local(path)) => match (path.parent(), path.file_name()) {
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

fn open_object(location: &str) -> anyhow::Result<LoadedCheckpoint> {
    let (store, name) = store_and_name(location)?;
    let fail = |problem: String| Failure::new(ExitCode::Storage, format!("{location}: {problem}"));
    let (ValidCheckpoint { bytes, checkpoint }, notes) = match name.parse::<CheckpointName>() {
        Ok(name) => (read(&store, &name)?.map_err(|problem| fail(problem.to_string()))?, Vec::new()),
        Err(_) => {
            let note = format!("{location} has no hash in its name, so its bytes are not verified");
            let bytes = store.get(&name)?;
            let decoded = Checkpoint::decode(&bytes);
            let checkpoint =
                decoded.map_err(|error| fail(format!("is not a bachdist checkpoint: {error}")))?;
            (ValidCheckpoint { bytes, checkpoint }, vec![note])
        }
    };
    Ok(LoadedCheckpoint { bytes, checkpoint, location: location.into(), notes })
}

fn open_folder(location: &str) -> anyhow::Result<Store> {
    let store = Store::open(location)?;
    if store.local_path("").is_some_and(|folder| !folder.exists()) {
        return Err(Failure::new(ExitCode::Storage, format!("{location}: no such file or folder")).into());
    }
    Ok(store)
}

fn open_newest(location: &str) -> anyhow::Result<LoadedCheckpoint> {
    let store = open_folder(location)?;
    let recovery = recover(&store, &CheckpointFilter::last_attempted(&store)?)?;
    let notes = recovery.notes(&store);
    let Some((name, bytes)) = recovery.newest else {
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        let message = format!("{location}: holds no valid checkpoint{notes}");
        return Err(Failure::new(ExitCode::Storage, message).into());
    };
    let checkpoint = Checkpoint::decode(&bytes)?;
    Ok(LoadedCheckpoint { bytes, checkpoint, location: store.url_of(&name.to_string()), notes })
}

/// A checkpoint whose bytes have the hash in its name.
#[derive(Debug)]
pub struct ValidCheckpoint {
    /// The bytes, as they are stored.
    pub bytes: Vec<u8>,
    /// Their contents.
    pub checkpoint: Checkpoint,
}

/// What [`recover`] found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The newest valid checkpoint that the filter accepts, as it is stored.
    pub newest: Option<(CheckpointName, Vec<u8>)>,
    /// Newer ones that are damaged or of another run, newest first.
    pub skipped: Vec<(CheckpointName, CheckpointProblem)>,
}

impl Recovery {
    /// A line for each skipped checkpoint.
    pub fn notes(&self, store: &Store) -> Vec<String> {
        let skipped = self.skipped.iter();
        skipped
            .map(|(name, problem)| format!("skipped {}, which {problem}", store.url_of(&name.to_string())))
            .collect()
    }

    /// The error of a run that finds only other runs' checkpoints; it names the newest of them. Newer checkpoints of the
    /// other backend are an error in any case: the run went on as theirs, and would fork here.
    pub fn refusal(&self, store: &Store) -> Option<Failure> {
        for (name, problem) in &self.skipped {
            if let CheckpointProblem::Foreign(mismatch) = problem
                && (self.newest.is_none() || matches!(mismatch, IdentityMismatch::Backend(_)))
            {
                return Some(mismatch.refusal(&store.url_of(&name.to_string())));
            }
        }
        None
    }
}

/// Reads a checkpoint, or says what is wrong with it. One that was pruned since it was listed is [`StoreErrorKind::NotFound`].
pub fn read(
    store: &Store,
    name: &CheckpointName,
) -> Result<Result<ValidCheckpoint, CheckpointProblem>, StoreError> {
    let tries = if store.is_local() { 1 } else { 2 };
    let bytes = read_until_match(name, tries, || store.get(&name.to_string()))?;
    if !name.matches(&bytes) {
        return Ok(Err(CheckpointProblem::of_other_bytes(name, &bytes)));
    }
    Ok(match Checkpoint::decode(&bytes) {
        Ok(checkpoint) if checkpoint.step != name.step => Err(CheckpointProblem::Step(checkpoint.step)),
        Ok(checkpoint) => Ok(ValidCheckpoint { bytes, checkpoint }),
        Err(error) => Err(CheckpointProblem::Format(error.to_string())),
    })
}

/// Reads bytes again if they do not match: over a network the transfer may be at fault, not the object.
fn read_until_match(
    name: &CheckpointName,
    tries: u32,
    mut get: impl FnMut() -> Result<Vec<u8>, StoreError>,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = get()?;
    for _ in 1..tries {
        if name.matches(&bytes) {
            break;
        }
        bytes = get()?;
    }
    Ok(bytes)
}

/// Like [`read`]; a checkpoint that the filter does not accept is a problem too.
pub fn read_matching(
    store: &Store,
    name: &CheckpointName,
    filter: &CheckpointFilter,
) -> Result<Result<ValidCheckpoint, CheckpointProblem>, StoreError> {
    Ok(read(store, name)?.and_then(|valid| match filter.difference(&valid.checkpoint) {
        Some(difference) => Err(CheckpointProblem::Foreign(difference)),
        None => Ok(valid),
    }))
}

/// Finds the newest valid checkpoint under a URL that the filter accepts.
pub fn recover(store: &Store, filter: &CheckpointFilter) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery::default();
    for CheckpointEntry { name, .. } in list(store)?.into_iter().rev() {
        match read_matching(store, &name, filter) {
            Ok(Ok(valid)) => {
                recovery.newest = Some((name, valid.bytes));
                break;
            }
            Ok(Err(problem)) => recovery.skipped.push((name, problem)),
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(recovery)
}

/// Why an object is not the checkpoint that its name promises. Its `Display` continues a sentence that begins with the name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckpointProblem {
    /// No bytes.
    #[error("is empty")]
    Empty,
    /// Fewer bytes than its own header says.
    #[error("is cut short: {has} of {of} bytes")]
    CutShort {
        /// Bytes that are there.
        has: u64,
        /// Bytes that it was written with.
        of: u64,
    },
    /// Its header is incomplete, or the header's length is damaged.
    #[error("is cut short or damaged: {has} bytes, fewer than its header alone should have")]
    NoHeader {
        /// Bytes that are there.
        has: u64,
    },
    /// More bytes than its own header says.
    #[error("is damaged: {has} bytes instead of {of}")]
    TooLong {
        /// Bytes that are there.
        has: u64,
        /// Bytes that it was written with.
        of: u64,
    },
    /// The right number of bytes, or an unknown one, but with another hash.
    #[error("is damaged: its bytes do not have the hash in its name")]
    Damaged,
    /// The hash of other bytes, which claim to be of another step.
    #[error(
        "is damaged or renamed: its bytes do not have the hash in its name, and say that they are of step {0}"
    )]
    Renamed(u64),
    /// The right bytes, but of another step than its name says.
    #[error("is renamed: its bytes are of step {0}")]
    Step(u64),
    /// The right bytes, but not those of a checkpoint that this program reads.
    #[error("cannot be read: {0}")]
    Format(String),
    /// Valid, but of another run.
    #[error("{0}")]
    Foreign(IdentityMismatch),
    /// Trained on other windows than those of its steps.
    #[error("was trained on {found} windows that are not the {expected} of its steps")]
    Windows {
        /// How many it was trained on.
        found: u64,
        /// How many it should have been; 0 if that is unknown.
        expected: u64,
    },
}

impl CheckpointProblem {
    /// What is wrong with bytes that do not have the hash in their name.
    pub(super) fn of_other_bytes(name: &CheckpointName, bytes: &[u8]) -> CheckpointProblem {
        let has = bytes.len() as u64;
        if bytes.is_empty() {
            return CheckpointProblem::Empty;
        }
        match written_length(bytes) {
            WrittenLength::Of(of) if has < of => CheckpointProblem::CutShort { has, of },
            WrittenLength::Of(of) if has > of => CheckpointProblem::TooLong { has, of },
            WrittenLength::MoreThanHeader => CheckpointProblem::NoHeader { has },
            _ => match Checkpoint::decode(bytes) {
                Ok(checkpoint) if checkpoint.step != name.step => CheckpointProblem::Renamed(checkpoint.step),
                _ => CheckpointProblem::Damaged,
            },
        }
    }

    /// What is wrong with the windows that a checkpoint was trained on, if anything.
    pub fn of_windows(checkpoint: &Checkpoint) -> Option<CheckpointProblem> {
        let expected = match checkpoint.expected_windows() {
            Ok(expected) => expected,
            Err(error) => return Some(CheckpointProblem::Format(error.to_string())),
        };
        (expected != Some(checkpoint.audit)).then(|| CheckpointProblem::Windows {
            found: checkpoint.audit.windows,
            expected: expected.map_or(0, |expected| expected.windows),
        })
    }
}

/// What the header of a safetensors file says about its length.
enum WrittenLength {
    Of(u64),
    /// It ends before its header does.
    MoreThanHeader,
    Unknown,
}

/// safetensors itself reads whole files only. A header that contradicts itself says nothing.
fn written_length(bytes: &[u8]) -> WrittenLength {
    let Some((length, rest)) = bytes.split_first_chunk() else { return WrittenLength::MoreThanHeader };
    let header_length = u64::from_le_bytes(*length);
    let Some(header) = usize::try_from(header_length).ok().and_then(|length| rest.get(..length)) else {
        return WrittenLength::MoreThanHeader;
    };
    let Ok(metadata) = serde_json::from_slice::<Metadata>(header) else { return WrittenLength::Unknown };
    match data_length(&metadata) {
        Some(data) => WrittenLength::Of(8 + header_length + data),
        None => WrittenLength::Unknown,
    }
}

/// The bytes of all tensors, if their shapes and places agree.
fn data_length(metadata: &Metadata) -> Option<u64> {
    let tensors: HashMap<_, _> = metadata.tensors();
    let mut total = 0;
    for tensor in tensors.values() {
        let numbers = tensor.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side))?;
        let bits = numbers.checked_mul(tensor.dtype.bitsize())?;
        let (begin, end) = tensor.data_offsets;
        if end.checked_sub(begin)? != bits / 8 {
            return None;
        }
        total += bits / 8;
    }
    (metadata.data_len() == total).then_some(total as u64)
}

/// An object and the verdict on it.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedObject {
    /// Its name.
    pub name: String,
    /// The step in its name, if that is the name of a checkpoint.
    pub step: Option<u64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The verdict.
    pub verdict: ObjectVerdict,
}

/// The verdict on an object.
#[derive(Debug, Clone, PartialEq)]
pub enum ObjectVerdict {
    /// A valid checkpoint.
    Valid,
    /// What is wrong with it.
    Invalid(String),
    /// Something that is not a checkpoint and does no harm.
    Note(String),
}

/// Verifies everything under a URL: checkpoints, oldest first, then objects with similar names.
pub fn verify<E: From<StoreError>>(
    store: &Store,
    mut found: impl FnMut(VerifiedObject) -> Result<(), E>,
) -> Result<(), E> {
    let (mut checkpoints, mut others) = (Vec::new(), Vec::new());
    for entry in store.list(STEP_PREFIX)? {
        match entry.name.parse::<CheckpointName>() {
            Ok(name) => checkpoints.push(CheckpointEntry { name, bytes: entry.size }),
            Err(_) => others.push(misnamed(entry)),
        }
    }
    checkpoints.sort_by(|a, b| a.name.cmp(&b.name));
    let filter = CheckpointFilter::last_attempted(store)?;
    for CheckpointEntry { name, bytes } in checkpoints {
        if let Some(verdict) = judge(store, &name, &filter)? {
            found(VerifiedObject { name: name.to_string(), step: Some(name.step), bytes, verdict })?;
        }
    }
    let unfinished = store.partial_writes()?.into_iter().map(half_written);
    others.into_iter().chain(unfinished).try_for_each(found)
}

/// `None` for a checkpoint that a running launch has pruned since it was listed.
fn judge(
    store: &Store,
    name: &CheckpointName,
    filter: &CheckpointFilter,
) -> Result<Option<ObjectVerdict>, StoreError> {
    let problem = match read_matching(store, name, filter) {
        Ok(Ok(valid)) => CheckpointProblem::of_windows(&valid.checkpoint),
        Ok(Err(problem)) => Some(problem),
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(match problem {
        None => ObjectVerdict::Valid,
        // The run went on by another backend (`train --change-backend`).
        Some(CheckpointProblem::Foreign(IdentityMismatch::Backend(values))) => {
            ObjectVerdict::Note(format!("is from before a change of backend: {values}"))
        }
        Some(problem) => ObjectVerdict::Invalid(problem.to_string()),
    }))
}

fn misnamed(StoredObject { name, size }: StoredObject) -> VerifiedObject {
    let reason = "is not named like a checkpoint, so nothing reads it";
    let verdict = if name.ends_with(".safetensors") {
        // Someone may rely on it.
        ObjectVerdict::Invalid(format!("{reason} (step-<8 digits>-<16 hexadecimal digits>.safetensors)"))
    } else {
        ObjectVerdict::Note(reason.into())
    };
    VerifiedObject { name, step: None, bytes: size, verdict }
}

fn half_written(StoredObject { name, size }: StoredObject) -> VerifiedObject {
    let says = "is half-written, by a running launch or one that crashed; nothing reads it, and a launch an hour later \
                removes it";
    VerifiedObject { name, step: None, bytes: size, verdict: ObjectVerdict::Note(says.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_damaged_is_read_once_more() {
        let name = CheckpointName::of(1, b"right");
        let read = |tries, answers: &[&[u8]]| {
            let mut answers = answers.iter();
            let bytes = read_until_match(&name, tries, || Ok(answers.next().unwrap().to_vec())).unwrap();
            assert_eq!(answers.next(), None, "read less often");
            bytes
        };
        assert_eq!(read(2, &[b"right"]), b"right");
        assert_eq!(read(2, &[b"wrong", b"right"]), b"right");
        assert_eq!(read(2, &[b"wrong", b"Wrong"]), b"Wrong");
        assert_eq!(read(1, &[b"wrong"]), b"wrong");
    }
}
