//! Representations: what a token means, which nothing outside of this folder knows.
//!
//! A [`Representation`] turns notes into tokens and back. Everything between (windows, network, checkpoints, certificates,
//! evaluation, sampling) handles tokens as numbers below the size of the vocabulary, and asks the representation where it
//! needs more. Whatever draws, plays, names or counts notes works on the timed notes that [`Representation::decode`] makes.
//!
//! To add a representation, write a file beside `pitch.rs`, register it in `registry.rs`, and call `laws::hold` in its
//! tests.
//!
//! Invariant: all that a representation says is a function of its options alone, never of the corpus.

pub mod frames;
#[cfg(test)]
mod laws;
pub mod notes;
pub mod pitch;
mod registry;
mod rhythm;
#[cfg(test)]
mod tests;
pub mod voices;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use indicatif::HumanCount;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::midi::grid::NoteValue;
use crate::midi::{Note, Song};

pub use registry::RepresentationConfig;

/// An element of the vocabulary: a number below its size.
pub type Token = u16;

/// An element of a sequence in which copies are looked for, see [`View`].
pub type Symbol = u16;

/// What tokens mean.
pub trait Representation: Features {
    /// Name and version, like `pitch/1`. The version is raised when the meaning of tokens or features changes.
    fn id(&self) -> &'static str;

    /// A text for each token, no two alike. There are at most 2¹⁶.
    fn vocabulary(&self) -> &[String];

    /// The tokens of a piece, of which the first `max_notes` notes are used.
    fn encode(&self, song: &Song, max_notes: usize) -> Encoded;

    /// The tokens of a song that a piece begins with and goes on from, as [`Representation::encode`] has them but for what it
    /// says of the song's end.
    fn encode_prompt(&self, song: &Song, max_notes: usize) -> Encoded {
        self.encode(song, max_notes)
    }

    /// The timed notes of a sequence that the grammar allows, without the token that ends a piece. Where it stops before a
    /// piece may end, what is incomplete is left out. Always at least one instrument, so that its program is known before
    /// there are notes.
    fn decode(&self, tokens: &[Token]) -> Song;

    /// The note that each token completes which completes one, in order: what [`Representation::decode`] makes instruments of.
    fn spelled_notes(&self, tokens: &[Token]) -> Vec<SpelledNote>;

    /// The voices of spelled notes; none where all notes are one melody.
    fn voices(&self) -> Vec<VoiceLabel> {
        Vec::new()
    }

    /// How far time moves when a token is read in this state, in ticks of which a quarter note has
    /// [`TICKS_PER_QUARTER`](crate::midi::grid::TICKS_PER_QUARTER); 0 where music has no beats.
    fn elapsed(&self, _before: State, _token: Token) -> u32 {
        0
    }

    /// What happens to notes that cannot be spelled and that the options do not refuse, as a sentence's beginning.
    fn alteration(&self) -> &'static str;

    /// The MIDI pitch of the note that this token completes; `None` for a token that completes none.
    fn pitch(&self, token: Token) -> Option<u8>;

    /// The token of the same meaning that many semitones higher; `None` if the vocabulary has none. A token without a
    /// pitch is its own.
    fn transpose(&self, token: Token, semitones: i8) -> Option<Token>;

    /// The number of symbols of a view.
    fn symbols(&self, view: View) -> usize;

    /// What a view has for a token read in this state: one symbol for each token that completes a note, none for others.
    fn symbol(&self, view: View, before: State, token: Token) -> Option<Symbol>;

    /// How long the frames of piano rolls are, which do not say it themselves.
    fn frame(&self) -> NoteValue {
        NoteValue::Sixteenth
    }

    /// The frames that these tokens spell, if a frame is what published figures are counted by.
    fn frames(&self, _tokens: &[Token]) -> Option<Vec<FrameRun>> {
        None
    }

    /// How many notes a frame has where published figures count one for each voice, whether it is struck, held or rests.
    fn voices_per_frame(&self) -> Option<u64> {
        None
    }

    /// These notes of a song as a voice that is given, by its index, while others are composed around it, or what about them
    /// cannot be kept; `None` if the music has no such voice.
    fn give_voice(
        &self,
        _: &Song,
        _: Vec<Note>,
        _voice: usize,
    ) -> Option<Result<Box<dyn GivenVoice>, String>> {
        None
    }

    /// The same representation with a grammar that keeps these rules, too; `None` if it does not know which notes are a voice.
    fn with_rules(&self, _: &VoiceRules) -> Option<Arc<dyn Representation>> {
        None
    }

