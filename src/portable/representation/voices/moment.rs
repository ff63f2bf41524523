//! What there is to know after each token of `voices`, and which may follow.

use super::super::rhythm::{BeatGrid, NONE, PITCHES};
use super::super::{State, Token};
use crate::key::Key;

/// Tokens after the pitches: a rest, lengths, the end.
pub const REST: Token = PITCHES;
pub const FIRST_LENGTH: Token = REST + 1;

/// The most voices that a state has room for.
pub const MAX_VOICES: usize = 8;

/// Beats after which the position in time repeats.
pub const BEATS_SHOWN: u16 = 4;

/// How many voices there are, and how their time is divided: all that reading tokens takes.
#[derive(Debug, Clone, Copy)]
pub struct Ensemble {
    pub voices: usize,
    pub grid: BeatGrid,
}

/// What a state's words mean.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Steps of a length that are said, 0 before its first token.
    pub said: u16,
    /// Steps since the beginning, up to [`BEATS_SHOWN`] beats.
    pub position: u16,
    /// The pitch of the last note.
    pub last_pitch: u16,
    /// How long each pitch class was said to sound, in sixteenths, see [`Moment::remember`].
    durations: [u16; 12],
    /// [`Key::number`] of the key that these suggest, or [`NONE`].
    key: u16,
    pub voices: [Voice; MAX_VOICES],
}

/// A voice at the end of the last note or rest that was said in any.
#[derive(Debug, Clone, Copy)]
pub struct Voice {
    /// Steps until its note or rest ends.
    pub left: u16,
    /// The length of its note or rest.
    pub length: u16,
    /// Its pitch, [`REST`], or [`NONE`] before the first one.
    pub sounding: u16,
    /// The pitch of its last note.
    pub pitch: u16,
    /// The pitch of the note before that.
    pub pitch_before: u16,
}

impl Ensemble {
    pub fn end_token(&self) -> Token {
        FIRST_LENGTH + self.grid.tokens()
    }

    /// The number of a length's token, from 0.
    pub fn length_token(&self, token: Token) -> Option<u16> {
        token.checked_sub(FIRST_LENGTH).filter(|&number| number < self.grid.tokens())
    }

    /// The length that is said with this token, if it is one of a length.
    pub fn length_said(&self, moment: &Moment, token: Token) -> Option<u16> {
        let number = self.length_token(token)?;
        Some(moment.said.saturating_add(self.grid.steps(number)))
    }

    pub fn beginning(&self) -> Moment {
        let voice = Voice {
            left: 0,
            length: self.grid.steps_per_beat,
            sounding: NONE,
            pitch: NONE,
            pitch_before: NONE,
        };
        Moment {
            said: 0,
            position: 0,
            last_pitch: NONE,
            durations: [0; 12],
            key: NONE,
            voices: [voice; MAX_VOICES],
        }
    }

    /// The voice that speaks next.
    pub fn speaker(&self, moment: &Moment) -> usize {
        let voices = &moment.voices[..self.voices];
        voices.iter().position(|voice| voice.left == 0).unwrap_or(0)
    }

    /// The moment after a token, and how far time has moved.
    pub fn read(&self, mut moment: Moment, token: Token) -> (Moment, u16) {
        if let Some(number) = self.length_token(token) {
            moment.said = moment.said.saturating_add(self.grid.steps(number));
            return (moment, 0);
        }
        if token > REST {
            return (self.beginning(), 0);
        }
        let speaker = self.speaker(&moment);
        let voice = &mut moment.voices[speaker];
        if moment.said > 0 {
            voice.length = moment.said;
        }
        (voice.left, voice.sounding) = (voice.length, token);
        let length = voice.length;
        if token < REST {
            (voice.pitch_before, voice.pitch) = (voice.pitch, token);
            moment.last_pitch = token;
            moment.remember(token, self.sixteenths(length));
        }
        moment.said = 0;
        let voices = &mut moment.voices[..self.voices];
        let elapsed = voices.iter().map(|voice| voice.left).min().unwrap_or(0);
        for voice in voices {
            voice.left -= elapsed;
        }
        let period = BEATS_SHOWN * self.grid.steps_per_beat;
        moment.position = (moment.position + elapsed % period) % period;
        (moment, elapsed)
    }

    /// A length in sixteenths, rounded up.
    pub fn sixteenths(&self, steps: u16) -> u16 {
        steps.saturating_mul(4).div_ceil(self.grid.steps_per_beat)
    }

