//! What can be wrong with a score, where, and what to do about it.

use std::fmt;
use thiserror::Error;

/// All header lines.
pub(super) const NAMES: [&str; 8] =
    ["title", "composer", "key", "meter", "unit", "tempo", "program", "voices"];

/// A position in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextPlace {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// `None` in the header.
    pub bar: Option<u32>,
}

impl TextPlace {
    pub(super) fn error(self, problem: NotationProblem) -> NotationError {
        NotationError { place: self, problem }
    }
}

impl fmt::Display for TextPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}", self.line, self.column)?;
        self.bar.map_or(Ok(()), |bar| write!(out, ", bar {bar}"))
    }
}

/// Why a text is not a valid score.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {problem}")]
pub struct NotationError {
    /// Where the mistake is.
    pub place: TextPlace,
    /// What is wrong there.
    pub problem: NotationProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub enum NotationProblem {
    #[error("there is no header line named {name}; the names are {}", NAMES.join(", "))]
    HeaderUnknown { name: String },
    #[error("{name} was given before; keep one of the two lines")]
    HeaderTwice { name: String },
    #[error("the header lacks a line like `{example}` before the first bar")]
    HeaderMissing { example: &'static str },
    #[error("{name} must be {wanted}, not `{value}`")]
    HeaderValue { name: String, value: String, wanted: &'static str },
    #[error(
        "a bar of {meter} is {units} units of {unit}, which is not a whole number from 1 to {most}; change unit"
    )]
    MeterInUnits { meter: String, unit: String, units: String, most: u32 },

    #[error("this line belongs to no voice; begin it with one of {names} and a colon")]
    VoiceUnknown { names: String },
    #[error("{voice} has no music; begin a line with `{voice}:`")]
    VoiceEmpty { voice: String },
    #[error("{voice} has {units} units before bar 1, and {first} {first_units}; all voices begin together")]
    VoiceBegins { voice: String, units: u32, first: String, first_units: u32 },
    #[error("{voice} ends after {units} units, and {first} after {first_units}; all voices end together")]
    VoiceEnds { voice: String, units: u64, first: String, first_units: u64 },

    #[error("`{text}` is not a note; write a letter A to G, # or b where needed, and an octave, like F#3")]
    NotANote { text: String },
    #[error("`{text}` is outside of MIDI's range, C-1 to G9")]
    OutOfRange { text: String },
    #[error("`{text}` is not a length; write a whole number of units, like G3:4")]
    NotALength { text: String },
    #[error("`{found}` has no meaning here")]
    Unexpected { found: String },
    #[error("this chord is not closed; write ] on the same line")]
    ChordOpen,
    #[error("this chord has no notes")]
    ChordEmpty,
    #[error("this chord has a key twice; remove one")]
    ChordTwice,

    #[error("this repeat is not closed; write ) and how often in the same bar, like (G2 D3)2")]
    RepeatOpen,
    #[error("a repeat cannot stand inside another; write the inner one out")]
    RepeatInRepeat,
    #[error("there is no ( before this )")]
    RepeatUnopened,
    #[error("say how often: a whole number from 2 after ), like (G2 D3)2")]
    RepeatCount,
    #[error("this repeat has no notes")]
    RepeatEmpty,

    #[error("the bar has {units} of {full} units; add notes, or rests, which are written . or .:{}", full - units)]
    BarShort { units: u32, full: u32 },
    #[error(
        "with this the bar has {units} units, and the meter allows {full}; shorten it, or continue after the bar line with a tie, like G3:2~ | G3:2"
    )]
    BarLong { units: u32, full: u32 },
    #[error("this bar is empty; write its rests as .:{full}")]
    BarEmpty { full: u32 },
    #[error("this is bar {expected}; correct the number, or look for a missing or an extra bar above")]
    BarNumber { expected: u32 },
    #[error("the last bar does not end; write | after it")]
    BarOpen,
    #[error("there is no bar in this text")]
    NoMusic,

    #[error("the note before is tied, but this is another one; repeat the same note, or remove the ~")]
    TieToOther,
    #[error("this tie has no note after it; remove the ~")]
    TieToNothing,
    #[error("a rest cannot be tied; remove the ~")]
    TieOfRest,
}
