//! `pitch`: one token for each note of the first instrument, its pitch. All notes are equally long.
//!
//! This is the article's encoding: 79 classes, class = pitch − 1. Its decoding, class as pitch, is a semitone flat; here
//! decoding is the inverse of encoding.

use serde::{Deserialize, Serialize};

use super::{
    Chance, EncodeProblem, Encoded, FeatureShape, Features, Grammar, NO_FEATURE, Representation, SpelledNote,
    State, Symbol, Token, View,
};
use crate::midi::{CELLO, DEFAULT_VELOCITY, Instrument, Note, Song, first_voice};

/// The pitch of token 0.
const FIRST_PITCH: u8 = 1;

/// The article's vocabulary: pitches 1 to 79.
const PITCHES: usize = 79;

/// Seconds from one note to the next, the article's.
const NOTE_SECONDS: f64 = 0.3;

/// In place of the last token where there is none.
const NONE: u16 = u16::MAX;

/// Options of `pitch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PitchOptions {
    /// What happens to a pitch outside 1..=79.
    pub out_of_range: OutOfRange,
    /// Whether the network also sees and predicts the interval from the previous note, so that what it learns in one key
    /// helps in all.
    pub intervals: bool,
}

/// What happens to a pitch that has no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutOfRange {
    /// It is an error that names the file and the note.
    Refuse,
    /// The note is left out.
    Drop,
    /// The note is moved by octaves to the nearest pitch inside.
    Transpose,
}

impl Default for PitchOptions {
    fn default() -> Self {
        PitchOptions { out_of_range: OutOfRange::Refuse, intervals: false }
    }
}

impl PitchOptions {
    pub(super) fn strict(&self) -> Self {
        PitchOptions { out_of_range: OutOfRange::Refuse, ..self.clone() }
    }
}

/// The representation.
#[derive(Debug, Clone)]
pub struct Pitch {
    options: PitchOptions,
    vocabulary: Vec<String>,
}

impl Pitch {
    /// The article's vocabulary, with these options.
    pub fn new(options: PitchOptions) -> Self {
        Pitch::with_options(PITCHES, options)
    }

    /// With another number of pitches, for tests of networks that are small enough to be checked by hand.
    pub fn with_tokens(tokens: usize, intervals: bool) -> Self {
        Pitch::with_options(tokens, PitchOptions { intervals, ..PitchOptions::default() })
    }

    /// The shape of its features, with this number of pitches.
    pub const fn shape_of(tokens: usize, intervals: bool) -> FeatureShape {
        // After the pitches: 2C − 1 intervals, from C − 1 semitones down to as many up.
        let features = if intervals { 3 * tokens - 1 } else { tokens };
        let (slots, relations) = if intervals { (2, 1) } else { (1, 0) };
        FeatureShape { tokens, inputs: features, slots, scores: features, relations }
    }

    fn with_options(tokens: usize, options: PitchOptions) -> Self {
        let vocabulary =
            (0..tokens).map(|token| format!("Pitch {}", token + usize::from(FIRST_PITCH))).collect();
        Pitch { options, vocabulary }
    }

    fn token_of(&self, pitch: u8) -> Option<Token> {
        let token = pitch.checked_sub(FIRST_PITCH)?;
        (usize::from(token) < self.vocabulary.len()).then_some(Token::from(token))
    }

    fn pitch_of(&self, token: Token) -> u8 {
        token as u8 + FIRST_PITCH
    }

    /// The token of a pitch moved by octaves to the nearest one that has a token.
    fn moved_by_octaves(&self, mut pitch: u8) -> Option<Token> {
        while pitch < FIRST_PITCH {
            pitch += 12;
        }
        while self.token_of(pitch).is_none() {
            pitch = pitch.checked_sub(12)?;
        }
        self.token_of(pitch)
    }

    /// The interval from one token to another, numbered from 0 for the largest one down.
    fn interval(&self, from: Token, to: Token) -> u16 {
        to + (self.vocabulary.len() as u16 - 1) - from
    }
}

impl Grammar for Pitch {
    fn start(&self) -> State {
        State::of([NONE])
    }

    fn next(&self, _: State, token: Token) -> State {
        State::of([token])
    }

