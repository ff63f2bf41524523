//! `notes`: any music with beats, all its tracks as one stream: `[gap] [length] pitch` for each note, by onset, those of a
//! chord downward.
//!
//! Only what changes is said: the gap since the note before unless it is that note's length, the length unless it is that
//! note's. So a melody of equal notes without rests has one token a note. Notes that begin together have a gap of their own,
//! `+`. Time is counted in 24ths of a beat; onsets and ends move to the nearest one. Notes of one pitch that begin together
//! are one note, as long as the longest, and a note ends where the next one of its pitch begins.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::rhythm::{self, FINEST, INTERVALS, NONE, PITCHES};
use super::{
    Chance, EncodeProblem, Encoded, FeatureShape, Features, Grammar, NO_FEATURE, Representation, SpelledNote,
    State, Symbol, Token, View, VoiceLabel,
};
use crate::midi::{CELLO, Instrument, Song};

/// Tokens after the pitches: together with the last note, gaps, lengths, the end.
const TOGETHER: Token = PITCHES;
const FIRST_GAP: Token = TOGETHER + 1;
const FIRST_LENGTH: Token = FIRST_GAP + FINEST.tokens();
const END: Token = FIRST_LENGTH + FINEST.tokens();
const TOKENS: usize = END as usize + 1;

/// Gaps and lengths that the network tells apart: up to two beats; longer ones are alike.
const SHOWN_STEPS: u16 = 2 * FINEST.steps_per_beat + 1;

/// Steps after which the position in time repeats: four beats.
const POSITIONS: u16 = 4 * FINEST.steps_per_beat;

/// Sounding notes that the network tells apart; more are alike.
const SHOWN_SOUNDING: u32 = 4;

/// Options of `notes`: there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NotesOptions {}

/// The representation.
#[derive(Debug, Clone)]
pub struct Notes {
    vocabulary: Vec<String>,
}

/// What a state's words mean.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Whether it was said that the next note begins with the last.
    together: bool,
    /// Steps from the last onset to the next that are said.
    gap: u16,
    /// Steps of the next length that are said.
    length: u16,
    last_pitch: u16,
    last_length: u16,
    /// Steps from the onset before the last to the last.
    last_gap: u16,
    pitch_before: u16,
    /// Steps from the beginning to the last onset, up to [`POSITIONS`].
    position: u16,
    /// For each pitch the steps from the last onset until it ends; 0 if it does not sound.
    left: [u16; PITCHES as usize],
}

const BEGINNING: Moment = Moment {
    together: false,
    gap: 0,
    length: 0,
    last_pitch: NONE,
    last_length: FINEST.steps_per_beat,
    last_gap: 0,
    pitch_before: NONE,
    position: 0,
    left: [0; PITCHES as usize],
};

impl Moment {
    fn of(State(words): &State) -> Moment {
        let mut left = [0; PITCHES as usize];
        left.copy_from_slice(&words[8..8 + usize::from(PITCHES)]);
        Moment {
            together: words[0] == 1,
            gap: words[1],
            length: words[2],
            last_pitch: words[3],
            last_length: words[4],
            last_gap: words[5],
            pitch_before: words[6],
            position: words[7],
            left,
        }
    }

    fn state(&self) -> State {
        let mut words = [0; 8 + PITCHES as usize];
        words[..8].copy_from_slice(&[
            u16::from(self.together),
            self.gap,
            self.length,
            self.last_pitch,
            self.last_length,
            self.last_gap,
            self.pitch_before,
            self.position,
        ]);
        words[8..].copy_from_slice(&self.left);
        State::of(words)
    }

    fn read(&mut self, token: Token) {
        match token {
            END.. => *self = BEGINNING,
            FIRST_LENGTH.. => {
                self.length = self.length.saturating_add(FINEST.steps(token - FIRST_LENGTH));
            }
            FIRST_GAP.. => self.gap = self.gap.saturating_add(FINEST.steps(token - FIRST_GAP)),
            TOGETHER => self.together = true,
            pitch => {
                let gap = self.next_gap();
                for left in &mut self.left {
                    *left = left.saturating_sub(gap);
                }
                if self.length > 0 {
                    self.last_length = self.length;
                }
                self.left[usize::from(pitch)] = self.last_length;
                (self.pitch_before, self.last_pitch, self.last_gap) = (self.last_pitch, pitch, gap);
                self.position = (self.position + gap % POSITIONS) % POSITIONS;
                (self.together, self.gap, self.length) = (false, 0, 0);
            }
        }
    }

