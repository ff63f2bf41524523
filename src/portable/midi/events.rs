//! From the bytes of a MIDI file to events with their ticks: the header and its tracks ([`MidiChunks`]), and the
//! events of one track ([`TrackEvents`]). Every length that the file declares is compared with what is left before it is
//! used, and every error names the byte where reading failed ([`Cursor`]).
//!
//! More is read than pretty_midi reads: chunks that are not tracks are skipped, as the standard asks, and a file wrapped
//! in RIFF (`.rmi`) is unwrapped. Neither reads past the last declared track.
//!
//! midly decodes the channel messages. Where one event ends and the next begins is found here, because midly silently
//! stops at the first event that it does not accept, and because what pretty_midi reads (through mido 1.3.3) differs
//! from the standard, and from midly, in five ways:
//!
//! - running status continues after a meta event;
//! - running status also repeats a system exclusive event, whose first byte is then dropped;
//! - system common and real-time messages may occur in a track;
//! - delta times and lengths may have any number of bytes;
//! - the delta time of a meta event that mido does not know **is lost**: whatever follows is early by that much.

use midly::num::{u7, u14};
use midly::{MidiMessage, PitchBend};

use super::error::{MidiError, MidiProblem};

/// The header's division, for errors about it.
pub(super) const DIVISION_OFFSET: usize = 12;

/// The chunks of a file, after its header.
#[derive(Debug)]
pub(super) struct MidiChunks<'a> {
    cursor: Cursor<'a>,
    declared: u16,
    found: u16,
    /// Ticks per quarter note, or with bit 15 set SMPTE frames and ticks.
    pub division: u16,
    pub is_riff: bool,
}

impl<'a> MidiChunks<'a> {
    /// Reads the header. The format (0, 1 or 2) makes no difference to pretty_midi, and so none here.
    pub fn new(file: &'a [u8]) -> Result<Self, MidiError> {
        if file.is_empty() {
            return Err(MidiProblem::Empty.at(0));
        }
        let is_riff = file.starts_with(b"RIFF");
        let mut cursor = if is_riff { unwrapped(file)? } else { Cursor::new(file) };
        let offset = cursor.offset();
        if !file[offset..].starts_with(b"MThd") {
            return Err(MidiProblem::NotMidi.at(offset));
        }
        cursor.take(4)?;
        let length = cursor.u32()?;
        if length < 6 {
            return Err(MidiProblem::ShortHeader(length).at(4));
        }
        let _format = cursor.u16()?;
        let declared = cursor.u16()?;
        let division = cursor.u16()?;
        cursor.take(u64::from(length) - 6)?;
        match (declared, division) {
            (0, _) => Err(MidiProblem::NoTrack.at(10)),
            (_, 0) => Err(MidiProblem::ZeroDivision.at(DIVISION_OFFSET)),
            _ => Ok(Self { cursor, declared, found: 0, division, is_riff }),
        }
    }

    /// The next track, or `None` after the last one that the header declares.
    pub fn next_track(&mut self) -> Result<Option<Cursor<'a>>, MidiError> {
        if self.found == self.declared {
            return Ok(None);
        }
        loop {
            if self.cursor.is_at_end() {
                let problem = MidiProblem::MissingTrack { found: self.found, declared: self.declared };
                return Err(problem.at(self.cursor.offset()));
            }
            let name = self.cursor.take(4)?;
            let length = self.cursor.u32()?;
            let body = self.cursor.track(u64::from(length))?;
            if name == b"MTrk" {
                self.found += 1;
                return Ok(Some(body));
            }
        }
    }
}

