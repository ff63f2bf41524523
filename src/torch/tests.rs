//! The backend by libtorch on a CPU: against the native one, and against itself on other ranks and threads.

#[path = "../portable/backend/tests/lanes.rs"]
mod lanes;

use bachdist_portable::schedule::Sequences;
use std::path::Path;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use bachdist_portable::backend::{BackendName, TrainingState};
use bachdist_portable::config::{Config, LossPositions};
use bachdist_portable::lanes::LaneAssignment;
use bachdist_portable::network::training::TrainingNetwork;
use bachdist_portable::network::{Role, initial_parameters};
use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::representation::RepresentationConfig;
use bachdist_portable::representation::pitch::PitchOptions;
use bachdist_portable::representation::voices::VoicesOptions;
use proptest::prelude::*;

use super::*;
use crate::backend::Target;
use crate::comm::{Communicator, SingleProcess};
use crate::stop::StopRequest;
use crate::train::plan::Plan;
use crate::train::step::{Outcome, Trainer};
use lanes::{architectures, lanes, loss_positions};

/// Ranks that are threads of this process.
struct Threads<'a> {
    rank: usize,
    size: usize,
    barrier: &'a Barrier,
    /// What every rank sends.
    sent: &'a Mutex<Vec<Vec<u64>>>,
}

impl Threads<'_> {
    /// What all ranks send.
    fn exchange(&self, send: Vec<u64>) -> Vec<Vec<u64>> {
        self.sent.lock().unwrap()[self.rank] = send;
        self.barrier.wait();
        let all = self.sent.lock().unwrap().clone();
        self.barrier.wait();
        all
    }
}

fn words(numbers: &[f32]) -> Vec<u64> {
    numbers.iter().map(|x| u64::from(x.to_bits())).collect()
}

fn fill<'a>(receive: &mut [f32], words: impl Iterator<Item = &'a u64>) {
    receive.iter_mut().zip(words).for_each(|(x, &word)| *x = f32::from_bits(word as u32));
}

impl Communicator for Threads<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn local_rank(&self) -> usize {
        self.rank
    }

    fn local_size(&self) -> usize {
        self.size
    }

    fn hosts(&self) -> Vec<String> {
        vec![SingleProcess.host(); self.size]
    }

    fn set_collective_timeout(&self, _timeout: Duration) {}

    fn all_to_all(&self, send: &[f32], receive: &mut [f32]) {
        let slice = send.len() / self.size;
        let all = self.exchange(words(send));
        fill(receive, all.iter().flat_map(|sent| &sent[self.rank * slice..][..slice]));
    }

    fn all_gather(&self, send: &[f32], receive: &mut [f32]) {
        fill(receive, self.exchange(words(send)).iter().flatten());
    }

    fn all_gather_words(&self, send: &[u64], receive: &mut [u64]) {
        receive.copy_from_slice(&self.exchange(send.to_vec()).concat());
    }

    fn broadcast(&self, _bytes: &mut Vec<u8>) {
        unreachable!("no step does")
    }

    fn abort(&self, code: i32) -> ! {
        panic!("ended with {code}")
    }
}

fn config(lanes: usize) -> Config {
    let mut config = Config::default();
    config.data.sequence_length = 6;
    config.model = bachdist_portable::config::ModelConfig {
        layers: 2,
        units: 24,
        dense: 17,
        weight_drop: 0.2,
        input_dropout: 0.1,
        ensemble_size: 2,
        ..config.model
    };
    let options = PitchOptions { intervals: true, ..PitchOptions::default() };
    config.representation = RepresentationConfig::Pitch(options);
    config.optimizer.clip_norm = Some(0.5);
    config.train.batch_size = 37;
    config.train.lanes = lanes;
    config.train.device = "cpu".into();
    config
}

/// Chorales, read whole; in the second epoch, after five steps, every row begins anew.
fn streams(lanes: usize) -> Config {
    let mut config = config(lanes);
    config.data.midi = "embedded:chorales".into();
    config.data.max_notes = 40;
    config.representation = RepresentationConfig::Voices(VoicesOptions::default());
    config.train.carry_state = true;
    config.train.loss_positions = LossPositions::All;
    config.train.window_length = Some(3);
    // No padding: what its rows carry is nothing that the backends would have to agree in.
    config.train.batch_size = 24;
    config
}

const TORCH: Target = Target { backend: BackendName::Torch, device: bachdist_portable::backend::Device::Cpu };
const NATIVE: Target =
    Target { backend: BackendName::Native, device: bachdist_portable::backend::Device::Cpu };

