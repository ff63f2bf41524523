//! What the weights are fitted on: notes of the training pieces, each with the opinions about it.
//!
//! The network knows its training pieces by heart, so it cannot stand here for itself: a baseline does, which for
//! each group of pieces is fitted on the others. So it knows as little about them as a network about new pieces.

use super::{Memory, OPINIONS, Weights};
use crate::corpus::{CLASSES, Piece};
use crate::evaluation::baselines::{Baseline, Fitted};

/// The model in the network's place.
const STAND_IN: Baseline = Baseline::Mix { pitch: 2, interval: 2 };

/// Into so many groups pieces are divided, in the order of their names: what belongs together, like the movements
/// of a suite, mostly stays together.
const GROUPS: usize = 6;

/// The most examples; of a larger corpus every so many-th note is one.
const MOST: usize = 30_000;

/// A note of a training piece.
#[derive(Debug, Clone)]
pub struct Example {
    /// For each class what each opinion says, in nats.
    pub opinions: Vec<[f32; OPINIONS]>,
    /// The class that followed.
    pub target: u8,
    /// How many of the last notes stood together before.
    pub longest_match: usize,
}

/// Examples of all pieces.
pub fn examples(training: &[Piece]) -> Vec<Example> {
    let notes: usize = training.iter().map(|piece| piece.classes.len()).sum();
    let every = notes.div_ceil(MOST).max(1);
    let mut examples = Vec::new();
    let size = training.len().div_ceil(GROUPS).max(1);
    for (number, group) in training.chunks(size).enumerate() {
        let others = [&training[..number * size], &training[number * size + group.len()..]].concat();
        // Windows are nothing to it: it is counted on whole pieces.
        let stand_in = STAND_IN.fit(&others, 0);
        group.iter().for_each(|piece| add(&mut examples, piece, &stand_in, every));
    }
    examples
}

/// Adds examples of one piece. Its first note is none: nothing stands before it.
fn add(examples: &mut Vec<Example>, piece: &Piece, stand_in: &Fitted, every: usize) {
    let weights = Weights::default();
    let mut memory = Memory::new(&weights);
    for (at, &target) in piece.classes.iter().enumerate() {
        if at > 0 && at % every == 0 {
            let logs = stand_in.log_probabilities(&piece.classes[..at]);
            let opinions =
                memory.opinions(logs.into_iter()).iter().map(|of| of.map(|log| log as f32)).collect();
            examples.push(Example { opinions, target, longest_match: memory.longest_match() });
        }
        memory.hear(target);
    }
    debug_assert!(examples.iter().all(|example| example.opinions.len() == CLASSES));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_has_not_seen_the_piece() {
        let piece = |name: &str, classes: &[u8]| Piece { name: name.into(), classes: classes.to_vec() };
        let found = examples(&[piece("a", &[1, 2, 1, 2]), piece("b", &[7, 20, 7, 20])]);
        assert_eq!(found.len(), 6);
        let lengths: Vec<_> = found.iter().map(|example| example.longest_match).collect();
        assert_eq!(lengths, [0, 0, 1, 0, 0, 1]);
        // About the last note of "a": "b" says 20, the piece itself says 2.
        let says = |opinion: usize, class: usize| found[2].opinions[class][opinion];
        assert!(found[2].target == 2 && says(0, 20) > says(0, 2) && says(1, 2) > says(1, 20));
    }

    #[test]
    fn a_large_corpus_gives_no_more_than_the_most() {
        let classes: Vec<u8> = (0..500).map(|i| (i % 7) as u8).collect();
        let pieces: Vec<_> =
            (0..130).map(|i| Piece { name: i.to_string(), classes: classes.clone() }).collect();
        let found = examples(&pieces).len();
        assert!(found <= MOST && found > MOST / 2, "{found}");
    }
}
