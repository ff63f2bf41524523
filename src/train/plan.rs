//! What a training would do, worked out and checked before anything starts.

use std::path::Path;

use anyhow::Result;
use bachdist_core::checkpoint::Training;
use bachdist_core::config::{Config, TrainConfig};
use bachdist_core::corpus::batches::Batches;
use bachdist_core::corpus::windows::{Windows, windows_of};
use bachdist_core::corpus::{CLASSES, Corpus, Piece, fingerprint};
use bachdist_core::failure::{Code, Failure, out_of_threads};
use bachdist_core::network::Architecture;
use bachdist_core::parallel::{cores, try_threads};
use sha2::{Digest, Sha256};
use tch::Device;

use super::{memory, music, settings};
use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::model::device;
use crate::report::layers::{count, table, thousands};
use bachdist_core::lanes::LaneAssignment;

/// A run, ready to start.
pub struct Plan {
    /// What the user asked for.
    pub config: Config,
    /// Where the run is kept.
    pub url: String,
    /// Where its last checkpoint goes if that does not take it.
    pub fallback: String,
    /// What it trains on.
    pub training: Training,
    /// What it never sees.
    pub held_out: Vec<Piece>,
    /// The network's shape.
    pub architecture: Architecture,
    /// Which rank owns which lanes.
    pub assignment: LaneAssignment,
    /// Where this rank computes.
    pub device: Device,
    /// Threads of this rank.
    pub threads: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// The step after which the run is done.
    pub last_step: u64,
    /// What the user should know of music and settings before the run, one line each.
    pub notes: Vec<String>,
}

/// Which lanes a rank owns, and where it computes them.
///
/// # Collective
///
/// All ranks call this together.
pub fn place(comm: &dyn Communicator, train: &TrainConfig) -> Result<(LaneAssignment, Device), Failure> {
    // First, whatever is wrong with the lanes: the ranks do it together.
    let device = device::choose(&train.device, comm);
    let (lanes, ranks) = (train.lanes, comm.size());
    let assignment = LaneAssignment::new(lanes, ranks).ok_or_else(|| {
        let message = format!(
            "{ranks} ranks cannot share {lanes} lanes: start at most {lanes} ranks, or raise train.lanes (which makes \
             another run of it)"
        );
        Failure::new(Code::Usage, message)
    })?;
    let device = device.map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    Ok((assignment, device))
}

/// A run's name: that of its configuration's file.
pub fn name_of(path: &Path) -> String {
    path.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned())
}

impl Plan {
    /// The plan that all ranks agree on, with their threads set.
    pub fn together(comm: &dyn Communicator, path: &Path, config: Config) -> Result<Plan> {
        // Some host may read its music slowly, or its first step take long.
        comm.set_collective_timeout(config.train.collective_timeout(None));
        let place = collective_result(comm, place(comm, &config.train).map_err(Into::into))?;
        // libtorch waits for ever where it gets no threads: one for each of this rank's cores, and those around the loop.
        let own = cores().div_ceil(comm.local_size());
        collective_result(comm, try_threads(own + 2).map_err(|error| out_of_threads(&error).into()))?;
        let threads = device::set_threads(comm);
        let corpus = music::load(comm, &config.data, config.training_length(), threads)?;
        // A step has no work for more than one a lane.
        let threads = threads.min(place.0.lanes_of(comm.rank()).len());
        let mut plan = Plan::new(place, threads, corpus, path, config);
        plan.check_same_on_all_ranks(comm)?;
        let memory = collective_result(comm, memory::judge(comm, &plan, plan.batches()).map_err(Into::into))?;
        let of_settings = collective_result(comm, settings::judge(comm, &plan).map_err(Into::into))?;
        plan.notes.extend(of_settings.into_iter().chain(memory));
        Ok(plan)
    }

    fn new(
        (assignment, device): (LaneAssignment, Device),
        threads: usize,
        corpus: Corpus,
        path: &Path,
        config: Config,
    ) -> Plan {
        let name = name_of(path);
        let url = config.checkpoint.url.clone().unwrap_or_else(|| format!("runs/{name}"));
        let fallback = config.checkpoint.fallback.clone().unwrap_or_else(|| format!("runs/{name}.unsaved"));
        let mut plan = Plan {
            url,
            fallback,
            training: Training::new(corpus.training.into()),
            held_out: corpus.held_out,
            architecture: Architecture::new(&config.model, CLASSES),
            assignment,
            device,
            threads,
            steps_per_epoch: 0,
            last_step: 0,
            notes: corpus.remarks,
            config,
        };
        plan.steps_per_epoch = plan.batches().steps_per_epoch();
        let all = plan.steps_per_epoch.saturating_mul(plan.config.train.epochs);
        plan.last_step = plan.config.train.max_steps.map_or(all, |most| most.min(all));
        plan
    }

