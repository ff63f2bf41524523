//! A piece as one HTML file that shows and plays it, without anything from elsewhere: `page.html`, with the piece in it as JSON.

use serde::Serialize;

/// What the page shows. Times are seconds from the beginning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PiecePage {
    /// The heading.
    pub title: String,
    /// Where it comes from, in a line.
    pub details: String,
    /// What downloaded files are called, without the ending.
    pub file: String,
    /// Names; at least one.
    pub voices: Vec<String>,
    /// In the order of their onsets in each voice.
    pub notes: Vec<PageNote>,
    /// Where bars begin; none in music without beats.
    pub bars: Vec<f64>,
    /// The certificate's verdict.
    pub verdict: String,
    /// What follows it in the same line.
    pub says: String,
    /// The other lines of the certificate.
    pub lines: Vec<String>,
    /// What the training music has too.
    pub runs: Vec<PageRun>,
    /// The MIDI file.
    #[serde(serialize_with = "base64")]
    pub midi: Vec<u8>,
}

/// A note, or the part of one that a frame holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageNote {
    /// Index of its voice.
    pub voice: usize,
    /// MIDI key.
    pub pitch: u8,
    /// When it begins.
    pub start: f64,
    /// When it, or this part of it, ends.
    pub end: f64,
    /// When it ends with all parts that prolong it.
    pub sounds: f64,
    /// Whether it prolongs the one before it, and is not struck.
    pub joined: bool,
    /// Whether it was given, and not composed.
    pub given: bool,
    /// Whether the training music has it in a run longer than chance.
    pub shared: bool,
    /// The most probable pitches in its place, with their probabilities.
    pub choices: Vec<(u8, f32)>,
}

/// A run that the training music has too.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageRun {
    /// The voice; `None` for a run of all tokens.
    pub line: Option<String>,
    /// How long it is, and where the training music has it.
    pub says: String,
    /// Indices of its notes.
    pub notes: Vec<usize>,
}

/// The page.
///
/// # Panics
/// If a time is not finite.
#[must_use]
pub fn piece_page(piece: &PiecePage) -> String {
    let json = serde_json::to_string(piece).expect("numbers and texts");
    // Nothing in it ends the element that it stands in.
    include_str!("page.html").replacen("PIECE", &json.replace('<', "\\u003c"), 1)
}

fn base64<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine;
    serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
}
