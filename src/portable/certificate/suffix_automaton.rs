//! A suffix automaton of a melody (Blumer et al. 1985), through which a corpus is read.
//!
//! A state stands for all substrings of the melody that end at the same positions, so the automaton is as large as the
//! melody, however large the corpus is, and reading takes a few nanoseconds per symbol. At each position of the corpus,
//! reading knows the longest substring ending there that the melody has too, and keeps it with the state. In the end this
//! tells for each position of the melody the longest run that ends there, and where the corpus has it first.

use crate::representation::Symbol;

/// The longest suffix of a melody's prefix that the corpus has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    /// In symbols.
    pub length: u32,
    /// Where it ends first; meaningless if the length is 0.
    pub end: End,
}

/// The end of a substring of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    /// Index of its sequence.
    pub sequence: u32,
    /// Index of its last symbol in the sequence.
    pub last: u32,
}

const NOTHING: Shared = Shared { length: 0, end: End { sequence: 0, last: 0 } };

/// For each symbol of a melody, the longest run of the corpus that ends with it.
///
/// # Panics
/// If the melody has 2³⁰ symbols, or more.
pub(super) fn shared_endings<S: IntoIterator<Item = Symbol>>(
    melody: impl IntoIterator<Item = Symbol>,
    corpus: impl IntoIterator<Item = S>,
) -> Vec<Shared> {
    let mut automaton = Automaton::new(melody);
    let table = Table::of(&automaton.states);
    // Apart from the states, so that what every symbol of the corpus touches lies close together.
    let mut matches = vec![Match { any: NOTHING.end, longest: NOTHING }; automaton.states.len()];
    for (number, sequence) in corpus.into_iter().enumerate() {
        let (mut state, mut length) = (ROOT, 0);
        for (index, symbol) in sequence.into_iter().enumerate() {
            (state, length) = table.step(state, length, symbol);
            let matched = &mut matches[state as usize];
            // Ends come in order, so of equal lengths the first one stays.
            if length > matched.longest.length {
                let end = End { sequence: number as u32, last: index as u32 };
                if matched.longest.length == 0 {
                    matched.any = end;
                }
                matched.longest = Shared { length, end };
            }
        }
    }
    for (state, matched) in automaton.states.iter_mut().zip(matches) {
        if matched.longest.length > 0 {
            state.found = Found { any: Some(matched.any), longest: Some(matched.longest) };
        }
    }
    automaton.answers()
}

/// What the corpus has of a state's substrings so far; nothing if the longest has length 0.
#[derive(Clone, Copy)]
struct Match {
    any: End,
    longest: Shared,
}

const ROOT: u32 = 0;

/// The automaton of a melody.
#[derive(Debug, Clone)]
struct Automaton {
    states: Vec<State>,
    /// For each symbol of the melody, the state of the prefix that ends with it.
    prefixes: Vec<u32>,
}

/// Substrings that end at the same positions of the melody.
#[derive(Debug, Clone)]
struct State {
    /// Length of the longest of them.
    length: u32,
    /// The suffix link: the state of their longest suffix that ends at more positions. The root links to itself.
    shorter: u32,
    /// The transitions.
    next: Vec<(Symbol, u32)>,
    /// What the corpus has of them.
    found: Found,
}

/// What the corpus has of a state's substrings.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    /// Where one of them, of any length, ends first.
    any: Option<End>,
    /// The longest of them, and where it ends first.
    longest: Option<Shared>,
}

impl Found {
    fn add(&mut self, shared: Shared) {
        self.any = Some(self.any.map_or(shared.end, |end| end.min(shared.end)));
        if self.longest.as_ref().is_none_or(|longest| {
            shared.length > longest.length || shared.length == longest.length && shared.end < longest.end
        }) {
            self.longest = Some(shared);
        }
    }
}

impl Automaton {
    fn new(melody: impl IntoIterator<Item = Symbol>) -> Self {
        let mut automaton = Automaton { states: Vec::new(), prefixes: Vec::new() };
        automaton.add(State { length: 0, shorter: ROOT, next: Vec::new(), found: Found::default() });
        let mut whole = ROOT;
        for symbol in melody {
            whole = automaton.append(whole, symbol);
            automaton.prefixes.push(whole);
        }
        automaton
    }

    /// The longest run for each symbol of the melody.
    fn answers(mut self) -> Vec<Shared> {
        let mut by_length: Vec<u32> = (1..self.states.len() as u32).collect();
        by_length.sort_unstable_by_key(|&state| self.length(state));
        // Where a substring was found, its suffixes were found too.
        for &state in by_length.iter().rev() {
            let State { shorter, found, .. } = self.states[state as usize];
            if let Some(end) = found.any.filter(|_| shorter != ROOT) {
                let length = self.length(shorter);
                self.states[shorter as usize].found.add(Shared { length, end });
            }
        }
        // Where nothing of a state was found, its shorter suffixes may have been.
        let mut answers = vec![NOTHING; self.states.len()];
        for &state in &by_length {
            let State { shorter, found, .. } = self.states[state as usize];
            answers[state as usize] = found.longest.unwrap_or(answers[shorter as usize]);
        }
        self.prefixes.iter().map(|&state| answers[state as usize]).collect()
    }

