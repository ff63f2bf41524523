//! Where a run begins: at step 0, or at the newest valid checkpoint, the same on every rank.

use anyhow::Result;
use bachdist_portable::checkpoint::claim::RunClaim;
use bachdist_portable::checkpoint::identity::{CheckpointFilter, RunIdentity};
use bachdist_portable::checkpoint::read::{Recovery, open, recover};
use bachdist_portable::checkpoint::{Checkpoint, CheckpointName};
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::fault::{self, FaultPoint};
use bachdist_portable::network::batch::EpochSums;
use bachdist_portable::network::{Architecture, initial_parameters};
use bachdist_portable::schedule::WindowAudit;
use bachdist_portable::store::Store;

use super::plan::Plan;
use super::saver::FallbackStore;
use crate::comm::Communicator;
use crate::comm::collectives::{collective_result, run_on_root_with_heartbeat};

/// `--resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Resume from the run's newest valid checkpoint, if it has one.
    Auto,
    /// Begin at step 0.
    Never,
    /// Resume from this checkpoint, wherever it is.
    From(String),
}

/// The state before the first step of an attempt.
#[derive(Debug)]
pub struct InitialState {
    pub step: u64,
    pub parameters: Vec<f32>,
    /// RMSprop's running mean of squared gradients.
    pub mean_square: Vec<f32>,
    /// The states of all rows of a batch, where they are carried from step to step.
    pub carried: Vec<f32>,
    /// Of the epoch so far.
    pub epoch: EpochSums,
    /// The windows loaded since step 0.
    pub audit: WindowAudit,
    /// The location of the checkpoint that it comes from.
    pub from: Option<String>,
    /// What the user should know, such as damaged checkpoints that were skipped.
    pub notes: Vec<String>,
}

/// What rank 0 read from storage.
#[derive(Default)]
struct StoredState {
    /// The checkpoint; empty at the beginning of a run.
    bytes: Vec<u8>,
    from: Option<String>,
    notes: Vec<String>,
}

/// How a launch starts: `--resume` and `--change-backend`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartOptions {
    pub resume: Resume,
    /// Resume a run of the other backend too, as a run of this one.
    pub change_backend: bool,
}

/// Finds the state to start from. Rank 0 alone reads storage, claims the attempt, and gets a [`RunClaim`].
///
/// # Collective
///
/// All ranks call this together.
pub fn find_initial_state(
    comm: &dyn Communicator,
    plan: &Plan,
    options: &StartOptions,
) -> Result<(InitialState, Option<RunClaim>)> {
    fault::at(FaultPoint::Start);
    let work = comm.is_root().then_some(|| read_and_claim(plan, options));
    let read = run_on_root_with_heartbeat(comm, work).unwrap_or_else(|| Ok((StoredState::default(), None)));
    let (StoredState { mut bytes, from, notes }, run) = collective_result(comm, read)?;
    comm.broadcast(&mut bytes);
    if bytes.is_empty() {
        let parameters = broadcast_initial_parameters(comm, plan.architecture, plan.config.train.seed);
        let mean_square = vec![0.0; parameters.len()];
        let (epoch, audit) = (EpochSums::default(), WindowAudit::default());
        let carried = Vec::new();
        return Ok((
            InitialState { step: 0, parameters, mean_square, carried, epoch, audit, from, notes },
            run,
        ));
    }
    let Checkpoint { step, parameters, mean_square, carried, epoch, audit, .. } = Checkpoint::decode(&bytes)?;
    Ok((InitialState { step, parameters, mean_square, carried, epoch, audit, from, notes }, run))
}

/// The weights of step 0. Rank 0 makes them and all ranks get them: making orthogonal matrices takes a while, and the
/// ranks of a host would compete for its cores.
///
/// # Collective
///
/// All ranks call this together.
fn broadcast_initial_parameters(comm: &dyn Communicator, architecture: Architecture, seed: u64) -> Vec<f32> {
    let mut bytes = match comm.rank() {
        0 => initial_parameters(architecture, seed).iter().flat_map(|weight| weight.to_le_bytes()).collect(),
        _ => Vec::new(),
    };
    comm.broadcast(&mut bytes);
    bytes.as_chunks().0.iter().map(|&weight| f32::from_le_bytes(weight)).collect()
}

