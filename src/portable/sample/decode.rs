//! Decoding: a piece, token by token, from the network's predictions.
//!
//! Every prediction reads one whole window from the zero state, as in training. The windows of the next predictions overlap,
//! so they are read together: when a token is known, all windows that it belongs to are advanced by it, each in a row of its
//! own, instead of each reading it again later. A network that was trained with its state carried reads the piece once, from
//! its first token, and takes one row.
//!
//! Constraints mask predictions, which gives the masked tokens probability 0, and whatever is left is renormalized when one is
//! picked. The grammar of the representation always holds. [`CopyLimit`] acts only where a token that was picked breaks its
//! promise, so that a piece that keeps it anyway is the same with and without it.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::certificate::NGramIndex;
use crate::config::Config;
use crate::failure::{ExitCode, Failure};
use crate::midi::grid::TICKS_PER_QUARTER;
use crate::network::inference::{InferenceNetwork, RowStates};
use crate::print::count;
use crate::random::RandomStream;
use crate::representation::{Representation, State, Token, View};

/// How a token is picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decoding {
    /// The most probable one; of equals the lowest.
    Greedy,
    /// A random one.
    Sampling {
        /// Probabilities are raised to the power 1/T.
        temperature: f64,
        /// Only the K most probable tokens.
        top_k: Option<usize>,
        /// Only the most probable tokens that reach P together (nucleus sampling, Holtzman et al. 2020).
        top_p: Option<f64>,
    },
}

/// What was composed.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition {
    /// Without the prompt.
    pub tokens: Vec<Token>,
    /// For each token the network's prediction, (C) probabilities.
    pub probabilities: Vec<Vec<f32>>,
    /// What it took to keep `--max-copy`.
    pub copy_limit: Option<CopyLimitReport>,
}

/// `--max-copy N`: no more than N notes in a row are the training music's, exactly or transposed.
///
/// The promise is about the composed notes, as the files hold them. Where the picked token would complete a longer run,
/// another is picked among those that do not, however improbable they are. Where there is none, the token before is taken back
/// and not picked there again: a depth-first search, which finds what is possible unless it takes too many steps.
#[derive(Clone)]
pub struct CopyLimit<'a> {
    representation: &'a dyn Representation,
    /// The n-grams of one note more than is allowed.
    index: &'a NGramIndex,
    report: CopyLimitReport,
    tokens: Vec<Token>,
    /// For each token, and the one to be picked: tokens that led nowhere.
    dead_ends: Vec<Vec<Token>>,
    /// The largest number of tokens so far.
    furthest: usize,
    /// Tokens picked again, so that each pick has a random number of its own.
    redrawn: u64,
}

/// What it took to keep the copy limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CopyLimitReport {
    /// The longest run allowed, in notes.
    pub notes: usize,
    /// Picks that would have made a longer run, and were replaced.
    pub avoided: usize,
    /// Tokens taken back because none could follow.
    pub steps_back: usize,
}

/// A piece that takes more steps back is given up: each costs the reading of a whole window.
const MAX_STEPS_BACK: usize = 1000;

/// How long a piece becomes after its prompt. Where pieces have an end, a piece stops only where one may end, so that no frame
/// is half said and all voices end together, if it comes to such a place; and never before its first note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// This many notes, or until it ends itself.
    Notes(usize),
    /// About this many quarter notes: of several endings that which the network most expects, within a bar of that.
    Beats(u32),
    /// Until it ends itself, or has this many tokens.
    Free {
        /// More than a piece of its kind has.
        max_tokens: usize,
    },
    /// This many tokens, or until it ends itself: also where no note or end is ever picked.
    Tokens(usize),
}

/// Quarter notes before and after the length that was asked for, where a piece may end.
const ENDING_BEATS: u64 = 4;

/// So long before that, several endings are composed from what there is.
const LAST_PHRASE_BEATS: u64 = 8;

/// How many.
const ENDINGS: u64 = 16;

fn in_ticks(beats: u64) -> u64 {
    beats * u64::from(TICKS_PER_QUARTER)
}

/// Where a piece stands before its next token.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Ticks since the prompt.
    time: u64,
    /// Notes since the prompt.
    notes: usize,
    /// The probability that it ends here; `None` where it may not.
    end: Option<f32>,
}

impl Length {
    /// About how many tokens a piece of this length has.
    pub(super) fn tokens(self) -> usize {
        match self {
            Length::Notes(notes) => notes,
            // Four voices in sixteenths.
            Length::Beats(beats) => 16 * beats as usize,
            Length::Free { max_tokens } => max_tokens,
            Length::Tokens(tokens) => tokens,
        }
    }

