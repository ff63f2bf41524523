//! Training: the loop over steps.
//!
//! [`plan`] says what would be done; [`run`] does it. Every rank runs the same loop and takes the same branches: what
//! decides a branch is gathered from all ranks first. Rank 0 alone reports and saves, through its [`Recorder`].

mod loader;
mod music;
pub mod plan;
pub mod prepare;
mod recorder;
mod saver;
pub mod start;
pub mod step;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bachdist_portable::backend::TrainingState;
use bachdist_portable::checkpoint::Checkpoint;
use bachdist_portable::failure::{ExitCode, Failure, line_of};
use bachdist_portable::fault::{self, FaultPoint};
use bachdist_portable::metrics::{BestValidation, Validations};
use bachdist_portable::network::batch::EpochSums;
use bachdist_portable::schedule::Batches;

use crate::comm::Communicator;
use crate::comm::collectives::{collective_result, run_on_root_with_heartbeat};
use crate::phase::Phase;
use crate::report::{Progress, StepSummary};
use crate::stop::{RunOutcome, StopFlag, StopRequest};
use plan::Plan;
use recorder::Recorder;
use start::{InitialState, StartOptions, find_initial_state};
use step::{Outcome, Totals, Trainer};

/// Trains from the step that the run has reached to its end.
///
/// # Collective
///
/// All ranks call this together, with the same plan.
pub fn run(
    comm: &dyn Communicator,
    plan: &Plan,
    stop: &StopFlag,
    start: &StartOptions,
    progress: Progress,
) -> Result<RunOutcome> {
    // Before the run is claimed: a launch that has no room for its network must not take it from another.
    let mut backend = plan.target.backend(plan.architecture, plan.threads)?;
    let (initial, run) = find_initial_state(comm, plan, start)?;
    let recorder = run.map(|run| Recorder::open(run, plan, &initial, comm, progress)).transpose();
    let recorder = collective_result(comm, recorder)?;
    let validations = broadcast_validations(comm, recorder.as_ref());
    let InitialState { step, parameters, mean_square, carried, epoch, audit, .. } = initial;
    backend.set_state(TrainingState { parameters, mean_square })?;
    let pieces = &plan.training.pieces;
    let mut trainer = Trainer::new(comm, &plan.config, pieces, plan.assignment.clone(), backend);
    trainer.set_carried(&carried)?;
    let state = RunState { plan, trainer, step, totals: Totals { epoch, audit } };
    let longest_step = Duration::ZERO;
    let mut training = TrainingLoop { comm, plan, stop, state, recorder, validations, longest_step };
    let outcome = training.run_to_end()?;
    training.close(outcome)?;
    Ok(outcome)
}

/// Rank 0's validations so far, on every rank.
///
/// # Collective
///
/// All ranks call this together.
fn broadcast_validations(comm: &dyn Communicator, recorder: Option<&Recorder>) -> Validations {
    let Validations { best, since } = recorder.map_or_else(Validations::default, Recorder::validations);
    let best = best.map_or([0, 0, 0], |best| [1, best.step, best.loss.to_bits()]);
    let mut all = vec![0; 4 * comm.size()];
    comm.all_gather_words(&[best[0], best[1], best[2], since], &mut all);
    let best = (all[0] == 1).then(|| BestValidation { step: all[1], loss: f64::from_bits(all[2]) });
    Validations { best, since: all[3] }
}

/// What training changes, and what a checkpoint has of it.
struct RunState<'a> {
    plan: &'a Plan,
    trainer: Trainer<'a>,
    /// Steps made since the beginning of the run.
    step: u64,
    totals: Totals,
}

impl RunState<'_> {
    /// A copy of everything that is needed to continue, with the states of all rows.
    fn checkpoint(&self, carried: Vec<f32>) -> Result<Checkpoint> {
        let TrainingState { parameters, mean_square } = self.trainer.state()?;
        fault::at(FaultPoint::Copy);
        Ok(Checkpoint {
            step: self.step,
            identity: self.plan.config.identity(),
            representation: self.plan.config.representation.clone(),
            run_of_format_1: None,
            architecture: self.plan.architecture,
            parameters,
            mean_square,
            carried,
            epoch: self.totals.epoch,
            audit: self.totals.audit,
            corpus: self.plan.training.clone(),
        })
    }
}

/// A rank in the middle of a run. All methods are collective: the ranks call them together.
struct TrainingLoop<'a> {
    comm: &'a dyn Communicator,
    plan: &'a Plan,
    stop: &'a StopFlag,
    state: RunState<'a>,
    /// On rank 0.
    recorder: Option<Recorder>,
    validations: Validations,
    longest_step: Duration,
}

