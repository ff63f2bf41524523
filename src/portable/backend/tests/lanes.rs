//! Random networks and lanes of random windows. The tests of every backend take them, in this crate and in the application's,
//! which includes this file; so it names the library in full.

use bachdist_portable::config::LossPositions;
use bachdist_portable::network::Architecture;
use bachdist_portable::network::batch::LaneBatch;
use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::representation::Token;
use bachdist_portable::representation::pitch::Pitch;
use proptest::prelude::*;

/// Lanes of random windows; the last windows are missing, as in a ragged batch.
pub fn lanes(
    architecture: Architecture,
    count: usize,
    rows: usize,
    notes: usize,
    loss_positions: LossPositions,
    missing: usize,
    seed: u64,
) -> Vec<LaneBatch> {
    let stream = RandomStream::new(seed, Purpose::Sampling, &[]);
    let tokens =
        (0..(count * rows * (notes + 1)) as u64).map(|index| (stream.uniform(index) * 79.0) as Token);
    let tokens: Vec<Token> = tokens.collect();
    let windows: Vec<&[Token]> = tokens.chunks_exact(notes + 1).collect();
    let features = Pitch::with_tokens(79, architecture.shape.relations > 0);
    let present = windows.len() - missing.min(windows.len() - 1);
    (0..count)
        .map(|lane| {
            let range = (lane * rows).min(present)..((lane + 1) * rows).min(present);
            LaneBatch::new(&features, lane * rows, rows + missing % 3, notes, loss_positions, &windows[range])
        })
        .collect()
}

prop_compose! {
    /// Any width that the configuration allows, small enough to be quick.
    pub fn architectures()(
        intervals: bool, layers in 1usize..4, units in 1usize..70, dense in 1usize..50,
    ) -> Architecture {
        Architecture { shape: Pitch::shape_of(79, intervals), layers, units, dense, members: 1 }
    }
}

pub fn loss_positions() -> impl Strategy<Value = LossPositions> {
    prop::sample::select(vec![LossPositions::Last, LossPositions::All])
}
