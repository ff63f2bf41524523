//! What can be wrong with a stored checkpoint, as exactly as its bytes tell.

use std::collections::HashMap;

use safetensors::tensor::Metadata;

use super::origin::Difference;
use super::{Checkpoint, Name};
use crate::corpus::audit::Seen;

/// Why an object is not the checkpoint that its name promises. Its `Display` goes on after the name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// No bytes at all.
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
    /// Not even its header is whole, or the header's length is damaged.
    #[error("is cut short or damaged: {has} bytes, fewer than its header alone should have")]
    NoHeader {
        /// Bytes that are there.
        has: u64,
    },
    /// More bytes than its own header says.
    #[error("is damaged: {has} bytes in place of {of}")]
    TooLong {
        /// Bytes that are there.
        has: u64,
        /// Bytes that it was written with.
        of: u64,
    },
    /// As many bytes as there should be, or nobody knows how many, but other ones.
    #[error("is damaged: its bytes do not have the hash in its name")]
    Damaged,
    /// Other bytes, which say that they are another step's.
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
    /// Whole, but not of the run in question.
    #[error("{0}")]
    Foreign(Difference),
    /// Trained on other windows than those of its steps.
    #[error("was trained on {seen} windows that are not the {expected} of its steps")]
    Windows {
        /// How many it was trained on.
        seen: u64,
        /// How many it should have been; 0 if nobody can say.
        expected: u64,
    },
}

impl Problem {
    /// What is wrong with bytes that do not have the hash in their name.
    pub(super) fn of_other_bytes(name: &Name, bytes: &[u8]) -> Problem {
        let has = bytes.len() as u64;
        if bytes.is_empty() {
            return Problem::Empty;
        }
        match written_length(bytes) {
            Length::Of(of) if has < of => Problem::CutShort { has, of },
            Length::Of(of) if has > of => Problem::TooLong { has, of },
            Length::MoreThanHeader => Problem::NoHeader { has },
            _ => match Checkpoint::decode(bytes) {
                Ok(checkpoint) if checkpoint.step != name.step => Problem::Renamed(checkpoint.step),
                _ => Problem::Damaged,
            },
        }
    }

    /// What is wrong with the windows that a checkpoint was trained on, if anything.
    pub fn of_windows(checkpoint: &Checkpoint) -> Option<Problem> {
        let expected = match checkpoint.expected_windows() {
            Ok(expected) => expected,
            Err(error) => return Some(Problem::Format(error.to_string())),
        };
        let windows = |seen: Option<Seen>| seen.map_or(0, |seen| seen.windows);
        let seen = Some(checkpoint.seen);
        (seen != expected).then(|| Problem::Windows { seen: windows(seen), expected: windows(expected) })
    }
}

/// What the beginning of a safetensors file says about its length.
enum Length {
    Of(u64),
    /// It ends before its header does.
    MoreThanHeader,
    Unknown,
}

/// safetensors itself reads whole files only. A header that contradicts itself says nothing.
fn written_length(bytes: &[u8]) -> Length {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Length::MoreThanHeader };
    let header_length = u64::from_le_bytes(*length);
    let Some(header) = usize::try_from(header_length).ok().and_then(|length| rest.get(..length)) else {
        return Length::MoreThanHeader;
    };
    let Ok(metadata) = serde_json::from_slice::<Metadata>(header) else { return Length::Unknown };
    match data_length(&metadata) {
        Some(data) => Length::Of(8 + header_length + data),
        None => Length::Unknown,
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