    fn allows(&self, _: State, token: Token) -> bool {
        usize::from(token) < self.vocabulary.len()
    }

    /// Pieces are cut into windows that may begin and end anywhere.
    fn end(&self) -> Option<Token> {
        None
    }
}

/// With intervals there is a one-hot of the interval from the note before, beside that of the pitch (for the first note
/// that is read, all zeros), and the logit of a pitch is its own score plus that of the interval to it.
impl Features for Pitch {
    fn shape(&self) -> FeatureShape {
        Pitch::shape_of(self.vocabulary.len(), self.options.intervals)
    }

    fn activate(&self, before: State, token: Token, active: &mut [u32]) {
        active[0] = u32::from(token);
        if self.options.intervals {
            active[1] = match before {
                State([NONE, ..]) => NO_FEATURE,
                State([last, ..]) => self.vocabulary.len() as u32 + u32::from(self.interval(last, token)),
            };
        }
    }

    fn relate(&self, state: State, first_scores: &mut [u32]) {
        if self.options.intervals {
            first_scores[0] = match state {
                State([NONE, ..]) => NO_FEATURE,
                State([last, ..]) => self.vocabulary.len() as u32 + u32::from(self.interval(last, 0)),
            };
        }
    }
}

impl Representation for Pitch {
    fn id(&self) -> &'static str {
        "pitch/1"
    }

    fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    fn encode(&self, song: &Song, max_notes: usize) -> Encoded {
        let instruments = &song.instruments;
        let is_drum = instruments.first().is_some_and(|instrument| instrument.is_drum);
        let mut encoded = Encoded { is_drum, ..Encoded::default() };
        for (number, note) in first_voice(instruments).iter().enumerate() {
            if encoded.tokens.len() + encoded.problems.len() == max_notes {
                break;
            }
            match (self.token_of(note.pitch), self.options.out_of_range) {
                (Some(token), _) => encoded.tokens.push(token),
                (None, OutOfRange::Refuse) => encoded.problems.push(EncodeProblem {
                    note: number,
                    reason: format!(
                        "pitch {} is outside {FIRST_PITCH}..={}",
                        note.pitch,
                        usize::from(FIRST_PITCH) + self.vocabulary.len() - 1
                    ),
                    hint: "representation.out_of_range = \"drop\" or \"transpose\" accepts it",
                }),
                (None, OutOfRange::Drop) => encoded.altered += 1,
                (None, OutOfRange::Transpose) => {
                    encoded.altered += 1;
                    encoded.tokens.extend(self.moved_by_octaves(note.pitch));
                }
            }
        }
        encoded
    }

    fn decode(&self, tokens: &[Token]) -> Song {
        let time = |number: usize| NOTE_SECONDS * number as f64;
        let mut notes = Vec::with_capacity(tokens.len());
        for (number, &token) in tokens.iter().enumerate() {
            let (start, end) = (time(number), time(number + 1));
            notes.push(Note::in_seconds(self.pitch_of(token), DEFAULT_VELOCITY, start, end));
        }
        let cello = Instrument { program: CELLO, is_drum: false, name: "bachdist".into(), notes };
        Song::in_seconds(vec![cello])
    }

    fn spelled_notes(&self, tokens: &[Token]) -> Vec<SpelledNote> {
        // Music without beats has milliseconds for ticks.
        let tick = |number: usize| (1000.0 * NOTE_SECONDS * number as f64).round() as u32;
        let note = |(number, &token): (usize, &Token)| SpelledNote {
            token: number,
            voice: 0,
            pitch: self.pitch_of(token),
            start: tick(number),
            end: tick(number + 1),
            is_held: false,
        };
        tokens.iter().enumerate().map(note).collect()
    }

    fn alteration(&self) -> &'static str {
        match self.options.out_of_range {
            OutOfRange::Transpose => {
                "representation.out_of_range = \"transpose\" moves notes outside 1..=79 by octaves"
            }
            OutOfRange::Drop | OutOfRange::Refuse => {
                "representation.out_of_range = \"drop\" leaves out notes outside 1..=79"
            }
        }
    }

    fn pitch(&self, token: Token) -> Option<u8> {
        Some(self.pitch_of(token))
    }

    fn transpose(&self, token: Token, semitones: i8) -> Option<Token> {
        let moved = token.checked_add_signed(i16::from(semitones))?;
        (usize::from(moved) < self.vocabulary.len()).then_some(moved)
    }

    fn symbols(&self, view: View) -> usize {
        match view {
            View::Exact => self.vocabulary.len(),
            View::Transposed => 2 * self.vocabulary.len() - 1,
        }
    }

    fn symbol(&self, view: View, before: State, token: Token) -> Option<Symbol> {
        match (view, before) {
            (View::Exact, _) => Some(token),
            (View::Transposed, State([NONE, ..])) => None,
            (View::Transposed, State([last, ..])) => Some(self.interval(last, token)),
        }
    }

    /// Measured on the first 1,000 notes of the 36 movements of the cello suites. The longest exact run that two of them
    /// share has 14 notes, and the median movement shares 10 with another; the longest transposed one, between the preludes
    /// of suites 5 and 6, has 16 intervals, so 17 notes.
    fn chance(&self) -> Chance {
        Chance { exact: 14, transposed: 17 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RepresentationConfig, laws};
    use super::*;

    fn pitch(out_of_range: OutOfRange, intervals: bool) -> Pitch {
        Pitch::new(PitchOptions { out_of_range, intervals })
    }

    fn encoded(pitches: &[u8], out_of_range: OutOfRange, max_notes: usize) -> Encoded {
        let notes = pitches
            .iter()
            .enumerate()
            .map(|(i, &pitch)| Note::in_seconds(pitch, 100, i as f64, i as f64 + 1.0));
        let instrument =
            Instrument { program: 42, is_drum: false, name: String::new(), notes: notes.collect() };
        pitch(out_of_range, false).encode(&Song::in_seconds(vec![instrument]), max_notes)
    }

    #[test]
    fn pitch_obeys_the_laws() {
        laws::hold(&pitch(OutOfRange::Refuse, false));
        laws::hold(&pitch(OutOfRange::Transpose, true));
    }

    #[test]
    fn pitches_out_of_range() {
        let pitches = [0, 1, 79, 80, 127];
        let refused = encoded(&pitches, OutOfRange::Refuse, 10);
        assert_eq!(refused.tokens, [0, 78]);
        assert_eq!(refused.problems.len(), 3);
        assert!(refused.problems[1].to_string().starts_with("note 3: pitch 80 is outside 1..=79 ("));
        let dropped = encoded(&pitches, OutOfRange::Drop, 10);
        assert_eq!((&dropped.tokens[..], dropped.altered), (&[0, 78][..], 3));
        assert_eq!(encoded(&pitches, OutOfRange::Transpose, 10).tokens, [11, 0, 78, 67, 78]);
    }

    #[test]
    fn only_notes_that_are_used_can_be_problems() {
        let encoded = encoded(&[60, 61, 80], OutOfRange::Refuse, 2);
        assert_eq!((encoded.tokens.len(), encoded.problems.len()), (2, 0));
    }

    #[test]
    fn intervals_follow_the_pitches() {
        let pitch = pitch(OutOfRange::Refuse, true);
        let expected =
            FeatureShape { tokens: 79, inputs: 79 + 157, slots: 2, scores: 79 + 157, relations: 1 };
        assert_eq!(pitch.shape(), expected);
        for (from, to, feature) in [(78, 0, 79), (40, 40, 157), (0, 78, 235)] {
            let state = pitch.next(pitch.start(), from);
            let mut active = [0; 2];
            pitch.activate(state, to, &mut active);
            assert_eq!(active, [u32::from(to), feature]);
            let mut first = [0];
            pitch.relate(state, &mut first);
            assert_eq!(first[0] + u32::from(to), feature);
        }
    }

    #[test]
    fn the_table_of_the_configuration() {
        let config: RepresentationConfig =
            toml::from_str("kind = \"pitch\"\nout_of_range = \"drop\"").unwrap();
        let options = PitchOptions { out_of_range: OutOfRange::Drop, intervals: false };
        assert_eq!(config, RepresentationConfig::Pitch(options));
        assert_eq!(config.strict(), RepresentationConfig::default());
        assert!(toml::from_str::<RepresentationConfig>("kind = \"sound\"").is_err());
    }
}
