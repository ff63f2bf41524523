//! What a checkpoint's network expects after each window of some pieces, by libtorch.

use anyhow::Result;
use bachdist_core::checkpoint::Checkpoint;
use bachdist_core::config::LossPositions;
use bachdist_core::corpus::Piece;
use bachdist_core::corpus::windows::{Window, Windows};
use tch::Device;

use crate::model::Model;
use bachdist_core::network::batch::LaneBatch;

/// Windows that are run together, and those of each lane, of which a thread takes one after another.
const BATCH: u64 = 256;
const LANE: usize = 64;

/// (windows, C) logarithmic probabilities after each window of `data.sequence_length` notes, read from a state that
/// has seen nothing. Windows are those of [`Windows`], in their order.
pub fn predict(checkpoint: &Checkpoint, device: Device, pieces: &[Piece]) -> Result<Vec<f32>> {
    let length = checkpoint.config()?.data.sequence_length;
    let windows = Windows::new(pieces, length);
    let mut model = Model::new(checkpoint.architecture, device)?;
    model.load(&checkpoint.parameters)?;
    let mut predictions = Vec::new();
    for first in (0..windows.len()).step_by(BATCH as usize) {
        let numbers = first..windows.len().min(first + BATCH);
        let batch: Vec<Window<'_>> = numbers.map(|number| windows.get(number)).collect();
        let lane = |windows| LaneBatch::new(0, LANE, length, LossPositions::Last, windows);
        predictions.extend(model.predict(&batch.chunks(LANE).map(lane).collect::<Vec<_>>())?);
    }
    Ok(predictions)
}
