//! What `notes` and `voices` share: pitches as the first tokens of the vocabulary, time on a grid, and lengths of time as
//! tokens, whole beats first, then a fraction of a beat.

use super::{Changes, SpelledNote, Symbol, Token, View};
use crate::midi::grid::{TICKS_PER_QUARTER, nearest_step};
use crate::midi::{DEFAULT_VELOCITY, Instrument, Note, Song};

/// A longer length of time cannot be spelled: a quarter of an hour at a fast tempo. A multiple of [`EIGHT`].
const MAX_BEATS: u16 = 2048;

/// What to do about a longer one.
pub(super) const TOO_LONG: &str = "at most 2048 beats have a spelling; cut the piece";

/// The largest number of beats that has a token.
const EIGHT: u16 = 8;

/// The tokens that complete a note are its MIDI pitch.
pub(super) const PITCHES: u16 = 128;

/// Intervals from one pitch to another, numbered from 0 for the largest one down.
pub(super) const INTERVALS: u32 = 2 * PITCHES as u32 - 1;

/// In a state, in place of a pitch: there is none.
pub(super) const NONE: u16 = u16::MAX;

/// [`super::Representation::pitch`].
pub(super) fn pitch(token: Token) -> Option<u8> {
    (token < PITCHES).then_some(token as u8)
}

/// [`super::Representation::transpose`].
pub(super) fn transpose(token: Token, semitones: i8) -> Option<Token> {
    if token >= PITCHES {
        return Some(token);
    }
    token.checked_add_signed(semitones.into()).filter(|&moved| moved < PITCHES)
}

/// [`super::Representation::symbols`].
pub(super) fn symbols(view: View) -> usize {
    match view {
        View::Exact => PITCHES.into(),
        View::Transposed => INTERVALS as usize,
    }
}

/// [`super::Representation::symbol`]: the pitches, without their rhythm, in the order in which they are said.
pub(super) fn symbol(view: View, last_pitch: u16, token: Token) -> Option<Symbol> {
    match (view, last_pitch) {
        _ if token >= PITCHES => None,
        (View::Exact, _) => Some(token),
        (View::Transposed, NONE) => None,
        (View::Transposed, last) => Some(token + (PITCHES - 1) - last),
    }
}

/// How finely a beat, which is a quarter note, is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BeatGrid {
    pub steps_per_beat: u16,
}

/// The longest lengths of time in steps of the finest grid, and so in those of any, fit into 16 bits.
pub(super) const FINEST: BeatGrid = BeatGrid { steps_per_beat: TICKS_PER_QUARTER };
const _: () = assert!(FINEST.longest() as u32 == 24 * MAX_BEATS as u32 + 23);

impl BeatGrid {
    /// How many tokens spell lengths: numbers of beats from 1 to 8, then steps from 1 to less than a beat.
    pub const fn tokens(self) -> u16 {
        EIGHT + self.steps_per_beat - 1
    }

    /// The longest length that can be spelled, in steps.
    pub const fn longest(self) -> u16 {
        MAX_BEATS * self.steps_per_beat + self.steps_per_beat - 1
    }

    /// A text for each token.
    pub fn texts(self, kind: &str) -> Vec<String> {
        let beats = (1..=EIGHT).map(|beats| format!("{kind} {beats}"));
        let steps = (1..self.steps_per_beat).map(|steps| format!("{kind} {steps}/{}", self.steps_per_beat));
        beats.chain(steps).collect()
    }

    /// The steps that a token adds to a length; tokens are numbered from 0 here.
    pub fn steps(self, token: u16) -> u16 {
        if token < EIGHT { (token + 1) * self.steps_per_beat } else { token - EIGHT + 1 }
    }

    /// Whether a token may follow where `said` steps were said: every length has one spelling, eights first.
    pub fn may_follow(self, said: u16, token: u16) -> bool {
        let (beats, steps) = (said / self.steps_per_beat, said % self.steps_per_beat);
        steps == 0 && (token >= EIGHT || beats.is_multiple_of(EIGHT) && beats + token < MAX_BEATS)
    }

