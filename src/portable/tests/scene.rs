//! A small run in a store, made without training: three good checkpoints, and what recovery and verify say of
//! them once a test has damaged some.

use bachdist_portable::checkpoint::claim::{Retention, RunClaim};
use bachdist_portable::checkpoint::identity::{CheckpointFilter, RunIdentity};
use bachdist_portable::checkpoint::read::{
    CheckpointProblem, ObjectVerdict, Recovery, VerifiedObject, recover, verify,
};
use bachdist_portable::checkpoint::{Checkpoint, CheckpointName, TrainingCorpus};
use bachdist_portable::config::Config;
use bachdist_portable::corpus::Piece;
use bachdist_portable::network::Architecture;
use bachdist_portable::network::batch::EpochSums;
use bachdist_portable::schedule::{Batches, Sequences, WindowAudit};
use bachdist_portable::store::{Store, StoreError};

/// Keeps everything that a test saves.
pub const KEEP_ALL: Retention = Retention { keep: 100, keep_every_steps: None, best: None };

/// A small run's description; another seed makes another run.
pub fn config(seed: u64) -> Config {
    let mut config = Config::default();
    (config.model.layers, config.model.units, config.model.dense) = (1, 16, 16);
    config.data.sequence_length = 4;
    (config.train.batch_size, config.train.lanes, config.train.seed) = (8, 2, seed);
    config
}

/// Its music.
pub fn training() -> TrainingCorpus {
    let piece = |name: &str, notes: u16| Piece { name: name.into(), tokens: (10..10 + notes).collect() };
    TrainingCorpus::new([piece("a", 30), piece("b", 20)].into())
}

pub fn origin(seed: u64) -> RunIdentity {
    RunIdentity::new(&config(seed), &training())
}

/// The run with this seed after a step; its numbers stand for trained ones.
pub fn checkpoint(seed: u64, step: u64) -> Checkpoint {
    let (config, corpus) = (config(seed), training());
    let sequences = Sequences::of_training(&config, &corpus.pieces);
    let batches = Batches::new(sequences.windows(), &config.train);
    let architecture = Architecture::new(&config.model, config.representation.build().shape());
    let numbers = |scale: f32| (0..architecture.len()).map(|i| (i as f32 + step as f32) * scale).collect();
    let audit = WindowAudit::expected(&sequences, &batches, seed, step);
    Checkpoint {
        step,
        identity: config.identity(),
        representation: config.representation,
        run_of_format_1: None,
        architecture,
        parameters: numbers(0.01),
        mean_square: numbers(0.001),
        carried: Vec::new(),
        epoch: EpochSums::default(),
        audit,
        corpus: corpus.clone(),
    }
}

/// Its name and bytes.
pub fn stored(seed: u64, step: u64) -> (CheckpointName, Vec<u8>) {
    let bytes = checkpoint(seed, step).encode();
    (CheckpointName::of(step, &bytes), bytes)
}

/// A run in a store, after three checkpoints.
pub struct Scene {
    pub store: Store,
    /// Oldest first.
    pub good: Vec<(CheckpointName, Vec<u8>)>,
}

impl Scene {
    pub const STEPS: [u64; 3] = [2, 4, 6];

    pub fn new(store: Store) -> Self {
        let run = RunClaim::claim(store.clone(), origin(1), &Recovery::default()).unwrap();
        for step in Self::STEPS {
            run.save(&checkpoint(1, step), KEEP_ALL).unwrap();
        }
        let scene = Scene { store, good: Self::STEPS.iter().map(|&step| stored(1, step)).collect() };
        scene.expect(&[], 2);
        scene
    }

    pub fn name(&self, index: usize) -> &CheckpointName {
        &self.good[index].0
    }

    pub fn bytes(&self, index: usize) -> Vec<u8> {
        self.good[index].1.clone()
    }

    pub fn put(&self, name: &CheckpointName, bytes: &[u8]) {
        self.store.put(&name.to_string(), bytes.to_vec()).unwrap();
    }

    /// Everything as it was.
    pub fn restore(&self) {
        for (name, bytes) in &self.good {
            self.put(name, bytes);
        }
    }

    pub fn recover(&self) -> Recovery {
        recover(&self.store, &CheckpointFilter::Run(origin(1))).unwrap()
    }

    /// What verify finds.
    pub fn verify(&self) -> Vec<VerifiedObject> {
        let mut found = Vec::new();
        verify(&self.store, |verified| {
            found.push(verified);
            Ok::<_, StoreError>(())
        })
        .unwrap();
        found
    }

    /// That recovery takes this checkpoint and names each newer bad one with its problem, and that verify finds the bad
    /// ones, and no others.
    pub fn expect(&self, bad: &[(&CheckpointName, CheckpointProblem)], newest: usize) {
        let recovery = self.recover();
        let (name, bytes) = recovery.newest.as_ref().expect("a good one");
        assert_eq!((name, bytes), (self.name(newest), &self.bytes(newest)));
        let mut newer: Vec<_> = bad.iter().filter(|(name, _)| name > &self.name(newest)).collect();
        newer.sort_by(|a, b| b.0.cmp(a.0));
        let skipped: Vec<_> = recovery.skipped.iter().map(|(name, problem)| (name, problem)).collect();
        assert_eq!(skipped, newer.iter().map(|(name, problem)| (*name, problem)).collect::<Vec<_>>());
        for (note, (name, problem)) in recovery.notes(&self.store).iter().zip(newer) {
            assert!(
                note.contains(&name.to_string()) && note.contains(&problem.to_string()),
                "{name}: {note}"
            );
        }
        let verified = self.verify();
        for (name, problem) in bad {
            let found = verified.iter().find(|found| found.name == name.to_string()).expect("listed");
            assert_eq!(found.verdict, ObjectVerdict::Invalid(problem.to_string()));
        }
        let good = verified.iter().filter(|found| found.verdict == ObjectVerdict::Valid).count();
        assert_eq!((good, verified.len()), (verified.len() - bad.len(), verified.len()), "{verified:?}");
    }
}
