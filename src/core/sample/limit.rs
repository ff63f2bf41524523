//! `--max-copy N`: no more than N notes in a row are the training music's, exactly or transposed.
//!
//! The promise is about the composed notes, as the files hold them. A piece that keeps it by itself is the same
//! with and without the option: only where the note chosen would share a longer run is another chosen, among
//! those that do not, with their probabilities, however small. Where there is none, the note before is taken back
//! and not chosen there again: a search in depth, so that what is possible is found unless it takes too many
//! steps.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::choose::Choice;
use crate::certificate::Stretches;
use crate::failure::{Code, Failure};
use crate::random::Stream;

/// A piece that takes more steps back is given up: each costs the reading of a whole window.
const MOST_STEPS_BACK: usize = 1000;

/// The promise, and how it was kept for the notes of a piece so far.
pub struct Limit<'a> {
    /// Those of one note more than is allowed.
    stretches: &'a Stretches,
    report: Report,
    /// The notes so far.
    composed: Vec<u8>,
    /// For each note, and the one to be chosen: the classes from which there was no way on.
    dead_ends: Vec<Vec<u8>>,
    /// The most notes there have been.
    furthest: usize,
    /// Choices made anew, so that each has a random number of its own.
    redrawn: u64,
}

/// What it took to keep the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The longest run allowed, in notes.
    pub notes: usize,
    /// Choices that would have made a longer one, and fell on another note.
    pub avoided: usize,
    /// Notes taken back because none could follow.
    pub steps_back: usize,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { notes, avoided, steps_back } = self;
        let s = |count: usize| if count == 1 { "" } else { "s" };
        write!(f, "{notes} note{}: {avoided} choice{} avoided, ", s(*notes), s(*avoided))?;
        write!(f, "{steps_back} step{} back", s(*steps_back))
    }
}

impl<'a> Limit<'a> {
    /// No run as long as these stretches.
    pub fn new(stretches: &'a Stretches) -> Self {
        let report = Report { notes: stretches.notes() - 1, avoided: 0, steps_back: 0 };
        Limit {
            stretches,
            report,
            composed: Vec::new(),
            dead_ends: vec![Vec::new()],
            furthest: 0,
            redrawn: 0,
        }
    }

    /// The next note, by its number in the stream; none if every note that is possible at all is ruled out.
    pub fn choose(
        &mut self,
        choice: &Choice,
        probabilities: &[f32],
        stream: Stream,
        number: u64,
    ) -> Option<u8> {
        let mut class = choice.choose(probabilities, stream.uniform(number));
        self.report.avoided += usize::from(self.is_too_long(class));
        if !self.allows(class) {
            let allowed = |(class, &p): (usize, &f32)| if self.allows(class as u8) { p } else { 0.0 };
            let rest: Vec<f32> = probabilities.iter().enumerate().map(allowed).collect();
            if !rest.iter().any(|&p| p > 0.0) {
                return None;
            }
            self.redrawn += 1;
            class = choice.choose(&rest, stream.of(self.redrawn).uniform(number));
        }
        self.composed.push(class);
        self.dead_ends.push(Vec::new());
        self.furthest = self.furthest.max(self.composed.len());
        Some(class)
    }

    /// Takes the last note back, not to be chosen there again. An error if there is none, or it was too often.
    pub fn step_back(&mut self) -> Result<(), Failure> {
        let Report { notes, steps_back, .. } = self.report;
        let fail = |reason: String| {
            let line = format!("--max-copy {notes}: {reason}; choose a larger number");
            Err(Failure::new(Code::Usage, line))
        };
        let Some(last) = self.composed.pop() else {
            return fail("every way to go on shares a longer run with the training music".into());
        };
        if steps_back == MOST_STEPS_BACK {
            return fail(format!(
                "{steps_back} steps back did not lead further than note {} without a longer run of the \
                 training music",
                self.furthest
            ));
        }
        self.dead_ends.pop();
        let here = self.dead_ends.last_mut().expect("one for each note and the next");
        here.push(last);
        self.report.steps_back += 1;
        Ok(())
    }

    /// What it took so far.
    pub fn report(&self) -> Report {
        self.report
    }

    /// Whether this note would end a run that is too long. All shorter ones were none.
    fn is_too_long(&self, class: u8) -> bool {
        let Some(first) = self.composed.len().checked_sub(self.report.notes) else { return false };
        let stretch = [&self.composed[first..], &[class]].concat();
        self.stretches.contains(&stretch)
    }

