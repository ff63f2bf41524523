//! MIDI files to notes and back.

/// One note: what sounds, how hard it is struck, and from when to when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Note {
    /// MIDI key, 0 to 127; 60 is the middle C.
    pub pitch: u8,
    /// 1 to 127.
    pub velocity: u8,
    /// Seconds from the beginning of the file.
    pub start: f64,
    /// Seconds from the beginning of the file, after `start`.
    pub end: f64,
}

/// The notes of one program on one channel of one track, in the order of their end events.
#[derive(Debug, Clone, PartialEq)]
pub struct Instrument {
    /// MIDI program, 0 to 127; 42 is a cello.
    pub program: u8,
    /// Channel 10: keys are percussion sounds.
    pub is_drum: bool,
    /// The name of its track.
    pub name: String,
    /// In pretty_midi's order.
    pub notes: Vec<Note>,
}
