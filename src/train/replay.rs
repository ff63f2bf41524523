//! Making steps of a run again from one of its checkpoints. Nothing is written or claimed.
//!
//! All that the steps depend on is in the checkpoint: its music, and the part of the configuration that decides the
//! weights. So what comes out has the bits that the run had, on any number of ranks.

use anyhow::{Context, Result};
use bachdist_portable::backend::TrainingState;
use bachdist_portable::checkpoint::Checkpoint;
use bachdist_portable::config::BackendChoice;
use bachdist_portable::corpus::windows::Windows;
use bachdist_portable::failure::{Code, Failure};

use super::plan;
use super::step::{Outcome, Totals, Trainer};
use crate::backend;
use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::phase::Phase;
use crate::stop::StopRequest;

/// The state after step `last`, from a checkpoint of an earlier one that has a window to train on. All ranks call
/// this with the same checkpoint; `made` is told of every step.
pub fn replay(
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
    let windows = Windows::new(&checkpoint.corpus.pieces, config.training_length());
    let Checkpoint { parameters, mean_square, .. } = checkpoint;
    backend.set_state(TrainingState { parameters, mean_square })?;
    let mut trainer = Trainer::new(comm, &config, windows, assignment, backend);
    let mut totals = Totals { epoch: checkpoint.epoch, seen: checkpoint.seen };
    for step in checkpoint.step..last {
        Phase::Step(step + 1).enter();
        let (sums, loaded) = match trainer
            .step(step, StopRequest::empty(), &mut ())
            .with_context(|| Phase::now().to_string())?
        {
            Outcome::Updated { sums, seen, .. } => (sums, seen),
            Outcome::NonFinite { .. } => return collective_result(comm, Err(non_finite(step).into())),
        };
        totals.add(&trainer.batches().batch(step), sums, loaded);
        made(step + 1);
    }
    let TrainingState { parameters, mean_square } = trainer.state()?;
    let Totals { epoch, seen } = totals;
    Ok(Checkpoint { step: last, parameters, mean_square, epoch, seen, ..checkpoint })
}

/// What all ranks found.
fn non_finite(step: u64) -> Failure {
    let message = format!(
        "step {}: the loss or gradient is not finite in the replay; a run would have stopped there",
        step + 1
    );
    Failure::new(Code::NonFinite, message)
}
