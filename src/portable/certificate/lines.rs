//! The lines of a piece: what each voice has, one note after another, and all notes in the order in which they begin. A
//! melody that is copied under other inner voices shows in its line, and in no other view.

use std::collections::HashMap;

use super::chance::Sequences;
use crate::corpus::Piece;
use crate::representation::{Representation, SpelledNote, Symbol, Token, View};

/// Notes one after another.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Of the voice, or of the piece and the voice.
    pub name: String,
    pub notes: Vec<LineNote>,
}

#[derive(Debug, Clone)]
pub(super) struct LineNote {
    pub pitch: u8,
    /// In ticks.
    pub length: u32,
    /// The spelled notes that it is made of, as indices: one, or one for each frame in which it is held.
    pub spelled: Vec<usize>,
}

/// The lines of a piece.
#[derive(Debug)]
pub(super) struct Lines {
    pub voices: Vec<Line>,
    pub all: Line,
}

impl Lines {
    /// Those of what was composed after a prompt; none of music in one voice. The names of the piece's lines begin with this.
    pub fn new(
        representation: &dyn Representation,
        prompt: &[Token],
        composed: &[Token],
        name: &str,
    ) -> Option<Self> {
        let labels = representation.voices();
        if labels.is_empty() {
            return None;
        }
        let spelled = representation.spelled_notes(&[prompt, composed].concat());
        let composed = &spelled[spelled.partition_point(|note| note.token < prompt.len())..];
        let of_voice =
            |voice: usize| composed.iter().enumerate().filter(move |(_, note)| note.voice == voice);
        let named = |voice: &str| format!("{name} {voice}").trim().to_owned();
        let voices = (0..).zip(&labels).filter(|(_, label)| label.is_line);
        let voices = voices.map(|(voice, label)| Line::of(named(&label.name), of_voice(voice)));
        Some(Lines {
            voices: voices.collect(),
            all: Line::of(named("all voices"), composed.iter().enumerate()),
        })
    }

    /// Those of the pieces: the voices of all, and all notes of each.
    pub fn of_pieces(representation: &dyn Representation, pieces: &[Piece]) -> [Vec<Line>; 2] {
        let (mut voices, mut wholes) = (Vec::new(), Vec::new());
        for piece in pieces {
            if let Some(lines) = Lines::new(representation, &[], &piece.tokens, &piece.name) {
                voices.extend(lines.voices);
                wholes.push(Line { name: piece.name.clone(), ..lines.all });
            }
        }
        [voices, wholes]
    }
}

impl Line {
    fn of<'a>(name: String, spelled: impl Iterator<Item = (usize, &'a SpelledNote)>) -> Self {
        let mut notes: Vec<LineNote> = Vec::new();
        // Which note of each pitch sounded last, and when it ends.
        let mut last_of_pitch: HashMap<u8, (usize, u32)> = HashMap::new();
        for (index, note) in spelled {
            let length = note.end - note.start;
            match last_of_pitch.get(&note.pitch) {
                Some(&(last, end)) if note.is_held && end == note.start => {
                    notes[last].length += length;
                    notes[last].spelled.push(index);
                    last_of_pitch.insert(note.pitch, (last, note.end));
                }
                _ => {
                    last_of_pitch.insert(note.pitch, (notes.len(), note.end));
                    notes.push(LineNote { pitch: note.pitch, length, spelled: vec![index] });
                }
            }
        }
        Line { name, notes }
    }

    /// What runs are made of: pitches or intervals, alone or with the length of the note. A transposed view has no symbol
    /// for the first note.
    fn values(&self, view: View, with_lengths: bool) -> impl Iterator<Item = (i16, u32)> {
        (view.lead()..self.notes.len()).map(move |at| {
            let LineNote { pitch, length, .. } = self.notes[at];
            let from = match view {
                View::Exact => 0,
                View::Transposed => self.notes[at - 1].pitch,
            };
            (i16::from(pitch) - i16::from(from), if with_lengths { length } else { 0 })
        })
    }
}

/// The lines of the training music in one view: what each has, as symbols. Notes with lengths have more values than symbols
/// could be computed from, so those of the training music are numbered.
#[derive(Debug)]
pub(super) struct LineView {
    pub view: View,
    with_lengths: bool,
    numbers: HashMap<(i16, u32), Symbol>,
    /// One for each line.
    pub sequences: Sequences,
}

/// What no line of the training music has.
const UNKNOWN: Symbol = Symbol::MAX;

/// What lines of the training music have that is not told apart: the values after the first 65,534.
const UNNUMBERED: Symbol = UNKNOWN - 1;

impl LineView {
    pub fn new(lines: &[Line], view: View, with_lengths: bool) -> Self {
        let mut numbers = HashMap::new();
        let mut symbols = Vec::with_capacity(lines.len());
        for line in lines {
            let number = |value| {
                let next = numbers.len() as Symbol;
                match numbers.get(&value) {
                    Some(&symbol) => symbol,
                    None if next == UNNUMBERED => UNNUMBERED,
                    None => *numbers.entry(value).or_insert(next),
                }
            };
            symbols.push(line.values(view, with_lengths).map(number).collect());
        }
        LineView { view, with_lengths, numbers, sequences: Sequences::new(symbols) }
    }

    /// The symbols of another line.
    pub fn of(&self, line: &Line) -> impl Iterator<Item = Symbol> {
        let values = line.values(self.view, self.with_lengths);
        values.map(|value| self.numbers.get(&value).copied().unwrap_or(UNKNOWN))
    }
}