    /// The lowest pitch that sounds on while the speaker begins.
    pub fn bass(&self, moment: &Moment) -> Option<u16> {
        let voices = moment.voices[..self.voices].iter();
        voices.filter(|voice| voice.left > 0 && voice.sounding < REST).map(|voice| voice.sounding).min()
    }

    /// Where the speaker would be if it moved like this voice, which has moved at this moment, and how far the upper of the
    /// two is above the lower, below an octave; `None` if it has not moved.
    pub fn parallel(&self, moment: &Moment, other: usize) -> Option<(Token, i32)> {
        let speaker = self.speaker(moment);
        let [voice, moved] = [speaker, other].map(|voice| &moment.voices[voice]);
        if other == speaker
            || !moved.has_just_moved()
            || voice.sounding >= REST
            || moved.pitch == moved.pitch_before
        {
            return None;
        }
        let above = i32::from(moved.pitch_before) - i32::from(voice.sounding);
        let upwards = if other < speaker { above } else { -above };
        Some((Token::try_from(i32::from(moved.pitch) - above).ok()?, upwards.rem_euclid(12)))
    }

    /// Whether a token may follow; for the end: whether the piece may end here.
    pub fn allows(&self, moment: &Moment, token: Token) -> bool {
        let voice = &moment.voices[self.speaker(moment)];
        if let Some(said) = self.length_said(moment, token) {
            let number = token - FIRST_LENGTH;
            // What is said differs from what is meant when nothing is said.
            return self.grid.may_follow(moment.said, number)
                && (said != voice.length || self.grid.is_open(said));
        }
        if token > REST {
            let voices = &moment.voices[..self.voices];
            return token == self.end_token()
                && moment.said == 0
                && voices.iter().all(|voice| voice.left == 0)
                && (voices.iter().any(|voice| voice.sounding < REST)
                    || voices.iter().all(|voice| voice.sounding == NONE));
        }
        moment.said != voice.length && (token < REST || voice.sounding != REST)
    }
}

/// Where the words of a state begin that are the voices'.
const VOICE_WORDS: usize = 4 + 12;

impl Moment {
    /// Adds a note to what suggests the key. All count less when one has lasted 1,024 whole notes, and never overflow.
    fn remember(&mut self, pitch: u16, sixteenths: u16) {
        let duration = &mut self.durations[usize::from(pitch % 12)];
        *duration += sixteenths.min(1 << 14);
        if *duration > 1 << 14 {
            self.durations.iter_mut().for_each(|duration| *duration /= 2);
        }
        self.key = Key::of(&self.durations.map(f64::from)).map_or(NONE, Key::number);
    }

    /// The key that the notes so far suggest.
    pub fn key(&self) -> Option<Key> {
        (self.key != NONE).then(|| Key::numbered(self.key))
    }

    pub fn of(State(words): State) -> Moment {
        let voice = |v: usize| Voice {
            left: words[VOICE_WORDS + 5 * v],
            length: words[VOICE_WORDS + 5 * v + 1],
            sounding: words[VOICE_WORDS + 5 * v + 2],
            pitch: words[VOICE_WORDS + 5 * v + 3],
            pitch_before: words[VOICE_WORDS + 5 * v + 4],
        };
        Moment {
            said: words[0],
            position: words[1],
            last_pitch: words[2],
            key: words[3],
            durations: std::array::from_fn(|class| words[4 + class]),
            voices: std::array::from_fn(voice),
        }
    }

    pub fn state(&self) -> State {
        let mut words = [0; VOICE_WORDS + 5 * MAX_VOICES];
        [words[0], words[1], words[2], words[3]] = [self.said, self.position, self.last_pitch, self.key];
        words[4..VOICE_WORDS].copy_from_slice(&self.durations);
        for (words, voice) in words[VOICE_WORDS..].chunks_exact_mut(5).zip(&self.voices) {
            let Voice { left, length, sounding, pitch, pitch_before } = *voice;
            words.copy_from_slice(&[left, length, sounding, pitch, pitch_before]);
        }
        State::of(words)
    }
}

impl Voice {
    /// Whether it has begun a note at this moment, after another one.
    pub fn has_just_moved(&self) -> bool {
        self.left > 0 && self.left == self.length && self.sounding < REST && self.pitch_before < PITCHES
    }
}