impl TrainingLoop<'_> {
    /// One step after another, with validations between them.
    fn run_to_end(&mut self) -> Result<RunOutcome> {
        loop {
            let step = self.state.step;
            let mut requested = StopRequest::empty();
            if self.plan.validates_after(step) {
                requested = self.validate()?;
            }
            if requested.is_empty() {
                if step >= self.plan.last_step {
                    return Ok(RunOutcome::Completed);
                }
                if self.plan.config.train.early_stop.is_some_and(|limit| self.validations.since >= limit) {
                    self.save()?;
                    return Ok(RunOutcome::EarlyStopped);
                }
                requested = self.advance()?;
            }
            if requested.contains(StopRequest::STORAGE) {
                return Ok(RunOutcome::StorageFailed);
            }
            if requested.contains(StopRequest::SIGNAL) {
                // A run that made all its steps is interrupted only if its last validation is missing.
                let step = self.state.step;
                let completed = step == self.plan.last_step && !self.plan.validates_after(step);
                return Ok(if completed { RunOutcome::Completed } else { RunOutcome::Interrupted });
            }
        }
    }

    /// Makes one step, saves if it is time to, and returns what the ranks asked for.
    fn advance(&mut self) -> Result<StopRequest> {
        let begin = Instant::now();
        let made = self.state.step;
        Phase::Step(made + 1).enter();
        if fault::at(FaultPoint::Step) {
            bail!("{}: injected failure", Phase::now());
        }
        let storage =
            self.recorder.as_mut().map_or(StopRequest::empty(), |recorder| recorder.begin_step(made));
        let batch = self.state.trainer.batches().batch(made);
        let outcome = self.state.trainer.step(made, storage | self.stop.request(), &mut ());
        let (sums, audit, requested) = match outcome.with_context(|| Phase::now().to_string())? {
            Outcome::Updated { sums, audit, requested } => (sums, audit, requested),
            Outcome::NonFinite { lane } => return Err(self.non_finite(lane)),
        };
        self.state.step += 1;
        self.state.totals.add(&batch, sums, audit);
        // The collective timeout must be much longer than the longest step.
        self.longest_step = self.longest_step.max(begin.elapsed());
        self.comm.set_collective_timeout(self.plan.config.train.collective_timeout(Some(self.longest_step)));

        let step = self.state.step;
        if let Some(recorder) = &mut self.recorder {
            recorder.step(StepSummary {
                step,
                epoch: batch.epoch,
                ends_epoch: batch.ends_epoch,
                windows: batch.windows,
                batch: sums,
                epoch_so_far: self.state.totals.epoch,
            });
        }
        let is_due = step.is_multiple_of(self.plan.config.checkpoint.every_steps);
        if is_due || step == self.plan.last_step || !requested.is_empty() {
            self.save()?;
        }
        Ok(requested)
    }

    /// Loss and accuracy on the held-out pieces, the same bits on any number of ranks. It is abandoned when a rank asks to
    /// stop, and what the ranks asked for is returned.
    fn validate(&mut self) -> Result<StopRequest> {
        let step = self.state.step;
        Phase::Validation(step).enter();
        let trainer = &mut self.state.trainer;
        let held_out = self.plan.held_out_sequences();
        let batches = Batches { windows: held_out.windows(), ..trainer.batches() };
        let mut sums = EpochSums::default();
        trainer.load_all_weights().with_context(|| Phase::now().to_string())?;
        for index in 0..batches.steps_per_epoch() {
            fault::at(FaultPoint::Validate);
            let evaluated = trainer.evaluate(&held_out, &batches.batch(index), self.stop.request());
            let (of_batch, requested) = evaluated.with_context(|| Phase::now().to_string())?;
            if !requested.is_empty() {
                self.save()?;
                return Ok(requested);
            }
            sums.add(of_batch);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.validation(step, step.div_ceil(self.plan.steps_per_epoch), sums);
            recorder.sample(step, || self.state.trainer.state())?;
        }
        if self.validations.add(step, sums.mean_loss()) {
            // Retention can keep only what was saved.
            self.save()?;
        }
        Ok(StopRequest::empty())
    }

    /// Hands this step's checkpoint to the saving thread.
    fn save(&mut self) -> Result<()> {
        let carried = self.state.trainer.gather_carried()?;
        match &mut self.recorder {
            Some(recorder) => recorder.save(self.state.step, || self.state.checkpoint(carried)),
            None => Ok(()),
        }
    }

    /// Waits until everything is safe.
    fn close(self, outcome: RunOutcome) -> Result<()> {
        Phase::End.enter();
        fault::at(FaultPoint::Close);
        let carried = self.state.trainer.gather_carried()?;
        let last = self.recorder.is_some().then(|| self.state.checkpoint(carried)).transpose()?;
        let work = self.recorder.zip(last).map(|(recorder, last)| move || recorder.close(&last, outcome));
        let closed = run_on_root_with_heartbeat(self.comm, work);
        collective_result(self.comm, closed.unwrap_or(Ok(())))
    }

    /// The error that every rank ends with. What was handed to the saving thread is safe before it is reported.
    fn non_finite(&mut self, lane: Option<usize>) -> anyhow::Error {
        let step = self.state.step;
        let what = match lane {
            Some(lane) => {
                let windows = self.state.trainer.loader().names_of_windows(step, lane);
                format!("NaN or infinite loss in lane {lane} (windows {})", windows.join(", "))
            }
            None => "NaN or infinite gradient".into(),
        };
        let mut message = format!(
            "step {}: {what}; the weights of step {step} are unharmed, and the last checkpoint is kept; lower \
             optimizer.learning_rate and rerun",
            step + 1,
        );
        let work = self.recorder.as_mut().map(|recorder| {
            move || {
                recorder.drain();
                recorder.take_failure()
            }
        });
        if let Some(error) = run_on_root_with_heartbeat(self.comm, work).flatten() {
            message = format!("{message}; {}", line_of(&error));
        }
        match collective_result(self.comm, Err::<(), _>(Failure::new(ExitCode::NonFinite, message).into())) {
            Ok(()) => unreachable!("this rank's part is an error"),
            Err(error) => error,
        }
    }
}
