//! Interpolated Kneser-Ney n-grams (Kneser and Ney 1995, in the form of Chen and Goodman 1999) of the tokens of whole pieces:
//! the baseline for representations whose grammar knows where a piece ends.
//!
//! As every figure here, theirs are of probabilities that are renormalized over what the grammar allows to follow within the
//! piece: that it does not end there is given.

use super::baselines::NGramCounts;
use super::likelihood::TokenScore;
use super::score::rank;
use crate::representation::{Representation, Token};

/// A model that was fitted on pieces.
#[derive(Debug, Clone)]
pub struct KneserNey<'a> {
    representation: &'a dyn Representation,
    counts: NGramCounts,
    discount: f64,
}

impl<'a> KneserNey<'a> {
    /// Fits it on the tokens of these pieces. The longest context has `order` tokens, of which the first may be the token
    /// that ends pieces, as it stands before their beginning. No context reaches into another piece. The discount, between
    /// 0 and 1, is taken from every count.
    pub fn fit(
        representation: &'a dyn Representation,
        pieces: impl IntoIterator<Item = impl AsRef<[Token]>>,
        order: usize,
        discount: f64,
    ) -> Self {
        let end = representation.end();
        let mut counts = NGramCounts::new(representation.vocabulary().len(), order);
        for tokens in pieces {
            let stream = [end.as_slice(), tokens.as_ref(), end.as_slice()].concat();
            for at in end.iter().len()..stream.len() {
                counts.count(&stream[..at], stream[at]);
            }
        }
        KneserNey { representation, counts: counts.into_continuations(end), discount }
    }

    /// Scores of each token of a piece, given those before it.
    pub fn score(&self, tokens: &[Token]) -> Vec<TokenScore> {
        let end = self.representation.end();
        let stream = [end.as_slice(), tokens].concat();
        let mut probabilities = vec![0.0; self.counts.alphabet()];
        let mut state = self.representation.start();
        let mut scores = Vec::with_capacity(tokens.len());
        for at in end.iter().len()..stream.len() {
            self.counts.kneser_ney(&stream[..at], self.discount, &mut probabilities);
            let mut total = 0.0;
            for (token, probability) in (0..).zip(&mut probabilities) {
                if Some(token) == end || !self.representation.allows(state, token) {
                    *probability = 0.0;
                }
                total += *probability;
            }
            let token = usize::from(stream[at]);
            scores.push(TokenScore {
                log_probability: (probabilities[token] / total).ln(),
                rank: rank(&probabilities, token),
            });
            state = self.representation.next(state, stream[at]);
        }
        scores
    }
}
