//! Streams: read as pieces are, differentiated through time, and the same bits however lanes are shared out.

use std::sync::Arc;

use super::{Given, bits};
use crate::backend::native::NativeBackend;
use crate::backend::{Backend, StepBatch, TrainingState};
use crate::corpus::Piece;
use crate::corpus::streams::StreamRows;
use crate::lanes::TreeSum;
use crate::network::batch::{LaneBatch, StreamPurpose, StreamSpan, score_predictions};
use crate::network::dropout::{Dropout, WeightDrop};
use crate::network::inference::InferenceNetwork;
use crate::network::training::TrainingNetwork;
use crate::network::{Architecture, initial_parameters};
use crate::random::{Purpose, RandomStream};
use crate::representation::pitch::Pitch;
use crate::representation::{Representation, Token};

/// The lanes of each step that reads these rows to their end.
fn stream_lanes(
    representation: &dyn Representation,
    pieces: &[Piece],
    rows: &StreamRows,
    (lanes, rows_of_lane, length): (usize, usize, usize),
    purpose: StreamPurpose,
) -> Vec<Vec<LaneBatch>> {
    let mut steps = Vec::new();
    for window in 0..rows.windows_per_row() {
        let mut of_step = Vec::new();
        for lane in 0..lanes {
            let mut streams = Vec::new();
            for row in lane * rows_of_lane..(lane + 1) * rows_of_lane {
                let spans = rows.window(row, window).into_iter().map(|span| StreamSpan {
                    tokens: &pieces[span.piece].tokens,
                    from: span.from,
                    to: span.to,
                    resets: span.resets,
                });
                streams.push(spans.collect::<Vec<_>>());
            }
            let first_row = lane * rows_of_lane;
            let (rows, features) = (rows_of_lane, representation);
            of_step.push(LaneBatch::of_streams(features, first_row, rows, length, purpose, &streams));
        }
        steps.push(of_step);
    }
    steps
}

fn random_pieces(lengths: &[usize], seed: u64) -> Vec<Piece> {
    let stream = RandomStream::new(seed, Purpose::Sampling, &[]);
    let mut number = 0..;
    let mut pieces = Vec::new();
    for &length in lengths {
        let tokens = number.by_ref().take(length).map(|i| (stream.uniform(i) * 79.0) as Token).collect();
        pieces.push(Piece { name: format!("{length}"), tokens });
    }
    pieces
}

/// Streams read by windows have the predictions of the network that composes, which reads each piece token by token.
#[test]
fn streams_are_read_as_pieces_are() {
    let architecture =
        Architecture { shape: Pitch::shape_of(79, true), layers: 2, units: 13, dense: 9, members: 1 };
    let parameters: Vec<f32> = initial_parameters(architecture, 3).iter().map(|x| 2.0 * x).collect();
    let representation = Arc::new(Pitch::with_tokens(79, true));
    let pieces = random_pieces(&[17, 2, 9, 1, 23, 5], 3);
    let inference = InferenceNetwork::new(representation.clone(), architecture, &parameters);
    let expected: Vec<f64> = pieces
        .iter()
        .map(|piece| {
            (1..piece.tokens.len())
                .map(|at| -f64::from(inference.predict(&piece.tokens[..at])[piece.tokens[at] as usize].ln()))
                .sum()
        })
        .collect();
    let expected: f64 = expected.iter().sum();
    for (lanes, rows_of_lane, length, threads) in [(1, 1, 5, 1), (2, 2, 4, 1), (2, 1, 7, 2), (1, 3, 100, 1)] {
        let rows = StreamRows::whole(&pieces, false, lanes * rows_of_lane, length);
        let shape = (lanes, rows_of_lane, length);
        let mut network = TrainingNetwork::new(architecture, threads);
        network.load(&parameters);
        let (mut trained, mut evaluated) = (0.0, 0.0);
        let steps = stream_lanes(&*representation, &pieces, &rows, shape, StreamPurpose::Training);
        let evaluation = stream_lanes(&*representation, &pieces, &rows, shape, StreamPurpose::Evaluation);
        let mut gradient = vec![0.0; architecture.len()];
        for (step, evaluation) in steps.iter().zip(&evaluation) {
            // In turns: neither disturbs the other's states.
            let sums = network.gradient(step, &Dropout { rate: 0.0, ..no_dropout() }, &mut gradient);
            trained += sums.iter().map(|sums| sums.loss).sum::<f64>();
            let log_probs = network.predict(evaluation);
            let mut log_probs = log_probs.chunks_exact(79);
            evaluated +=
                evaluation.iter().map(|lane| score_predictions(&mut log_probs, lane).loss).sum::<f64>();
        }
        assert!((trained - expected).abs() < 1e-3, "{trained} {expected}");
        assert!((evaluated - expected).abs() < 1e-3, "{evaluated} {expected}");
    }
}

