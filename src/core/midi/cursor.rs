//! A place in the file's bytes, and an end that it does not cross: the whole file's, or one track's.
//! Every read says where it was made, so that errors can; lengths that the file declares are compared
//! with what is left before anything is done with them.

use super::error::{MidiError, Problem};

/// Reads the bytes of a file from somewhere to `end`.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// Where `rest` ends, in bytes from the beginning of the file.
    end: usize,
    /// What running into `end` means.
    overrun: fn(needed: u64, left: usize) -> Problem,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a file.
    pub fn new(file: &'a [u8]) -> Self {
        let overrun = |needed, left| Problem::Truncated { needed, left };
        Self { rest: file, end: file.len(), overrun }
    }

    /// Bytes from the beginning of the file.
    #[inline]
    pub fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Whether nothing is left.
    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, MidiError> {
        let Some((&byte, rest)) = self.rest.split_first() else { return Err(self.too_short(1)) };
        self.rest = rest;
        Ok(byte)
    }

    /// The next `length` bytes.
    #[inline]
    pub fn take(&mut self, length: u64) -> Result<&'a [u8], MidiError> {
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((taken, rest)) = taken else { return Err(self.too_short(length)) };
        self.rest = rest;
        Ok(taken)
    }

    /// A cursor over the next `length` bytes, which are the events of a track.
    pub fn track(&mut self, length: u64) -> Result<Self, MidiError> {
        let rest = self.take(length)?;
        let overrun = |needed, left| Problem::EventOverrun { needed, left };
        Ok(Self { rest, end: self.offset(), overrun })
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
    #[inline]
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

    /// Out of the way of reading, which is where the time of a large corpus goes.
    #[cold]
    fn too_short(&self, needed: u64) -> MidiError {
        (self.overrun)(needed, self.rest.len()).at(self.offset())
    }
}
