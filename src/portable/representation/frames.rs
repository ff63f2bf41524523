//! `frames`: the set of keys that sound in each frame of a grid, one token for each key and one for the end of the frame.
//!
//! A frame is spelled from its highest pitch, then its lowest, then the others downwards, so that every set has exactly one
//! spelling, the two voices that are heard best come first, and probabilities of tokens multiply to that of the frame over all
//! sets of 88 keys. That makes figures comparable with the published ones on the sets of Boulanger-Lewandowski, Bengio and
//! Vincent (2012), which also count held and repeated notes alike.

use std::iter::repeat;

use serde::{Deserialize, Serialize};

use super::pitch::OutOfRange;
use super::{
    Chance, EncodeProblem, Encoded, FeatureShape, Features, FrameRun, Grammar, LineChance, NO_FEATURE,
    Representation, SpelledNote, State, Symbol, Token, View, VoiceLabel,
};
use crate::midi::grid::{self, NoteValue, PitchSet, held_notes};
use crate::midi::{Instrument, Meter, Song};

/// The keys of a piano.
const FIRST_PITCH: u8 = 21;
const PITCHES: u16 = 88;

const END_OF_FRAME: Token = PITCHES;
const END_OF_PIECE: Token = PITCHES + 1;
const TOKENS: usize = PITCHES as usize + 2;

/// The places in a frame, in the order of spelling, that are told apart: the highest pitch, the lowest, and the others
/// downwards. No frame of the public benchmarks has more pitches.
const PLACES: usize = 10;

/// Intervals from one pitch to another.
const INTERVALS: u16 = 2 * PITCHES - 1;

/// Quarter notes after which the position repeats that the network is told: a bar of most music.
const CYCLE_QUARTERS: u16 = 4;

/// No piece has more frames. At four to a quarter note and 120 quarter notes a minute these are 36 hours.
const MAX_FRAMES: u64 = 1 << 20;

/// In a state, in place of a pitch or an interval: there is none.
const NONE: u16 = u16::MAX;

/// Options of `frames`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FramesOptions {
    /// How long a frame is.
    pub grid: NoteValue,
    /// What happens to a pitch outside 21..=108.
    pub out_of_range: OutOfRange,
}

impl Default for FramesOptions {
    fn default() -> Self {
        FramesOptions { grid: NoteValue::Sixteenth, out_of_range: OutOfRange::Refuse }
    }
}

impl FramesOptions {
    pub(super) fn strict(&self) -> Self {
        FramesOptions { out_of_range: OutOfRange::Refuse, ..self.clone() }
    }
}

/// The representation.
#[derive(Debug, Clone)]
pub struct Frames {
    options: FramesOptions,
    vocabulary: Vec<String>,
}

/// What is known of the tokens that were read.
struct Past {
    /// Pitches of this frame that were spoken, at most [`PLACES`].
    spoken: u16,
    /// The first, the second and the last of them.
    highest: u16,
    lowest: u16,
    last: u16,
    /// The last pitch, of this frame or one before.
    previous: u16,
    /// Frames since the beginning, in the cycle.
    position: u16,
    /// The last pitch at each place, and the last interval by which it moved.
    held: [u16; PLACES],
    moved: [u16; PLACES],
}

/// Words of a state: those of [`Past`], in its order.
const WORDS: usize = 6 + 2 * PLACES;

impl Past {
    const NOTHING: Past = Past {
        spoken: 0,
        highest: NONE,
        lowest: NONE,
        last: NONE,
        previous: NONE,
        position: 0,
        held: [NONE; PLACES],
        moved: [NONE; PLACES],
    };

    fn of(State(words): State) -> Past {
        let [spoken, highest, lowest, last, previous, position, ..] = words;
        let places = |first: usize| std::array::from_fn(|place| words[first + place]);
        let (held, moved) = (places(6), places(6 + PLACES));
        Past { spoken, highest, lowest, last, previous, position, held, moved }
    }

    fn state(&self) -> State {
        let Past { spoken, highest, lowest, last, previous, position, held, moved } = *self;
        let mut words = [0; WORDS];
        words[..6].copy_from_slice(&[spoken, highest, lowest, last, previous, position]);
        words[6..][..PLACES].copy_from_slice(&held);
        words[6 + PLACES..].copy_from_slice(&moved);
        State::of(words)
    }

