//! How well models predict whole pieces: a network that reads each from its beginning and carries its state to the end, and
//! Kneser-Ney n-grams of the same tokens. Figures are pooled over pieces, and over those alone whose tune no training piece
//! has.

use anyhow::Result;

use super::kneser_ney::KneserNey;
use super::likelihood::{Likelihood, TokenScore};
use super::score::rank;
use crate::backend::Backend;
use crate::backend::native::NativeBackend;
use crate::corpus::Piece;
use crate::corpus::streams::StreamRows;
use crate::corpus::tunes::KnownTunes;
use crate::network::Architecture;
use crate::network::batch::{LaneBatch, NO_TARGET, StreamPurpose, StreamSpan};
use crate::parallel::in_parallel;
use crate::print::WorkBar;
use crate::process::cores;
use crate::representation::{Representation, Token};

/// Tokens in the longest context of an n-gram, and the discount that is taken from every count.
const ORDERS: [usize; 5] = [1, 2, 4, 7, 10];
const DISCOUNT: f64 = 0.85;

/// Timesteps that the network reads at a time, and the most rows of one of its lanes: large enough for fast GEMMs, and so
/// small that probabilities of all tokens at all of them stay in cache.
const TIMESTEPS: usize = 64;
const ROWS: usize = 32;

/// What models say of some pieces.
#[derive(Debug, Clone, PartialEq)]
pub struct PieceEvaluation {
    /// Names of the models: the network first, if there is one, then the baselines.
    pub models: Vec<String>,
    /// The pieces.
    pub pieces: Vec<EvaluatedPiece>,
}

/// What models say of a piece.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluatedPiece {
    /// Its name.
    pub name: String,
    /// Whether training knows its tune.
    pub is_tune_known: bool,
    /// Of each model.
    pub likelihoods: Vec<Likelihood>,
}

/// A network's name in [`PieceEvaluation::models`].
pub const NETWORK: &str = "network";

impl PieceEvaluation {
    /// Of Kneser-Ney n-grams that are fitted on training pieces in all keys up to so many semitones away.
    ///
    /// # Panics
    /// If the representation has no token that ends pieces.
    pub fn of_baselines(
        representation: &dyn Representation,
        training: &[Piece],
        transpose: u8,
        pieces: &[Piece],
    ) -> Self {
        let mut tunes = KnownTunes::default();
        for piece in training {
            tunes.add(&representation.decode(&piece.tokens));
        }
        let mut evaluation = PieceEvaluation { models: Vec::new(), pieces: Vec::new() };
        for piece in pieces {
            evaluation.pieces.push(EvaluatedPiece {
                name: piece.name.clone(),
                is_tune_known: tunes.knows(&representation.decode(&piece.tokens)),
                likelihoods: Vec::new(),
            });
        }
        let training = transposed(representation, training, transpose);
        evaluation.models.extend(ORDERS.map(|order| format!("kneser_ney_{order}")));
        evaluation.add_n_grams(
            representation,
            &KneserNey::fit(representation, &training, &ORDERS, DISCOUNT),
            pieces,
        );
        if let Some(structured) = KneserNey::fit_structured(representation, &training, DISCOUNT) {
            evaluation.models.push("structured".into());
            evaluation.add_n_grams(representation, &structured, pieces);
        }
        evaluation
    }

    /// Adds what a network says of the same pieces.
    pub fn add_network(
        &mut self,
        representation: &dyn Representation,
        architecture: Architecture,
        parameters: &[f32],
        pieces: &[Piece],
    ) -> Result<()> {
        let scores = score_by_network(representation, architecture, parameters, pieces)?;
        self.models.insert(0, NETWORK.into());
        for ((piece, scores), evaluated) in pieces.iter().zip(&scores).zip(&mut self.pieces) {
            evaluated.likelihoods.insert(0, Likelihood::of_piece(representation, &piece.tokens, scores));
        }
        Ok(())
    }

    fn add_n_grams(&mut self, representation: &dyn Representation, models: &KneserNey<'_>, pieces: &[Piece]) {
        let bar = WorkBar::new("n-grams", pieces.len() as u64);
        let scores = in_parallel(cores(), pieces, |piece| {
            let scores = models.score(&piece.tokens);
            bar.add(1);
            scores
        });
        for ((piece, scores), evaluated) in pieces.iter().zip(&scores).zip(&mut self.pieces) {
            for scores in scores {
                evaluated.likelihoods.push(Likelihood::of_piece(representation, &piece.tokens, scores));
            }
        }
    }

    /// Adds what the same models, fitted on other training pieces, say of other pieces.
    pub fn extend(&mut self, other: PieceEvaluation) {
        self.pieces.extend(other.pieces);
    }

    /// Of each model over all pieces, or over those alone whose tune no training piece has.
    pub fn pooled(&self, unknown_tunes_only: bool) -> Vec<Likelihood> {
        let mut pooled = vec![Likelihood::default(); self.models.len()];
        for piece in self.pieces.iter().filter(|piece| !(unknown_tunes_only && piece.is_tune_known)) {
            for (sum, likelihood) in pooled.iter_mut().zip(&piece.likelihoods) {
                sum.add(likelihood);
            }
        }
        pooled
    }
}

