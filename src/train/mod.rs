//! Training: the loop, and everything around a step.
//!
//! [`plan`] says what would be done; [`run`] does it. Every rank runs the same loop and takes the same
//! branches; rank 0 alone reports and saves, through its recorder.

mod engine;
mod fallback;
pub mod memory;
mod music;
pub mod plan;
mod recorder;
pub mod replay;
pub mod saver;
mod settings;
pub mod start;
pub mod step;
mod validate;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bachdist_core::checkpoint::Checkpoint;
use bachdist_core::corpus::batches::Batch;
use bachdist_core::failure::{Code, Failure, line_of};
use bachdist_core::fault;
use bachdist_core::metrics::{BestValidation, Validations};

use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::comm::collectives::run_on_root_with_heartbeat;
use crate::model::Model;
use crate::phase::Phase;
use crate::report::{Progress, Standing};
use crate::stop::StopFlag;
use plan::Plan;
use recorder::Recorder;
use start::{Resume, Start};
use step::{Outcome, Totals, Trainer};
use validate::Validated;

/// What a rank asks of all at a step; put together by "or".
mod asked {
    /// Finish the step, save, and end with exit code 75.
    pub const STOP: u64 = 1;
    /// Rank 0 could not save.
    pub const STORAGE: u64 = 2;

    /// What a signal asks for.
    pub fn by(stop: &super::StopFlag) -> u64 {
        if stop.is_set() { STOP } else { 0 }
    }
}

/// How a run ended, the same on every rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps were made.
    Done,
    /// So many validations in a row were not the best that the configuration ends the run.
    Early,
    /// A signal asked for it; the run can go on.
    Stopped,
    /// Too many steps could not be saved; the run can go on.
    Unsaved,
}

/// Trains from where the run stands to its end.
pub fn run(
    comm: &dyn Communicator,
    plan: &Plan,
    stop: &StopFlag,
    resume: &Resume,
    progress: Progress,
) -> Result<Ended> {
    // Before the run is claimed: a launch that has no room for its network must not take it from another.
    let model = Model::new(plan.architecture, plan.device)?;
    let (start, run) = start::start(comm, plan, resume)?;
    let recorder = collective_result(
        comm,
        run.map(|run| Recorder::open(run, plan, &start, comm, progress)).transpose(),
    )?;
    let validations = share_validations(comm, recorder.as_ref());
    let Start { step, parameters, mean_square, epoch, seen, .. } = start;
    let state = (parameters, mean_square);
    let trainer = Trainer::new(comm, &plan.config, plan.windows(), plan.assignment.clone(), model, state)?;
    let totals = Totals { epoch, seen };
    let longest_step = Duration::ZERO;
    let mut training =
        Training { comm, plan, stop, recorder, trainer, step, totals, validations, longest_step };
    let ended = training.go_on()?;
    training.close(ended)?;
    Ok(ended)
}

/// A rank in the middle of a run.
struct Training<'a> {
    comm: &'a dyn Communicator,
    plan: &'a Plan,
    stop: &'a StopFlag,
    /// On rank 0.
    recorder: Option<Recorder>,
    trainer: Trainer<'a>,
    /// Steps made.
    step: u64,
    totals: Totals,
    validations: Validations,
    longest_step: Duration,
}

/// Rank 0's validations so far, on every rank.
fn share_validations(comm: &dyn Communicator, recorder: Option<&Recorder>) -> Validations {
    let Validations { best, since } = recorder.map_or_else(Validations::default, Recorder::validations);
    let best = best.map_or([0, 0, 0], |best| [1, best.step, best.loss.to_bits()]);
    let mut all = vec![0; 4 * comm.size()];
    comm.all_gather_words(&[best[0], best[1], best[2], since], &mut all);
    let best = (all[0] == 1).then(|| BestValidation { step: all[1], loss: f64::from_bits(all[2]) });
    Validations { best, since: all[3] }
}

