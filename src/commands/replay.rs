//! `bachdist replay`: make steps of a run again from one of its checkpoints, and compare with what it saved. Nothing is
//! written or claimed.
//!
//! All that the steps depend on is in the checkpoint: its music, and the part of the configuration that decides the
//! weights. So what comes out has the bits that the run had, on any number of ranks.

use anyhow::{Context, Result};
use bachdist_portable::backend::TrainingState;
use bachdist_portable::checkpoint::diff::CheckpointDiff;
use bachdist_portable::checkpoint::list;
use bachdist_portable::checkpoint::read::{CheckpointProblem, LoadedCheckpoint, open, store_and_name};
use bachdist_portable::checkpoint::{Checkpoint, CheckpointName};
use bachdist_portable::config::BackendChoice;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::print::{eprint_line, print_line};
use bachdist_portable::store::Store;
use indicatif::ProgressBar;
use serde_json::json;

use super::checkpoint::{diff_json, diff_table, diff_verdict};
use crate::backend;
use crate::cli::ReplayArguments;
use crate::comm::Communicator;
use crate::comm::collectives::{collective_result, run_on_root_with_heartbeat};
use crate::phase::Phase;
use crate::report::{Progress, bar};
use crate::stop::StopRequest;
use crate::train::plan;
use crate::train::step::{Outcome, Totals, Trainer};

/// Replays on all ranks; rank 0 alone reads storage and prints.
pub fn run(arguments: &ReplayArguments, comm: &dyn Communicator) -> Result<u8> {
    let finding = (comm.is_root()).then_some(|| Task::find(arguments));
    let task = collective_result(comm, run_on_root_with_heartbeat(comm, finding).transpose())?;
    let (mut bytes, mut last) = match &task {
        Some(task) => (task.from.bytes.clone(), task.last.to_le_bytes().to_vec()),
        None => (Vec::new(), Vec::new()),
    };
    comm.broadcast(&mut bytes);
    comm.broadcast(&mut last);
    let last = u64::from_le_bytes(*last.first_chunk().expect("rank 0 sent eight bytes"));
    let checkpoint = Checkpoint::decode(&bytes)?;

    let bar = task.as_ref().and_then(|task| task.bar());
    let first = checkpoint.step;
    let made = |step: u64| bar.iter().for_each(|bar| bar.set_position(step - first));
    let replayed = replay(comm, checkpoint, last, &arguments.device, made)?;
    bar.iter().for_each(ProgressBar::finish_and_clear);

    let comparing = task.map(|task| move || task.compare(replayed, arguments.json));
    collective_result(comm, run_on_root_with_heartbeat(comm, comparing).unwrap_or(Ok(())))?;
    Ok(0)
}

/// The steps to replay.
struct Task {
    /// The checkpoint to begin from.
    from: LoadedCheckpoint,
    /// The run's storage, which has what to compare with.
    beside: Store,
    /// The last step.
    last: u64,
}

impl Task {
    fn find(arguments: &ReplayArguments) -> Result<Task> {
        let from = open(&arguments.checkpoint)?;
        for note in &from.notes {
            eprint_line(format_args!("note: {note}"));
        }
        if CheckpointProblem::of_windows(&from.checkpoint).is_some() {
            let message = format!(
                "{} was trained on other windows than its {} steps should have taken, so a replay from it proves \
                 nothing; begin at an earlier checkpoint (bachdist checkpoint verify says which are right)",
                from.location, from.checkpoint.step
            );
            return Err(Failure::new(ExitCode::Storage, message).into());
        }
        let (beside, _) = store_and_name(&from.location)?;
        let last = match arguments.steps {
            Some(steps) => from.checkpoint.step.checked_add(steps).ok_or_else(|| {
                Failure::new(ExitCode::Usage, format!("--steps {steps} is more than can be counted"))
            })?,
            None => next(&beside, &from)?,
        };
        Ok(Task { from, beside, last })
    }

    /// A bar over the steps, if a person is watching.
    fn bar(&self) -> Option<ProgressBar> {
        let steps = self.last - self.from.checkpoint.step;
        bar(Progress::Auto, steps, "replay [{wide_bar}] {pos}/{len} {eta} left")
    }

