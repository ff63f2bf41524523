//! A voice that is given while the others are composed.

use super::super::{GivenVoice, State, Token};
use super::moment::{Ensemble, Moment};

/// One voice of a piece.
#[derive(Debug, Clone)]
pub struct GivenLine {
    ensemble: Ensemble,
    /// Its index.
    voice: usize,
    /// What it says.
    tokens: Vec<Token>,
    /// For each of its tokens, and after the last one, the steps from there to the end.
    steps_left: Vec<u64>,
}

impl GivenLine {
    /// The voice with this index of a piece.
    pub fn of(ensemble: Ensemble, piece: &[Token], voice: usize) -> Self {
        let (mut tokens, mut said_at, mut now) = (Vec::new(), Vec::new(), 0);
        let mut moment = ensemble.beginning();
        for &token in piece {
            if ensemble.speaker(&moment) == voice {
                tokens.push(token);
                said_at.push(now);
            }
            let (after, elapsed) = ensemble.read(moment, token);
            moment = after;
            now += u64::from(elapsed);
        }
        let end = now + u64::from(moment.voices[voice].left);
        said_at.push(end);
        let steps_left = said_at.into_iter().map(|at| end - at).collect();
        GivenLine { ensemble, voice, tokens, steps_left }
    }
}

impl GivenVoice for GivenLine {
    fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    fn speaks(&self, state: State) -> bool {
        self.ensemble.speaker(&Moment::of(state)) == self.voice
    }

    fn allows(&self, state: State, said: usize, token: Token) -> bool {
        if token == self.ensemble.end_token() {
            return said == self.tokens.len();
        }
        let moment = Moment::of(state);
        let speaker = self.ensemble.speaker(&moment);
        if speaker == self.voice {
            return self.tokens.get(said) == Some(&token);
        }
        let left = u64::from(moment.voices[self.voice].left) + self.steps_left[said];
        let voice = &moment.voices[speaker];
        match self.ensemble.length_said(&moment, token) {
            // A length that is meant anyway is not said, so more has to follow.
            Some(length) if length == voice.length => u64::from(length) < left,
            Some(length) => u64::from(length) <= left,
            None if moment.said > 0 => u64::from(moment.said) <= left,
            None => u64::from(voice.length) <= left,
        }
    }
}
