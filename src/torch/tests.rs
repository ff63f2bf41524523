//! The backend by libtorch on a CPU: against the native one, and against itself on other ranks and threads.

use bachdist_portable::representation::pitch::Pitch;
use std::path::Path;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use bachdist_portable::backend::{BackendName, TrainingState};
use bachdist_portable::config::{Config, LossPositions};
use bachdist_portable::network::training::TrainingNetwork;
use bachdist_portable::network::{Role, init};
use bachdist_portable::random::{Purpose, Stream};
use bachdist_portable::representation::pitch::PitchOptions;
use bachdist_portable::representation::{RepresentationConfig, Token};
use proptest::prelude::*;

use super::*;
use crate::backend::Target;
use crate::comm::{Communicator, SingleProcess};
use crate::stop::StopRequest;
use crate::train::plan::Plan;
use crate::train::step::{Outcome, Trainer};
use bachdist_portable::lanes::LaneAssignment;

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

    fn host(&self) -> String {
        SingleProcess.host()
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

const TORCH: Target = Target { backend: BackendName::Torch, device: bachdist_portable::backend::Device::Cpu };
const NATIVE: Target =
    Target { backend: BackendName::Native, device: bachdist_portable::backend::Device::Cpu };

/// What some steps come to on this rank, by a backend with this many threads.
fn train(
    comm: &dyn Communicator,
    config: &Config,
    target: Target,
    threads: usize,
) -> (TrainingState, Vec<Outcome>) {
    let plan = Plan::prepare(&SingleProcess, Path::new("tiny"), config.clone()).unwrap();
    let assignment = LaneAssignment::new(config.train.lanes, comm.size()).unwrap();
    let mut backend = target.backend(plan.architecture, threads).unwrap();
    let parameters = init::parameters(plan.architecture, config.train.seed);
    let mean_square = vec![0.0; parameters.len()];
    backend.set_state(TrainingState { parameters: parameters.clone(), mean_square }).unwrap();
    let mut trainer = Trainer::new(comm, config, plan.windows(), assignment, backend);
    let mut outcomes = Vec::new();
    for step in 0..5 {
        outcomes.push(trainer.step(step, StopRequest::empty(), &mut ()).unwrap());
        // A validation between two steps takes other weights and batches.
        trainer.load_all_weights().unwrap();
        let batch = trainer.batches().batch(step);
        trainer.evaluate(&plan.windows(), &batch, StopRequest::empty()).unwrap();
    }
    let state = trainer.state().unwrap();
    assert_ne!(state.parameters, parameters);
    (state, outcomes)
}

fn largest(x: impl Iterator<Item = f32>) -> f32 {
    x.map(f32::abs).fold(0.0, f32::max)
}

#[test]
fn both_backends_agree() {
    for lanes in [1, 8] {
        let (ours, outcomes) = train(&SingleProcess, &config(lanes), TORCH, 1);
        let (theirs, expected) = train(&SingleProcess, &config(lanes), NATIVE, 1);
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            let (Outcome::Updated { sums: a, seen, .. }, Outcome::Updated { sums: b, seen: of_native, .. }) =
                (outcome, expected)
            else {
                panic!("{outcome:?} {expected:?}");
            };
            assert_eq!((a.predictions, a.correct, seen), (b.predictions, b.correct, of_native));
            assert!((a.loss - b.loss).abs() <= 1e-5 * b.loss, "{lanes} lanes: {} {}", a.loss, b.loss);
        }
        // RMSprop makes steps of one size of all gradients, so small ones show what little they differ by.
        let parts =
            [(&ours.parameters, &theirs.parameters, 1e-3), (&ours.mean_square, &theirs.mean_square, 1e-4)];
        for (ours, theirs, tolerance) in parts {
            let apart = largest(ours.iter().zip(theirs).map(|(a, b)| a - b));
            assert!(apart <= tolerance * largest(theirs.iter().copied()), "{lanes} lanes: {apart}");
        }
    }
}

#[test]
fn the_same_bits_on_any_number_of_ranks_and_threads() {
    let config = config(8);
    let alone = train(&SingleProcess, &config, TORCH, 1);
    assert!(train(&SingleProcess, &config, TORCH, 3) == alone, "3 threads");
    for size in [1, 2, 3, 8] {
        let (barrier, sent) = (Barrier::new(size), Mutex::new(vec![Vec::new(); size]));
        let all: Vec<_> = thread::scope(|scope| {
            let rank = |rank| {
                let (barrier, sent, config) = (&barrier, &sent, &config);
                scope
                    .spawn(move || train(&Threads { rank, size, barrier, sent }, config, TORCH, 1 + rank % 2))
            };
            let ranks: Vec<_> = (0..size).map(rank).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        for (state, outcomes) in all {
            assert_eq!(outcomes, alone.1, "{size} ranks");
            assert!(state == alone.0, "{size} ranks");
        }
    }
}

#[test]
fn what_is_not_finite_never_reaches_the_weights() {
    let config = config(2);
    let plan = Plan::prepare(&SingleProcess, Path::new("tiny"), config.clone()).unwrap();
    let architecture = plan.architecture;
    let mut parameters = init::parameters(architecture, 1);
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
        let mut trainer = Trainer::new(&SingleProcess, &config, plan.windows(), assignment, backend);
        assert_eq!(
            trainer.step(0, StopRequest::empty(), &mut ()).unwrap(),
            Outcome::NonFinite { lane: None }
        );
        assert_eq!(trainer.state().unwrap().parameters, parameters);
    }
}

/// Lanes of random windows; the last windows are missing, as in a ragged batch.
fn lanes(
    architecture: Architecture,
    count: usize,
    rows: usize,
    notes: usize,
    objective: LossPositions,
    missing: usize,
    seed: u64,
) -> Vec<LaneBatch> {
    let stream = Stream::new(seed, Purpose::Sampling, &[]);
    let class = |index: usize| (stream.uniform(index as u64) * 79.0) as Token;
    let notes_of: Vec<Vec<Token>> = (0..count * rows)
        .map(|row| (0..=notes).map(|note| class(row * (notes + 1) + note)).collect())
        .collect();
    let windows: Vec<&[Token]> = notes_of.iter().map(Vec::as_slice).collect();
    let features = Pitch::with_tokens(79, architecture.shape.relations > 0);
    let present = windows.len() - missing.min(windows.len() - 1);
    (0..count)
        .map(|lane| {
            let range = (lane * rows).min(present)..((lane + 1) * rows).min(present);
            LaneBatch::new(&features, lane * rows, rows + missing % 3, notes, objective, &windows[range])
        })
        .collect()
}

prop_compose! {
    /// Any width that the configuration allows, small enough to be quick.
    fn architectures()(
        intervals: bool, layers in 1usize..4, units in 1usize..70, dense in 1usize..50,
    ) -> Architecture {
        Architecture { shape: Pitch::shape_of(79, intervals), layers, units, dense, members: 1 }
    }
}

fn objectives() -> impl Strategy<Value = LossPositions> {
    prop::sample::select(vec![LossPositions::Last, LossPositions::All])
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
        objective in objectives(), rate in prop_oneof![Just(0.0), 0.1f64..0.9], seed in 0u64..1000,
    ) {
        let Architecture { units, dense, .. } = architecture;
        let parameters = init::parameters(architecture, seed);
        let lanes = lanes(architecture, 4, rows, notes, objective, missing, seed);
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