    /// What the next token depends on, as musicians see it, for n-grams that leave out one after another: what matters most
    /// first, always as many. Empty where n-grams of tokens have to do.
    fn context(&self, _state: State) -> Vec<Symbol> {
        Vec::new()
    }

    /// How long the longest runs are that pieces share by chance and style.
    fn chance(&self) -> Chance;

    /// The same of runs of a voice's notes, and of all notes with their lengths.
    fn line_chance(&self) -> LineChance {
        LineChance { pitches: self.chance(), lengths: self.chance(), all: self.chance() }
    }

    /// The view of a sequence that is read from the start state.
    fn view(&self, view: View, tokens: &[Token]) -> Vec<Symbol> {
        let mut state = self.start();
        let mut symbols = Vec::with_capacity(tokens.len());
        for &token in tokens {
            symbols.extend(self.symbol(view, state, token));
            state = self.next(state, token);
        }
        symbols
    }
}

/// What voices that are composed do not do, though tokens could say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoiceRules {
    /// No two move in parallel fifths or octaves.
    pub forbids_parallels: bool,
    /// The MIDI pitches between which each voice stays; `None`, or nothing, for one that goes anywhere.
    pub ranges: Vec<Option<RangeInclusive<u8>>>,
}

/// A voice that is given, while others are composed around it and end with it.
pub trait GivenVoice: fmt::Debug + Send + Sync {
    /// What it says.
    fn tokens(&self) -> &[Token];

    /// Whether the next token is one of this voice.
    fn speaks(&self, state: State) -> bool;

    /// Of the tokens that the grammar allows in this state, those after which everything can still be kept: the given voice
    /// says its own, and the others end when it does. It has said so many of its tokens.
    fn allows(&self, state: State, said: usize, token: Token) -> bool;
}

/// Which tokens may follow which: an automaton.
pub trait Grammar: fmt::Debug + Send + Sync {
    /// The state before the first token that is read.
    fn start(&self) -> State;

    /// The state after one more token.
    fn next(&self, state: State, token: Token) -> State;

    /// Whether a token may follow. For the token that ends a piece: whether the piece may end here.
    fn allows(&self, state: State, token: Token) -> bool;

    /// The token that ends a piece, if pieces are learnt whole. It is never in what [`Representation::encode`] returns.
    /// Since it is also what a network reads before a piece's first token, reading it in the start state leads to the start
    /// state.
    fn end(&self) -> Option<Token>;
}

/// How tokens enter the network's first layer and leave its last: the sparse inputs, and the tied outputs.
pub trait Features: Grammar {
    /// The sizes that follow.
    fn shape(&self) -> FeatureShape;

    /// Fills in the K features that are active when a token is read in this state: indices below F, all different, or
    /// [`NO_FEATURE`]. Each slot has a meaning of its own; input dropout drops slots independently.
    fn activate(&self, before: State, token: Token, active: &mut [u32]);

    /// Fills in the V first scores of what may follow this state, or [`NO_FEATURE`]: the logit of token t is
    /// `score[t] + Σ score[first + t]` over those.
    fn relate(&self, state: State, first_scores: &mut [u32]);
}

/// Sizes of the first layer's input and of the last layer's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureShape {
    /// C, the size of the vocabulary.
    pub tokens: usize,
    /// F, the inputs of the first layer.
    pub inputs: usize,
    /// K, the most features that are active at once.
    pub slots: usize,
    /// S, the scores of the last layer. The first C are the tokens' own.
    pub scores: usize,
    /// V, the scores that are added to a token's own.
    pub relations: usize,
}

/// In place of a feature's index: none.
pub const NO_FEATURE: u32 = u32::MAX;

/// What matters of the tokens that were read. Only the representation that made it knows what is in it, and each uses as
/// many words as it needs; the others are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State([u16; STATE_WORDS]);

/// As many words as the largest state of a representation takes: a time for each of 128 pitches, and what was said last.
const STATE_WORDS: usize = 144;

impl State {
    /// The state with these first words.
    fn of<const N: usize>(words: [u16; N]) -> State {
        let mut state = State([0; STATE_WORDS]);
        state.0[..N].copy_from_slice(&words);
        state
    }
}

/// Frames in a row that are said together: all their tokens are said in the first, and the others are like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRun {
    /// How many tokens.
    pub tokens: usize,
    /// How many frames, at least one.
    pub frames: u64,
    /// Whether the set of pitches that sound differs from the one before, at the beginning from silence.
    pub changes: bool,
}

/// What counts as a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The same notes.
    Exact,
    /// The same notes, all moved by the same interval. The first note of a sequence has no symbol, so n notes have n − 1.
    Transposed,
}