    /// The gap where none is said.
    fn usual_gap(&self) -> u16 {
        if self.last_pitch == NONE { 0 } else { self.last_length }
    }

    /// Steps from the last onset to the next, by what is said up to now.
    fn next_gap(&self) -> u16 {
        match self.gap {
            _ if self.together => 0,
            0 => self.usual_gap(),
            gap => gap,
        }
    }

    /// Whether a length or a pitch may follow: what is said differs from what is meant when nothing is said, and there is a
    /// pitch that can be struck.
    fn is_gap_complete(&self) -> bool {
        let is_new = self.gap == 0 || self.gap != self.usual_gap();
        self.together || is_new && self.is_any_free(self.next_gap())
    }

    /// Whether a pitch does not sound that many steps after the last onset.
    fn is_any_free(&self, gap: u16) -> bool {
        self.left.iter().any(|&left| left <= gap)
    }

    /// The pitches that sound on when the next note begins, ascending.
    fn sounding(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        let gap = self.next_gap();
        (0..PITCHES).filter(move |&pitch| self.left[usize::from(pitch)] > gap)
    }

    fn allows(&self, token: Token) -> bool {
        let is_nothing_said = !self.together && self.gap == 0 && self.length == 0;
        match token {
            END.. => token == END && is_nothing_said,
            FIRST_LENGTH.. => {
                let said = self.length.saturating_add(FINEST.steps(token - FIRST_LENGTH));
                self.is_gap_complete()
                    && FINEST.may_follow(self.length, token - FIRST_LENGTH)
                    && (said != self.last_length || FINEST.is_open(said))
            }
            FIRST_GAP.. => {
                let said = self.gap.saturating_add(FINEST.steps(token - FIRST_GAP));
                !self.together
                    && self.length == 0
                    && FINEST.may_follow(self.gap, token - FIRST_GAP)
                    && if FINEST.is_open(said) {
                        // The largest gap but one that it can become: the largest may be the usual one.
                        self.is_any_free(FINEST.largest(said) - 1)
                    } else {
                        said != self.usual_gap() && self.is_any_free(said)
                    }
            }
            TOGETHER => {
                let below = self.left.iter().take(self.last_pitch.into());
                is_nothing_said && self.last_pitch != NONE && below.min() == Some(&0)
            }
            pitch => {
                self.is_gap_complete()
                    && self.length != self.last_length
                    && self.left[usize::from(pitch)] <= self.next_gap()
                    && (!self.together || pitch < self.last_pitch)
            }
        }
    }
}

impl Grammar for Notes {
    fn start(&self) -> State {
        BEGINNING.state()
    }

    fn next(&self, state: State, token: Token) -> State {
        let mut moment = Moment::of(&state);
        moment.read(token);
        moment.state()
    }

    fn allows(&self, state: State, token: Token) -> bool {
        Moment::of(&state).allows(token)
    }

    fn end(&self) -> Option<Token> {
        Some(END)
    }
}

/// Where the kinds of features begin.
const POSITION: u32 = TOKENS as u32;
const LAST_PITCH: u32 = POSITION + POSITIONS as u32;
const MOTION: u32 = LAST_PITCH + PITCHES as u32;
const BASS: u32 = MOTION + INTERVALS;
const TOP: u32 = BASS + INTERVALS;
const LAST_LENGTH: u32 = TOP + INTERVALS;
const LAST_GAP: u32 = LAST_LENGTH + SHOWN_STEPS as u32 + 1;
const SOUNDING: u32 = LAST_GAP + SHOWN_STEPS as u32 + 1;
const INPUTS: u32 = SOUNDING + SHOWN_SOUNDING + 1;

/// Active features describe the place that a token leads to. After the token itself: the next onset's position in four
/// beats, by what is said of it up to now; the last pitch and the interval to it; the intervals from it to the lowest and to
/// the highest pitch that sound on; the last length and gap; how many notes sound on.
impl Features for Notes {
    fn shape(&self) -> FeatureShape {
        // Two tables of intervals, from 127 semitones down on; the tokens after the pitches are beyond the highest.
        let scores = TOKENS + 2 * (127 + TOKENS);
        FeatureShape { tokens: TOKENS, inputs: INPUTS as usize, slots: 9, scores, relations: 2 }
    }