    /// Whether a piece stops here. One that may never end, because its voices do not come together, stops anywhere at twice
    /// its length and a frame.
    fn is_reached(self, place: Place, tokens: usize, may_end: bool) -> bool {
        let limit = |length: usize| if may_end { length } else { 2 * length + 100 };
        match self {
            Length::Notes(notes) => place.notes >= limit(notes),
            Length::Beats(beats) => {
                place.time >= in_ticks(limit(beats as usize + ENDING_BEATS as usize) as u64)
            }
            Length::Free { max_tokens } => place.notes > 0 && tokens >= limit(max_tokens),
            Length::Tokens(limit) => tokens >= limit,
        }
    }

    /// How many tokens are kept of a piece that has passed these places, one before each token and the last.
    fn kept(self, places: &[Place]) -> usize {
        let last = places.len() - 1;
        let Length::Beats(beats) = self else { return last };
        let earliest = in_ticks(u64::from(beats).saturating_sub(ENDING_BEATS));
        let endings =
            places.iter().enumerate().filter(|(_, place)| place.notes > 0 && place.time >= earliest);
        let best =
            endings.filter_map(|(at, place)| Some((at, place.end?))).max_by(|a, b| a.1.total_cmp(&b.1));
        best.map_or(last, |(at, _)| at)
    }
}

/// Composes a piece after the prompt. Fails where no token keeps the copy limit.
pub fn compose(
    network: &InferenceNetwork,
    reading: Reading,
    prompt: &[Token],
    length: Length,
    decoding: &Decoding,
    stream: RandomStream,
    copy_limit: Option<CopyLimit<'_>>,
) -> Result<Composition, Failure> {
    let mut piece = Draft {
        network,
        reading,
        prompt,
        length,
        decoding,
        stream,
        copy_limit,
        windows: OpenWindows::after(network, reading, prompt, &[]),
        tokens: Vec::new(),
        predictions: Vec::new(),
        places: vec![Place { time: 0, notes: 0, end: None }],
    };
    if let Length::Beats(beats) = length {
        let last_phrase = in_ticks(u64::from(beats).saturating_sub(LAST_PHRASE_BEATS));
        piece.go_on(|place, _, _| place.time >= last_phrase)?;
        let beginning = piece.clone();
        // Those that cannot keep the copy limit are no choice, unless none can.
        let endings = (0..ENDINGS).map(|ending| {
            let mut piece = beginning.clone();
            // The first is what would be composed if there were no others.
            piece.stream = if ending == 0 { stream } else { stream.of(u64::MAX - ending) };
            piece.finish().map(|()| piece)
        });
        let (mut kept, mut failed) = (None::<Draft<'_>>, None);
        for ending in endings {
            match ending {
                Ok(piece) if kept.as_ref().is_none_or(|kept| piece.end() > kept.end()) => kept = Some(piece),
                Ok(_) => {}
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        piece = kept.ok_or_else(|| failed.expect("an ending is kept or has failed"))?;
    } else {
        piece.finish()?;
    }
    let kept = length.kept(&piece.places);
    piece.tokens.truncate(kept);
    piece.predictions.truncate(kept);
    let copy_limit = piece.copy_limit.map(|limit| limit.report);
    Ok(Composition { tokens: piece.tokens, probabilities: piece.predictions, copy_limit })
}

/// A piece as far as it is composed.
#[derive(Clone)]
struct Draft<'a> {
    network: &'a InferenceNetwork,
    reading: Reading,
    prompt: &'a [Token],
    length: Length,
    decoding: &'a Decoding,
    stream: RandomStream,
    copy_limit: Option<CopyLimit<'a>>,
    windows: OpenWindows<'a>,
    tokens: Vec<Token>,
    /// One for each token.
    predictions: Vec<Vec<f32>>,
    /// One before each token, and the last.
    places: Vec<Place>,
}

impl Draft<'_> {
    fn finish(&mut self) -> Result<(), Failure> {
        let length = self.length;
        self.go_on(|place, tokens, may_end| length.is_reached(place, tokens, may_end))
    }

    /// The probability that it ends where it would be cut.
    fn end(&self) -> f32 {
        self.places[self.length.kept(&self.places)].end.unwrap_or(0.0)
    }

    /// Composes until this is reached, which depends on the place, on how many tokens there are, and on whether the piece
    /// may end there; or until the piece ends itself.
    fn go_on(&mut self, is_reached: impl Fn(Place, usize, bool) -> bool) -> Result<(), Failure> {
        let representation = self.network.representation();
        loop {
            let grammar = self.windows.grammar;
            let end = representation.end().filter(|&end| representation.allows(grammar, end));
            let may_end = representation.end().is_none() || end.is_some();
            let place = self.places.last_mut().expect("one more than tokens");
            let mut probabilities = self.windows.probabilities();
            place.end = end.map(|end| probabilities[usize::from(end)]);
            let place = *place;
            if is_reached(place, self.tokens.len(), may_end) {
                return Ok(());
            }
            let is_end_masked = place.notes == 0 || matches!(self.length, Length::Beats(_));
            mask(&mut probabilities, |token| {
                representation.allows(grammar, token)
                    && !(is_end_masked && Some(token) == representation.end())
            });
            // Number 0 picked the window of the prompt.
            let number = self.tokens.len() as u64 + 1;
            let picked = match &mut self.copy_limit {
                None => Some(self.decoding.pick(&probabilities, self.stream.uniform(number))),
                Some(limit) => limit.pick(self.decoding, &probabilities, self.stream, number),
            };
            match (picked, &mut self.copy_limit) {
                (Some(token), _) if Some(token) == representation.end() => return Ok(()),
                (Some(token), _) => {
                    self.places.push(Place {
                        time: place.time + u64::from(representation.elapsed(grammar, token)),
                        notes: place.notes + usize::from(representation.pitch(token).is_some()),
                        end: None,
                    });
                    self.tokens.push(token);
                    self.predictions.push(probabilities);
                    self.windows.read(token);
                }
                (None, Some(limit)) => {
                    limit.step_back()?;
                    self.places.pop();
                    self.tokens.pop();
                    self.predictions.pop();
                    self.windows = OpenWindows::after(self.network, self.reading, self.prompt, &self.tokens);
                }
                (None, None) => unreachable!("a grammar allows some token in every state"),
            }
        }
    }
}

/// Gives tokens that are not allowed the probability 0.
pub(super) fn mask(probabilities: &mut [f32], allows: impl Fn(Token) -> bool) {
    for (token, p) in probabilities.iter_mut().enumerate() {
        if !allows(token as Token) {
            *p = 0.0;
        }
    }
}

/// What a network reads before each prediction, as it was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A window, as long as the prompt, from a state of zero.
    Window,
    /// The whole piece, its state carried from token to token.
    Piece,
}