impl Training<'_> {
    /// One step after another, with validations between them.
    fn go_on(&mut self) -> Result<Ended> {
        loop {
            let mut asked = if self.plan.validates_after(self.step) { self.validate()? } else { 0 };
            if asked == 0 {
                if self.step >= self.plan.last_step {
                    return Ok(Ended::Done);
                }
                if self.plan.config.train.early_stop.is_some_and(|most| self.validations.since >= most) {
                    self.save()?;
                    return Ok(Ended::Early);
                }
                asked = self.advance()?;
            }
            if asked & asked::STORAGE != 0 {
                return Ok(Ended::Unsaved);
            }
            if asked & asked::STOP != 0 {
                // Only its last validation may be missing from a run that made all its steps.
                let done = self.step == self.plan.last_step && !self.plan.validates_after(self.step);
                return Ok(if done { Ended::Done } else { Ended::Stopped });
            }
        }
    }

    /// Makes one step, and gives back what the ranks asked for.
    fn advance(&mut self) -> Result<u64> {
        let begin = Instant::now();
        Phase::Step(self.step + 1).enter();
        if fault::at("step") {
            bail!("{}: failed on purpose", Phase::now());
        }
        let storage = self.recorder.as_mut().map_or(0, |recorder| recorder.begin_step(self.step));
        let asked = storage | asked::by(self.stop);
        let batch = self.trainer.batches().batch(self.step);
        let outcome = self.trainer.step(self.step, asked).with_context(|| Phase::now().to_string())?;
        let (sums, loaded, asked) = match outcome {
            Outcome::Updated { sums, seen, asked } => (sums, seen, asked),
            Outcome::NonFinite { lane } => return Err(self.non_finite(lane)),
        };
        self.step += 1;
        self.totals.add(&batch, sums, loaded);
        self.be_patient(begin.elapsed());

        let every = self.plan.config.checkpoint.every_steps;
        let due = self.step.is_multiple_of(every) || self.step == self.plan.last_step || asked != 0;
        let (step, epoch) = (self.step, batch.epoch);
        let so_far = self.totals.epoch;
        let Batch { ends_epoch, windows, .. } = batch;
        let standing = Standing { step, epoch, ends_epoch, windows, batch: sums, so_far };
        if let Some(recorder) = &mut self.recorder {
            recorder.step(standing);
        }
        if due {
            self.save()?;
        }
        Ok(asked)
    }

    /// Validates on the held-out pieces, and gives back what the ranks asked for.
    fn validate(&mut self) -> Result<u64> {
        Phase::Validation(self.step).enter();
        let windows = self.plan.held_out_windows();
        let stop = self.stop;
        match self.trainer.validate(&windows, || asked::by(stop)).with_context(|| Phase::now().to_string())? {
            Validated::Whole(sums) => {
                let epoch = self.step.div_ceil(self.plan.steps_per_epoch);
                if let Some(recorder) = &mut self.recorder {
                    recorder.validation(self.step, epoch, sums);
                }
                if self.validations.add(self.step, sums.mean_loss()) {
                    // Retention keeps it, once it is there.
                    self.save()?;
                }
                Ok(0)
            }
            Validated::Asked(asked) => {
                self.save()?;
                Ok(asked)
            }
        }
    }

    /// Hands this step's checkpoint to the saving thread.
    fn save(&mut self) -> Result<()> {
        // Out of its place, so that it can take a copy of the rest.
        if let Some(mut recorder) = self.recorder.take() {
            let saved = recorder.save(self.step, || self.checkpoint());
            self.recorder = Some(recorder);
            saved?;
        }
        Ok(())
    }

    /// Ranks wait for each other much longer than the longest step.
    fn be_patient(&mut self, step: Duration) {
        self.longest_step = self.longest_step.max(step);
        self.comm.set_collective_timeout(self.plan.config.train.collective_timeout(Some(self.longest_step)));
    }

    /// A copy of everything needed to go on.
    fn checkpoint(&self) -> Result<Checkpoint> {
        let (parameters, mean_square) = self.trainer.state()?;
        fault::at("copy");
        Ok(Checkpoint {
            step: self.step,
            identity: self.plan.config.identity(),
            architecture: self.plan.architecture,
            parameters,
            mean_square,
            epoch: self.totals.epoch,
            seen: self.totals.seen,
            corpus: self.plan.training.clone(),
        })
    }

    /// Waits until everything is safe.
    fn close(mut self, ended: Ended) -> Result<()> {
        Phase::End.enter();
        fault::at("close");
        let recorder = self.recorder.take();
        let last = recorder.is_some().then(|| self.checkpoint()).transpose()?;
        let closing = recorder.zip(last).map(|(recorder, last)| move || recorder.close(&last, ended));
        let closed = run_on_root_with_heartbeat(self.comm, closing);
        collective_result(self.comm, closed.unwrap_or(Ok(())))
    }

    /// The error that every rank ends with; what was handed over is safe before it is reported.
    fn non_finite(&mut self, lane: Option<usize>) -> anyhow::Error {
        let what = match lane {
            Some(lane) => {
                let windows = self.trainer.names_of_windows(self.step, lane);
                format!("the loss of lane {lane} (windows {})", windows.join(", "))
            }
            None => "the gradient".into(),
        };
        let mut message = format!(
            "step {}: {what} is not finite; the weights of step {} are unharmed, and the last checkpoint is kept (a smaller \
             optimizer.learning_rate may help)",
            self.step + 1,
            self.step
        );
        let draining = self.recorder.as_mut().map(|recorder| {
            move || {
                recorder.drain();
                recorder.failure()
            }
        });
        if let Some(error) = run_on_root_with_heartbeat(self.comm, draining).flatten() {
            message = format!("{message}; {}", line_of(&error));
        }
        match collective_result(self.comm, Err::<(), _>(Failure::new(Code::NonFinite, message).into())) {
            Ok(()) => unreachable!("this rank's part is an error"),
            Err(error) => error,
        }
    }
}
