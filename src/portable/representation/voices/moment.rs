//! What there is to know after each token of `voices`, and which may follow.

use super::super::rhythm::{BeatGrid, NONE, PITCHES};
use super::super::{State, Token};
use crate::key::Key;

/// Tokens after the pitches: a rest, lengths, the end.
pub const REST: Token = PITCHES;
pub const FIRST_LENGTH: Token = REST + 1;

/// The most voices that a state has room for.
pub const MAX_VOICES: usize = 8;

/// Beats after which the position in time repeats: bars of three and of four beats.
const POSITION_BEATS: u16 = 12;

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
    /// Steps since the beginning, up to [`POSITION_BEATS`] beats.
    pub position: u16,
    /// How often these have passed.
    pub rounds: u16,
    /// The pitch of the last note.
    pub last_pitch: u16,
    /// How long each pitch class was said to sound, in sixteenths, see [`Moment::remember`].
    durations: [u16; 12],
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
    /// What it had before what it has: a pitch, [`REST`], or [`NONE`].
    pub before: u16,
}

/// How the speaker would move in parallel with another voice.
#[derive(Debug, Clone, Copy)]
pub struct Parallel {
    /// With which voice.
    pub other: usize,
    /// From this pitch.
    pub from: Token,
    /// To this one.
    pub to: Token,
    /// Whether they are fifths, and not octaves or unisons.
    pub is_fifth: bool,
}

impl Parallel {
    /// Whether it also moves like that to this pitch: the same way, to the same interval or one that is octaves wider or
    /// narrower.
    pub fn includes(&self, pitch: Token) -> bool {
        let same_way = (pitch > self.from) == (self.to > self.from);
        pitch != self.from && same_way && pitch.abs_diff(self.to).is_multiple_of(12)
    }
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
            before: NONE,
        };
        Moment {
            said: 0,
            position: 0,
            rounds: 0,
            last_pitch: NONE,
            durations: [0; 12],
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
        let length = voice.length;
        (voice.before, voice.sounding, voice.left) = (voice.sounding, token, length);
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
        let position = u32::from(moment.position) + u32::from(elapsed);
        let round = u32::from(POSITION_BEATS * self.grid.steps_per_beat);
        moment.position = (position % round) as u16;
        moment.rounds = moment.rounds.saturating_add((position / round) as u16);
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

    /// Where the speaker would move in parallel fifths or octaves with a voice that has moved at this moment.
    pub fn parallels(&self, moment: &Moment) -> impl Iterator<Item = Parallel> + use<> {
        let (speaker, voices) = (self.speaker(moment), moment.voices);
        (0..self.voices).filter(move |&other| other != speaker).filter_map(move |other| {
            let [voice, moved] = [speaker, other].map(|voice| &voices[voice]);
            if !moved.has_just_moved() || voice.sounding >= REST || moved.sounding == moved.before {
                return None;
            }
            let above = i32::from(moved.before) - i32::from(voice.sounding);
            let to = Token::try_from(i32::from(moved.sounding) - above).ok()?;
            // That of the voice that should be higher above the other.
            let interval = (if other < speaker { above } else { -above }).rem_euclid(12);
            let is_fifth = interval == 7;
            let is_parallel = to < PITCHES && (is_fifth || interval == 0);
            is_parallel.then_some(Parallel { other, from: voice.sounding, to, is_fifth })
        })
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

impl Moment {
    /// The moment of a state.
    pub fn of(State(words): State) -> Moment {
        let (own, voices) = words.split_at(OWN_WORDS);
        let voice = |number: usize| {
            let words = &voices[VOICE_WORDS * number..];
            Voice {
                left: words[0],
                length: words[1],
                sounding: words[2],
                pitch: words[3],
                pitch_before: words[4],
                before: words[5],
            }
        };
        Moment {
            said: own[0],
            position: own[1],
            rounds: own[2],
            last_pitch: own[3],
            durations: std::array::from_fn(|class| own[4 + class]),
            voices: std::array::from_fn(voice),
        }
    }

    /// The state that keeps it.
    pub fn state(&self) -> State {
        let mut words = [0; OWN_WORDS + VOICE_WORDS * MAX_VOICES];
        let (own, voices) = words.split_at_mut(OWN_WORDS);
        own[..4].copy_from_slice(&[self.said, self.position, self.rounds, self.last_pitch]);
        own[4..].copy_from_slice(&self.durations);
        for (words, voice) in voices.chunks_exact_mut(VOICE_WORDS).zip(&self.voices) {
            let Voice { left, length, sounding, pitch, pitch_before, before } = *voice;
            words.copy_from_slice(&[left, length, sounding, pitch, pitch_before, before]);
        }
        State::of(words)
    }

    /// Adds a note to what suggests the key. All count half when one has lasted 1,024 whole notes, and never overflow.
    fn remember(&mut self, pitch: u16, sixteenths: u16) {
        let duration = &mut self.durations[usize::from(pitch % 12)];
        *duration += sixteenths.min(1 << 14);
        if *duration > 1 << 14 {
            self.durations.iter_mut().for_each(|duration| *duration /= 2);
        }
    }

    /// The key that the notes so far suggest.
    pub fn key(&self) -> Option<Key> {
        Key::of(&self.durations.map(f64::from))
    }
}

/// Words of a state before those of the voices, and of each voice.
const OWN_WORDS: usize = 4 + 12;
const VOICE_WORDS: usize = 6;

impl Voice {
    /// Whether it has gone from one note to another at this moment.
    pub fn has_just_moved(&self) -> bool {
        self.left > 0 && self.left == self.length && self.sounding < REST && self.before < REST
    }
}