impl Reading {
    /// How a configuration's network reads.
    pub fn of(config: &Config) -> Self {
        if config.train.carry_state { Reading::Piece } else { Reading::Window }
    }
}

/// The windows that are being read, one row for each age; or the one row of a piece.
#[derive(Clone)]
struct OpenWindows<'a> {
    network: &'a InferenceNetwork,
    reading: Reading,
    states: RowStates,
    /// Rows.
    length: usize,
    /// Tokens read so far.
    read: usize,
    /// The grammar's state after them.
    grammar: State,
}

impl<'a> OpenWindows<'a> {
    /// The windows after the last of these tokens.
    fn after(network: &'a InferenceNetwork, reading: Reading, prompt: &[Token], composed: &[Token]) -> Self {
        let length = if reading == Reading::Piece { 1 } else { prompt.len() };
        let representation = network.representation();
        let (states, grammar) = (network.states(length), representation.start());
        let mut windows = OpenWindows { network, reading, states, length, read: 0, grammar };
        let all = [prompt, composed].concat();
        let (before, last) = all.split_at(if reading == Reading::Piece { 0 } else { composed.len() });
        if reading == Reading::Piece
            && let Some(end) = representation.end()
        {
            // What stands before every piece.
            windows.read(end);
        }
        for &token in before {
            windows.grammar = representation.next(windows.grammar, token);
        }
        // One window is enough for a network that reads windows: it starts from the zero state.
        for &token in last {
            windows.read(token);
        }
        windows
    }

    /// Advances all open windows by a token, and opens the one that begins with it.
    fn read(&mut self, token: Token) {
        if self.reading == Reading::Window {
            // The row of the window that was finished by the token before is free again.
            self.network.reset(&mut self.states, self.read % self.length);
        }
        self.network.advance(&mut self.states, &vec![token; self.length]);
        self.read += 1;
        self.grammar = self.network.representation().next(self.grammar, token);
    }

    /// The prediction after the last whole window.
    fn probabilities(&self) -> Vec<f32> {
        // It began with the token whose row is opened next.
        self.network.probabilities(&self.states, self.read % self.length)
    }
}