    /// Whether a fraction of a beat may follow `said` steps.
    pub fn is_open(self, said: u16) -> bool {
        said.is_multiple_of(self.steps_per_beat)
    }

    /// The largest length that begins with `said` steps, after which more may follow.
    pub fn largest(self, said: u16) -> u16 {
        match said / self.steps_per_beat % EIGHT {
            0 => self.longest(),
            _ => said + self.steps_per_beat - 1,
        }
    }

    /// Appends the tokens of a length, the first of which has this number.
    pub fn spell(self, length: u16, first: Token, tokens: &mut Vec<Token>) {
        let (mut beats, steps) = (length / self.steps_per_beat, length % self.steps_per_beat);
        while beats > 0 {
            let said = beats.min(EIGHT);
            tokens.push(first + said - 1);
            beats -= said;
        }
        if steps > 0 {
            tokens.push(first + EIGHT - 1 + steps);
        }
    }

    /// The first and last step of a note: the nearest ones, at least one apart. `resolution` is not 0.
    pub fn quantize(self, note: &Note, resolution: u16) -> (u64, u64) {
        let [start, end] = [note.start_tick, note.end_tick]
            .map(|tick| nearest_step(tick.into(), self.steps_per_beat, resolution));
        (start, end.max(start + 1))
    }

    /// Counts what quantizing this note changed, and says whether anything was.
    pub fn count_changes(
        self,
        note: &Note,
        (start, end): (u64, u64),
        song: &Song,
        changes: &mut Changes,
    ) -> bool {
        let exact = |ticks: u32, steps: u64| {
            u64::from(ticks) * u64::from(self.steps_per_beat) == steps * u64::from(song.resolution)
        };
        let is_moved = !exact(note.start_tick, start);
        let is_resized = !exact(note.end_tick.saturating_sub(note.start_tick), end - start);
        changes.moved_onsets += usize::from(is_moved);
        changes.changed_lengths += usize::from(is_resized);
        is_moved || is_resized
    }

    /// Steps in ticks of decoded music, see [`song`].
    pub fn ticks(self, steps: [u64; 2]) -> [u32; 2] {
        let ticks_per_step = u64::from(FINEST.steps_per_beat / self.steps_per_beat);
        steps.map(|step| u32::try_from(step * ticks_per_step).unwrap_or(u32::MAX))
    }
}

/// A note of decoded music, for [`song`].
pub(super) fn note(spelled: &SpelledNote) -> Note {
    Note::in_ticks(spelled.pitch, DEFAULT_VELOCITY, spelled.start, spelled.end)
}

/// Decoded music: 100 quarter notes per minute, in four-four time. A tick is a step of the finest grid.
pub(super) fn song(instruments: Vec<Instrument>) -> Song {
    const MICROSECONDS_PER_QUARTER: u32 = 600_000;
    Song::at_tempo(instruments, FINEST.steps_per_beat, MICROSECONDS_PER_QUARTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_one_spelling() {
        for grid in [FINEST, BeatGrid { steps_per_beat: 4 }] {
            let longest = grid.longest();
            for length in (1..1000).chain(longest - 30..=longest) {
                let mut tokens = Vec::new();
                grid.spell(length, 0, &mut tokens);
                let mut said = 0;
                for token in tokens {
                    assert!(token < grid.tokens() && grid.may_follow(said, token), "{length}");
                    said += grid.steps(token);
                }
                assert_eq!(said, length);
            }
            // What may follow is never what another spelling has.
            let mut spellings = vec![0];
            let mut lengths = Vec::new();
            while let Some(said) = spellings.pop() {
                for token in 0..grid.tokens() {
                    let length = said + grid.steps(token);
                    if length < 20 * grid.steps_per_beat && grid.may_follow(said, token) {
                        spellings.push(length);
                        lengths.push(length);
                    }
                }
            }
            lengths.sort_unstable();
            assert!(lengths.iter().copied().eq(1..20 * grid.steps_per_beat));
        }
    }
}