impl View {
    /// Notes of a sequence that come before the first symbol.
    pub fn lead(self) -> usize {
        match self {
            View::Exact => 0,
            View::Transposed => 1,
        }
    }
}

/// Notes of the longest runs that are shared by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Chance {
    /// Note for note.
    pub exact: usize,
    /// Transposed.
    pub transposed: usize,
}

/// Notes of the longest runs that lines share by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineChance {
    /// A voice's pitches.
    pub pitches: Chance,
    /// A voice's pitches with the lengths of the notes.
    pub lengths: Chance,
    /// Pitches and lengths of all notes in the order in which they begin.
    pub all: Chance,
}

/// A voice of spelled notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceLabel {
    /// As musicians call it.
    pub name: String,
    /// Whether its notes follow one another as a melody.
    pub is_line: bool,
}

impl VoiceLabel {
    fn line(name: impl Into<String>) -> Self {
        VoiceLabel { name: name.into(), is_line: true }
    }

    /// Whatever is left.
    fn rest(name: &str) -> Self {
        VoiceLabel { name: name.into(), is_line: false }
    }
}

/// A piece as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The tokens of the notes that could be spelled.
    pub tokens: Vec<Token>,
    /// The notes that could not be.
    pub problems: Vec<EncodeProblem>,
    /// Notes that were changed or dropped because the representation or its options say so.
    pub altered: usize,
    /// What was done to them, by representations that have rhythm.
    pub changes: Changes,
    /// Whether its notes are the keys of a drum track.
    pub is_drum: bool,
}

/// The note that a token completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpelledNote {
    /// The index of its token.
    pub token: usize,
    /// Which of the representation's voices has it, from 0.
    pub voice: usize,
    /// MIDI key.
    pub pitch: u8,
    /// Ticks of the decoded song.
    pub start: u32,
    /// Ticks of the decoded song.
    pub end: u32,
    /// Whether it prolongs a note that sounds already.
    pub is_held: bool,
}

/// How many notes were changed or dropped, by what was done. Several things may be done to one note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// They begin at another time, the nearest one that can be spelled.
    pub moved_onsets: usize,
    /// They last a little longer or shorter.
    pub changed_lengths: usize,
    /// They began together with a note of their pitch.
    pub merged: usize,
    /// They end where the next note of their pitch begins.
    pub cut: usize,
    /// They are drums, or there was no voice for them.
    pub left_out: usize,
}

impl Changes {
    /// Adds those of another piece.
    pub fn add(&mut self, other: Changes) {
        let Changes { moved_onsets, changed_lengths, merged, cut, left_out } = other;
        self.moved_onsets += moved_onsets;
        self.changed_lengths += changed_lengths;
        self.merged += merged;
        self.cut += cut;
        self.left_out += left_out;
    }
}

/// Those that there are, in a few words.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changes { moved_onsets, changed_lengths, merged, cut, left_out } = *self;
        let all = [
            (moved_onsets, "begin at another time"),
            (changed_lengths, "have another length"),
            (merged, "are merged"),
            (cut, "are cut"),
            (left_out, "are left out"),
        ];
        let found = all.iter().filter(|(notes, _)| *notes > 0);
        let found: Vec<String> =
            found.map(|(notes, what)| format!("{} {what}", HumanCount(*notes as u64))).collect();
        f.write_str(&found.join(", "))
    }
}

/// A note that cannot be spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeProblem {
    /// Its number in the piece, from 0.
    pub note: usize,
    /// What is wrong with it.
    pub reason: String,
    /// Which option would accept it.
    pub hint: &'static str,
}

impl EncodeProblem {
    /// The problem of music that has seconds and no beats, if it has notes and any are wanted.
    fn without_beats(song: &Song, max_notes: usize) -> Option<EncodeProblem> {
        let has_notes = song.instruments.iter().any(|instrument| !instrument.notes.is_empty());
        (has_notes && max_notes > 0).then(|| EncodeProblem {
            note: 0,
            reason: "this music has seconds and no beats".into(),
            hint: "representation.kind = \"pitch\" needs none",
        })
    }
}

impl fmt::Display for EncodeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "note {}: {} ({})", self.note, self.reason, self.hint)
    }
}

/// SHA-256 of a vocabulary's texts: checkpoints carry it, so that tokens are never read with another meaning.
pub fn vocabulary_hash(representation: &dyn Representation) -> String {
    crate::hex(&Sha256::digest(representation.vocabulary().join("\n")))
}

/// The pitches of the notes that tokens spell, in order.
pub fn pitches(representation: &dyn Representation, tokens: &[Token]) -> Vec<u8> {
    tokens.iter().filter_map(|&token| representation.pitch(token)).collect()
}
