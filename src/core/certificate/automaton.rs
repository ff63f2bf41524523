//! Every stretch of a melody at once: a suffix automaton (Blumer et al. 1985), through which a corpus is read.
//!
//! The automaton is as large as the melody, however large the corpus is, and reading takes a few nanoseconds a symbol.
//! What is learnt at each place of the corpus, the longest ending there that the melody has too, is kept with the
//! automaton's states, and tells in the end for each note of the melody the longest run that ends with it, and
//! where the corpus has it first.

/// What sequences are made of.
pub(super) type Symbol = i16;

/// The longest ending of a melody's beginning that stands in the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    /// Symbols.
    pub length: u32,
    /// Where it ends first; of no meaning for length 0.
    pub end: End,
}

/// The end of a stretch of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    /// Number of the sequence.
    pub sequence: u32,
    /// Index of the stretch's last symbol in it.
    pub last: u32,
}

const NOTHING: Shared = Shared { length: 0, end: End { sequence: 0, last: 0 } };

/// For each symbol of a melody, the longest run that ends with it.
///
/// # Panics
/// If the melody has 2³⁰ symbols, or more.
pub(super) fn shared_endings<S: IntoIterator<Item = Symbol>>(
    melody: impl IntoIterator<Item = Symbol>,
    corpus: impl IntoIterator<Item = S>,
) -> Vec<Shared> {
    let mut automaton = Automaton::new(melody);
    let table = Table::of(&automaton.states);
    // Apart from the states, so that what is looked at for every note of the corpus lies close together.
    let mut seen = vec![Seen { any: NOTHING.end, longest: NOTHING }; automaton.states.len()];
    for (number, sequence) in corpus.into_iter().enumerate() {
        let (mut state, mut length) = (ROOT, 0);
        for (index, symbol) in sequence.into_iter().enumerate() {
            (state, length) = table.step(state, length, symbol);
            let seen = &mut seen[state as usize];
            // Ends come in their order: of equal lengths the first stays.
            if length > seen.longest.length {
                let end = End { sequence: number as u32, last: index as u32 };
                if seen.longest.length == 0 {
                    seen.any = end;
                }
                seen.longest = Shared { length, end };
            }
        }
    }
    for (state, seen) in automaton.states.iter_mut().zip(seen).filter(|(_, seen)| seen.longest.length > 0) {
        state.found = Found { any: Some(seen.any), longest: Some(seen.longest) };
    }
    automaton.answers()
}

/// What was seen of a state's stretches so far; nothing if the longest has no length.
#[derive(Clone, Copy)]
struct Seen {
    any: End,
    longest: Shared,
}

const ROOT: u32 = 0;

/// The automaton of a melody.
#[derive(Debug, Clone)]
struct Automaton {
    states: Vec<State>,
    /// For each symbol of the melody, the state of all up to it.
    beginnings: Vec<u32>,
}

/// Stretches that end at the same places of the melody.
#[derive(Debug, Clone)]
struct State {
    /// Length of the longest of them.
    length: u32,
    /// The state of their longest ending that stands at more places; of the root, itself.
    shorter: u32,
    /// How they go on.
    next: Vec<(Symbol, u32)>,
    /// What the corpus has of them.
    found: Found,
}

/// What a corpus has of a state's stretches.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    /// Where one of them, of any length, ends first.
    any: Option<End>,
    /// The longest of them that it has, and where that ends first.
    longest: Option<Shared>,
}

impl Found {
    fn add(&mut self, shared: Shared) {
        self.any = Some(self.any.map_or(shared.end, |end| end.min(shared.end)));
        let better = |longest: &Shared| {
            longest.length > shared.length || longest.length == shared.length && longest.end <= shared.end
        };
        if !self.longest.as_ref().is_some_and(better) {
            self.longest = Some(shared);
        }
    }
}

impl Automaton {
    fn new(melody: impl IntoIterator<Item = Symbol>) -> Self {
        let mut automaton = Automaton { states: Vec::new(), beginnings: Vec::new() };
        automaton.add(State { length: 0, shorter: ROOT, next: Vec::new(), found: Found::default() });
        let mut whole = ROOT;
        for symbol in melody {
            whole = automaton.append(whole, symbol);
            automaton.beginnings.push(whole);
        }
        automaton
    }

    /// What was found, by the symbols of the melody.
    fn answers(mut self) -> Vec<Shared> {
        let mut by_length: Vec<u32> = (1..self.states.len() as u32).collect();
        by_length.sort_unstable_by_key(|&state| self.length(state));
        // What ends like a stretch that was found was found there too.
        for &state in by_length.iter().rev() {
            let State { shorter, found, .. } = self.states[state as usize];
            if let Some(end) = found.any.filter(|_| shorter != ROOT) {
                let length = self.length(shorter);
                self.states[shorter as usize].found.add(Shared { length, end });
            }
        }
        // Where nothing of a state was found, its shorter endings may have been.
        let mut answers = vec![NOTHING; self.states.len()];
        for &state in &by_length {
            let State { shorter, found, .. } = self.states[state as usize];
            answers[state as usize] = found.longest.unwrap_or(answers[shorter as usize]);
        }
        self.beginnings.iter().map(|&state| answers[state as usize]).collect()
    }

