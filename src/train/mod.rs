//! Training: the loop, and everything around a step.
//!
//! [`plan`] says what would be done; [`run`] does it. Every rank runs the same loop and takes the same
//! branches; rank 0 alone reports and saves, through its recorder.

pub mod plan;
mod recorder;
pub mod saver;
pub mod start;
pub mod step;

use anyhow::{Context, Result};
use bachdist_core::checkpoint::{Checkpoint, EpochSums};
use bachdist_core::corpus::audit::Seen;
use bachdist_core::failure::{Code, Failure, line_of};

use crate::comm::Comm;
use crate::comm::agree::agree;
use crate::model::Model;
use crate::report::{Progress, Standing};
use crate::stop::StopFlag;
use plan::Plan;
use recorder::Recorder;
use start::{Resume, Start};
use step::{Outcome, Trainer};

/// What a rank asks of all at a step; put together by "or".
mod asked {
    /// Finish the step, save, and end with exit code 75.
    pub const STOP: u64 = 1;
    /// Rank 0 could not save.
    pub const STORAGE: u64 = 2;
}

/// How a run ended, the same on every rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps were made.
    Done,
    /// A signal asked for it; the run can go on.
    Stopped,
}

/// Trains from where the run stands to its end.
pub fn run(
    comm: &dyn Comm,
    plan: &Plan,
    stop: &StopFlag,
    resume: &Resume,
    progress: Progress,
) -> Result<Ended> {
    let config = &plan.config;
    // Before the run is claimed: a launch that has no room for its network must not take it from another.
    let model = Model::new(plan.architecture, plan.device);
    let (start, run) = start::start(comm, config, &plan.url, resume, plan.architecture, &plan.training)?;
    let mut recorder =
        agree(comm, run.map(|run| Recorder::open(run, plan, &start, comm, progress)).transpose())?;
    let Start { mut step, parameters, mean_square, epoch: mut sums, mut seen, .. } = start;
    let mut trainer =
        Trainer::new(comm, config, plan.windows(), plan.share.clone(), model, (parameters, mean_square));

    let mut ended = Ended::Done;
    while step < plan.last_step {
        let asked =
            recorder.as_mut().map_or(0, Recorder::begin_step) | if stop.is_set() { asked::STOP } else { 0 };
        let batch = trainer.batches().batch(step);
        let outcome = trainer.step(step, asked).with_context(|| format!("step {}", step + 1))?;
        let (batch_sums, loaded, asked) = match outcome {
            Outcome::Updated { sums, seen, asked } => (sums, seen, asked),
            Outcome::NonFinite { lane } => return Err(non_finite(comm, &mut recorder, step, lane)),
        };
        step += 1;
        if batch.first == 0 {
            sums = EpochSums::default();
        }
        sums.add(batch_sums);
        seen.add(loaded);

        let due = step % config.checkpoint.every_steps == 0 || step == plan.last_step;
        let stopping = asked & asked::STOP != 0 && step < plan.last_step;
        if let Some(recorder) = &mut recorder {
            let standing = Standing {
                step,
                epoch: batch.epoch,
                ends_epoch: batch.ends_epoch,
                batch: batch_sums,
                so_far: sums,
            };
            recorder.step(standing);
            if due || stopping {
                recorder.save(|| checkpoint(plan, &trainer, step, sums, seen));
            }
        }
        if asked & asked::STORAGE != 0 {
            break;
        }
        if stopping {
            ended = Ended::Stopped;
            break;
        }
    }
    agree(comm, recorder.map_or(Ok(()), |recorder| recorder.close(step, ended)))?;
    Ok(ended)
}

/// A copy of everything needed to go on after `step`.
fn checkpoint(plan: &Plan, trainer: &Trainer<'_>, step: u64, epoch: EpochSums, seen: Seen) -> Checkpoint {
    Checkpoint {
        step,
        identity: plan.config.identity(),
        architecture: plan.architecture,
        parameters: trainer.parameters.clone(),
        mean_square: trainer.mean_square.clone(),
        epoch,
        seen,
        corpus: plan.training.clone(),
    }
}

/// The error that every rank ends with; the last checkpoint is safe before it is reported.
fn non_finite(
    comm: &dyn Comm,
    recorder: &mut Option<Recorder>,
    step: u64,
    lane: Option<usize>,
) -> anyhow::Error {
    let what = lane.map_or("the gradient".into(), |lane| format!("the loss of lane {lane}"));
    let message = format!(
        "step {}: {what} is not finite; the weights of step {step} are unharmed, and the last checkpoint is kept (a \
         smaller optimizer.learning_rate may help)",
        step + 1
    );
    let message = match recorder.as_mut().map_or(Ok(()), Recorder::drain) {
        Ok(()) => message,
        Err(error) => format!("{message}; {}", line_of(&error)),
    };
    match agree(comm, Err::<(), _>(Failure::new(Code::NonFinite, message).into())) {
        Ok(()) => unreachable!("this rank's part is an error"),
        Err(error) => error,
    }
}
