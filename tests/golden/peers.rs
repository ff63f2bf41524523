//! Forward, loss, gradients and RMSprop as PyTorch has them, forward also as Keras has it.

use bachdist_portable::config::{LossPositions, OptimizerConfig};
use bachdist_portable::network::batch::LaneBatch;
use bachdist_portable::network::inference::InferenceNetwork;
use bachdist_portable::optimizer::rmsprop;

use super::case::Case;
use super::{floats, lane, pitch, window};

const CASES: [&str; 3] = ["one-layer", "stacked", "dropout"];

/// max|a − b| ≤ 1e-5·max|b|, b being the other's.
pub fn agree(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0f32, |largest, b| largest.max(b.abs()));
    assert!(largest > 0.0 && largest.is_finite(), "{what}: nothing to compare with");
    for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
        // Written so that a NaN fails.
        assert!(
            (a - b).abs() <= 1e-5 * largest,
            "{what}: at {index} ours {a}, theirs {b}, largest {largest}"
        );
    }
}

#[test]
fn forward_agrees_with_pytorch() {
    for name in CASES {
        let case = Case::open(name);
        let windows = case.windows();
        let (dropout, first_row) = case.dropout();
        // With and without the padding that training adds.
        for rows in [windows.len(), windows.len().next_multiple_of(8)] {
            let lane = lane(case.architecture(), first_row, rows, &windows);
            let ours = case.log_probs(&lane, Some(&dropout));
            let ours = floats(&ours.narrow(0, 0, windows.len() as i64));
            agree(&format!("{name}: log probabilities"), &ours, &case.floats("log_probabilities"));
        }
    }
}

#[test]
fn loss_and_gradients_agree_with_pytorch() {
    for name in CASES {
        let case = Case::open(name);
        let windows = case.windows();
        let (dropout, first_row) = case.dropout();
        for rows in [windows.len(), windows.len().next_multiple_of(8)] {
            let lanes = [lane(case.architecture(), first_row, rows, &windows)];
            for (way, gradient, sums) in case.gradients(&lanes, dropout) {
                let what = |part: &str| format!("{name}, {way}: {part}");
                agree(&what("loss"), &[sums[0].loss as f32], &case.floats("loss"));
                assert_eq!(
                    sums[0].correct as i64,
                    case.tensor("correct").int64_value(&[]),
                    "{}",
                    what("correct")
                );
                assert_eq!(sums[0].predictions, windows.len() as u64, "{}", what("predictions"));
                for parameter in case.architecture().parameters() {
                    let theirs = case.floats(&format!("gradient.{}", parameter.name()));
                    let what = what(&format!("gradient of {}", parameter.name()));
                    agree(&what, &gradient[parameter.range()], &theirs);
                }
            }
        }
    }
}

#[test]
fn intervals_and_a_loss_after_every_note_agree_with_pytorch() {
    let case = Case::open("intervals");
    let notes = case.windows();
    let windows: Vec<_> = notes.iter().map(|(input, target)| window(input, *target)).collect();
    let windows: Vec<_> = windows.iter().map(Vec::as_slice).collect();
    let lanes =
        [LaneBatch::new(&*pitch(case.architecture()), 0, 8, notes[0].0.len(), LossPositions::All, &windows)];
    let (dropout, _) = case.dropout();
    let theirs = case.floats("log_probabilities");
    let ours = floats(&case.log_probs(&lanes[0], None));
    // Rows are (T, 8), of which six are windows.
    let ours: Vec<f32> = ours.chunks(8 * 79).flat_map(|moment| &moment[..6 * 79]).copied().collect();
    agree("log probabilities", &ours, &theirs);
    for (way, gradient, sums) in case.gradients(&lanes, dropout) {
        agree(way, &[sums[0].loss as f32], &case.floats("loss"));
        assert_eq!(sums[0].correct as i64, case.tensor("correct").int64_value(&[]), "{way}");
        for parameter in case.architecture().parameters() {
            let theirs = case.floats(&format!("gradient.{}", parameter.name()));
            agree(&format!("{way}: gradient of {}", parameter.name()), &gradient[parameter.range()], &theirs);
        }
    }
    // Inference sees the last note of each window.
    let network = InferenceNetwork::new(pitch(case.architecture()), case.architecture(), &case.flat(""));
    let last = &theirs[theirs.len() - 6 * 79..];
    let ours: Vec<f32> = notes.iter().flat_map(|(input, _)| network.predict(input)).map(f32::ln).collect();
    agree("inference", &ours, last);
}

#[test]
fn evaluation_is_the_loss_without_dropout() {
    let case = Case::open("stacked");
    let lanes = [lane(case.architecture(), 0, 16, &case.windows())];
    for (way, mut backend) in case.backends() {
        let sums = backend.evaluate(&lanes).unwrap()[0];
        agree(way, &[sums.loss as f32], &case.floats("loss"));
        assert_eq!(sums.correct as i64, case.tensor("correct").int64_value(&[]), "{way}");
    }
}

#[test]
fn forward_agrees_with_keras() {
    for name in ["one-layer", "stacked"] {
        let case = Case::open(name);
        let theirs = case.floats("keras.probabilities");
        let windows = case.windows();
        let ours = case.log_probs(&lane(case.architecture(), 0, windows.len(), &windows), None);
        agree(&format!("{name}: libtorch"), &floats(&ours.exp()), &theirs);
        let network = InferenceNetwork::new(pitch(case.architecture()), case.architecture(), &case.flat(""));
        let ours: Vec<f32> = windows.iter().flat_map(|(input, _)| network.predict(input)).collect();
        agree(&format!("{name}: plain Rust"), &ours, &theirs);
    }
}

#[test]
fn rmsprop_agrees_with_pytorch() {
    let case = Case::open("rmsprop");
    let settings = OptimizerConfig::default();
    let mut parameters = case.floats("parameters");
    let mut mean_square = vec![0.0; parameters.len()];
    let after = case.rows("parameters_after").into_iter().zip(case.rows("mean_squares_after"));
    for (update, (gradient, (weights, means))) in case.rows("gradients").iter().zip(after).enumerate() {
        rmsprop(&settings, settings.learning_rate, &mut parameters, &mut mean_square, gradient);
        agree(&format!("weights after update {update}"), &parameters, &weights);
        agree(&format!("mean squares after update {update}"), &mean_square, &means);
    }
}
