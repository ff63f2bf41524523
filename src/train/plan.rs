//! What a training run would do, worked out before anything starts.

use std::path::Path;

use anyhow::Result;
use bachdist_portable::checkpoint::Training;
use bachdist_portable::config::{Config, TrainConfig};
use bachdist_portable::corpus::windows::{Windows, windows_of};
use bachdist_portable::corpus::{Corpus, Piece, fingerprint};
use bachdist_portable::failure::{Code, Failure};
use bachdist_portable::network::Architecture;
use bachdist_portable::print::count;
use bachdist_portable::schedule::Batches;
use sha2::{Digest, Sha256};

use crate::backend::Target;
use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use bachdist_portable::lanes::LaneAssignment;

/// A run, ready to start.
pub struct Plan {
    pub config: Config,
    /// The location of the run: a folder or URL.
    pub url: String,
    /// The location of its last checkpoint, if `url` does not take it.
    pub fallback: String,
    /// The pieces that it trains on.
    pub training: Training,
    /// The pieces that it only validates on.
    pub held_out: Vec<Piece>,
    pub architecture: Architecture,
    pub assignment: LaneAssignment,
    /// What computes the steps of this rank, and where.
    pub target: Target,
    /// Of this rank.
    pub threads: usize,
    pub steps_per_epoch: u64,
    /// The step after which the run is complete.
    pub last_step: u64,
    /// What the user should know about music and settings before the run, one line each.
    pub notes: Vec<String>,
}

/// Which lanes each rank owns, and what computes those of this rank where.
///
/// # Collective
///
/// All ranks call this together.
pub fn assign_lanes_and_target(
    comm: &dyn Communicator,
    train: &TrainConfig,
) -> Result<(LaneAssignment, Target), Failure> {
    // Before any error about lanes, because it is collective.
    let target = Target::select(train, comm);
    let (lanes, ranks) = (train.lanes, comm.size());
    let assignment = LaneAssignment::new(lanes, ranks).ok_or_else(|| {
        let message = format!(
            "{ranks} ranks for {}: start at most {}, or raise train.lanes, which makes it another run",
            count(lanes as u64, "lane"),
            count(lanes as u64, "rank")
        );
        Failure::new(Code::Usage, message)
    })?;
    let target = target.map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    Ok((assignment, target))
}

/// A run has the name of its configuration file.
pub fn name_of(path: &Path) -> String {
    path.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned())
}

impl Plan {
    /// The plan for this music.
    pub(super) fn new(
        (assignment, target): (LaneAssignment, Target),
        threads: usize,
        corpus: Corpus,
        path: &Path,
        mut config: Config,
    ) -> Plan {
        // What `auto` came to is part of the run's identity.
        config.train.backend = target.backend.into();
        let name = name_of(path);
        let url = config.checkpoint.url.clone().unwrap_or_else(|| format!("runs/{name}"));
        let representation = config.representation.build();
        let fallback = config.checkpoint.fallback.clone().unwrap_or_else(|| format!("runs/{name}.unsaved"));
        let mut plan = Plan {
            url,
            fallback,
            training: Training::new(corpus.training.into()),
            held_out: corpus.held_out,
            architecture: Architecture::new(&config.model, representation.shape()),
            assignment,
            target,
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

    /// Fails on every rank unless all have the same configuration and music: a stale configuration on one host would train
    /// another network, or leave the other ranks waiting.
    ///
    /// # Collective
    ///
    /// All ranks call this together.
    pub(super) fn check_same_on_all_ranks(&self, comm: &dyn Communicator) -> Result<()> {
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
        // Rank 0 counts as right. The lowest rank that differs reports it.
        let differs = own != all[0];
        let message =
            "has a configuration or music that differs from rank 0's; give every host the same files";
        collective_result(comm, if differs { Err(Failure::new(Code::Data, message).into()) } else { Ok(()) })
    }

    /// The windows to train on.
    pub fn windows(&self) -> Windows<'_> {
        Windows::new(&self.training.pieces, self.config.training_length())
    }

    /// The windows to validate on.
    pub fn held_out_windows(&self) -> Windows<'_> {
        Windows::new(&self.held_out, self.config.data.sequence_length)
    }

    /// Number of steps between validations.
    pub fn validates_every(&self) -> u64 {
        let TrainConfig { validate_every_epochs, validate_every_steps, .. } = self.config.train;
        validate_every_steps.unwrap_or(self.steps_per_epoch.saturating_mul(validate_every_epochs))
    }

    /// Whether a validation is due after this step: at regular intervals, and at the end.
    pub fn validates_after(&self, step: u64) -> bool {
        let due = step.is_multiple_of(self.validates_every()) || step == self.last_step;
        // Called at every step, so it must not count all windows of a large corpus.
        let length = self.config.data.sequence_length;
        let has_windows = |piece: &Piece| windows_of(piece.tokens.len(), length) > 0;
        step > 0 && due && self.held_out.iter().any(has_windows)
    }

    /// Number of steps that training continues for while the storage cannot be reached.
    pub fn max_unsaved_steps(&self) -> u64 {
        let Config { checkpoint, .. } = &self.config;
        checkpoint.max_unsaved_steps.unwrap_or(3 * checkpoint.every_steps)
    }

    /// How training windows become batches.
    pub fn batches(&self) -> Batches {
        Batches::new(&self.windows(), &self.config.train)
    }

    /// Number of epochs, the last of which may be incomplete.
    pub fn epochs(&self) -> u64 {
        self.last_step.div_ceil(self.steps_per_epoch)
    }

    /// Number of notes in the training pieces.
    pub fn notes(&self) -> usize {
        self.training.pieces.iter().map(|piece| piece.tokens.len()).sum()
    }
}