fn no_dropout() -> Dropout {
    Dropout { rate: 0.0, input_rate: 0.0, seed: 0, step: 0, member: 0 }
}

/// A window that is long enough for all has the gradient of its loss, which finite differences show.
#[test]
fn the_gradient_of_streams_flows_through_time_but_not_through_resets() {
    let architecture =
        Architecture { shape: Pitch::shape_of(79, true), layers: 2, units: 5, dense: 4, members: 1 };
    let representation = Pitch::with_tokens(79, true);
    let pieces = random_pieces(&[6, 3, 7, 4], 8);
    let rows = StreamRows::whole(&pieces, false, 2, 30);
    let steps = stream_lanes(&representation, &pieces, &rows, (1, 2, 30), StreamPurpose::Training);
    assert_eq!(steps.len(), 1);
    let parameters: Vec<f32> = initial_parameters(architecture, 4).iter().map(|x| 3.0 * x).collect();
    let mut gradient = vec![0.0; architecture.len()];
    let mut network = TrainingNetwork::new(architecture, 1);
    let mut loss = |parameters: &[f32], gradient: &mut [f32]| {
        network.load(parameters);
        network.gradient(&steps[0], &no_dropout(), gradient)[0].loss
    };
    loss(&parameters, &mut gradient);
    let mut scratch = gradient.clone();
    let largest = gradient.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    // In the direction of the gradient of each tensor the loss changes by its square, as far as f32 shows it.
    for parameter in architecture.parameters() {
        let range = parameter.range();
        let norm = gradient[range.clone()].iter().map(|x| x * x).sum::<f32>().sqrt();
        let mut moved = [1.0f32, -1.0].map(|sign| {
            let mut moved = parameters.clone();
            for index in range.clone() {
                moved[index] += sign * 3e-3 * gradient[index] / norm;
            }
            moved
        });
        let [up, down] = &mut moved;
        let slope = (loss(up, &mut scratch) - loss(down, &mut scratch)) / 6e-3;
        assert!(
            (slope - f64::from(norm)).abs() < 3e-3 * f64::from(norm.max(largest)),
            "{parameter:?}: {slope} {norm}"
        );
    }
}

/// However lanes are shared out, gradient and states have the same bits; and states that were taken out and put back
/// continue as if nothing had happened.
#[test]
fn streams_have_the_same_bits_however_lanes_are_shared() {
    let architecture =
        Architecture { shape: Pitch::shape_of(79, true), layers: 2, units: 21, dense: 8, members: 1 };
    let representation = Pitch::with_tokens(79, true);
    let pieces = random_pieces(&[31, 8, 19, 40, 3, 12], 5);
    let rows = StreamRows::cut(&pieces, 0..pieces.len(), false, 8, 6);
    let steps = stream_lanes(&representation, &pieces, &rows, (4, 2, 6), StreamPurpose::Training);
    let parameters = initial_parameters(architecture, 9);
    let dropout = Dropout { rate: 0.3, input_rate: 0.2, seed: 5, step: 3, member: 0 };
    let run = |share: usize, threads: usize| {
        let mut all = Vec::new();
        let mut ranks: Vec<NativeBackend> =
            (0..4 / share).map(|_| NativeBackend::new(architecture, threads)).collect();
        for step in &steps {
            let mut tree = TreeSum::default();
            for (rank, lanes) in ranks.iter_mut().zip(step.chunks(share)) {
                let mean_square = vec![0.0; parameters.len()];
                rank.set_state(TrainingState { parameters: parameters.clone(), mean_square }).unwrap();
                rank.load_weights(&WeightDrop::default()).unwrap();
                let batch = StepBatch { step: 0, lanes: vec![lanes.to_vec()], dropout, audits: Vec::new() };
                let given = Given(batch);
                rank.load_batch(0, &given).unwrap();
                rank.gradient(&given).unwrap();
                tree.push(rank.gradient_sum().to_vec());
                // As a checkpoint does.
                let carried = rank.carried().unwrap();
                *rank = NativeBackend::new(architecture, threads);
                rank.set_carried(lanes.len(), &carried).unwrap();
                assert_eq!(bits(&rank.carried().unwrap()), bits(&carried));
            }
            let carried: Vec<f32> = ranks.iter().flat_map(|rank| rank.carried().unwrap()).collect();
            all.push((bits(&tree.finish()), bits(&carried)));
        }
        all
    };
    let alone = run(4, 1);
    // The last window of the epoch leaves rows at their end, and nothing of them is read again.
    assert_eq!(alone.len(), 3);
    assert!(alone[..2].iter().all(|(_, carried)| carried.iter().any(|&bits| bits != 0)));
    for (share, threads) in [(4, 2), (2, 1), (1, 1)] {
        assert_eq!(run(share, threads), alone, "{share} lanes a rank, {threads} threads");
    }
}