    /// The place of the next pitch, if it is one of those that are told apart.
    fn place(&self) -> Option<usize> {
        Some(usize::from(self.spoken)).filter(|&place| place < PLACES)
    }

    /// The last pitch at the place of the next one.
    fn held(&self) -> u16 {
        self.place().map_or(NONE, |place| self.held[place])
    }
}

impl Frames {
    /// With these options.
    pub fn new(options: FramesOptions) -> Self {
        let pitches = (0..PITCHES).map(|token| format!("Pitch {}", token + u16::from(FIRST_PITCH)));
        let ends = ["End of frame", "End of piece"].map(str::to_owned);
        Frames { options, vocabulary: pitches.chain(ends).collect() }
    }

    /// Frames in a cycle.
    fn cycle(&self) -> u16 {
        CYCLE_QUARTERS * self.options.grid.per_quarter()
    }

    /// The frame that begins nearest to a tick.
    fn frame_at(&self, song: &Song, tick: u64) -> u64 {
        grid::nearest_step(tick, self.options.grid.per_quarter(), ticks_per_quarter(song))
    }

    /// Whether a frame begins exactly at a tick.
    fn is_at(&self, song: &Song, tick: u64, frame: u64) -> bool {
        tick * u64::from(self.options.grid.per_quarter()) == frame * u64::from(ticks_per_quarter(song))
    }
}

/// Music without beats, whose ticks are milliseconds, is read at 120 quarter notes a minute.
fn ticks_per_quarter(song: &Song) -> u16 {
    if song.resolution == 0 { 500 } else { song.resolution }
}

/// The token of a pitch; `None` outside of the keyboard.
fn token_of(pitch: u8) -> Option<Token> {
    pitch.checked_sub(FIRST_PITCH).map(u16::from).filter(|&token| token < PITCHES)
}

fn pitch_of(token: Token) -> Option<u8> {
    (token < PITCHES).then_some(token as u8 + FIRST_PITCH)
}

/// The token of a pitch outside of the keyboard, moved by octaves to the nearest one inside.
fn moved_by_octaves(mut pitch: u8) -> Token {
    loop {
        match token_of(pitch) {
            Some(token) => return token,
            None if pitch < FIRST_PITCH => pitch += 12,
            None => pitch -= 12,
        }
    }
}

/// An interval between two tokens of pitches, numbered from 0 for the largest one down.
fn interval(from: u16, to: u16) -> u16 {
    to + PITCHES - 1 - from
}

impl Grammar for Frames {
    fn start(&self) -> State {
        Past::NOTHING.state()
    }

    fn next(&self, state: State, token: Token) -> State {
        let mut past = Past::of(state);
        match token {
            END_OF_PIECE => past = Past::NOTHING,
            END_OF_FRAME => {
                past.position = (past.position + 1) % self.cycle();
                past = Past { spoken: 0, highest: NONE, lowest: NONE, last: NONE, ..past };
            }
            pitch => {
                match past.spoken {
                    0 => past.highest = pitch,
                    1 => past.lowest = pitch,
                    _ => {}
                }
                if let Some(place) = past.place() {
                    let held = std::mem::replace(&mut past.held[place], pitch);
                    if held != NONE && held != pitch {
                        past.moved[place] = interval(held, pitch);
                    }
                    past.spoken += 1;
                }
                (past.last, past.previous) = (pitch, pitch);
            }
        }
        past.state()
    }

    fn allows(&self, state: State, token: Token) -> bool {
        let Past { spoken, highest, lowest, last, .. } = Past::of(state);
        match (token, spoken) {
            (END_OF_FRAME, _) => true,
            (END_OF_PIECE, _) => spoken == 0,
            (pitch, 0) => pitch < PITCHES,
            (pitch, 1) => pitch < highest,
            (pitch, 2) => lowest < pitch && pitch < highest,
            (pitch, _) => lowest < pitch && pitch < last,
        }
    }

    fn end(&self) -> Option<Token> {
        Some(END_OF_PIECE)
    }
}

