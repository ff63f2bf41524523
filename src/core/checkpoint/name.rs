//! `step-<8 digits>-<content hash>.safetensors`: a name that its bytes can be checked against.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The name of a checkpoint's object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Optimizer updates made.
    pub step: u64,
    /// The first 16 hexadecimal digits of the SHA-256 of its bytes.
    pub hash: String,
}

const HASH_DIGITS: usize = 16;

impl Name {
    /// The name that these bytes must have.
    pub fn of(step: u64, bytes: &[u8]) -> Self {
        Name { step, hash: content_hash(bytes) }
    }

    /// Whether these are the bytes that were saved under this name.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        self.hash == content_hash(bytes)
    }
}

fn content_hash(bytes: &[u8]) -> String {
    let mut digits = crate::hex(&Sha256::digest(bytes));
    digits.truncate(HASH_DIGITS);
    digits
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step-{:08}-{}.safetensors", self.step, self.hash)
    }
}

/// Not the name of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAName;

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let inner =
            text.strip_prefix("step-").and_then(|t| t.strip_suffix(".safetensors")).ok_or(NotAName)?;
        let (step, hash) = inner.split_once('-').ok_or(NotAName)?;
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let digits = step.len() >= 8 && step.chars().all(|c| c.is_ascii_digit());
        if !digits || hash.len() != HASH_DIGITS || !hash.chars().all(hex) {
            return Err(NotAName);
        }
        let name = Name { step: step.parse().map_err(|_| NotAName)?, hash: hash.into() };
        // One spelling for each name: nine digits with a leading zero are somebody else's.
        if name.to_string() == text { Ok(name) } else { Err(NotAName) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for step in [0, 7, 99_999_999, 123_456_789_012] {
            let name = Name::of(step, b"bytes");
            assert_eq!(name.to_string().parse(), Ok(name.clone()));
            assert!(name.fits(b"bytes") && !name.fits(b"other"));
        }
        assert_eq!(Name::of(500, b"abc").to_string(), "step-00000500-ba7816bf8f01cfea.safetensors");
    }

    #[test]
    fn other_names_are_not() {
        for text in [
            "",
            "attempt-3",
            "step-500-ba7816bf8f01cfea.safetensors",
            "step-00000500-ba7816bf8f01cfe.safetensors",
            "step-00000500-BA7816BF8F01CFEA.safetensors",
            "step-000000500-ba7816bf8f01cfea.safetensors",
            "step-00000500-ba7816bf8f01cfea.safetensors.part",
            "step-99999999999999999999-ba7816bf8f01cfea.safetensors",
        ] {
            assert_eq!(text.parse::<Name>(), Err(NotAName), "{text}");
        }
    }
}
