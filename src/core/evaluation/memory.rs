//! Memory of the whole piece: what any model says about the next note, corrected by the piece heard so far.
//!
//! Three opinions are mixed: the model's, what followed the last notes earlier in this piece, and what followed
//! the last intervals, so that a passage is known again when it is transposed. The mixture is their weighted
//! product, p ∝ Π opinionᵢ^weightᵢ (log-linear interpolation, Klakow 1998), with weights that depend on how many
//! of the last notes stood together before. They are fitted on the training pieces ([`Weights::fit`]): nothing
//! about the pieces that are evaluated is chosen.

mod examples;
mod newton;
mod weights;

use super::melody::Melody;
pub use weights::Weights;

/// Opinions that are mixed: the model's, by classes, by intervals.
const OPINIONS: usize = 3;

/// The longest context that is remembered, in notes and in intervals.
const ORDER: usize = 20;

/// No opinion counts as surer than this against a note, in nats: e^−20 is far below what a piece can teach.
const SUREST: f64 = 20.0;

/// The notes of a piece heard so far.
#[derive(Debug, Clone)]
pub struct Memory<'a> {
    weights: &'a Weights,
    melody: Melody,
    notes: Vec<u8>,
}

impl<'a> Memory<'a> {
    /// Before the first note of a piece.
    pub fn new(weights: &'a Weights) -> Self {
        Memory { weights, melody: Melody::new(ORDER, ORDER), notes: Vec::new() }
    }

    /// Hears the next note.
    pub fn hear(&mut self, class: u8) {
        self.melody.count(&self.notes, class);
        self.notes.push(class);
    }

    /// Natural logarithms of the probabilities of the next class, of what a model says (logarithms too, of all
    /// classes) and what was heard.
    pub fn mix<T: Copy + Into<f64>>(&self, log_probabilities: &[T]) -> Vec<f64> {
        let weights = self.weights.after_match(self.longest_match());
        let opinions = self.opinions(log_probabilities.iter().map(|&log| log.into()));
        let product = |of: &[f64; OPINIONS]| weights.iter().zip(of).map(|(weight, log)| weight * log).sum();
        let mut mixed: Vec<f64> = opinions.iter().map(product).collect();
        let largest = mixed.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = mixed.iter().map(|log| (log - largest).exp()).sum();
        mixed.iter_mut().for_each(|log| *log -= largest + total.ln());
        mixed
    }

    /// For each class what each opinion says, in nats.
    fn opinions(&self, model: impl Iterator<Item = f64>) -> Vec<[f64; OPINIONS]> {
        let by_classes = self.melody.by_classes(&self.notes);
        let by_intervals = self.melody.by_intervals(&self.notes);
        let heard = by_classes.into_iter().zip(by_intervals);
        model.zip(heard).map(|(model, (a, b))| [model, a.ln(), b.ln()].map(|log| log.max(-SUREST))).collect()
    }

    fn longest_match(&self) -> usize {
        self.melody.longest_match(&self.notes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::corpus::{CLASSES, Piece};

    fn even() -> Vec<f32> {
        vec![-(CLASSES as f32).ln(); CLASSES]
    }

    fn best(logs: &[f64]) -> usize {
        (0..logs.len()).max_by(|&a, &b| logs[a].total_cmp(&logs[b])).unwrap()
    }

    #[test]
    fn what_was_heard_is_expected_again_also_transposed() {
        let weights = Weights::default();
        let mut memory = Memory::new(&weights);
        [10, 12, 17, 11, 30, 32, 37].iter().for_each(|&class| memory.hear(class));
        assert_eq!(best(&memory.mix(&even())), 31);
        [10, 12].iter().for_each(|&class| memory.hear(class));
        assert_eq!(best(&memory.mix(&even())), 17);
    }

    #[test]
    fn with_nothing_heard_the_order_is_the_models() {
        let weights = Weights::default();
        let model: Vec<f64> = (0..CLASSES).map(|class| -(1.0 + class as f64) / 7.0).collect();
        let mixed = Memory::new(&weights).mix(&model);
        assert!(mixed.is_sorted_by(|a, b| a > b), "{mixed:?}");
    }

    #[test]
    fn a_model_that_rules_a_note_out_is_not_believed_without_limit() {
        let weights = Weights::default();
        let mut model = even();
        model[5] = f32::NEG_INFINITY;
        let mixed = Memory::new(&weights).mix(&model);
        assert!(mixed[5].is_finite() && mixed[5] < mixed[4]);
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(30))]
        #[test]
        fn probabilities_sum_to_one(
            notes in prop::collection::vec(0u8..CLASSES as u8, 0..60),
            model in prop::collection::vec(-50f32..0.0, CLASSES),
        ) {
            let piece = Piece { name: "p".into(), classes: notes.clone() };
            for weights in [Weights::default(), Weights::fit(&[piece.clone(), piece])] {
                let mut memory = Memory::new(&weights);
                notes.iter().for_each(|&class| memory.hear(class));
                let total: f64 = memory.mix(&model).iter().map(|log| log.exp()).sum();
                prop_assert!((total - 1.0).abs() < 1e-9, "{}", total);
            }
        }
    }
}