/// What some steps come to on this rank, by a backend with this many threads.
fn train(
    comm: &dyn Communicator,
    config: &Config,
    target: Target,
    threads: usize,
) -> (TrainingState, Vec<f32>, Vec<Outcome>) {
    let plan = Plan::prepare(&SingleProcess, Path::new("tiny"), config.clone()).unwrap();
    let assignment = LaneAssignment::new(config.train.lanes, comm.size()).unwrap();
    let mut backend = target.backend(plan.architecture, threads).unwrap();
    let parameters = initial_parameters(plan.architecture, config.train.seed);
    let mean_square = vec![0.0; parameters.len()];
    backend.set_state(TrainingState { parameters: parameters.clone(), mean_square }).unwrap();
    let mut trainer = Trainer::new(comm, config, &plan.training.pieces, assignment, backend);
    let mut outcomes = Vec::new();
    for step in 0..5 {
        outcomes.push(trainer.step(step, StopRequest::empty(), &mut ()).unwrap());
        // A validation between two steps takes other weights and batches.
        trainer.load_all_weights().unwrap();
        let batch = trainer.batches().batch(step);
        trainer
            .evaluate(&Sequences::of_validation(config, &plan.training.pieces), &batch, StopRequest::empty())
            .unwrap();
    }
    let state = trainer.state().unwrap();
    assert_ne!(state.parameters, parameters);
    (state, trainer.gather_carried().unwrap(), outcomes)
}

fn largest(x: impl Iterator<Item = f32>) -> f32 {
    x.map(f32::abs).fold(0.0, f32::max)
}

#[test]
fn both_backends_agree() {
    for (lanes, config) in [(1, config(1)), (8, config(8)), (1, streams(1)), (8, streams(8))] {
        let (ours, carried, outcomes) = train(&SingleProcess, &config, TORCH, 1);
        let (theirs, carried_by_native, expected) = train(&SingleProcess, &config, NATIVE, 1);
        assert_eq!(carried.len(), carried_by_native.len());
        assert_eq!(carried.is_empty(), !config.train.carry_state);
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            let (Outcome::Updated { sums: a, audit, .. }, Outcome::Updated { sums: b, audit: of_native, .. }) =
                (outcome, expected)
            else {
                panic!("{outcome:?} {expected:?}");
            };
            assert_eq!((a.predictions, a.correct, audit), (b.predictions, b.correct, of_native));
            assert!((a.loss - b.loss).abs() <= 1e-5 * b.loss, "{lanes} lanes: {} {}", a.loss, b.loss);
        }
        // RMSprop makes steps of one size of all gradients, so small ones show what little they differ by.
        let parts = [
            (&ours.parameters, &theirs.parameters, 1e-3),
            (&ours.mean_square, &theirs.mean_square, 1e-4),
            (&carried, &carried_by_native, 1e-3),
        ];
        for (ours, theirs, tolerance) in parts {
            let apart = largest(ours.iter().zip(theirs).map(|(a, b)| a - b));
            assert!(apart <= tolerance * largest(theirs.iter().copied()), "{lanes} lanes: {apart}");
        }
    }
}

#[test]
fn the_same_bits_on_any_number_of_ranks_and_threads() {
    for config in [config(8), streams(8)] {
        same_bits(&config);
    }
}

fn same_bits(config: &Config) {
    let alone = train(&SingleProcess, config, TORCH, 1);
    assert!(train(&SingleProcess, config, TORCH, 3) == alone, "3 threads");
    for size in [1, 2, 3, 8] {
        let (barrier, sent) = (Barrier::new(size), Mutex::new(vec![Vec::new(); size]));
        let all: Vec<_> = thread::scope(|scope| {
            let rank = |rank| {
                let (barrier, sent) = (&barrier, &sent);
                scope
                    .spawn(move || train(&Threads { rank, size, barrier, sent }, config, TORCH, 1 + rank % 2))
            };
            let ranks: Vec<_> = (0..size).map(rank).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        for (state, carried, outcomes) in all {
            assert_eq!(outcomes, alone.2, "{size} ranks");
            assert!(state == alone.0 && carried == alone.1, "{size} ranks");
        }
    }
}

#[test]
fn what_is_not_finite_never_reaches_the_weights() {
    let config = config(2);
    let plan = Plan::prepare(&SingleProcess, Path::new("tiny"), config.clone()).unwrap();
    let architecture = plan.architecture;
    let mut parameters = initial_parameters(architecture, 1);
    // The last layer sees numbers so large that its gradient overflows, and makes nothing of them.
    for parameter in architecture.parameters() {
        match (parameter.member, parameter.role) {
            (1, Role::DenseBias) => parameters[parameter.range()].fill(2e38),
            (1, Role::ScoreKernel) => parameters[parameter.range()].fill(0.0),
            _ => (),
        }
    }
    for target in [TORCH, NATIVE] {
        let mut backend = target.backend(architecture, 1).unwrap();
        let mean_square = vec![0.0; parameters.len()];
        backend.set_state(TrainingState { parameters: parameters.clone(), mean_square }).unwrap();
        let assignment = LaneAssignment::new(2, 1).unwrap();
        let mut trainer = Trainer::new(&SingleProcess, &config, &plan.training.pieces, assignment, backend);
        assert_eq!(
            trainer.step(0, StopRequest::empty(), &mut ()).unwrap(),
            Outcome::NonFinite { lane: None }
        );
        assert_eq!(trainer.state().unwrap().parameters, parameters);
    }
}

#[test]
fn an_update_is_that_of_the_host() {
    let stream = RandomStream::new(3, Purpose::Sampling, &[]);
    for clip_norm in [None, Some(2.0), Some(1e6)] {
        let settings = OptimizerConfig { clip_norm, warmup_steps: 2, ..OptimizerConfig::default() };
        let mut host = (vec![0.5f32; 60], vec![0.0f32; 60]);
        let mut device = (Tensor::from_slice(&host.0), Tensor::from_slice(&host.1));
        for step in 0..4 {
            let gradient: Vec<f32> = (0..60).map(|i| stream.normal(60 * step + i) as f32).collect();
            let mut on_device = Tensor::from_slice(&gradient);
            let state = (&mut host.0[..], &mut host.1[..]);
            bachdist_portable::optimizer::update(&settings, step, 20, state, &mut gradient.clone());
            update(&settings, step, 20, (&mut device.0, &mut device.1), &mut on_device).unwrap();
        }
        for (host, device) in [(&host.0, &device.0), (&host.1, &device.1)] {
            let device = Vec::<f32>::try_from(device).unwrap();
            for (a, b) in host.iter().zip(device) {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1e-3), "{clip_norm:?}: {a} {b}");
            }
        }
    }
}