    fn activate(&self, before: State, token: Token, active: &mut [u32]) {
        let mut moment = Moment::of(&before);
        moment.read(token);
        let last = Some(moment.last_pitch).filter(|&pitch| pitch != NONE);
        let interval = |first: u32, from: Option<u16>, to: Option<u16>| match (from, to) {
            (Some(from), Some(to)) => first + 127 + u32::from(to) - u32::from(from),
            _ => NO_FEATURE,
        };
        let position = (moment.position + moment.next_gap() % POSITIONS) % POSITIONS;
        let before_last = Some(moment.pitch_before).filter(|&pitch| pitch != NONE);
        active.copy_from_slice(&[
            token.into(),
            POSITION + u32::from(position),
            last.map_or(NO_FEATURE, |pitch| LAST_PITCH + u32::from(pitch)),
            interval(MOTION, before_last, last),
            interval(BASS, last, moment.sounding().next()),
            interval(TOP, last, moment.sounding().next_back()),
            LAST_LENGTH + u32::from(moment.last_length.min(SHOWN_STEPS)),
            LAST_GAP + u32::from(moment.last_gap.min(SHOWN_STEPS)),
            SOUNDING + (moment.sounding().count() as u32).min(SHOWN_SOUNDING),
        ]);
    }

    /// Intervals from the last pitch, and from the lowest that sounds on or else the one before the last.
    fn relate(&self, state: State, first_scores: &mut [u32]) {
        let moment = Moment::of(&state);
        let other = moment.sounding().next().unwrap_or(moment.pitch_before);
        for ((first, pitch), table) in first_scores.iter_mut().zip([moment.last_pitch, other]).zip(0..) {
            *first = match pitch {
                NONE => NO_FEATURE,
                pitch => TOKENS as u32 + table * (127 + TOKENS as u32) + 127 - u32::from(pitch),
            };
        }
    }
}

/// A note in steps, with the number that problems name.
#[derive(Debug, Clone, Copy)]
struct GridNote {
    pitch: u16,
    start: u64,
    end: u64,
    number: usize,
}

impl Notes {
    /// The representation.
    pub fn new(NotesOptions {}: NotesOptions) -> Self {
        let mut vocabulary: Vec<String> = (0..PITCHES).map(|pitch| format!("Pitch {pitch}")).collect();
        vocabulary.push("Gap 0".into());
        vocabulary.extend(FINEST.texts("Gap"));
        vocabulary.extend(FINEST.texts("Length"));
        vocabulary.push("End".into());
        Notes { vocabulary }
    }

    /// The first notes of all tracks in the order in which they are said, each pitch struck when it does not sound.
    fn notes(&self, song: &Song, max_notes: usize, encoded: &mut Encoded) -> Vec<GridNote> {
        let mut sorted = Vec::new();
        let mut number = 0;
        for instrument in &song.instruments {
            if instrument.is_drum {
                encoded.changes.left_out += instrument.notes.len();
                encoded.altered += instrument.notes.len();
            } else {
                sorted.extend((number..).zip(&instrument.notes).map(|(number, note)| {
                    let (start, end) = FINEST.quantize(note, song.resolution);
                    (start, Reverse(note.pitch), Reverse(end), number, note)
                }));
            }
            number += instrument.notes.len();
        }
        sorted.sort_unstable_by_key(|&(start, pitch, end, number, _)| (start, pitch, end, number));

        let mut notes: Vec<GridNote> = Vec::with_capacity(sorted.len().min(max_notes));
        let mut last_of_pitch = [None; PITCHES as usize];
        for (start, Reverse(pitch), Reverse(end), number, note) in sorted {
            let pitch = u16::from(pitch.min(127));
            let last: &mut Option<usize> = &mut last_of_pitch[usize::from(pitch)];
            if let Some(last) = *last
                && notes[last].start == start
            {
                encoded.changes.merged += 1;
                encoded.altered += 1;
                continue;
            }
            if notes.len() == max_notes {
                break;
            }
            if let Some(last) = *last
                && notes[last].end > start
            {
                notes[last].end = start;
                encoded.changes.cut += 1;
                encoded.altered += 1;
            }
            let is_changed = FINEST.count_changes(note, (start, end), song, &mut encoded.changes);
            encoded.altered += usize::from(is_changed);
            *last = Some(notes.len());
            notes.push(GridNote { pitch, start, end, number });
        }
        notes
    }
}