/// The tokens of pieces in every key that is at most this many semitones away, and that the vocabulary has.
fn transposed(representation: &dyn Representation, pieces: &[Piece], semitones: u8) -> Vec<Vec<Token>> {
    let semitones = semitones.cast_signed();
    let mut all = Vec::new();
    for piece in pieces {
        for semitones in -semitones..=semitones {
            let moved = piece.tokens.iter().map(|&token| representation.transpose(token, semitones));
            all.extend(moved.collect::<Option<Vec<Token>>>());
        }
    }
    all
}

/// A network's scores of each token of each piece. Several pieces are rows of one batch, on all cores; the bits of a score
/// depend on neither.
fn score_by_network(
    representation: &dyn Representation,
    architecture: Architecture,
    parameters: &[f32],
    pieces: &[Piece],
) -> Result<Vec<Vec<TokenScore>>> {
    let lanes = cores().next_power_of_two();
    let rows = pieces.len().div_ceil(lanes).clamp(1, ROWS);
    let streams = StreamRows::whole(pieces, representation.end().is_some(), lanes * rows, TIMESTEPS);
    let mut network = NativeBackend::for_prediction(architecture, parameters, cores());
    let mut scores = vec![Vec::new(); pieces.len()];
    let bar = WorkBar::new("network", streams.windows_per_row());
    for window in 0..streams.windows_per_row() {
        let (mut batch, mut piece_of) = (Vec::new(), Vec::new());
        for lane in 0..lanes {
            let mut spans = vec![Vec::new(); rows];
            let mut of_lane = vec![0; TIMESTEPS * rows];
            for (row, of_row) in spans.iter_mut().enumerate() {
                let mut time = 0;
                for span in streams.window(lane * rows + row, window) {
                    for _ in span.from..span.to {
                        of_lane[time * rows + row] = span.piece;
                        time += 1;
                    }
                    let tokens = &pieces[span.piece].tokens;
                    of_row.push(StreamSpan { tokens, from: span.from, to: span.to, resets: span.resets });
                }
            }
            let purpose = StreamPurpose::Evaluation;
            batch.push(LaneBatch::of_streams(representation, 0, rows, TIMESTEPS, purpose, &spans));
            piece_of.push(of_lane);
        }
        let log_probs = network.predict(&batch)?;
        bar.add(1);
        let mut log_probs = log_probs.chunks_exact(architecture.shape.tokens);
        for (lane, piece_of) in batch.iter().zip(&piece_of) {
            for (&target, &piece) in lane.targets.iter().zip(piece_of) {
                if target == NO_TARGET {
                    continue;
                }
                let log_probs = log_probs.next().expect("log-probs of each prediction");
                let target = usize::from(target);
                scores[piece].push(TokenScore {
                    log_probability: log_probs[target].into(),
                    rank: rank(log_probs, target),
                });
            }
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::inference::InferenceNetwork;
    use crate::random::{Purpose, RandomStream};
    use crate::representation::RepresentationConfig;

    /// Rising scales of these lengths, in frames of one pitch.
    fn pieces(lengths: &[u16]) -> Vec<Piece> {
        let piece = |&length: &u16| {
            let tokens = (0..length).flat_map(|frame| [30 + frame % 12, 88]).collect();
            Piece { name: format!("{length}.mid"), tokens }
        };
        lengths.iter().map(piece).collect()
    }

    #[test]
    fn a_network_is_scored_on_every_token_as_if_it_read_the_piece_alone() {
        let config: RepresentationConfig = toml::from_str("kind = \"frames\"").unwrap();
        let representation = config.build();
        let architecture =
            Architecture { shape: representation.shape(), layers: 2, units: 8, dense: 5, members: 1 };
        let stream = RandomStream::new(1, Purpose::Initialization, &[]);
        let parameters: Vec<f32> =
            (0..architecture.len() as u64).map(|i| 0.5 * stream.normal(i) as f32).collect();
        let pieces = pieces(&[70, 1, 0, 33, 5]);
        let scores = score_by_network(&*representation, architecture, &parameters, &pieces).unwrap();
        let network = InferenceNetwork::new(representation.clone(), architecture, &parameters);
        let end = representation.end().unwrap();
        for (piece, scores) in pieces.iter().zip(&scores) {
            assert_eq!(scores.len(), piece.tokens.len());
            let mut states = network.states(1);
            let (mut read, mut state) = (end, representation.start());
            for (&token, score) in piece.tokens.iter().zip(scores) {
                network.advance(&mut states, &[read]);
                let probabilities = network.probabilities(&states, 0);
                let mut total = 0.0;
                for (other, &p) in (0..).zip(&probabilities) {
                    if other != end && representation.allows(state, other) {
                        total += f64::from(p);
                    }
                }
                let expected = (f64::from(probabilities[usize::from(token)]) / total).ln();
                assert!((score.log_probability - expected).abs() < 1e-4, "{score:?} {expected}");
                (read, state) = (token, representation.next(state, token));
            }
        }
    }
}