/// Units from which on each parameter's gradient is compared with its own largest number.
const WIDE: usize = 16;

/// How far two gradients may be apart, as a share of the largest number.
const TOLERANCE: f32 = 1e-5;

/// Gradient, and loss and predictions of each lane, of one member.
fn gradient_by_torch(
    architecture: Architecture,
    parameters: &[f32],
    lanes: &[LaneBatch],
    dropout: &Dropout,
) -> (Vec<f32>, Vec<EpochSums>) {
    struct Given(StepBatch);
    impl BatchSource for Given {
        fn batch(&self, _step: u64) -> StepBatch {
            self.0.clone()
        }
    }
    let dropout = Dropout { member: 0, ..*dropout };
    let given = Given(StepBatch { step: 0, lanes: vec![lanes.to_vec()], dropout, audits: Vec::new() });
    let mut backend = TorchBackend::new(architecture, Device::Cpu, 2).unwrap();
    let mean_square = vec![0.0; parameters.len()];
    backend.set_state(TrainingState { parameters: parameters.to_vec(), mean_square }).unwrap();
    backend.load_weights(&WeightDrop::default()).unwrap();
    backend.load_batch(0, &given).unwrap();
    let sums = backend.gradient(&given).unwrap();
    (Vec::try_from(&backend.gradient.unwrap().0).unwrap(), sums)
}

proptest! {
    #![proptest_config(bachdist_test_support::properties(24))]

    #[test]
    fn gradients_agree_on_any_architecture(
        architecture in architectures(), notes in 1usize..12, rows in 1usize..10, missing in 0usize..20,
        positions in loss_positions(), rate in prop_oneof![Just(0.0), 0.1f64..0.9], seed in 0u64..1000,
    ) {
        let Architecture { units, dense, .. } = architecture;
        let parameters = initial_parameters(architecture, seed);
        let lanes = lanes(architecture, 4, rows, notes, positions, missing, seed);
        let dropout = Dropout { rate, input_rate: rate / 2.0, seed, step: 3, member: 0 };
        let mut native = TrainingNetwork::new(architecture, 2);
        native.load(&parameters);
        let mut ours = vec![0.0; architecture.len()];
        let sums = native.gradient(&lanes, &dropout, &mut ours);
        let (oracle, expected) = gradient_by_torch(architecture, &parameters, &lanes, &dropout);
        for (a, b) in sums.iter().zip(&expected) {
            prop_assert_eq!(a.predictions, b.predictions);
            prop_assert!((a.loss - b.loss).abs() <= 1e-5 * b.loss.abs(), "{} {}", a.loss, b.loss);
        }
        for parameter in architecture.parameters() {
            let (a, b) = (&ours[parameter.range()], &oracle[parameter.range()]);
            let apart = largest(a.iter().zip(b).map(|(a, b)| a - b));
            // In layers of a few units all numbers of one parameter may cancel to next to nothing.
            let of = if units.min(dense) < WIDE { &oracle[..] } else { b };
            prop_assert!(apart <= TOLERANCE * largest(of.iter().copied()), "{parameter:?}: {apart}");
        }
    }
}