/// The MIDI file in a RIFF file: `RIFF`, a length, `RMID`, then chunks, of which `data` holds it. Lengths are
/// little-endian, and a chunk of odd length is padded by a byte.
fn unwrapped(file: &[u8]) -> Result<Cursor<'_>, MidiError> {
    let mut cursor = Cursor::new(file);
    cursor.take(8)?;
    if cursor.take(4)? != b"RMID" {
        return Err(MidiProblem::Riff.at(8));
    }
    loop {
        let name = cursor.take(4)?;
        let length = cursor.u32()?.swap_bytes();
        if name == b"data" {
            // Bytes after this chunk belong to no track.
            let start = cursor.offset();
            cursor.take(u64::from(length))?;
            let mut midi = Cursor::new(&file[..cursor.offset()]);
            midi.take(start as u64)?;
            return Ok(midi);
        }
        cursor.take(u64::from(length) + u64::from(length % 2))?;
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum MidiEvent<'a> {
    /// `channel` is 0 to 15.
    Channel { channel: u8, message: MidiMessage },
    /// `kind` as in [`meta`].
    Meta { kind: u8, data: &'a [u8] },
    /// System exclusive, common and real-time messages, which say nothing about notes.
    System,
}

/// Types of meta events, from the MIDI file standard.
pub(super) mod meta {
    pub const TEXT: u8 = 0x01;
    pub const TRACK_NAME: u8 = 0x03;
    pub const LYRIC: u8 = 0x05;
    pub const TEMPO: u8 = 0x51;
    pub const TIME_SIGNATURE: u8 = 0x58;
    pub const KEY_SIGNATURE: u8 = 0x59;

    /// Whether mido 1.3.3 knows the type, and so keeps the event's delta time.
    pub fn keeps_its_delta(kind: u8) -> bool {
        matches!(kind, 0x00..=0x07 | 0x09 | 0x20 | 0x21 | 0x2f | 0x51 | 0x54 | 0x58 | 0x59 | 0x7f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TimedEvent<'a> {
    /// Where the event's delta time is, in bytes from the start of the file.
    pub offset: usize,
    /// From the start of the track.
    pub tick: u32,
    pub event: MidiEvent<'a>,
}

/// The events of one track, in order.
#[derive(Debug)]
pub(super) struct TrackEvents<'a> {
    cursor: Cursor<'a>,
    tick: u32,
    running_status: Option<u8>,
}

impl<'a> TrackEvents<'a> {
    pub fn new(track: Cursor<'a>) -> Self {
        Self { cursor: track, tick: 0, running_status: None }
    }

    /// The next event, also after an end-of-track event: mido reads all bytes of a track.
    #[inline]
    pub fn next(&mut self) -> Result<Option<TimedEvent<'a>>, MidiError> {
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        let offset = self.cursor.offset();
        let delta = self.cursor.variable_length()?;
        let event = self.event()?;
        if !matches!(event, MidiEvent::Meta { kind, .. } if !meta::keeps_its_delta(kind)) {
            self.tick = advance(self.tick, delta).ok_or(MidiProblem::TooLong.at(offset))?;
        }
        Ok(Some(TimedEvent { offset, tick: self.tick, event }))
    }

    #[inline]
    fn event(&mut self) -> Result<MidiEvent<'a>, MidiError> {
        let offset = self.cursor.offset();
        let byte = self.cursor.byte()?;
        if byte == 0xff {
            let kind = self.cursor.byte()?;
            let length = self.cursor.variable_length()?;
            return Ok(MidiEvent::Meta { kind, data: self.cursor.take(length)? });
        }
        if byte >= 0x80 {
            self.running_status = Some(byte);
            return self.message(offset, byte, None);
        }
        let status = self.running_status.ok_or(MidiProblem::NoRunningStatus(byte).at(offset))?;
        self.message(offset, status, Some(byte))
    }

    /// The rest of a message; under running status, `first` is the data byte read in place of a status.
    #[inline]
    fn message(&mut self, offset: usize, status: u8, first: Option<u8>) -> Result<MidiEvent<'a>, MidiError> {
        match status {
            0x80..=0xbf | 0xe0..=0xef => {
                let data = [self.data_byte(first)?, self.data_byte(None)?];
                Ok(on_channel(status, data))
            }
            0xc0..=0xdf => {
                let data = [self.data_byte(first)?, 0];
                Ok(on_channel(status, data))
            }
            _ => self.system(offset, status, first),
        }
    }

    /// A system event, read only to find where it ends.
    fn system(&mut self, offset: usize, status: u8, first: Option<u8>) -> Result<MidiEvent<'a>, MidiError> {
        match status {
            0xf0 | 0xf7 => {
                let length = self.cursor.variable_length()?;
                self.cursor.take(length)?;
            }
            0xf1 | 0xf3 => {
                self.data_byte(first)?;
            }
            0xf2 => {
                self.data_byte(first)?;
                self.data_byte(None)?;
            }
            0xf6 | 0xf8 | 0xfa | 0xfb | 0xfc | 0xfe => {
                if let Some(byte) = first {
                    return Err(MidiProblem::NoRunningStatus(byte).at(offset));
                }
            }
            _ => return Err(MidiProblem::UndefinedStatus(status).at(offset)),
        }
        Ok(MidiEvent::System)
    }

    /// `read_already`, or the next data byte.
    #[inline]
    fn data_byte(&mut self, read_already: Option<u8>) -> Result<u8, MidiError> {
        if let Some(byte) = read_already {
            return Ok(byte);
        }
        let offset = self.cursor.offset();
        match self.cursor.byte()? {
            byte @ 0..0x80 => Ok(byte),
            byte => Err(MidiProblem::DataByte(byte).at(offset)),
        }
    }
}