/// Beside the token that is read, the network sees what matters for the next one: how many pitches of the frame were spoken,
/// the position in four quarter notes, the last pitch at the next place, the frame's highest pitch once it is followed by
/// others, the interval from the last pitch at the next place to the one spoken last in this frame, and the last interval by
/// which the next place moved. The logit of a pitch is its own score plus those of its intervals to the last pitch at its place
/// and to the one spoken last in this frame.
impl Features for Frames {
    fn shape(&self) -> FeatureShape {
        let inputs = TOKENS + PLACES + 1 + usize::from(self.cycle() + 2 * PITCHES + 2 * INTERVALS);
        let scores = TOKENS + 2 * (usize::from(PITCHES) - 1 + TOKENS);
        FeatureShape { tokens: TOKENS, inputs, slots: 7, scores, relations: 2 }
    }

    fn activate(&self, before: State, token: Token, active: &mut [u32]) {
        let past = Past::of(self.next(before, token));
        let held = past.held();
        let highest = if past.spoken > 1 { past.highest } else { NONE };
        let to_last = if held == NONE || past.last == NONE { NONE } else { interval(held, past.last) };
        let moved = past.place().map_or(NONE, |place| past.moved[place]);
        let features = [
            (token, TOKENS as u16),
            (past.spoken, PLACES as u16 + 1),
            (past.position, self.cycle()),
            (held, PITCHES),
            (highest, PITCHES),
            (to_last, INTERVALS),
            (moved, INTERVALS),
        ];
        let mut first = 0;
        for (active, (value, values)) in active.iter_mut().zip(features) {
            *active = if value == NONE { NO_FEATURE } else { first + u32::from(value) };
            first += u32::from(values);
        }
    }

    fn relate(&self, state: State, first_scores: &mut [u32]) {
        let past = Past::of(state);
        // After the tokens, the intervals to each of the two, from the largest one down. As many as there are tokens are added
        // to their scores: what ends a frame or piece has those of intervals upwards that no pitch reaches but from the lowest.
        let mut first = TOKENS as u32;
        for (first_score, from) in first_scores.iter_mut().zip([past.held(), past.last]) {
            *first_score = if from == NONE { NO_FEATURE } else { first + u32::from(interval(from, 0)) };
            first += (usize::from(PITCHES) - 1 + TOKENS) as u32;
        }
    }
}

