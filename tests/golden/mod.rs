//! The network against others: PyTorch and Keras on small networks ([`peers`], [`checkpoint`]), inference
//! against libtorch ([`inference`]), and each row against itself elsewhere ([`rows`]).
//!
//! What PyTorch and Keras say lies in `data/`; `make.py` made it and is not needed to run the tests.

mod case;
mod checkpoint;
mod inference;
mod peers;
mod rows;

use std::sync::Arc;

use bachdist_portable::config::LossPositions;
use bachdist_portable::network::Architecture;
use bachdist_portable::network::batch::LaneBatch;
use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::representation::Token;
use bachdist_portable::representation::pitch::Pitch;
use tch::Tensor;

/// Numbers that are a function of a seed.
fn stream(seed: u64) -> RandomStream {
    RandomStream::new(seed, Purpose::Initialization, &[])
}

/// The tokens of a window and the one after it.
fn window(input: &[Token], target: Token) -> Vec<Token> {
    [input, &[target]].concat()
}

/// Random windows: tokens, and the token that follows.
fn random_windows(
    architecture: Architecture,
    sequence_length: usize,
    count: usize,
    seed: u64,
) -> Vec<(Vec<Token>, Token)> {
    let class = |index: usize| (stream(seed).bits(index as u64) % architecture.shape.tokens as u64) as Token;
    let window = |first: usize| {
        ((0..sequence_length).map(|t| class(first + t)).collect(), class(first + sequence_length))
    };
    (0..count).map(|row| window(row * (sequence_length + 1))).collect()
}

/// The representation that a network of this architecture is for.
fn pitch(architecture: Architecture) -> Arc<Pitch> {
    let shape = architecture.shape;
    Arc::new(Pitch::with_tokens(shape.tokens, shape.relations > 0))
}

/// Windows as a lane, padded to `rows`.
fn lane(
    architecture: Architecture,
    first_row: usize,
    rows: usize,
    windows: &[(Vec<Token>, Token)],
) -> LaneBatch {
    let sequence_length = windows[0].0.len();
    let windows: Vec<_> = windows.iter().map(|(input, target)| window(input, *target)).collect();
    let windows: Vec<&[Token]> = windows.iter().map(Vec::as_slice).collect();
    let features = pitch(architecture);
    LaneBatch::new(&*features, first_row, rows, sequence_length, LossPositions::Last, &windows)
}

/// All numbers of a tensor.
fn floats(tensor: &Tensor) -> Vec<f32> {
    let mut values = vec![0.0; tensor.numel()];
    tensor.contiguous().copy_data(&mut values, tensor.numel());
    values
}