/// Data bytes are below 128.
#[inline]
fn on_channel<'a>(status: u8, [first, second]: [u8; 2]) -> MidiEvent<'a> {
    let [a, b] = [u7::from_int_lossy(first), u7::from_int_lossy(second)];
    let message = match status >> 4 {
        0x8 => MidiMessage::NoteOff { key: a, vel: b },
        0x9 => MidiMessage::NoteOn { key: a, vel: b },
        0xa => MidiMessage::Aftertouch { key: a, vel: b },
        0xb => MidiMessage::Controller { controller: a, value: b },
        0xc => MidiMessage::ProgramChange { program: a },
        0xd => MidiMessage::ChannelAftertouch { vel: a },
        _ => {
            let bend = u14::from_int_lossy(u16::from(second) << 7 | u16::from(first));
            MidiMessage::PitchBend { bend: PitchBend(bend) }
        }
    };
    MidiEvent::Channel { channel: status & 0x0f, message }
}

/// `tick + delta`, if 32 bits hold it.
fn advance(tick: u32, delta: u64) -> Option<u32> {
    u32::try_from(u64::from(tick).checked_add(delta)?).ok()
}

/// A position in the file's bytes, and an end that it does not cross: the file's, or a track's.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// Where `rest` ends, in bytes from the start of the file.
    end: usize,
    /// The problem to report on reaching `end`.
    overrun: fn(needed: u64, left: usize) -> MidiProblem,
}

impl<'a> Cursor<'a> {
    pub fn new(file: &'a [u8]) -> Self {
        let overrun = |needed, left| MidiProblem::Truncated { needed, left };
        Self { rest: file, end: file.len(), overrun }
    }

    /// In bytes from the start of the file.
    #[inline]
    pub fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, MidiError> {
        let Some((&byte, rest)) = self.rest.split_first() else { return Err(self.too_short(1)) };
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub fn take(&mut self, length: u64) -> Result<&'a [u8], MidiError> {
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((taken, rest)) = taken else { return Err(self.too_short(length)) };
        self.rest = rest;
        Ok(taken)
    }

    /// A cursor over the next `length` bytes, a track's events.
    pub fn track(&mut self, length: u64) -> Result<Self, MidiError> {
        let rest = self.take(length)?;
        let overrun = |needed, left| MidiProblem::EventOverrun { needed, left };
        Ok(Self { rest, end: self.offset(), overrun })
    }

    /// Big-endian.
    pub fn u32(&mut self) -> Result<u32, MidiError> {
        Ok(self.take(4)?.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// Big-endian.
    pub fn u16(&mut self) -> Result<u16, MidiError> {
        Ok(self.take(2)?.iter().fold(0, |value, &byte| value << 8 | u16::from(byte)))
    }

    /// A variable-length quantity: seven bits per byte, high bits first, bit 7 set in all but the last byte.
    ///
    /// The standard allows four bytes; mido reads any number, so we do too. A value that does not fit saturates.
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

    /// Kept out of the hot path: reading MIDI takes most of the time of loading a large corpus.
    #[cold]
    fn too_short(&self, needed: u64) -> MidiError {
        (self.overrun)(needed, self.rest.len()).at(self.offset())
    }
}