/// Finds the checkpoint to resume from and then claims the run, which takes it from any other launch that has it.
fn read_and_claim(plan: &Plan, options: &StartOptions) -> Result<(StoredState, Option<RunClaim>)> {
    let StartOptions { resume, change_backend } = options;
    let changes_backend = *change_backend && *resume != Resume::Never;
    let origin = RunIdentity::new(&plan.config, &plan.training);
    let run = CheckpointFilter::Run(origin.clone());
    let whose = if changes_backend { CheckpointFilter::AnyBackend(origin.clone()) } else { run.clone() };
    let store = Store::open_with_policy(&plan.url, plan.config.checkpoint.retry_policy())?;
    let recovery = recover(&store, &whose)?;
    let mut found = StoredState { notes: recovery.notes(&store), ..StoredState::default() };
    // Even a run that begins at step 0 must not share a place with another run's checkpoints.
    if let Some(refusal) = recovery.refusal(&store) {
        return Err(refusal.into());
    }
    let fallback = FallbackStore::new(plan)?;
    // A checkpoint in the fallback that the storage lacks.
    let mut unsaved = None;
    match resume {
        Resume::Never => {}
        Resume::From(location) => {
            let opened = open(location)?;
            if let Some(difference) = whose.difference(&opened.checkpoint) {
                return Err(difference.refusal(&opened.location).into());
            }
            found.notes.extend(opened.notes);
            (found.bytes, found.from) = (opened.bytes, Some(opened.location));
        }
        Resume::Auto => {
            let in_fallback = fallback.recover()?;
            found.notes.extend(fallback.notes(&in_fallback));
            unsaved = in_fallback.newest.filter(|(name, _)| is_newer(name, &recovery));
            if let Some((name, bytes)) = &recovery.newest {
                (found.bytes, found.from) = (bytes.clone(), Some(store.url_of(&name.to_string())));
            } else if unsaved.is_none() && !recovery.skipped.is_empty() {
                let message = format!(
                    "{}; no valid checkpoint is left to resume from (use `--resume never` to begin at step 0)",
                    found.notes.join("; ")
                );
                return Err(Failure::new(ExitCode::Storage, message).into());
            }
        }
    }
    let mut of_other_backend = None;
    if changes_backend && unsaved.is_none() && !found.bytes.is_empty() {
        let checkpoint = Checkpoint::decode(&found.bytes)?;
        of_other_backend = run.difference(&checkpoint).is_some().then_some(checkpoint);
    }
    // The run counts and deletes its own checkpoints alone, whichever it resumes from.
    let own = if changes_backend { recover(&store, &run)? } else { recovery };
    // Last, because it takes the run from any other launch.
    fault::at(FaultPoint::Claim);
    let run = RunClaim::claim(store, origin, &own)?;
    found.notes.extend(run.note());
    if let Some(checkpoint) = of_other_backend {
        // At once, so that whoever resumes from now on, or composes, finds a checkpoint of the run as it is now.
        let step = checkpoint.step;
        let identity = plan.config.identity();
        let bytes = Checkpoint { identity, run_of_format_1: None, ..checkpoint }.encode();
        run.put(&CheckpointName::of(step, &bytes), bytes.clone())?;
        found.notes.push(format!(
            "backend changed to {} after step {step}; from here on weights have its bits",
            plan.target.backend
        ));
        found.bytes = bytes;
    }
    if let Some((name, bytes)) = unsaved {
        // The storage lacks it: before anything else it goes there.
        run.put(&name, bytes.clone())?;
        found.notes.push(format!(
            "step {} was moved from {} to the storage",
            name.step,
            fallback.path(&name)
        ));
        fallback.clear(name.step)?;
        (found.bytes, found.from) = (bytes, Some(run.store().url_of(&name.to_string())));
    }
    Ok((found, Some(run)))
}

/// Whether the storage has no checkpoint of this step or a later one.
fn is_newer(name: &CheckpointName, stored: &Recovery) -> bool {
    stored.newest.as_ref().is_none_or(|(stored, _)| stored.step < name.step)
}
