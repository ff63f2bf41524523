//! Every stretch of some sequences at once: a suffix automaton (Blumer et al. 1985), built over several.
//!
//! It is linear in the sequences' length, in memory and time to build, whatever they repeat. A reader goes
//! through another sequence symbol by symbol and knows after each how much of what it read last stands in the
//! sequences, and where first. A [`Place`] is two numbers, so that a reader can go back to an earlier one.

/// What sequences are made of.
pub(super) type Symbol = i16;

/// The automaton of some sequences.
#[derive(Debug, Clone)]
pub(super) struct Automaton {
    states: Vec<State>,
}

/// Stretches that end at the same places.
#[derive(Debug, Clone)]
struct State {
    /// Length of the longest of them.
    length: u32,
    /// The state of their longest ending that stands at more places; of the root, itself.
    shorter: u32,
    /// Where they end first.
    end: End,
    /// How they go on. Nearly all states have one way.
    next: Vec<(Symbol, u32)>,
}

/// The end of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Number of the sequence.
    pub sequence: u32,
    /// Index of the stretch's last symbol in it.
    pub last: u32,
}

/// Where a reader is: the longest ending of what it read that stands in the sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    state: u32,
    /// Length of that ending.
    pub length: u32,
}

const ROOT: u32 = 0;
const NOWHERE: End = End { sequence: 0, last: 0 };

impl Place {
    /// Nothing read yet.
    pub(super) const BEGIN: Place = Place { state: ROOT, length: 0 };
}

impl Automaton {
    /// The automaton of these sequences.
    ///
    /// # Panics
    /// If they have 2³¹ symbols together, or more.
    pub(super) fn new<S: IntoIterator<Item = Symbol>>(sequences: impl IntoIterator<Item = S>) -> Self {
        let mut automaton = Automaton { states: Vec::new() };
        automaton.add(State { length: 0, shorter: ROOT, end: NOWHERE, next: Vec::new() });
        for (number, sequence) in sequences.into_iter().enumerate() {
            let mut whole = ROOT;
            for (index, symbol) in sequence.into_iter().enumerate() {
                let end = End { sequence: number as u32, last: index as u32 };
                whole = automaton.append(whole, symbol, end);
            }
        }
        automaton
    }

    /// Where a reader is after one more symbol.
    pub(super) fn step(&self, mut place: Place, symbol: Symbol) -> Place {
        loop {
            let state = &self.states[place.state as usize];
            if let Some(next) = state.next(symbol) {
                return Place { state: next, length: place.length + 1 };
            }
            if place.state == ROOT {
                return Place::BEGIN;
            }
            let length = self.states[state.shorter as usize].length;
            place = Place { state: state.shorter, length };
        }
    }

    /// Where the ending of that place stands first.
    pub(super) fn first(&self, place: Place) -> End {
        self.states[place.state as usize].end
    }

    /// The state of a sequence read so far and one more symbol, from that of the sequence read so far.
    fn append(&mut self, whole: u32, symbol: Symbol, end: End) -> u32 {
        let length = self.states[whole as usize].length + 1;
        if let Some(known) = self.states[whole as usize].next(symbol) {
            // An earlier sequence has this stretch.
            return if self.length(known) == length { known } else { self.split(whole, symbol, known) };
        }
        let new = self.add(State { length, shorter: ROOT, end, next: Vec::new() });
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
        u32::try_from(self.states.len() - 1).expect("a corpus has fewer than 2³¹ notes")
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The longest ending of `read` that stands in the sequences, and where first.
    fn searched(sequences: &[Vec<Symbol>], read: &[Symbol]) -> (usize, Option<End>) {
        for length in (1..=read.len()).rev() {
            let ending = &read[read.len() - length..];
            for (number, sequence) in sequences.iter().enumerate() {
                if let Some(at) = sequence.windows(length).position(|stretch| stretch == ending) {
                    return (length, Some(End { sequence: number as u32, last: (at + length - 1) as u32 }));
                }
            }
        }
        (0, None)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_reader_is_where_a_search_finds_it(
            sequences in prop::collection::vec(prop::collection::vec(0..3i16, 0..40), 0..5),
            read in prop::collection::vec(0..4i16, 0..40),
        ) {
            let automaton = Automaton::new(sequences.iter().map(|s| s.iter().copied()));
            let mut place = Place::BEGIN;
            for (index, &symbol) in read.iter().enumerate() {
                place = automaton.step(place, symbol);
                let found = (place.length > 0).then(|| automaton.first(place));
                prop_assert_eq!((place.length as usize, found), searched(&sequences, &read[..=index]));
            }
        }

        #[test]
        fn it_stays_linear(sequences in prop::collection::vec(prop::collection::vec(0..2i16, 0..60), 0..6)) {
            let symbols: usize = sequences.iter().map(Vec::len).sum();
            let automaton = Automaton::new(sequences.iter().map(|s| s.iter().copied()));
            prop_assert!(automaton.states.len() <= 2 * symbols + 1);
            let ways: usize = automaton.states.iter().map(|state| state.next.len()).sum();
            prop_assert!(ways <= 3 * symbols);
        }
    }
}
