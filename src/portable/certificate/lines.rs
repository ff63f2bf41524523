//! The lines of a piece: what each voice has, one note after another, and all notes in the order in which they begin. A
//! melody that is copied under other inner voices shows in its line, and in no other view.

use std::collections::HashMap;

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

/// The symbols of a line, and of others in the same numbers. What the line has not is one symbol.
pub(super) fn symbols(
    line: &Line,
    others: &[Line],
    view: View,
    with_lengths: bool,
) -> (Vec<Symbol>, Vec<Vec<Symbol>>) {
    const UNKNOWN: Symbol = Symbol::MAX;
    let mut known: HashMap<(i16, u32), Symbol> = HashMap::new();
    let mut own = Vec::with_capacity(line.notes.len());
    for value in line.values(view, with_lengths) {
        let next = Symbol::try_from(known.len()).unwrap_or(UNKNOWN).min(UNKNOWN - 1);
        own.push(*known.entry(value).or_insert(next));
    }
    let of_other = |other: &Line| {
        let symbols = other.values(view, with_lengths).map(|value| *known.get(&value).unwrap_or(&UNKNOWN));
        symbols.collect()
    };
    (own, others.iter().map(of_other).collect())
}