impl Representation for Notes {
    fn id(&self) -> &'static str {
        "notes/1"
    }

    fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    fn encode(&self, song: &Song, max_notes: usize) -> Encoded {
        let mut encoded = Encoded::default();
        if song.resolution == 0 {
            encoded.problems.extend(EncodeProblem::without_beats(song, max_notes));
            return encoded;
        }
        let notes = self.notes(song, max_notes, &mut encoded);
        let longest = u64::from(FINEST.longest());
        let (mut now, mut usual_gap, mut last_length) = (0, 0, FINEST.steps_per_beat);
        for GridNote { pitch, start, end, number } in notes {
            let (gap, length) = (start - now, end - start);
            if gap.max(length) > longest {
                let (what, steps) =
                    if length > longest { ("it lasts", length) } else { ("after the note before it:", gap) };
                encoded.problems.push(EncodeProblem {
                    note: number,
                    reason: format!("{what} {} beats", steps / u64::from(FINEST.steps_per_beat)),
                    hint: rhythm::TOO_LONG,
                });
                if length > longest {
                    continue;
                }
                // All that follows would be as far away.
                break;
            }
            let (gap, length) = (gap as u16, length as u16);
            if gap != usual_gap {
                match gap {
                    0 => encoded.tokens.push(TOGETHER),
                    gap => FINEST.spell(gap, FIRST_GAP, &mut encoded.tokens),
                }
            }
            if length != last_length {
                FINEST.spell(length, FIRST_LENGTH, &mut encoded.tokens);
            }
            encoded.tokens.push(pitch);
            (now, usual_gap, last_length) = (start, length, length);
        }
        encoded
    }

    fn decode(&self, tokens: &[Token]) -> Song {
        let notes = self.spelled_notes(tokens).iter().map(rhythm::note).collect();
        let cello = Instrument { program: CELLO, is_drum: false, name: "bachdist".into(), notes };
        rhythm::song(vec![cello])
    }

    /// Voices are the highest of the notes that begin together, and those below.
    fn spelled_notes(&self, tokens: &[Token]) -> Vec<SpelledNote> {
        let (mut moment, mut onset) = (BEGINNING, 0u64);
        let mut notes = Vec::with_capacity(tokens.len());
        for (index, &token) in tokens.iter().enumerate() {
            let is_first = moment.last_pitch == NONE;
            moment.read(token);
            if let Some(pitch) = rhythm::pitch(token) {
                onset += u64::from(moment.last_gap);
                let voice = usize::from(moment.last_gap == 0 && !is_first);
                let [start, end] = FINEST.ticks([onset, onset + u64::from(moment.last_length)]);
                notes.push(SpelledNote { token: index, voice, pitch, start, end, is_held: false });
            }
        }
        notes
    }

    fn voices(&self) -> Vec<VoiceLabel> {
        vec![VoiceLabel::line("Highest"), VoiceLabel::rest("Below")]
    }

    /// Time is that of the last onset.
    fn elapsed(&self, before: State, token: Token) -> u32 {
        let moment = Moment::of(&before);
        if token < PITCHES { moment.next_gap().into() } else { 0 }
    }

    fn alteration(&self) -> &'static str {
        "notes are moved to the nearest 24th of a beat, merged with another of their pitch, cut, or left out as drums"
    }

    fn pitch(&self, token: Token) -> Option<u8> {
        rhythm::pitch(token)
    }

    fn transpose(&self, token: Token, semitones: i8) -> Option<Token> {
        rhythm::transpose(token, semitones)
    }

    fn symbols(&self, view: View) -> usize {
        rhythm::symbols(view)
    }

    fn symbol(&self, view: View, before: State, token: Token) -> Option<Symbol> {
        rhythm::symbol(view, Moment::of(&before).last_pitch, token)
    }

    fn chance(&self) -> Chance {
        Chance { exact: 14, transposed: 17 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws;
    use super::*;
    use crate::midi::Note;

    /// Pitch, first and last tick, of which a quarter note has 48.
    fn song(notes: &[(u8, u32, u32)]) -> Song {
        let notes = notes.iter().map(|&(pitch, start, end)| Note::in_ticks(pitch, 80, start, end)).collect();
        let piano = Instrument { program: 0, is_drum: false, name: String::new(), notes };
        Song::at_tempo(vec![piano], 48, 500_000)
    }

    fn encode(notes: &[(u8, u32, u32)]) -> Encoded {
        Notes::new(NotesOptions {}).encode(&song(notes), usize::MAX)
    }

    fn spelled(notes: &[(u8, u32, u32)]) -> String {
        let representation = Notes::new(NotesOptions {});
        let encoded = encode(notes);
        assert!(encoded.problems.is_empty(), "{:?}", encoded.problems);
        let texts =
            encoded.tokens.iter().map(|&token| representation.vocabulary()[usize::from(token)].as_str());
        texts.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn notes_obey_the_laws() {
        laws::hold(&Notes::new(NotesOptions {}));
    }

    #[test]
    fn only_what_changes_is_said() {
        assert_eq!(spelled(&[(60, 0, 48), (62, 48, 96), (64, 96, 144)]), "Pitch 60, Pitch 62, Pitch 64");
        // Eighths after a rest, and a triplet.
        assert_eq!(
            spelled(&[(60, 24, 48), (62, 48, 72), (64, 96, 112), (65, 112, 128)]),
            "Gap 12/24, Length 12/24, Pitch 60, Pitch 62, Gap 1, Length 8/24, Pitch 64, Pitch 65"
        );
        let long = 48 * 19 + 24;
        assert_eq!(spelled(&[(60, 0, long)]), "Length 8, Length 8, Length 3, Length 12/24, Pitch 60");
    }

    #[test]
    fn chords_are_said_downward_and_a_length_is_that_of_the_note_before() {
        let chord = [(60, 0, 48), (67, 0, 48), (64, 0, 96), (62, 48, 96)];
        assert_eq!(
            spelled(&chord),
            "Pitch 67, Gap 0, Length 2, Pitch 64, Gap 0, Length 1, Pitch 60, Pitch 62"
        );
    }

    #[test]
    fn what_the_grid_changes_is_counted() {
        // Begins a third of a step late, is as long as it was.
        let moved = encode(&[(60, 1, 49)]);
        assert_eq!((moved.altered, moved.changes.moved_onsets), (1, 1));
        let short = encode(&[(60, 0, 1), (62, 48, 49)]);
        assert_eq!((short.altered, short.changes.changed_lengths), (2, 2));
        let unison = encode(&[(60, 0, 48), (60, 0, 96)]);
        assert_eq!((unison.altered, unison.changes.merged, unison.tokens.len()), (1, 1, 2));
        let overlap = encode(&[(60, 0, 96), (60, 48, 96)]);
        assert_eq!((overlap.altered, overlap.changes.cut, overlap.tokens), (1, 1, vec![60, 60]));
    }

    #[test]
    fn a_gap_or_length_without_a_spelling_is_one_problem() {
        let far = 48 * 2049;
        let gap = encode(&[(60, 0, 48), (61, far, far + 48), (62, far + 48, far + 96)]);
        let expected = "note 1: after the note before it: 2049 beats (at most 2048 beats have a spelling; cut the piece)";
        assert_eq!((gap.problems.len(), gap.tokens.len()), (1, 1));
        assert_eq!(gap.problems[0].to_string(), expected);
        let long = encode(&[(60, 0, far), (61, 48, 96)]);
        assert_eq!((long.problems.len(), long.problems[0].note), (1, 0));
    }

    #[test]
    fn features_tell_where_the_next_note_begins_and_what_sounds() {
        let notes = Notes::new(NotesOptions {});
        // An open fifth of two beats, and after half a beat the next note.
        let said = [FIRST_LENGTH + 1, 67, TOGETHER, 60];
        let state = said.iter().fold(notes.start(), |state, &token| notes.next(state, token));
        let mut active = [0; 9];
        notes.activate(state, FIRST_GAP + 7 + 12, &mut active);
        assert_eq!(
            active[1..6],
            [POSITION + 12, LAST_PITCH + 60, MOTION + 127 - 7, BASS + 127, TOP + 127 + 7,]
        );
        assert_eq!(active[8], SOUNDING + 2);
        // Without a gap it begins where the fifth ends.
        notes.activate(state, FIRST_LENGTH, &mut active);
        assert_eq!((active[1], active[4], active[8]), (POSITION + 48, NO_FEATURE, SOUNDING));
    }
}