    /// Compares what came out with what the run saved, prints, and fails if there is a difference.
    fn compare(&self, replayed: Checkpoint, as_json_object: bool) -> Result<()> {
        let (first, last) = (self.from.checkpoint.step + 1, self.last);
        let bytes = replayed.encode();
        let name = CheckpointName::of(last, &bytes);
        let stored = open(&self.beside.url_of(&self.stored(&name)?.to_string()))?;
        let title = format!("replayed from {}", self.from.location);
        let replayed = LoadedCheckpoint { bytes, checkpoint: replayed, location: title, notes: Vec::new() };
        let diff = CheckpointDiff::between_stored(&stored, &replayed);
        let names = [stored.location.as_str(), &replayed.location];
        if as_json_object {
            let mut object = diff_json(&diff);
            object["replayed"] = json!({ "first": first, "last": last, "name": name.to_string() });
            print_line(object)?;
        } else if diff.is_equal() {
            let steps =
                if first == last { format!("step {last}") } else { format!("steps {first} to {last}") };
            print_line(format_args!("replayed {steps}: {name}, the same bits"))?;
        } else {
            print_line(diff_table(&diff, names))?;
        }
        diff_verdict(&diff, names)
    }

    /// The checkpoint of the last step that the run saved; of several, one with other bits than the replay has.
    fn stored(&self, replayed: &CheckpointName) -> Result<CheckpointName> {
        let mut names: Vec<CheckpointName> =
            list(&self.beside)?.into_iter().map(|listed| listed.name).collect();
        names.retain(|name| name.step == self.last);
        let other = names.iter().find(|name| *name != replayed).or(names.first());
        Ok(other.cloned().ok_or_else(|| {
            let message = format!(
                "{} holds no checkpoint of step {}; the replayed state has the name {replayed}, as it has in every run of \
                 this configuration (without --steps a replay goes to the next checkpoint there)",
                self.beside.url(),
                self.last
            );
            Failure::new(ExitCode::Storage, message)
        })?)
    }
}

/// The step of the next checkpoint.
fn next(beside: &Store, from: &LoadedCheckpoint) -> Result<u64> {
    let steps: Vec<u64> = list(beside)?.into_iter().map(|listed| listed.name.step).collect();
    let own = from.checkpoint.step;
    Ok(steps.into_iter().find(|&step| step > own).ok_or_else(|| {
        let message = format!(
            "{} is the last checkpoint there, so there is none to compare a replay with; name an earlier one, or \
             --steps to learn the name of a later state",
            from.location
        );
        Failure::new(ExitCode::Storage, message)
    })?)
}

/// The state after step `last`, from a checkpoint of an earlier one that has a window to train on. All ranks call
/// this with the same checkpoint; `made` is called after every step.
fn replay(
    comm: &dyn Communicator,
    checkpoint: Checkpoint,
    last: u64,
    device: &str,
    mut made: impl FnMut(u64),
) -> Result<Checkpoint> {
    let mut config = checkpoint.config()?;
    device.clone_into(&mut config.train.device);
    if device.starts_with("cuda") {
        // Asked for by name, so that a run can be compared with itself on a GPU.
        config.train.backend = BackendChoice::Torch;
    }
    comm.set_collective_timeout(config.train.collective_timeout(None));
    let (assignment, target) =
        collective_result(comm, plan::assign_lanes_and_target(comm, &config.train).map_err(Into::into))?;
    let mut backend = target.backend(checkpoint.architecture, backend::threads(comm))?;
    let Checkpoint { parameters, mean_square, carried, .. } = checkpoint;
    backend.set_state(TrainingState { parameters, mean_square })?;
    let mut trainer = Trainer::new(comm, &config, &checkpoint.corpus.pieces, assignment, backend);
    trainer.set_carried(&carried)?;
    let mut totals = Totals { epoch: checkpoint.epoch, audit: checkpoint.audit };
    for step in checkpoint.step..last {
        Phase::Step(step + 1).enter();
        let (sums, loaded) = match trainer
            .step(step, StopRequest::empty(), &mut ())
            .with_context(|| Phase::now().to_string())?
        {
            Outcome::Updated { sums, audit, .. } => (sums, audit),
            Outcome::NonFinite { .. } => return collective_result(comm, Err(non_finite(step).into())),
        };
        totals.add(&trainer.batches().batch(step), sums, loaded);
        made(step + 1);
    }
    let TrainingState { parameters, mean_square } = trainer.state()?;
    let carried = trainer.gather_carried()?;
    let Totals { epoch, audit } = totals;
    Ok(Checkpoint { step: last, parameters, mean_square, carried, epoch, audit, ..checkpoint })
}

/// What all ranks found.
fn non_finite(step: u64) -> Failure {
    let message = format!(
        "step {}: the loss or gradient is not finite in the replay; a run would have stopped there",
        step + 1
    );
    Failure::new(ExitCode::NonFinite, message)
}
