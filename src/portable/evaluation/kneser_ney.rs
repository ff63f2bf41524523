//! Interpolated Kneser-Ney n-grams (Kneser and Ney 1995, in the form of Chen and Goodman 1999) of the tokens of whole pieces:
//! the baseline for representations whose grammar knows where a piece ends.
//!
//! As every figure here, theirs are of probabilities that are renormalized over what the grammar allows to follow within the
//! piece: that it does not end there is given.

use super::baselines::{Followers, NGramCounts};
use super::likelihood::TokenScore;
use super::score::rank;
use crate::representation::{Representation, State, Symbol, Token};

/// What a token is predicted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// The tokens before it, the last one first.
    Tokens,
    /// [`Representation::context`].
    Structured,
}

/// Models of several orders that were fitted on the same pieces.
#[derive(Debug, Clone)]
pub struct KneserNey<'a> {
    representation: &'a dyn Representation,
    context: Context,
    /// Symbols in the longest context of each model, rising.
    orders: Vec<usize>,
    discount: f64,
    counts: NGramCounts,
    /// For each node of the counts, in how many longer contexts each symbol followed it. Where there are none, because it
    /// goes back to the beginning of a piece, how often the symbol did.
    continuations: Vec<Followers>,
}

impl<'a> KneserNey<'a> {
    /// Fits models on the tokens of these pieces, one for each order: the number of tokens in the longest context, of which
    /// the first may be the token that ends pieces, as it stands before their beginning. No context reaches into another
    /// piece. The discount, between 0 and 1, is taken from every count.
    ///
    /// # Panics
    /// If the orders do not rise.
    pub fn fit(
        representation: &'a dyn Representation,
        pieces: impl IntoIterator<Item = impl AsRef<[Token]>>,
        orders: &[usize],
        discount: f64,
    ) -> Self {
        KneserNey::fit_contexts(representation, Context::Tokens, pieces, orders, discount)
    }

    /// Fits one model that predicts tokens from what matters most to a musician; `None` if the representation does not say
    /// what that is.
    pub fn fit_structured(
        representation: &'a dyn Representation,
        pieces: impl IntoIterator<Item = impl AsRef<[Token]>>,
        discount: f64,
    ) -> Option<Self> {
        let length = representation.context(representation.start()).len();
        if length == 0 {
            return None;
        }
        Some(KneserNey::fit_contexts(representation, Context::Structured, pieces, &[length], discount))
    }

    fn fit_contexts(
        representation: &'a dyn Representation,
        context: Context,
        pieces: impl IntoIterator<Item = impl AsRef<[Token]>>,
        orders: &[usize],
        discount: f64,
    ) -> Self {
        assert!(orders.is_sorted(), "orders rise");
        let end = representation.end();
        let longest = orders.last().copied().unwrap_or(0);
        let mut counts = NGramCounts::new(representation.vocabulary().len(), longest);
        for tokens in pieces {
            let stream = [end.as_slice(), tokens.as_ref(), end.as_slice()].concat();
            let mut state = representation.start();
            for at in end.iter().len()..stream.len() {
                let before = context.before(representation, &stream[..at], state, longest);
                counts.count(&before, stream[at]);
                state = representation.next(state, stream[at]);
            }
        }
        let begin = end.filter(|_| context == Context::Tokens);
        let continuations = continuations(&counts, begin);
        KneserNey { representation, context, orders: orders.to_vec(), discount, counts, continuations }
    }