    /// Fails on every rank unless all have the same configuration and music: a stale configuration on one host
    /// would train another network, or leave the others waiting.
    fn check_same_on_all_ranks(&self, comm: &dyn Communicator) -> Result<()> {
        let described = serde_json::json!([
            self.config.shared_by_ranks(),
            self.url,
            self.training.fingerprint,
            fingerprint(&self.held_out),
        ]);
        let digest = Sha256::digest(described.to_string());
        let own = u64::from_le_bytes(*digest.first_chunk().expect("a digest of 32 bytes"));
        let mut all = vec![0; comm.size()];
        comm.all_gather_words(&[own], &mut all);
        // Rank 0 counts as right; the first that differs from it speaks.
        let differs = own != all[0];
        let message = "has another configuration or other music than rank 0; every host needs the same files";
        collective_result(comm, if differs { Err(Failure::new(Code::Data, message).into()) } else { Ok(()) })
    }

    /// The windows trained on.
    pub fn windows(&self) -> Windows<'_> {
        Windows::new(&self.training.pieces, self.config.training_length())
    }

    /// The windows validated on.
    pub fn held_out_windows(&self) -> Windows<'_> {
        Windows::new(&self.held_out, self.config.data.sequence_length)
    }

    /// Steps from one validation to the next.
    pub fn validates_every(&self) -> u64 {
        let TrainConfig { validate_every_epochs, validate_every_steps, .. } = self.config.train;
        validate_every_steps.unwrap_or(self.steps_per_epoch.saturating_mul(validate_every_epochs))
    }

    /// Whether the held-out pieces are validated on after so many steps: every so often, and at the end.
    pub fn validates_after(&self, step: u64) -> bool {
        let due = step.is_multiple_of(self.validates_every()) || step == self.last_step;
        // Asked at every step: of a large corpus the windows are not counted for it.
        let length = self.config.data.sequence_length;
        let has_windows = |piece: &Piece| windows_of(piece.classes.len(), length) > 0;
        step > 0 && due && self.held_out.iter().any(has_windows)
    }

    /// Steps that training goes on for while the storage is out of reach.
    pub fn max_unsaved_steps(&self) -> u64 {
        let Config { checkpoint, .. } = &self.config;
        checkpoint.max_unsaved_steps.unwrap_or(3 * checkpoint.every_steps)
    }

    /// How they become batches.
    pub fn batches(&self) -> Batches {
        Batches::new(&self.windows(), &self.config.train)
    }

    /// Epochs that `last_step` reaches into.
    pub fn epochs(&self) -> u64 {
        self.last_step.div_ceil(self.steps_per_epoch)
    }

    /// The layer table and the plan in words.
    pub fn summary(&self, comm: &dyn Communicator) -> String {
        let Config { train, data, checkpoint, .. } = &self.config;
        let pieces = &self.training.pieces;
        let mut lines = vec![table(&self.config, self.architecture)];
        let mut add = |name: &str, text: String| lines.push(format!("{name:<12} {text}"));
        let held_out = match self.held_out.len() {
            0 => String::new(),
            n => format!("; {n} more held out"),
        };
        add(
            "data",
            format!(
                "{}: {}, {}{held_out}",
                data.midi,
                count(pieces.len() as u64, "piece"),
                count(self.notes() as u64, "note")
            ),
        );
        let batches = self.batches();
        add(
            "windows",
            format!(
                "{} of {} notes; {} an epoch of up to {}",
                thousands(batches.windows),
                self.config.training_length(),
                count(self.steps_per_epoch, "step"),
                train.batch_size
            ),
        );
        add("steps", format!("{} ({})", thousands(self.last_step), count(self.epochs(), "epoch")));
        let lanes: Vec<String> =
            (0..comm.size()).map(|rank| self.assignment.lanes_of(rank).len().to_string()).collect();
        add("ranks", format!("{}, with {} of {} lanes", comm.size(), lanes.join(" + "), train.lanes));
        add(
            "device",
            format!("{} with {} a rank", device::name(self.device), count(self.threads as u64, "thread")),
        );
        add(
            "checkpoints",
            format!(
                "{}, every {}, about {:.1} MB each",
                self.url,
                count(checkpoint.every_steps, "step"),
                self.checkpoint_bytes() as f64 / 1e6
            ),
        );
        lines.join("\n")
    }

    /// Size of a checkpoint but for its header: weights and optimizer in f32, one zero bias a gate, the corpus.
    fn checkpoint_bytes(&self) -> usize {
        let Architecture { layers, units, .. } = self.architecture;
        4 * (2 * self.architecture.len() + layers * 4 * units) + self.notes()
    }

    /// Notes of the pieces trained on.
    fn notes(&self) -> usize {
        self.training.pieces.iter().map(|piece| piece.classes.len()).sum()
    }
}
