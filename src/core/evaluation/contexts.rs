//! What followed each context: the counts that every n-gram model here is made of.
//!
//! A context is the last few symbols before a note. Contexts lie in a tree that is walked from the latest symbol
//! backwards, so that one walk meets the contexts of every length, shortest first.

use std::collections::HashMap;

/// Counts of what followed every context of up to so many symbols.
#[derive(Debug, Clone)]
pub struct Contexts {
    alphabet: usize,
    order: usize,
    /// The node of a context with one symbol more at its beginning. Node 0 is the empty context.
    longer: HashMap<(u32, u8), u32>,
    nodes: Vec<Followers>,
}

/// What followed one context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followers {
    /// Each symbol that did, once, and how often.
    pub counts: Vec<(u8, u32)>,
    /// The sum of how often.
    pub total: u32,
}

impl Contexts {
    /// No counts yet. `order` is the length of the longest context, `alphabet` how many symbols there are.
    pub fn new(alphabet: usize, order: usize) -> Self {
        Contexts { alphabet, order, longer: HashMap::new(), nodes: vec![Followers::default()] }
    }

    /// The length of the longest context.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Counts a symbol after what stood before it, of which the last `order` matter.
    pub fn count(&mut self, before: &[u8], next: u8) {
        let mut node = 0;
        self.nodes[0].count(next);
        for &symbol in before.iter().rev().take(self.order) {
            let new = self.nodes.len() as u32;
            node = *self.longer.entry((node, symbol)).or_insert(new);
            if node == new {
                self.nodes.push(Followers::default());
            }
            self.nodes[node as usize].count(next);
        }
    }

    /// What followed the contexts that end `before`, from the empty one to the longest that was met.
    pub fn met<'a>(&'a self, before: &'a [u8]) -> impl Iterator<Item = &'a Followers> {
        let mut node = Some(0);
        let mut symbols = before.iter().rev().take(self.order);
        std::iter::from_fn(move || {
            let found = &self.nodes[node? as usize];
            let longer = symbols.next().and_then(|&symbol| self.longer.get(&(node?, symbol)));
            node = longer.copied();
            (found.total > 0).then_some(found)
        })
    }

    /// Probabilities of every symbol by Witten and Bell's interpolation (1991, method C): starting from equal
    /// ones, each longer context that was met makes them (counts + T·p) / (n + T), where n symbols followed it,
    /// T of them different.
    pub fn witten_bell(&self, before: &[u8]) -> Vec<f64> {
        let mut probabilities = vec![1.0 / self.alphabet as f64; self.alphabet];
        for followers in self.met(before) {
            let different = followers.counts.len() as f64;
            let all = f64::from(followers.total) + different;
            probabilities.iter_mut().for_each(|p| *p *= different / all);
            for &(symbol, count) in &followers.counts {
                probabilities[usize::from(symbol)] += f64::from(count) / all;
            }
        }
        probabilities
    }

    /// Probabilities of every symbol after a context of exactly `length` symbols, with one added to each count.
    pub fn add_one(&self, before: &[u8], length: usize) -> Vec<f64> {
        let none = Followers::default();
        let followers = self.met(before).nth(length).unwrap_or(&none);
        let all = f64::from(followers.total) + self.alphabet as f64;
        let mut probabilities = vec![1.0 / all; self.alphabet];
        for &(symbol, count) in &followers.counts {
            probabilities[usize::from(symbol)] += f64::from(count) / all;
        }
        probabilities
    }
}

impl Followers {
    fn count(&mut self, symbol: u8) {
        self.total += 1;
        match self.counts.iter_mut().find(|(found, _)| *found == symbol) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((symbol, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(alphabet: usize, order: usize, symbols: &[u8]) -> Contexts {
        let mut contexts = Contexts::new(alphabet, order);
        (0..symbols.len()).for_each(|i| contexts.count(&symbols[..i], symbols[i]));
        contexts
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let same = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(same, "{found:?} for {expected:?}");
    }

    #[test]
    fn witten_bell_by_hand() {
        // 0 1 0 2 over four symbols. Empty context: 0 twice, 1, 2; n = 4, T = 3.
        let contexts = counted(4, 2, &[0, 1, 0, 2]);
        let empty = [2.75 / 7.0, 1.75 / 7.0, 1.75 / 7.0, 0.75 / 7.0];
        close(&contexts.witten_bell(&[]), &empty);
        // 3 was never followed.
        close(&contexts.witten_bell(&[3]), &empty);
        // After 0: 1 and 2 once each; n = 2, T = 2.
        let after_0 = empty.map(|p| 2.0 * p / 4.0);
        let after_0 = [after_0[0], after_0[1] + 0.25, after_0[2] + 0.25, after_0[3]];
        close(&contexts.witten_bell(&[0]), &after_0);
        close(&contexts.witten_bell(&[3, 0]), &after_0);
        // After 1 0: 2 once; n = 1, T = 1.
        let after_10 = after_0.map(|p| p / 2.0);
        close(&contexts.witten_bell(&[1, 0]), &[after_10[0], after_10[1], after_10[2] + 0.5, after_10[3]]);
    }

    #[test]
    fn add_one_by_hand() {
        let contexts = counted(4, 1, &[0, 1, 0, 2]);
        close(&contexts.add_one(&[0], 0), &[3.0 / 8.0, 2.0 / 8.0, 2.0 / 8.0, 1.0 / 8.0]);
        close(&contexts.add_one(&[0], 1), &[1.0 / 6.0, 2.0 / 6.0, 2.0 / 6.0, 1.0 / 6.0]);
        close(&contexts.add_one(&[3], 1), &[0.25; 4]);
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn probabilities_are_positive_and_sum_to_one(
            symbols in prop::collection::vec(0u8..9, 0..60),
            order in 0usize..6,
            before in prop::collection::vec(0u8..9, 0..8),
        ) {
            let contexts = counted(9, order, &symbols);
            for probabilities in [contexts.witten_bell(&before), contexts.add_one(&before, order)] {
                prop_assert!(probabilities.iter().all(|&p| p > 0.0));
                prop_assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn a_context_is_met_where_it_stood_before(symbols in prop::collection::vec(0u8..3, 1..40)) {
            let (order, contexts) = (4, counted(3, 4, &symbols));
            let mut lengths = contexts.met(&symbols).enumerate();
            for length in 0..=order {
                let context = &symbols[symbols.len().saturating_sub(length)..];
                let mut expected = Followers::default();
                for at in length..symbols.len() {
                    if context.len() == length && symbols[at - length..at] == *context {
                        expected.count(symbols[at]);
                    }
                }
                match expected.total {
                    0 => prop_assert!(lengths.next().is_none()),
                    _ => prop_assert_eq!(lengths.next(), Some((length, &expected))),
                }
            }
        }
    }
}