    /// Scores of each token of a piece, given those before it, by the model of each order.
    pub fn score(&self, tokens: &[Token]) -> Vec<Vec<TokenScore>> {
        let representation = self.representation;
        let end = representation.end();
        let stream = [end.as_slice(), tokens].concat();
        let mut state = representation.start();
        let longest = self.counts.order();
        let mut scores = vec![Vec::with_capacity(tokens.len()); self.orders.len()];
        for at in end.iter().len()..stream.len() {
            let before = self.context.before(representation, &stream[..at], state, longest);
            let mut of_orders = self.probabilities(&before);
            for token in 0..self.counts.alphabet() as Token {
                if Some(token) == end || !representation.allows(state, token) {
                    for probabilities in &mut of_orders {
                        probabilities[usize::from(token)] = 0.0;
                    }
                }
            }
            let token = usize::from(stream[at]);
            for (scores, probabilities) in scores.iter_mut().zip(&of_orders) {
                let total: f64 = probabilities.iter().sum();
                scores.push(TokenScore {
                    log_probability: (probabilities[token] / total).ln(),
                    rank: rank(probabilities, token),
                });
            }
            state = representation.next(state, stream[at]);
        }
        scores
    }

    /// Probabilities of every symbol by the model of each order. Starting from the uniform distribution, each longer context
    /// that was met makes them (max(count − discount, 0) + discount·T·p) / n, where its counts sum to n and T of them are not
    /// 0. Counts are numbers of longer contexts, and in the longest context of a model those of symbols.
    fn probabilities(&self, before: &[Symbol]) -> Vec<Vec<f64>> {
        let symbols = self.counts.alphabet();
        let mut shorter = vec![1.0 / symbols as f64; symbols];
        let mut of_orders = Vec::with_capacity(self.orders.len());
        let mut node = Some(0);
        let mut rest = before.iter().rev();
        for length in 0..=self.counts.order() {
            let Some(found) = node else { break };
            while self.orders.get(of_orders.len()) == Some(&length) {
                let mut probabilities = shorter.clone();
                self.interpolate(&self.counts.nodes[found as usize], &mut probabilities);
                of_orders.push(probabilities);
            }
            self.interpolate(&self.continuations[found as usize], &mut shorter);
            node = rest.next().and_then(|&symbol| self.counts.longer.get(&(found, symbol))).copied();
        }
        of_orders.resize(self.orders.len(), shorter);
        of_orders
    }

    fn interpolate(&self, followers: &Followers, probabilities: &mut [f64]) {
        if followers.total == 0 {
            return;
        }
        let total = f64::from(followers.total);
        let backoff = self.discount * followers.counts.len() as f64 / total;
        for p in &mut *probabilities {
            *p *= backoff;
        }
        for &(symbol, count) in &followers.counts {
            probabilities[usize::from(symbol)] += (f64::from(count) - self.discount) / total;
        }
    }
}

impl Context {
    /// The symbols that the token after these is predicted from, what matters most last.
    fn before(
        self,
        representation: &dyn Representation,
        tokens: &[Token],
        state: State,
        longest: usize,
    ) -> Vec<Symbol> {
        match self {
            Context::Tokens => tokens[tokens.len().saturating_sub(longest)..].to_vec(),
            Context::Structured => representation.context(state).into_iter().rev().collect(),
        }
    }
}