    fn allows(&self, class: u8) -> bool {
        let dead_ends = self.dead_ends.last().expect("one for each note and the next");
        !dead_ends.contains(&class) && !self.is_too_long(class)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compose::{Composition, compose};
    use super::*;
    use crate::corpus::Piece;
    use crate::network::Architecture;
    use crate::network::inference::InferenceNetwork;
    use crate::random::Purpose;

    const FREE: Choice = Choice::Random { temperature: 1.0, top_k: None, top_p: None };

    fn network(classes: usize, size: f64) -> InferenceNetwork {
        let architecture =
            Architecture { classes, intervals: true, layers: 1, units: 4, dense: 3, members: 1 };
        let stream = Stream::new(9, Purpose::Initialization, &[]);
        let parameters: Vec<f32> =
            (0..architecture.len() as u64).map(|i| (size * stream.normal(i)) as f32).collect();
        InferenceNetwork::new(architecture, &parameters)
    }

    fn pieces(classes: impl IntoIterator<Item = Vec<u8>>) -> Vec<Piece> {
        let piece = |(number, classes): (usize, Vec<u8>)| Piece { name: number.to_string(), classes };
        classes.into_iter().enumerate().map(piece).collect()
    }

    /// Thirty notes, without or with a limit.
    fn composed(
        network: &InferenceNetwork,
        choice: &Choice,
        seed: u64,
        limit: Option<(&[Piece], usize)>,
    ) -> Result<Composition, Failure> {
        let stream = Stream::new(seed, Purpose::Sampling, &[]);
        let stretches = limit.map(|(pieces, notes)| Stretches::new(pieces, notes + 1));
        let limit = stretches.as_ref().map(Limit::new);
        compose(network, &[0, 1, 1, 0], 30, choice, stream, limit)
    }

    /// By search: whether some stretch of so many notes is also in a piece, transposed or not.
    fn shares(pieces: &[Piece], melody: &[u8], notes: usize) -> bool {
        let shape = |stretch: &[u8]| -> Vec<i16> {
            stretch.iter().map(|&class| i16::from(class) - i16::from(stretch[0])).collect()
        };
        let theirs: Vec<_> =
            pieces.iter().flat_map(|piece| piece.classes.windows(notes)).map(shape).collect();
        melody.windows(notes).any(|stretch| theirs.contains(&shape(stretch)))
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(200))]

        #[test]
        fn no_longer_run_is_shared(
            classes in prop::collection::vec(prop::collection::vec(0..4u8, 0..25), 0..4),
            notes in 1..6usize,
            seed in any::<u64>(),
            greedy in any::<bool>(),
            size in 0.0..2.0,
        ) {
            let (network, pieces) = (network(4, size), pieces(classes));
            let choice = if greedy { Choice::Greedy } else { FREE };
            let free = composed(&network, &choice, seed, None).unwrap();
            match composed(&network, &choice, seed, Some((&pieces, notes))) {
                Ok(kept) => {
                    let report = kept.max_copy.unwrap();
                    prop_assert_eq!((kept.classes.len(), kept.probabilities.len()), (30, 30));
                    prop_assert!(!shares(&pieces, &kept.classes, notes + 1), "{:?}", kept.classes);
                    // A piece that needs no limit is the same under it.
                    let needed = shares(&pieces, &free.classes, notes + 1);
                    prop_assert_eq!(report.avoided > 0, needed);
                    prop_assert_eq!(kept.classes != free.classes, needed);
                    let again = composed(&network, &choice, seed, Some((&pieces, notes))).unwrap();
                    prop_assert_eq!(kept, again);
                }
                Err(failure) => {
                    prop_assert_eq!(failure.code, Code::Usage);
                    prop_assert!(shares(&pieces, &free.classes, notes + 1));
                }
            }
        }
    }

    /// Of two classes, after a repeated 0 both have been heard; after a repeated 1 neither.
    #[test]
    fn where_no_note_can_follow_it_steps_back() {
        let pieces = pieces([vec![0, 0, 0], vec![0, 0, 1]]);
        let mut steps = 0;
        for seed in 0..20 {
            let kept = composed(&network(2, 0.0), &FREE, seed, Some((&pieces, 2))).unwrap();
            assert!(!shares(&pieces, &kept.classes, 3), "{:?}", kept.classes);
            for (note, row) in kept.probabilities.iter().enumerate() {
                assert_eq!(*row, vec![0.5, 0.5], "note {note}");
            }
            steps += kept.max_copy.unwrap().steps_back;
        }
        assert!(steps > 0);
    }

    /// A note is predicted from the window before it, however often the notes in it were taken back.
    #[test]
    fn after_a_step_back_the_network_sees_the_notes_that_are_left() {
        let (network, pieces) = (network(2, 1.0), pieces([vec![0, 0, 0], vec![0, 0, 1]]));
        let mut steps = 0;
        for seed in 0..20 {
            let kept = composed(&network, &FREE, seed, Some((&pieces, 2))).unwrap();
            let all: Vec<u8> = [0, 1, 1, 0].into_iter().chain(kept.classes).collect();
            for (note, row) in kept.probabilities.iter().enumerate() {
                assert_eq!(*row, network.predict(&all[note..note + 4]), "note {note}");
            }
            steps += kept.max_copy.unwrap().steps_back;
        }
        assert!(steps > 0);
    }

    #[test]
    fn what_is_impossible_is_said_in_a_line() {
        let line = |pieces: &[Piece], notes| {
            let failure = composed(&network(2, 0.0), &FREE, 1, Some((pieces, notes))).unwrap_err();
            assert_eq!(failure.code, Code::Usage);
            failure.message
        };
        let all = pieces([vec![0, 0, 1, 0]]);
        let expected = "--max-copy 1: every way to go on shares a longer run with the training music; choose a \
                        larger number";
        assert_eq!(line(&all, 1), expected);

        // All melodies of 12 notes: none of 12 is allowed, and there are too many of 11 to try all.
        let all = pieces((0..1u32 << 12).map(|bits| (0..12).map(|i| (bits >> i & 1) as u8).collect()));
        let expected = "--max-copy 11: 1000 steps back did not lead further than note 11 without a longer run \
                        of the training music; choose a larger number";
        assert_eq!(line(&all, 11), expected);
    }

    #[test]
    fn the_report_in_words() {
        let words = |notes, avoided, steps_back| Report { notes, avoided, steps_back }.to_string();
        assert_eq!(words(12, 3, 0), "12 notes: 3 choices avoided, 0 steps back");
        assert_eq!(words(1, 1, 1), "1 note: 1 choice avoided, 1 step back");
    }
}
