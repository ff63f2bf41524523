//! The plain-Rust network gives libtorch's probabilities to 1e-5.
//!
//! Gates are driven into saturation by biases and by the first layer's kernel, not by recurrent kernels: with
//! large ones an LSTM is chaotic, and any two orders of summing part ways within a window (f64 parts from both).

use bachdist_portable::network::inference::InferenceNetwork;
use bachdist_portable::network::{Architecture, Role, initial_parameters};
use bachdist_portable::representation::pitch::Pitch;
use proptest::prelude::*;

use super::case::log_probs;
use super::{floats, lane, pitch, random_windows, stream};

/// Scales of normal weights. A matrix's is divided by the root of how many inputs it sums.
#[derive(Debug, Clone, Copy)]
struct Scales {
    /// The first layer's kernel, of which a note picks one column.
    classes: f64,
    /// The other kernels of LSTM layers.
    units: f64,
    /// Biases of LSTM layers.
    bias: f64,
    /// Kernels and biases of the dense layers.
    dense: f64,
}

fn random_parameters(architecture: Architecture, scales: Scales, seed: u64) -> Vec<f32> {
    let scale = |role: Role, shape: &[usize]| match role {
        Role::InputKernel { layer: 0 } => scales.classes,
        Role::InputKernel { .. } | Role::RecurrentKernel { .. } => scales.units / (shape[1] as f64).sqrt(),
        Role::GateBias { .. } => scales.bias,
        Role::DenseKernel | Role::ScoreKernel => scales.dense / (shape[1] as f64).sqrt(),
        Role::DenseBias | Role::ScoreBias => scales.dense,
    };
    let parameters = architecture.parameters();
    let values = parameters.iter().flat_map(|parameter| {
        let scale = scale(parameter.role, &parameter.shape);
        parameter.range().map(move |index| (scale * stream(seed).normal(index as u64)) as f32)
    });
    values.collect()
}

/// The largest difference between the two networks' probabilities, over all windows and classes.
fn difference(architecture: Architecture, parameters: &[f32], windows: &[(Vec<u16>, u16)]) -> f32 {
    let lane = lane(architecture, 0, windows.len().next_multiple_of(8), windows);
    let theirs = floats(&log_probs(architecture, parameters, &lane, None).exp());

    let network = InferenceNetwork::new(pitch(architecture), architecture, parameters);
    let mut states = network.states(windows.len());
    for time in 0..lane.sequence_length {
        network.advance(&mut states, &windows.iter().map(|(input, _)| input[time]).collect::<Vec<_>>());
    }
    let ours = (0..windows.len()).flat_map(|row| network.probabilities(&states, row));

    // f32::max would pass over a NaN.
    ours.zip(theirs).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap()
}

prop_compose! {
    fn architectures()(
        classes in prop_oneof![Just(79usize), 1usize..128],
        intervals: bool,
        layers in 1usize..5,
        units in 1usize..41,
        dense in 1usize..31,
    ) -> Architecture {
        Architecture { shape: Pitch::shape_of(classes, intervals), layers, units, dense, members: 1 }
    }
}

prop_compose! {
    fn scales()(
        classes in prop::sample::select(vec![0.1, 1.0, 30.0]),
        units in prop::sample::select(vec![0.1, 1.0, 2.0]),
        bias in prop::sample::select(vec![0.0, 1.0, 30.0]),
        dense in prop::sample::select(vec![0.1, 1.0, 3.0]),
    ) -> Scales {
        Scales { classes, units, bias, dense }
    }
}

proptest! {
    #![proptest_config(bachdist_test_support::properties(200))]

    #[test]
    #[ignore = "slow"]
    fn agrees_on_any_network(
        architecture in architectures(),
        scales in scales(),
        sequence_length in 1usize..26,
        count in 1usize..20,
        seed: u64,
    ) {
        let parameters = random_parameters(architecture, scales, seed);
        let windows = random_windows(architecture, sequence_length, count, seed ^ 1);
        let difference = difference(architecture, &parameters, &windows);
        prop_assert!(difference <= 1e-5, "{difference}");
    }
}

#[test]
fn agrees_on_the_articles_network() {
    let architecture =
        Architecture { shape: Pitch::shape_of(79, false), layers: 3, units: 256, dense: 256, members: 1 };
    let windows = random_windows(architecture, 20, 8, 2);
    let fresh = initial_parameters(architecture, 1);
    let scales = Scales { classes: 1.0, units: 2.0, bias: 1.0, dense: 3.0 };
    for parameters in [fresh, random_parameters(architecture, scales, 1)] {
        let difference = difference(architecture, &parameters, &windows);
        assert!(difference <= 1e-5, "{difference}");
    }
}