    /// The state of a melody read so far and one more symbol, from that of the melody read so far.
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

    /// Parts a state that `from` leads to: the stretches no longer than those from there now end at more
    /// places than the longer ones. Returns the state of the shorter ones.
    fn split(&mut self, mut from: u32, symbol: Symbol, known: u32) -> u32 {
        let length = self.length(from) + 1;
        let shorter = self.add(State { length, ..self.states[known as usize].clone() });
        self.states[known as usize].shorter = shorter;
        loop {
            let state = &mut self.states[from as usize];
            match state.next.iter_mut().find(|way| **way == (symbol, known)) {
                Some(way) => way.1 = shorter,
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
        self.next.iter().find(|way| way.0 == symbol).map(|way| way.1)
    }
}

/// The automaton as it is read through: most states go on by one symbol, which stands in the state; the others have
/// a row with a place for every symbol of the melody.
struct Table {
    states: Vec<Row>,
    rows: Vec<u32>,
    /// For each symbol, from the lowest, its place in a row; the last place is for symbols that the melody lacks.
    places: Vec<u32>,
    lowest: Symbol,
}

#[derive(Clone, Copy)]
struct Row {
    /// The place of the only symbol, or [`MANY`], or [`NONE`].
    only: u32,
    /// Where that leads, or where the row begins.
    to: u32,
    shorter: u32,
    /// Of the shorter state.
    length: u32,
}

const MANY: u32 = u32::MAX;
const NONE: u32 = u32::MAX - 1;

impl Table {
    fn of(states: &[State]) -> Self {
        // Every symbol leads on from the root.
        let symbols = || states[ROOT as usize].next.iter().map(|way| way.0);
        let lowest = symbols().min().unwrap_or(0);
        let highest = symbols().max().unwrap_or(0);
        let width = symbols().count() as u32;
        let mut places = vec![width; (i32::from(highest) - i32::from(lowest)) as usize + 1];
        for (place, symbol) in symbols().enumerate() {
            places[(i32::from(symbol) - i32::from(lowest)) as usize] = place as u32;
        }
        let place_of = |symbol: Symbol| places[(i32::from(symbol) - i32::from(lowest)) as usize];
        let mut rows = Vec::new();
        let mut table = Vec::with_capacity(states.len());
        for (number, state) in states.iter().enumerate() {
            let (only, to) = match &state.next[..] {
                // The root has a row in any case, so that its misses are found at once.
                [(symbol, to)] if number != ROOT as usize => (place_of(*symbol), *to),
                [] if number != ROOT as usize => (NONE, 0),
                next => {
                    let begin = rows.len();
                    rows.resize(begin + width as usize + 1, NONE);
                    next.iter().for_each(|(symbol, to)| rows[begin + place_of(*symbol) as usize] = *to);
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
        Table { states: table, rows, places, lowest }
    }

    /// From the longest ending read so far to that with one more symbol: its state and length.
    fn step(&self, mut state: u32, mut length: u32, symbol: Symbol) -> (u32, u32) {
        let index = i32::from(symbol) - i32::from(self.lowest);
        let Some(&place) = usize::try_from(index).ok().and_then(|index| self.places.get(index)) else {
            return (ROOT, 0);
        };
        loop {
            let row = self.states[state as usize];
            let to = match row.only {
                MANY => self.rows[(row.to + place) as usize],
                only if only == place => row.to,
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

    /// The longest ending of `read` that stands in the sequences, and where first.
    fn searched(sequences: &[Vec<Symbol>], read: &[Symbol]) -> Shared {
        for length in (1..=read.len()).rev() {
            let ending = &read[read.len() - length..];
            for (number, sequence) in sequences.iter().enumerate() {
                if let Some(at) = sequence.windows(length).position(|stretch| stretch == ending) {
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
        fn endings_are_those_that_a_search_finds(
            sequences in prop::collection::vec(prop::collection::vec(-1..3i16, 0..40), 0..5),
            melody in prop::collection::vec(-2..2i16, 0..40),
        ) {
            let found = shared_endings(melody.iter().copied(), sequences.iter().map(|s| s.iter().copied()));
            let expected: Vec<_> = (0..melody.len()).map(|last| searched(&sequences, &melody[..=last])).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn it_stays_linear(melody in prop::collection::vec(0..2i16, 0..300)) {
            let automaton = Automaton::new(melody.iter().copied());
            prop_assert!(automaton.states.len() <= 2 * melody.len() + 1);
            let ways: usize = automaton.states.iter().map(|state| state.next.len()).sum();
            prop_assert!(ways <= 3 * melody.len());
        }
    }
}
