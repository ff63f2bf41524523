//! Why a MIDI file could not be read, and at which byte. The caller adds the file's name.

/// Why a MIDI file cannot be read, and where it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {problem}")]
pub struct MidiError {
    /// In bytes from the start of the file.
    pub offset: usize,
    /// What is wrong there.
    pub problem: MidiProblem,
}

/// What can be wrong with a MIDI file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the messages say it
pub enum MidiProblem {
    #[error("the file is empty")]
    Empty,
    /// The first four bytes are not `MThd`.
    #[error("not a MIDI file: it does not begin with MThd")]
    NotMidi,
    /// A RIFF file that holds something else, such as sound.
    #[error("a RIFF file without MIDI in it")]
    Riff,
    #[error("the header declares {0} bytes; it needs 6")]
    ShortHeader(u32),
    #[error("the file has no track")]
    NoTrack,
    #[error("the file ends after {found} of its {declared} tracks")]
    MissingTrack {
        /// Tracks in the file.
        found: u16,
        /// Tracks that the header declares.
        declared: u16,
    },
    /// A header or a chunk extends beyond the end of the file.
    #[error("the file is truncated: {needed} bytes are declared here, {left} are left")]
    Truncated {
        /// Bytes that the file says follow.
        needed: u64,
        /// Bytes that do follow.
        left: usize,
    },
    /// An event extends beyond the end of its track.
    #[error("an event needs {needed} more bytes; its track has {left} left")]
    EventOverrun {
        /// Bytes that the event says follow.
        needed: u64,
        /// Bytes that the track has left.
        left: usize,
    },
    #[error("a quarter note has zero ticks")]
    ZeroDivision,
    #[error("times in SMPTE frames are not supported, only ticks per quarter note")]
    Smpte,
    /// Would give the notes after it no time.
    #[error("the tempo is zero microseconds per quarter note")]
    ZeroTempo,
    #[error("a tempo event has {0} bytes; it needs 3")]
    ShortTempo(usize),
    /// An event's tick does not fit into 32 bits: at the usual 480 ticks per quarter note, after 51 days.
    #[error("an event after {} ticks; the file is probably corrupt", u32::MAX)]
    TooLong,
    /// A data byte without running status.
    #[error("data byte {0:#04x} where a message should begin")]
    NoRunningStatus(u8),
    #[error("undefined message {0:#04x}")]
    UndefinedStatus(u8),
    #[error("byte {0:#04x} among a message's data; data bytes are below 0x80")]
    DataByte(u8),
}

impl MidiProblem {
    pub(super) fn at(self, offset: usize) -> MidiError {
        MidiError { offset, problem: self }
    }
}
