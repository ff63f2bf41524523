//! Why a file could not be read, and at which byte. The caller, who knows the file's name, adds it.

/// A MIDI file that cannot be read: where, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {problem}")]
pub struct MidiError {
    /// Bytes from the beginning of the file to what is wrong.
    pub offset: usize,
    /// What is wrong there.
    pub problem: MidiProblem,
}

/// What can be wrong with a MIDI file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MidiProblem {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The first four bytes are not `MThd`.
    #[error("not a MIDI file: it does not begin with MThd")]
    NotMidi,
    /// The first four bytes are `RIFF`, but what follows is sound or the like.
    #[error("a RIFF file without MIDI in it")]
    Riff,
    /// The header is shorter than the standard's six bytes.
    #[error("the header declares {0} bytes, and needs 6")]
    ShortHeader(u32),
    /// The header declares no track.
    #[error("the file has no track")]
    NoTrack,
    /// Fewer tracks than the header declares.
    #[error("the file ends after {found} of its {declared} tracks")]
    MissingTrack {
        /// Tracks in the file.
        found: u16,
        /// Tracks that the header declares.
        declared: u16,
    },
    /// A header or a chunk goes on after the end of the file.
    #[error("the file is cut short: {needed} bytes are declared here, {left} are left")]
    Truncated {
        /// Bytes that the file says follow.
        needed: u64,
        /// Bytes that do follow.
        left: usize,
    },
    /// An event goes on after the end of its track.
    #[error("an event of {needed} more bytes in a track with {left} left")]
    EventOverrun {
        /// Bytes that the event says follow.
        needed: u64,
        /// Bytes that the track has left.
        left: usize,
    },
    /// The division of a quarter note is zero.
    #[error("a quarter note of zero ticks")]
    ZeroDivision,
    /// Time is counted in film frames, not in quarter notes.
    #[error("time in SMPTE frames is not supported, only ticks of a quarter note")]
    Smpte,
    /// A tempo of zero: the notes after it would have no time.
    #[error("a tempo of zero microseconds a quarter note")]
    ZeroTempo,
    /// A tempo event with fewer than three bytes.
    #[error("a tempo of {0} bytes, and it needs 3")]
    ShortTempo(usize),
    /// An event whose tick does not fit into 32 bits: at the usual 480 ticks a quarter note, after 51 days.
    #[error("an event after {} ticks: the file is likely corrupt", u32::MAX)]
    TooLong,
    /// A data byte with no message before it that it could continue.
    #[error("data byte {0:#04x} where a message should begin")]
    NoRunningStatus(u8),
    /// A status that the standard leaves undefined.
    #[error("undefined message {0:#04x}")]
    UndefinedStatus(u8),
    /// A message with a byte over 127 among its data.
    #[error("byte {0:#04x} among the data of a message")]
    DataByte(u8),
}

impl MidiProblem {
    /// This problem, `offset` bytes into the file.
    pub(super) fn at(self, offset: usize) -> MidiError {
        MidiError { offset, problem: self }
    }
}
