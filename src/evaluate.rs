//! Evaluating a checkpoint: its predictions of every window of some pieces, alone and with the cache model, beside baselines
//! fitted on its training music.

use anyhow::Result;
use bachdist_portable::backend::Backend;
use bachdist_portable::backend::native::NativeBackend;
use bachdist_portable::checkpoint::Checkpoint;
use bachdist_portable::config::LossPositions;
use bachdist_portable::corpus::Piece;
use bachdist_portable::corpus::windows::Windows;
use bachdist_portable::evaluation::cache_model::CacheWeights;
use bachdist_portable::evaluation::read_through::read_through;
use bachdist_portable::evaluation::report::EvaluationReport;
use bachdist_portable::evaluation::score::Scores;
use bachdist_portable::evaluation::{score, score_baselines};
use bachdist_portable::network::batch::LaneBatch;
use bachdist_portable::network::inference::InferenceNetwork;
use bachdist_portable::process::cores;
use bachdist_portable::representation::Token;

/// Scores of a network and of baselines on the same windows.
pub struct Evaluation {
    /// Of the network, which reads windows of `data.sequence_length` tokens.
    pub windows: Scores,
    /// With the cache model.
    pub with_cache: Scores,
    /// Of each baseline, by name.
    pub baselines: Vec<(String, Scores)>,
}

/// Evaluates a checkpoint on some pieces.
pub fn evaluate(checkpoint: &Checkpoint, pieces: &[Piece]) -> Result<Evaluation> {
    let config = checkpoint.config()?;
    let length = config.data.sequence_length;
    let training = &checkpoint.corpus.pieces;
    let tokens = checkpoint.architecture.shape.tokens;
    let row = |predictions: &[f32], number: u64| predictions[number as usize * tokens..][..tokens].to_vec();
    let by_windows = predict_windows(checkpoint, pieces)?;
    let representation = &*config.representation.build();
    let windows = score(representation, pieces, length, None, |number, _| row(&by_windows, number));
    // A network with a loss at every position has learned to carry its state on; others start anew with every window.
    let with_state = match config.train.loss_positions {
        LossPositions::Last => by_windows,
        LossPositions::All => {
            let network = InferenceNetwork::new(
                config.representation.build(),
                checkpoint.architecture,
                &checkpoint.parameters,
            );
            read_through(&network, pieces, length)
        }
    };
    let weights = CacheWeights::fit(representation, training);
    let with_cache =
        score(representation, pieces, length, Some(&weights), |number, _| row(&with_state, number));
    let baselines = score_baselines(representation, training, pieces, length);
    Ok(Evaluation { windows, with_cache, baselines })
}

/// Windows that are run together, and those of each lane, of which a thread takes one after another.
const BATCH: u64 = 256;
const LANE: usize = 64;

/// (windows, C) log-probs after each window of `data.sequence_length` notes, each read from a zero state. Windows are
/// those of [`Windows`], in their order.
fn predict_windows(checkpoint: &Checkpoint, pieces: &[Piece]) -> Result<Vec<f32>> {
    let config = checkpoint.config()?;
    let (representation, length) = (config.representation.build(), config.data.sequence_length);
    let windows = Windows::new(pieces, length);
    let mut network = NativeBackend::for_prediction(checkpoint.architecture, &checkpoint.parameters, cores());
    let mut log_probs = Vec::new();
    for first in (0..windows.len()).step_by(BATCH as usize) {
        let numbers = first..windows.len().min(first + BATCH);
        let batch: Vec<&[Token]> = numbers.map(|number| windows.get(number).tokens).collect();
        let lanes = batch
            .chunks(LANE)
            .map(|windows| LaneBatch::new(&*representation, 0, LANE, length, LossPositions::Last, windows));
        log_probs.extend(network.predict(&lanes.collect::<Vec<_>>())?);
    }
    Ok(log_probs)
}

impl Evaluation {
    /// Adds the scores of other pieces; the baselines are the same ones in the same order.
    pub fn extend(&mut self, other: Evaluation) {
        self.windows.extend(other.windows);
        self.with_cache.extend(other.with_cache);
        for ((_, scores), (_, others)) in self.baselines.iter_mut().zip(other.baselines) {
            scores.extend(others);
        }
    }

    /// The report that `eval` prints.
    pub fn report(&self) -> EvaluationReport {
        EvaluationReport::new(&self.windows, &self.with_cache, &self.baselines)
    }
}
