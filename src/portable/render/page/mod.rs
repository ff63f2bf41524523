//! Pieces as one HTML file that shows and plays them, without anything from elsewhere: `page.html`, with the pieces in it as JSON.
//! `head.html` is how every page that the program makes begins.

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
    /// What it shares with the training music, where that is known.
    pub certificate: Option<PageCertificate>,
    /// The MIDI file.
    #[serde(serialize_with = "base64")]
    pub midi: Vec<u8>,
}

/// A certificate, as a page shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageCertificate {
    /// The verdict.
    pub verdict: String,
    /// What follows it in the same line.
    pub says: String,
    /// The other lines.
    pub lines: Vec<String>,
    /// What the training music has too.
    pub runs: Vec<PageRun>,
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

/// The page of pieces, one of which is shown at a time.
///
/// # Panics
/// If there is no piece.
#[must_use]
pub fn pieces_page(pieces: &[PiecePage]) -> String {
    assert!(!pieces.is_empty(), "a page without pieces");
    page(include_str!("page.html"), &pieces)
}

/// A page made of a template: how all pages begin in place of `HEAD`, which its own style follows, and what it shows as JSON in
/// place of `DATA`.
///
/// # Panics
/// If the data do not become JSON.
#[must_use]
pub fn page(template: &str, data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("numbers and texts");
    let whole = template.replacen("HEAD", include_str!("head.html"), 1);
    // Nothing in it ends the element that it stands in.
    whole.replacen("DATA", &json.replace('<', "\\u003c"), 1)
}

fn base64<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine;
    serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
}
