//! The events of one track, each with its tick from the beginning of the track. The messages on channels
//! are decoded by midly; where one event ends and the next begins is found here, because midly stops
//! without a word at the first event that it does not like, and because what pretty_midi reads (through
//! mido 1.3.3) differs from the standard, and from midly, in five ways:
//!
//! - running status goes on after a meta event;
//! - running status also repeats a system exclusive event, whose first byte is then dropped;
//! - system common and real-time messages may stand in a track;
//! - delta times and lengths may take any number of bytes;
//! - the delta time of a meta event that mido does not know **is lost**: what follows is early by as much.

use midly::num::{u7, u14};
use midly::{MidiMessage, PitchBend};

use super::cursor::Cursor;
use super::error::{MidiError, Problem};

/// What happens at a tick of a track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Event<'a> {
    /// A message on a channel, 0 to 15.
    Channel { channel: u8, message: MidiMessage },
    /// About the piece: `kind` as in [`meta`].
    Meta { kind: u8, data: &'a [u8] },
    /// To a device: exclusive, common and real-time messages. They say nothing about notes.
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

/// An event, where it stands in the file, and when it happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timed<'a> {
    /// Of the event's delta time, in bytes from the beginning of the file.
    pub offset: usize,
    /// From the beginning of the track.
    pub tick: u32,
    /// What happens.
    pub event: Event<'a>,
}

/// Goes through the events of one track.
#[derive(Debug)]
pub(super) struct Events<'a> {
    cursor: Cursor<'a>,
    tick: u32,
    running_status: Option<u8>,
}

impl<'a> Events<'a> {
    pub fn new(track: Cursor<'a>) -> Self {
        Self { cursor: track, tick: 0, running_status: None }
    }

    /// The next event. After the end-of-track event too: mido reads all bytes of a track.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Timed<'a>>, MidiError> {
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        let offset = self.cursor.offset();
        let delta = self.cursor.variable_length()?;
        let event = self.event()?;
        if !matches!(event, Event::Meta { kind, .. } if !meta::keeps_its_delta(kind)) {
            self.tick = advance(self.tick, delta).ok_or(Problem::TooLong.at(offset))?;
        }
        Ok(Some(Timed { offset, tick: self.tick, event }))
    }

    #[inline]
    fn event(&mut self) -> Result<Event<'a>, MidiError> {
        let offset = self.cursor.offset();
        let byte = self.cursor.byte()?;
        if byte == 0xff {
            let kind = self.cursor.byte()?;
            let length = self.cursor.variable_length()?;
            return Ok(Event::Meta { kind, data: self.cursor.take(length)? });
        }
        if byte >= 0x80 {
            self.running_status = Some(byte);
            return self.message(offset, byte, None);
        }
        let status = self.running_status.ok_or(Problem::NoRunningStatus(byte).at(offset))?;
        self.message(offset, status, Some(byte))
    }

    /// What follows a status; under running status, `first` was read where the status would stand.
    #[inline]
    fn message(&mut self, offset: usize, status: u8, first: Option<u8>) -> Result<Event<'a>, MidiError> {
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

    /// An event to a device. Its bytes are read only to find where it ends.
    fn system(&mut self, offset: usize, status: u8, first: Option<u8>) -> Result<Event<'a>, MidiError> {
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
                    return Err(Problem::NoRunningStatus(byte).at(offset));
                }
            }
            _ => return Err(Problem::UndefinedStatus(status).at(offset)),
        }
        Ok(Event::System)
    }

    /// A data byte of a message: the one that was read already, or the next.
    #[inline]
    fn data_byte(&mut self, read_already: Option<u8>) -> Result<u8, MidiError> {
        if let Some(byte) = read_already {
            return Ok(byte);
        }
        let offset = self.cursor.offset();
        match self.cursor.byte()? {
            byte @ 0..0x80 => Ok(byte),
            byte => Err(Problem::DataByte(byte).at(offset)),
        }
    }
}

/// A message on a channel, by the first four bits of its status. Data bytes are below 128.
#[inline]
fn on_channel<'a>(status: u8, [first, second]: [u8; 2]) -> Event<'a> {
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
    Event::Channel { channel: status & 0x0f, message }
}

/// `tick + delta`, if 32 bits hold it.
fn advance(tick: u32, delta: u64) -> Option<u32> {
    u32::try_from(u64::from(tick).checked_add(delta)?).ok()
}