    /// The state of the melody read so far and one more symbol, given the state of the melody read so far.
    fn append(&mut self, whole: u32, symbol: Symbol) -> u32 {
        let length = self.length(whole) + 1;
        let new = self.add(State { length, shorter: ROOT, next: Vec::new(), found: Found::default() });
        let mut from = whole;
        let known = loop {
            match self.states[from as usize].next(symbol) {
                Some(known) => break known,
                None => self.states[from as usize].next.push((symbol, new)),
            }
            if from == ROOT {
                return new;
            }
            from = self.states[from as usize].shorter;
        };
        let fits = self.length(known) == self.length(from) + 1;
        self.states[new as usize].shorter = if fits { known } else { self.split(from, symbol, known) };
        new
    }

    /// Splits the state that `from` leads to: its substrings no longer than those from there now end at more positions than
    /// the longer ones. Returns the state of the shorter ones.
    fn split(&mut self, mut from: u32, symbol: Symbol, known: u32) -> u32 {
        let length = self.length(from) + 1;
        let shorter = self.add(State { length, ..self.states[known as usize].clone() });
        self.states[known as usize].shorter = shorter;
        loop {
            let state = &mut self.states[from as usize];
            match state.next.iter_mut().find(|transition| **transition == (symbol, known)) {
                Some(transition) => transition.1 = shorter,
                None => return shorter,
            }
            if from == ROOT {
                return shorter;
            }
            from = state.shorter;
        }
    }

    fn add(&mut self, state: State) -> u32 {
        self.states.push(state);
        u32::try_from(self.states.len() - 1).expect("a melody has fewer than 2³⁰ notes")
    }

    fn length(&self, state: u32) -> u32 {
        self.states[state as usize].length
    }
}

impl State {
    fn next(&self, symbol: Symbol) -> Option<u32> {
        self.next.iter().find(|transition| transition.0 == symbol).map(|transition| transition.1)
    }
}

/// The automaton in a form that is fast to read: most states have one transition, which is stored with the state; the
/// others have a row with a column for every symbol of the melody.
struct Table {
    states: Vec<Row>,
    rows: Vec<u32>,
    /// For each symbol up to the highest of the melody, its column in a row; the last column is for those that it lacks.
    columns: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Row {
    /// The column of the only symbol, or [`MANY`], or [`NONE`].
    only: u32,
    /// The state that it leads to, or where the row begins.
    to: u32,
    shorter: u32,
    /// Of the longest substring of the shorter state.
    length: u32,
}

const MANY: u32 = u32::MAX;
const NONE: u32 = u32::MAX - 1;

impl Table {
    fn of(states: &[State]) -> Self {
        // Every symbol leads on from the root.
        let symbols = || states[ROOT as usize].next.iter().map(|transition| transition.0);
        let width = symbols().count() as u32;
        let mut columns = vec![width; symbols().max().map_or(0, |highest| usize::from(highest) + 1)];
        for (column, symbol) in symbols().enumerate() {
            columns[usize::from(symbol)] = column as u32;
        }
        let column_of = |symbol: Symbol| columns[usize::from(symbol)];
        let mut rows = Vec::new();
        let mut table = Vec::with_capacity(states.len());
        for (number, state) in states.iter().enumerate() {
            let (only, to) = match &state.next[..] {
                // The root has a row in any case, so that its misses are found at once.
                [(symbol, to)] if number != ROOT as usize => (column_of(*symbol), *to),
                [] if number != ROOT as usize => (NONE, 0),
                next => {
                    let begin = rows.len();
                    rows.resize(begin + width as usize + 1, NONE);
                    for (symbol, to) in next.iter() {
                        rows[begin + column_of(*symbol) as usize] = *to;
                    }
                    (MANY, begin as u32)
                }
            };
            table.push(Row {
                only,
                to,
                shorter: state.shorter,
                length: states[state.shorter as usize].length,
            });
        }
        Table { states: table, rows, columns }
    }

    /// From the longest suffix read so far to the one with one more symbol: its state and length.
    fn step(&self, mut state: u32, mut length: u32, symbol: Symbol) -> (u32, u32) {
        let Some(&column) = self.columns.get(usize::from(symbol)) else { return (ROOT, 0) };
        loop {
            let row = self.states[state as usize];
            let to = match row.only {
                MANY => self.rows[(row.to + column) as usize],
                only if only == column => row.to,
                _ => NONE,
            };
            if to != NONE {
                return (to, length + 1);
            }
            if state == ROOT {
                return (ROOT, 0);
            }
            (state, length) = (row.shorter, row.length);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The longest suffix of `read` that the sequences have, and where first.
    fn searched(sequences: &[Vec<Symbol>], read: &[Symbol]) -> Shared {
        for length in (1..=read.len()).rev() {
            let suffix = &read[read.len() - length..];
            for (number, sequence) in sequences.iter().enumerate() {
                if let Some(at) = sequence.windows(length).position(|gram| gram == suffix) {
                    let end = End { sequence: number as u32, last: (at + length - 1) as u32 };
                    return Shared { length: length as u32, end };
                }
            }
        }
        NOTHING
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn suffixes_are_those_that_a_search_finds(
            sequences in prop::collection::vec(prop::collection::vec(1..5u16, 0..40), 0..5),
            melody in prop::collection::vec(0..4u16, 0..40),
        ) {
            let found = shared_endings(melody.iter().copied(), sequences.iter().map(|s| s.iter().copied()));
            let expected: Vec<_> = (0..melody.len()).map(|last| searched(&sequences, &melody[..=last])).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn it_stays_linear(melody in prop::collection::vec(0..2u16, 0..300)) {
            let automaton = Automaton::new(melody.iter().copied());
            prop_assert!(automaton.states.len() <= 2 * melody.len() + 1);
            let transitions: usize = automaton.states.iter().map(|state| state.next.len()).sum();
            prop_assert!(transitions <= 3 * melody.len());
        }
    }
}
