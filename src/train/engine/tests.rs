//! The engine of a GPU on libtorch's CPU device: against the host's, and against itself on other ranks.

use std::path::Path;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use bachdist_core::config::Config;
use tch::Device;

use super::State;
use crate::comm::Communicator;
use crate::comm::SingleProcess;
use crate::model::{Member, Model};
use crate::stop::StopRequest;
use crate::torch::network as autograd;
use crate::train::plan::Plan;
use crate::train::step::{Outcome, Trainer};
use bachdist_core::lanes::LaneAssignment;
use bachdist_core::network::init;

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
    config.model = bachdist_core::config::ModelConfig {
        layers: 2,
        units: 24,
        dense: 17,
        weight_drop: 0.2,
        input_dropout: 0.1,
        intervals: true,
        ensemble_size: 2,
        ..config.model
    };
    config.optimizer.clip_norm = Some(0.5);
    config.train.batch_size = 37;
    config.train.lanes = lanes;
    config.train.device = "cpu".into();
    config
}

/// What some steps come to on this rank, by the engine of a GPU or by that of the host.
fn train(comm: &dyn Communicator, config: &Config, on_device: bool) -> (State, Vec<Outcome>) {
    let plan = Plan::prepare(&SingleProcess, Path::new("tiny"), config.clone()).unwrap();
    let assignment = LaneAssignment::new(config.train.lanes, comm.size()).unwrap();
    let architecture = plan.architecture;
    let member = |_| autograd::Network::new(architecture.member(), Device::Cpu).map(Member::Autograd);
    let model = match on_device {
        true => {
            let members = (0..architecture.members).map(member).collect::<anyhow::Result<_>>().unwrap();
            Model::of(members, architecture.classes)
        }
        false => Model::new(architecture, Device::Cpu).unwrap(),
    };
    let parameters = init::parameters(architecture, config.train.seed);
    let state = (parameters.clone(), vec![0.0; parameters.len()]);
    let mut trainer = Trainer::new(comm, config, plan.windows(), assignment, model, state).unwrap();
    let mut outcomes = Vec::new();
    for step in 0..5 {
        outcomes.push(trainer.step(step, StopRequest::empty()).unwrap());
        // A validation between two steps takes other weights and batches.
        trainer.load_all_weights().unwrap();
        let batch = trainer.batches().batch(step);
        trainer.evaluate(&plan.windows(), &batch, StopRequest::empty()).unwrap();
    }
    let state = trainer.state().unwrap();
    assert_ne!(state.0, parameters);
    (state, outcomes)
}

fn largest(x: impl Iterator<Item = f32>) -> f32 {
    x.map(f32::abs).fold(0.0, f32::max)
}

#[test]
fn a_gpus_engine_does_what_the_hosts_does() {
    for lanes in [1, 8] {
        let (ours, outcomes) = train(&SingleProcess, &config(lanes), true);
        let (theirs, expected) = train(&SingleProcess, &config(lanes), false);
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            let (Outcome::Updated { sums: a, seen, .. }, Outcome::Updated { sums: b, seen: of_host, .. }) =
                (outcome, expected)
            else {
                panic!("{outcome:?} {expected:?}");
            };
            assert_eq!((a.predictions, a.correct, seen), (b.predictions, b.correct, of_host));
            assert!((a.loss - b.loss).abs() <= 1e-5 * b.loss, "{lanes} lanes: {} {}", a.loss, b.loss);
        }
        // RMSprop makes steps of one size of all gradients, so small ones show what little they differ by.
        for (ours, theirs, tolerance) in [(&ours.0, &theirs.0, 1e-3), (&ours.1, &theirs.1, 1e-4)] {
            let apart = largest(ours.iter().zip(theirs).map(|(a, b)| a - b));
            assert!(apart <= tolerance * largest(theirs.iter().copied()), "{lanes} lanes: {apart}");
        }
    }
}

#[test]
fn a_gpus_engine_has_the_same_bits_on_any_number_of_ranks() {
    let config = config(4);
    let alone = train(&SingleProcess, &config, true);
    for size in [1, 2, 3, 4] {
        let (barrier, sent) = (Barrier::new(size), Mutex::new(vec![Vec::new(); size]));
        let all: Vec<_> = thread::scope(|scope| {
            let rank = |rank| {
                let (barrier, sent, config) = (&barrier, &sent, &config);
                scope.spawn(move || train(&Threads { rank, size, barrier, sent }, config, true))
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
fn what_is_not_finite_never_reaches_the_weights_on_a_gpu() {
    let config = config(2);
    let plan = Plan::prepare(&SingleProcess, Path::new("tiny"), config.clone()).unwrap();
    let architecture = plan.architecture;
    let network = || autograd::Network::new(architecture.member(), Device::Cpu).map(Member::Autograd);
    let model = Model::of(vec![network().unwrap(), network().unwrap()], architecture.classes);
    let mut parameters = init::parameters(architecture, 1);
    // The last layer sees numbers so large that its gradient overflows, and makes nothing of them.
    for parameter in architecture.parameters() {
        match &parameter.name[..] {
            "member1.dense1.bias" => parameters[parameter.range()].fill(2e38),
            "member1.dense2.weight" => parameters[parameter.range()].fill(0.0),
            _ => (),
        }
    }
    let state = (parameters.clone(), vec![0.0; parameters.len()]);
    let assignment = LaneAssignment::new(2, 1).unwrap();
    let mut trainer =
        Trainer::new(&SingleProcess, &config, plan.windows(), assignment, model, state).unwrap();
    assert_eq!(trainer.step(0, StopRequest::empty()).unwrap(), Outcome::NonFinite { lane: None });
    assert_eq!(trainer.state().unwrap().0, parameters);
}