impl Decoding {
    /// The token for a uniform random number in [0, 1).
    pub(super) fn pick(&self, probabilities: &[f32], uniform: f64) -> Token {
        // Most probable first; of equals the lower token.
        let mut ranked: Vec<(usize, f64)> = probabilities.iter().map(|&p| f64::from(p)).enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let Decoding::Sampling { temperature, top_k, top_p } = *self else { return ranked[0].0 as Token };

        // Relative to the largest, so that no temperature overflows.
        let largest = ranked[0].1;
        for (_, p) in &mut ranked {
            *p = libm::pow(*p / largest, 1.0 / temperature);
        }
        ranked.truncate(top_k.unwrap_or(ranked.len()).max(1));
        let total: f64 = ranked.iter().map(|(_, p)| p).sum();
        if let Some(nucleus) = top_p {
            let mut reached = 0.0;
            let kept = ranked.iter().position(|(_, p)| {
                reached += p / total;
                reached >= nucleus
            });
            ranked.truncate(kept.map_or(ranked.len(), |last| last + 1));
        }
        let total: f64 = ranked.iter().map(|(_, p)| p).sum();
        let mut left = uniform * total;
        for &(token, p) in &ranked {
            left -= p;
            if left < 0.0 {
                return token as Token;
            }
        }
        // Rounding may leave a little at the end; it goes to the last token that is possible.
        let last = ranked.iter().rfind(|(_, p)| *p > 0.0).unwrap_or(&ranked[0]);
        last.0 as Token
    }
}

impl<'a> CopyLimit<'a> {
    /// No run as long as these n-grams.
    pub fn new(representation: &'a dyn Representation, index: &'a NGramIndex) -> Self {
        let report = CopyLimitReport { notes: index.notes() - 1, avoided: 0, steps_back: 0 };
        let (tokens, dead_ends) = (Vec::new(), vec![Vec::new()]);
        CopyLimit { representation, index, report, tokens, dead_ends, furthest: 0, redrawn: 0 }
    }

    /// The next token, by its number in the stream; `None` if every token that is possible at all is ruled out.
    fn pick(
        &mut self,
        decoding: &Decoding,
        probabilities: &[f32],
        stream: RandomStream,
        number: u64,
    ) -> Option<Token> {
        let mut token = decoding.pick(probabilities, stream.uniform(number));
        self.report.avoided += usize::from(self.completes_long_run(token));
        if !self.allows(token) {
            let mut rest = probabilities.to_vec();
            mask(&mut rest, |token| self.allows(token));
            if !rest.iter().any(|&p| p > 0.0) {
                return None;
            }
            self.redrawn += 1;
            token = decoding.pick(&rest, stream.of(self.redrawn).uniform(number));
        }
        self.tokens.push(token);
        self.dead_ends.push(Vec::new());
        self.furthest = self.furthest.max(self.tokens.len());
        Some(token)
    }

    /// Takes the last token back, not to be picked there again. An error if there is none, or after too many steps.
    fn step_back(&mut self) -> Result<(), Failure> {
        let CopyLimitReport { notes, steps_back, .. } = self.report;
        let failure = |reason: String| {
            Failure::new(ExitCode::Usage, format!("--max-copy {notes}: {reason}; choose a larger number"))
        };
        let Some(last) = self.tokens.pop() else {
            return Err(failure(
                "every possible continuation shares a longer run with the training music".into(),
            ));
        };
        if steps_back == MAX_STEPS_BACK {
            return Err(failure(format!(
                "{steps_back} steps back did not lead further than note {} without a longer run of the \
                 training music",
                self.furthest
            )));
        }
        self.dead_ends.pop();
        let here = self.dead_ends.last_mut().expect("one for each token and the next");
        here.push(last);
        self.report.steps_back += 1;
        Ok(())
    }

    fn allows(&self, token: Token) -> bool {
        let dead_ends = self.dead_ends.last().expect("one for each token and the next");
        !dead_ends.contains(&token) && !self.completes_long_run(token)
    }

    /// Whether this token would complete a run that is too long. All shorter runs were allowed.
    fn completes_long_run(&self, token: Token) -> bool {
        if self.representation.pitch(token).is_none() {
            return false;
        }
        let tokens = (0..self.tokens.len()).rev();
        let mut notes = tokens.filter(|&index| self.representation.pitch(self.tokens[index]).is_some());
        let Some(first) = notes.nth(self.report.notes - 1) else {
            return false;
        };
        let run = [&self.tokens[first..], &[token]].concat();
        self.index.contains(&self.representation.view(View::Transposed, &run))
    }
}

impl Display for CopyLimitReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let CopyLimitReport { notes, avoided, steps_back } = self;
        let (notes, avoided) = (count(*notes as u64, "note"), count(*avoided as u64, "choice"));
        write!(f, "{notes}: {avoided} avoided, {} back", count(*steps_back as u64, "step"))
    }
}

/// `--temperature`: a positive number.
pub fn parse_temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(t) if t > 0.0 && f64::is_finite(t) => Ok(t),
        Ok(0.0) => Err("must be greater than 0; use --greedy for the limit of 0".into()),
        _ => Err("must be a number greater than 0".into()),
    }
}

/// `--top-p`: a probability greater than 0.
pub fn parse_top_p(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(p) if p > 0.0 && p <= 1.0 => Ok(p),
        _ => Err("must be a number greater than 0 and at most 1".into()),
    }
}

#[cfg(test)]
mod tests;
