//! A place in the file's bytes, and an end that it does not cross: the whole file's, or one track's.
//! Every read says where it was made, so that errors can; lengths that the file declares are compared
//! with what is left before anything is done with them.

use super::error::{MidiError, Problem};

/// Reads `file[at..end]`.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
    end: usize,
    /// What running into `end` means.
    overrun: fn(needed: u64, left: usize) -> Problem,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a file.
    pub fn new(file: &'a [u8]) -> Self {
        let overrun = |needed, left| Problem::Truncated { needed, left };
        Self { file, at: 0, end: file.len(), overrun }
    }

    /// Bytes from the beginning of the file.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.at == self.end
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, MidiError> {
        Ok(self.take(1)?[0])
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: u64) -> Result<&'a [u8], MidiError> {
        let begin = self.at;
        self.skip(length)?;
        Ok(&self.file[begin..self.at])
    }

    /// A cursor over the next `length` bytes, which are the events of a track.
    pub fn track(&mut self, length: u64) -> Result<Self, MidiError> {
        let at = self.at;
        self.skip(length)?;
        let overrun = |needed, left| Problem::EventOverrun { needed, left };
        Ok(Self { file: self.file, at, end: self.at, overrun })
    }

    /// The next four bytes, the high one first.
    pub fn u32(&mut self) -> Result<u32, MidiError> {
        Ok(self.take(4)?.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// The next two bytes, the high one first.
    pub fn u16(&mut self) -> Result<u16, MidiError> {
        Ok(self.take(2)?.iter().fold(0, |value, &byte| value << 8 | u16::from(byte)))
    }

    /// A variable-length quantity: seven bits a byte, the high ones first, bit 7 set in all but the last.
    ///
    /// The standard allows four bytes; mido reads any number, so we do. What does not fit stays huge.
    pub fn variable_length(&mut self) -> Result<u64, MidiError> {
        let mut value = 0u64;
        loop {
            let byte = self.byte()?;
            value = value.saturating_mul(128) | u64::from(byte & 0x7f);
            if byte < 0x80 {
                return Ok(value);
            }
        }
    }

    fn skip(&mut self, length: u64) -> Result<(), MidiError> {
        let left = self.end - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                self.at += length;
                Ok(())
            }
            _ => Err((self.overrun)(length, left).at(self.at)),
        }
    }
}