/// See [`KneserNey::continuations`]. `begin` is the symbol that begins every sequence and is nowhere else.
fn continuations(counts: &NGramCounts, begin: Option<Symbol>) -> Vec<Followers> {
    let mut longer: Vec<_> =
        counts.longer.iter().map(|(&(node, symbol), &child)| (child, node, symbol)).collect();
    longer.sort_unstable();
    let mut continuations = vec![Followers::default(); counts.nodes.len()];
    for &(child, node, _) in &longer {
        for &(symbol, _) in &counts.nodes[child as usize].counts {
            continuations[node as usize].count(symbol);
        }
    }
    for (child, _, symbol) in longer {
        if Some(symbol) == begin {
            continuations[child as usize] = counts.nodes[child as usize].clone();
        }
    }
    continuations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representation::RepresentationConfig;

    /// Counts of sequences of symbols below `alphabet`, of which the highest begins all.
    fn model<'a>(
        representation: &'a dyn Representation,
        alphabet: usize,
        orders: &[usize],
        sequences: &[&[Symbol]],
    ) -> KneserNey<'a> {
        let begin = alphabet as Symbol - 1;
        let mut counts = NGramCounts::new(alphabet, *orders.last().unwrap());
        for symbols in sequences {
            let symbols = [&[begin], *symbols].concat();
            for at in 1..symbols.len() {
                counts.count(&symbols[..at], symbols[at]);
            }
        }
        let continuations = continuations(&counts, Some(begin));
        let orders = orders.to_vec();
        KneserNey { representation, context: Context::Tokens, orders, discount: 0.5, counts, continuations }
    }

    fn all_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let same = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(same, "{found:?} for {expected:?}");
    }

    #[test]
    fn probabilities_by_hand() {
        let representation = RepresentationConfig::default().build();
        // 3 begins; then 0 1 0 1 2 over four symbols, with contexts of no symbol and of one.
        let model = model(&*representation, 4, &[0, 1], &[&[0, 1, 0, 1, 2]]);
        // Without a context, the model of order 0 counts symbols: 0 and 1 twice, 2 once.
        let alone =
            [2.0, 2.0, 1.0, 0.0].map(|count: f64| (count - 0.5).max(0.0) / 5.0 + 0.5 * 3.0 / 5.0 / 4.0);
        // That of order 1, how many different symbols stood before each. 0: 3 and 1; 1: 0; 2: 1; 3: none.
        let empty = [1.5, 0.5, 0.5, 0.0].map(|discounted| (discounted + 0.5 * 3.0 / 4.0) / 4.0);
        for (before, expected) in [(&[][..], empty), (&[2], empty)] {
            let found = model.probabilities(before);
            all_close(&found[0], &alone);
            all_close(&found[1], &expected);
        }
        // After 0: 1 twice. After 1: 0 and 2 once each.
        let after_0 = empty.map(|p| 0.5 * p / 2.0);
        all_close(&model.probabilities(&[0])[1], &[after_0[0], after_0[1] + 0.75, after_0[2], after_0[3]]);
        let after_1 = empty.map(|p| 0.5 * p);
        let after_1 = [after_1[0] + 0.25, after_1[1], after_1[2] + 0.25, after_1[3]];
        all_close(&model.probabilities(&[0, 1])[1], &after_1);
        all_close(&model.probabilities(&[0, 1])[0], &alone);
    }

    #[test]
    fn what_begins_a_sequence_is_counted_as_often_as_it_does() {
        let representation = RepresentationConfig::default().build();
        let model = model(&*representation, 4, &[3], &[&[0, 1], &[0, 1], &[0, 2]]);
        let continuations = |before: &[Symbol]| {
            let mut node = 0;
            for symbol in before.iter().rev() {
                node = model.counts.longer[&(node, *symbol)];
            }
            &model.continuations[node as usize].counts[..]
        };
        assert_eq!(continuations(&[3]), [(0, 3)]);
        assert_eq!(continuations(&[3, 0]), [(1, 2), (2, 1)]);
        assert_eq!(continuations(&[0]), [(1, 1), (2, 1)]);
    }

    #[test]
    fn a_model_among_others_is_the_model_alone() {
        let representation = RepresentationConfig::default().build();
        let sequences: [&[Symbol]; 2] = [&[0, 1, 0, 2, 0, 1, 1, 2], &[2, 1, 0, 1, 0, 2]];
        let all = model(&*representation, 4, &[1, 2, 4], &sequences);
        for (number, order) in [1, 2, 4].into_iter().enumerate() {
            let alone = model(&*representation, 4, &[order], &sequences);
            for before in [&[][..], &[3], &[0, 1], &[2, 0, 1, 0], &[3, 0, 1, 0, 2, 0]] {
                let found = all.probabilities(before);
                assert_eq!(found[number], alone.probabilities(before)[0]);
                assert!((found[number].iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }
}
