//! The frame of a MIDI file: a header, then chunks, some of which are tracks. Gives out the tracks that
//! the header declares, in file order, and leaves their events to [`events`](super::events).
//!
//! More is read than pretty_midi reads: chunks that are not tracks are skipped, as the standard asks, and a file
//! wrapped in RIFF (`.rmi`) is unwrapped. What follows the last declared track is not looked at, by either.

use super::cursor::Cursor;
use super::error::{MidiError, Problem};

/// Where the header's division stands, for errors about it.
pub(super) const DIVISION_OFFSET: usize = 12;

/// The chunks of a file, after its header.
#[derive(Debug)]
pub(super) struct Chunks<'a> {
    cursor: Cursor<'a>,
    declared: u16,
    found: u16,
    /// Ticks a quarter note, or with bit 15 set a number of film frames and ticks.
    pub division: u16,
    /// Whether the file is wrapped in RIFF.
    pub is_riff: bool,
}

impl<'a> Chunks<'a> {
    /// Reads the header. The format (0, 1 or 2) makes no difference to pretty_midi, so none to us.
    pub fn new(file: &'a [u8]) -> Result<Self, MidiError> {
        if file.is_empty() {
            return Err(Problem::Empty.at(0));
        }
        let is_riff = file.starts_with(b"RIFF");
        let mut cursor = if is_riff { unwrapped(file)? } else { Cursor::new(file) };
        let offset = cursor.offset();
        if !file[offset..].starts_with(b"MThd") {
            return Err(Problem::NotMidi.at(offset));
        }
        cursor.take(4)?;
        let length = cursor.u32()?;
        if length < 6 {
            return Err(Problem::ShortHeader(length).at(4));
        }
        let _format = cursor.u16()?;
        let declared = cursor.u16()?;
        let division = cursor.u16()?;
        cursor.take(u64::from(length) - 6)?;
        match (declared, division) {
            (0, _) => Err(Problem::NoTrack.at(10)),
            (_, 0) => Err(Problem::ZeroDivision.at(DIVISION_OFFSET)),
            _ => Ok(Self { cursor, declared, found: 0, division, is_riff }),
        }
    }

    /// The bytes of the next track, or `None` after the last that the header declares.
    pub fn next_track(&mut self) -> Result<Option<Cursor<'a>>, MidiError> {
        if self.found == self.declared {
            return Ok(None);
        }
        loop {
            if self.cursor.is_at_end() {
                let problem = Problem::MissingTrack { found: self.found, declared: self.declared };
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

/// The MIDI file in a RIFF file: `RIFF`, a length, `RMID`, then chunks, of which `data` is the one. Lengths are little
/// endian, and a chunk of odd length has a byte more.
fn unwrapped(file: &[u8]) -> Result<Cursor<'_>, MidiError> {
    let mut cursor = Cursor::new(file);
    cursor.take(8)?;
    if cursor.take(4)? != b"RMID" {
        return Err(Problem::Riff.at(8));
    }
    loop {
        let name = cursor.take(4)?;
        let length = cursor.u32()?.swap_bytes();
        if name == b"data" {
            // What is after it belongs to no track.
            let start = cursor.offset();
            cursor.take(u64::from(length))?;
            let mut midi = Cursor::new(&file[..cursor.offset()]);
            midi.take(start as u64)?;
            return Ok(midi);
        }
        cursor.take(u64::from(length) + u64::from(length % 2))?;
    }
}