impl Representation for Frames {
    fn id(&self) -> &'static str {
        "frames/1"
    }

    fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    /// A note becomes the frames from the one that begins nearest to its onset to the one that begins nearest to its end, at
    /// least one. Drums are left out.
    fn encode(&self, song: &Song, max_notes: usize) -> Encoded {
        let mut encoded = Encoded::default();
        let mut notes = Vec::new();
        let all =
            song.instruments.iter().flat_map(|instrument| instrument.notes.iter().zip(repeat(instrument)));
        for (number, (note, instrument)) in all.enumerate() {
            let [start, end] = [note.start_tick, note.end_tick].map(|tick| self.frame_at(song, tick.into()));
            if instrument.is_drum || start >= MAX_FRAMES {
                encoded.altered += 1;
            } else {
                notes.push((start, end.clamp(start + 1, MAX_FRAMES), number, note));
            }
        }
        notes.sort_unstable_by_key(|&(start, _, number, _)| (start, number));
        let silent_end = self.frame_at(song, song.tick_at(song.end)).min(MAX_FRAMES);
        let frames = notes.iter().map(|&(_, end, ..)| end).fold(silent_end, u64::max);
        let mut notes = notes.into_iter().peekable();
        // Where the last note of each token ends.
        let mut ends = [0; PITCHES as usize];
        let mut used = 0;
        for frame in 0..frames {
            while let Some((_, end, number, note)) = notes.next_if(|&(start, ..)| start == frame) {
                let token = match (token_of(note.pitch), self.options.out_of_range) {
                    (Some(token), _) => token,
                    (None, OutOfRange::Refuse) => {
                        encoded.problems.push(EncodeProblem {
                            note: number,
                            reason: format!("pitch {} is outside 21..=108", note.pitch),
                            hint: "representation.out_of_range = \"drop\" or \"transpose\" accepts it",
                        });
                        continue;
                    }
                    (None, OutOfRange::Drop) => {
                        encoded.altered += 1;
                        continue;
                    }
                    (None, OutOfRange::Transpose) => moved_by_octaves(note.pitch),
                };
                let last_end = &mut ends[usize::from(token)];
                let is_joined = *last_end > 0 && *last_end >= frame;
                let is_moved = [(note.start_tick, frame), (note.end_tick, end)]
                    .iter()
                    .any(|&(tick, frame)| !self.is_at(song, tick.into(), frame));
                let is_transposed = pitch_of(token) != Some(note.pitch);
                encoded.altered += usize::from(is_joined || is_moved || is_transposed);
                *last_end = end.max(*last_end);
            }
            let sounding: Vec<Token> =
                (0..PITCHES).filter(|&token| ends[usize::from(token)] > frame).collect();
            if used + sounding.len() + encoded.problems.len() > max_notes {
                encoded.problems.truncate(max_notes - used);
                break;
            }
            used += sounding.len();
            if let [lowest_and_inner @ .., highest] = &sounding[..] {
                encoded.tokens.push(*highest);
                if let [lowest, inner @ ..] = lowest_and_inner {
                    encoded.tokens.push(*lowest);
                    encoded.tokens.extend(inner.iter().rev());
                }
            }
            encoded.tokens.push(END_OF_FRAME);
        }
        encoded
    }

    /// Silence at the end is left out: the piece goes on when the last note ends.
    fn encode_prompt(&self, song: &Song, max_notes: usize) -> Encoded {
        let mut encoded = self.encode(song, max_notes);
        let last_note = encoded.tokens.iter().rposition(|&token| pitch_of(token).is_some());
        encoded.tokens.truncate(last_note.map_or(0, |last| last + 2));
        encoded
    }

    fn decode(&self, tokens: &[Token]) -> Song {
        let mut frames = Vec::new();
        let mut frame: PitchSet = 0;
        for &token in tokens {
            match pitch_of(token) {
                Some(pitch) => frame |= 1 << pitch,
                None => frames.push(std::mem::take(&mut frame)),
            }
        }
        let count = frames.len();
        let notes = held_notes(frames, self.options.grid);
        let piano = Instrument { program: 0, is_drum: false, name: "bachdist".into(), notes };
        let meters = vec![Meter { tick: 0, beats_per_bar: 4, beat_unit: 4 }];
        Song { meters, ..grid::song(vec![piano], count, self.options.grid) }
    }

    /// Each token of a pitch is a note as long as its frame. Voices are the highest pitch, the lowest, and those between.
    fn spelled_notes(&self, tokens: &[Token]) -> Vec<SpelledNote> {
        let ticks = self.options.grid.ticks();
        let mut notes = Vec::with_capacity(tokens.len());
        let (mut start, mut spoken) = (0u32, 0);
        let (mut frame, mut frame_before): (PitchSet, PitchSet) = (0, 0);
        for (token, pitch) in tokens.iter().map(|&token| pitch_of(token)).enumerate() {
            let Some(pitch) = pitch else {
                start = start.saturating_add(ticks);
                (frame_before, frame, spoken) = (frame, 0, 0);
                continue;
            };
            frame |= 1 << pitch;
            let is_held = frame_before & 1 << pitch != 0;
            let voice = spoken.min(2);
            notes.push(SpelledNote { token, voice, pitch, start, end: start.saturating_add(ticks), is_held });
            spoken += 1;
        }
        notes
    }

    fn voices(&self) -> Vec<VoiceLabel> {
        vec![VoiceLabel::line("Highest"), VoiceLabel::line("Lowest"), VoiceLabel::rest("Between")]
    }

    fn elapsed(&self, _: State, token: Token) -> u32 {
        if token == END_OF_FRAME { self.options.grid.ticks() } else { 0 }
    }

    fn alteration(&self) -> &'static str {
        match self.options.out_of_range {
            OutOfRange::Transpose => {
                "frames moves notes to its grid and into 21..=108, joins repeated ones, and leaves out drums"
            }
            OutOfRange::Drop => {
                "frames moves notes to its grid, joins repeated ones, and leaves out drums and notes outside 21..=108"
            }
            OutOfRange::Refuse => "frames moves notes to its grid, joins repeated ones, and leaves out drums",
        }
    }

    fn pitch(&self, token: Token) -> Option<u8> {
        pitch_of(token)
    }

    fn transpose(&self, token: Token, semitones: i8) -> Option<Token> {
        match pitch_of(token) {
            None => Some(token),
            Some(pitch) => token_of(pitch.checked_add_signed(semitones)?),
        }
    }

    fn symbols(&self, view: View) -> usize {
        match view {
            View::Exact => PITCHES.into(),
            View::Transposed => INTERVALS.into(),
        }
    }

    fn symbol(&self, view: View, before: State, token: Token) -> Option<Symbol> {
        pitch_of(token)?;
        match view {
            View::Exact => Some(token),
            View::Transposed => {
                let previous = Past::of(before).previous;
                (previous != NONE).then(|| interval(previous, token))
            }
        }
    }

    /// Measured on the 229 chorales that the usual split trains on, in quarter notes and in sixteenths: nine of ten share no
    /// longer run with another one. Eighth notes have the means.
    fn chance(&self) -> Chance {
        match self.options.grid {
            NoteValue::Quarter => Chance { exact: 28, transposed: 33 },
            NoteValue::Eighth => Chance { exact: 54, transposed: 65 },
            NoteValue::Sixteenth => Chance { exact: 80, transposed: 97 },
        }
    }

    /// Measured on those of the same chorales whose tune no other one sets: nine of ten share no longer run.
    fn line_chance(&self) -> LineChance {
        let chance = |exact, transposed| Chance { exact, transposed };
        let all = chance(11, 14);
        match self.options.grid {
            NoteValue::Quarter => LineChance { pitches: chance(16, 23), lengths: chance(10, 12), all },
            NoteValue::Eighth => LineChance { pitches: chance(15, 22), lengths: chance(10, 12), all },
            NoteValue::Sixteenth => LineChance { pitches: chance(13, 21), lengths: chance(9, 12), all },
        }
    }

    fn frame(&self) -> NoteValue {
        self.options.grid
    }

    fn frames(&self, tokens: &[Token]) -> Option<Vec<FrameRun>> {
        let mut before: &[Token] = &[];
        let mut runs = Vec::new();
        for said in tokens.split_inclusive(|&token| token == END_OF_FRAME) {
            if let Some((&END_OF_FRAME, pitches)) = said.split_last() {
                runs.push(FrameRun { tokens: said.len(), frames: 1, changes: pitches != before });
                before = pitches;
            }
        }
        Some(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RepresentationConfig, laws};
    use super::*;
    use crate::midi::Note;

    fn frames(grid: NoteValue, out_of_range: OutOfRange) -> Frames {
        Frames::new(FramesOptions { grid, out_of_range })
    }

    /// Notes by pitch, first and last tick, 12 to a quarter note.
    fn song(notes: &[(u8, u32, u32)]) -> Song {
        let note = |&(pitch, start_tick, end_tick): &(u8, u32, u32)| {
            let [start, end] = [start_tick, end_tick].map(|tick| f64::from(tick) / 24.0);
            Note { pitch, velocity: 90, start, end, start_tick, end_tick }
        };
        let notes = notes.iter().map(note).collect();
        let instrument = Instrument { program: 0, is_drum: false, name: String::new(), notes };
        Song { resolution: 12, ..Song::in_seconds(vec![instrument]) }
    }

    fn texts(representation: &Frames, tokens: &[Token]) -> String {
        let words = tokens.iter().map(|&token| representation.vocabulary[usize::from(token)].as_str());
        let words = words.map(|word| word.strip_prefix("Pitch ").unwrap_or("|"));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn frames_obeys_the_laws() {
        laws::hold(&frames(NoteValue::Sixteenth, OutOfRange::Refuse));
        laws::hold(&frames(NoteValue::Quarter, OutOfRange::Transpose));
        laws::hold(&frames(NoteValue::Eighth, OutOfRange::Drop));
    }

    #[test]
    fn a_frame_is_spelled_from_the_outside() {
        let representation = frames(NoteValue::Eighth, OutOfRange::Refuse);
        let chord = song(&[(60, 0, 6), (64, 0, 12), (67, 0, 6), (72, 0, 6), (50, 18, 24)]);
        let encoded = representation.encode(&chord, usize::MAX);
        assert_eq!(texts(&representation, &encoded.tokens), "72 60 67 64 | 64 | | 50 |");
        let runs = representation.frames(&encoded.tokens).unwrap();
        assert_eq!((encoded.altered, runs.len()), (0, 4));
        assert_eq!(representation.encode(&chord, 4).tokens.len(), 5);
        // Longer frames: the short notes are as long as one.
        let quarters = frames(NoteValue::Quarter, OutOfRange::Refuse);
        let encoded = quarters.encode(&chord, usize::MAX);
        assert_eq!(texts(&quarters, &encoded.tokens), "72 60 67 64 | | 50 |");
        assert_eq!(encoded.altered, 4);
    }

    #[test]
    fn repeated_notes_and_unisons_are_joined() {
        let representation = frames(NoteValue::Sixteenth, OutOfRange::Refuse);
        let encoded = representation.encode(&song(&[(60, 0, 3), (60, 3, 6), (62, 3, 9), (62, 3, 6)]), 99);
        assert_eq!(texts(&representation, &encoded.tokens), "60 | 62 60 | 62 |");
        assert_eq!(encoded.altered, 2);
    }

    #[test]
    fn pitches_out_of_range() {
        let notes = song(&[(20, 0, 3), (60, 3, 6), (109, 6, 9)]);
        let refused = frames(NoteValue::Sixteenth, OutOfRange::Refuse).encode(&notes, 99);
        let problems: Vec<_> = refused.problems.iter().map(|problem| problem.note).collect();
        assert_eq!(
            (problems, texts(&frames(NoteValue::Sixteenth, OutOfRange::Refuse), &refused.tokens)),
            (vec![0, 2], "| 60 | |".into())
        );
        let dropped = frames(NoteValue::Sixteenth, OutOfRange::Drop).encode(&notes, 99);
        assert_eq!((dropped.tokens, dropped.altered), (refused.tokens, 2));
        let transposed = frames(NoteValue::Sixteenth, OutOfRange::Transpose);
        let encoded = transposed.encode(&notes, 99);
        assert_eq!((texts(&transposed, &encoded.tokens).as_str(), encoded.altered), ("32 | 60 | 97 |", 2));
    }

    #[test]
    fn notes_at_the_end_of_time_use_little_memory() {
        let notes = song(&[(60, 0, 3), (61, u32::MAX - 1, u32::MAX), (62, 3, u32::MAX)]);
        let encoded = frames(NoteValue::Sixteenth, OutOfRange::Refuse).encode(&notes, 1000);
        assert_eq!((encoded.tokens.len(), encoded.altered), (2000, 2));
    }

    #[test]
    fn the_network_sees_what_matters_for_the_next_token() {
        let representation = frames(NoteValue::Quarter, OutOfRange::Refuse);
        let [c4, e4, g4] = [60, 64, 67].map(|pitch| token_of(pitch).unwrap());
        let mut state = representation.start();
        let mut active = [0; 7];
        for token in [g4, c4, END_OF_FRAME] {
            state = representation.next(state, token);
        }
        representation.activate(state, e4, &mut active);
        let [at_token, at_spoken, at_position, at_held, at_interval] = [0, 90, 101, 105, 281];
        let (e4, c4) = (u32::from(e4), u32::from(c4));
        // Next is the lowest, which was C4, a major third below what was just spoken.
        let up_4 = u32::from(PITCHES) - 1 + 4;
        assert_eq!(
            active,
            [
                at_token + e4,
                at_spoken + 1,
                at_position + 1,
                at_held + c4,
                NO_FEATURE,
                at_interval + up_4,
                NO_FEATURE
            ]
        );
        let mut first = [0; 2];
        let state = representation.next(state, e4 as Token);
        representation.relate(state, &mut first);
        // The scores of the repeated C4, and of the E4 that may not be repeated.
        assert_eq!([first[0] + c4, first[1] + e4], [90 + 87, 90 + 177 + 87]);
        assert!(!representation.allows(state, e4 as Token) && representation.allows(state, c4 as Token));
    }

    #[test]
    fn the_table_of_the_configuration() {
        let config: RepresentationConfig = toml::from_str("kind = \"frames\"\ngrid = \"8th\"").unwrap();
        let options = FramesOptions { grid: NoteValue::Eighth, ..FramesOptions::default() };
        assert_eq!(config, RepresentationConfig::Frames(options));
        assert!(toml::from_str::<RepresentationConfig>("kind = \"frames\"\ngrid = \"32nd\"").is_err());
    }
}
