//! What rank 0 does beside training: reporting, and saving through the [`Saver`].
//!
//! Training continues while the storage cannot be reached, for up to `checkpoint.max_unsaved_steps`. If the run ends and
//! the storage does not take the last checkpoint, it goes into the [`FallbackStore`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use bachdist_portable::backend::TrainingState;
use bachdist_portable::checkpoint::Checkpoint;
use bachdist_portable::checkpoint::claim::{Retention, RunClaim};
use bachdist_portable::failure::{ExitCode, Failure, line_of};
use bachdist_portable::fault::{self, FaultPoint};
use bachdist_portable::metrics::{AttemptRecord, METRICS, METRICS_VERSION, Record, Validations};
use bachdist_portable::network::batch::EpochSums;
use bachdist_portable::print::count;
use bachdist_portable::store::StoreError;

use super::plan::Plan;
use super::saver::{FallbackStore, SaveEvent, SaveJob, SavedCheckpoint, Saver};
use super::start::InitialState;
use crate::comm::Communicator;
use crate::export::{Exporters, SampleJob};
use crate::report::{MetricsWriteError, MetricsWriter, Progress, RunReporter, StepSummary};
use crate::stop::{RunOutcome, StopRequest};

/// Rank 0's reporter and saver.
pub struct Recorder {
    report: RunReporter,
    run: RunClaim,
    /// `None` once it is closed.
    saver: Option<Saver>,
    fallback: FallbackStore,
    validations: Validations,
    max_unsaved_steps: u64,
    /// How long training was held for each checkpoint that is not saved yet, by step.
    pauses: BTreeMap<u64, Duration>,
    /// The newest step that was handed to the saver, or resumed from.
    handed_over: u64,
    /// The newest step that the storage has.
    saved: u64,
    /// The storage could not be reached when it was last tried.
    in_outage: bool,
    /// Ends the run: all ranks stop at the next step.
    failed: Option<Error>,
}

impl Recorder {
    /// Prints the plan, and starts the saving thread.
    pub fn open(
        run: RunClaim,
        plan: &Plan,
        initial: &InitialState,
        comm: &dyn Communicator,
        progress: Progress,
    ) -> Result<Self> {
        let (metrics, validations) = MetricsWriter::open(&run, initial.step)?;
        let exporters = Exporters::start(&plan.config, &plan.training, plan.architecture, &run)?;
        let mut report =
            RunReporter::new(metrics, exporters, progress, plan.batches(), plan.epochs(), plan.last_step);
        report.line(&plan.summary(comm));
        for note in plan.notes.iter().chain(&initial.notes) {
            report.line(&format!("note: {note}"));
        }
        if let Some(from) = &initial.from {
            // The location has a line of its own, because both together are wider than a terminal.
            report.line(&format!("resuming after {} from\n  {from}", count(initial.step, "step")));
        }
        let attempt = AttemptRecord {
            version: METRICS_VERSION,
            step: initial.step,
            attempt: run.attempt(),
            ranks: comm.size(),
            hosts: comm.hosts(),
            device: plan.device(),
            config: serde_json::to_value(&plan.config)?,
        };
        report.record(if initial.step == 0 { Record::Run(attempt) } else { Record::Resume(attempt) })?;
        let checkpoint = &plan.config.checkpoint;
        let retention =
            Retention { keep: checkpoint.keep, keep_every_steps: checkpoint.keep_every_steps, best: None };
        Ok(Recorder {
            saver: Some(Saver::new(run.clone(), retention)),
            fallback: FallbackStore::new(plan)?,
            max_unsaved_steps: plan.max_unsaved_steps(),
            validations,
            report,
            run,
            pauses: BTreeMap::new(),
            handed_over: initial.step,
            saved: initial.step,
            in_outage: false,
            failed: None,
        })
    }

    /// Starts the clock of the step after `steps`, and returns what rank 0 asks of all ranks.
    pub fn begin_step(&mut self, steps: u64) -> StopRequest {
        self.report.begin_step();
        let unsaved = steps.saturating_sub(self.saved);
        let must_stop = self.failed.is_some() || self.in_outage && unsaved >= self.max_unsaved_steps;
        if must_stop { StopRequest::STORAGE } else { StopRequest::empty() }
    }

    /// Records a step. An error here is kept, so that all ranks end together.
    pub fn step(&mut self, summary: StepSummary) {
        let reported = self.report.step(summary);
        self.keep_error(reported);
        let events: Vec<_> = self.saver.iter().flat_map(Saver::events).collect();
        for event in events {
            self.handle(event);
        }
    }

    /// The validations so far.
    pub fn validations(&self) -> Validations {
        self.validations
    }

    /// Records a validation.
    pub fn validation(&mut self, step: u64, epoch: u64, sums: EpochSums) {
        self.validations.add(step, sums.mean_loss());
        let reported = self.report.validation(step, epoch, sums);
        self.keep_error(reported);
    }

    /// Has a sample of the network composed after `step`, beside training, if a log shows one.
    pub fn sample(&self, step: u64, copy: impl FnOnce() -> Result<TrainingState>) -> Result<()> {
        if self.report.wants_sample() {
            self.report.sample(SampleJob { step, parameters: copy()?.parameters });
        }
        Ok(())
    }

    /// Hands the checkpoint of a step to the saving thread, once per step.
    pub fn save(&mut self, step: u64, copy: impl FnOnce() -> Result<Checkpoint>) -> Result<()> {
        let Some(saver) = self.saver.as_ref().filter(|_| self.failed.is_none() && step > self.handed_over)
        else {
            return Ok(());
        };
        let begin = Instant::now();
        let checkpoint = copy()?;
        self.handed_over = step;
        let best = self.validations.best.map(|best| best.step);
        let dropped = saver.save(SaveJob { checkpoint, metrics: self.report.metrics_object(), best });
        self.pauses.insert(step, begin.elapsed());
        for step in dropped {
            self.report.line(&format!(
                "note: dropped the checkpoint of step {step}: too many are waiting for the storage"
            ));
        }
        Ok(())
    }

    fn keep_error(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    fn handle(&mut self, event: SaveEvent) {
        match event {
            SaveEvent::Saved(SavedCheckpoint { listed, note, retries, upload }) => {
                let step = listed.name.step;
                if self.in_outage {
                    self.report.line(&format!("note: the storage is back; step {step} is saved"));
                }
                (self.in_outage, self.saved) = (false, step);
                if let Some(note) = note {
                    self.report.line(&format!("note: {note}"));
                }
                if let Some(last) = &retries.last {
                    let times = count(retries.count, "time");
                    self.report.line(&format!("note: saving step {step} was retried {times}: {last}"));
                }
                let pause = self.pauses.remove(&step).unwrap_or_default();
                let reported = self.report.checkpoint(&listed, pause, upload, retries.count);
                self.keep_error(reported);
            }
            SaveEvent::StorageUnreachable(error) => {
                // Reported once per outage, not for every retry.
                if !self.in_outage {
                    let limit = count(self.max_unsaved_steps, "step");
                    let reason = line_of(&error);
                    self.report.line(&format!(
                        "note: {reason}; training continues for up to {limit} after step {}, the last one saved",
                        self.saved
                    ));
                    let reported = self.report.outage(self.saved, &reason);
                    self.keep_error(reported);
                }
                self.in_outage = true;
            }
            SaveEvent::Failed(error) => self.keep_error(Err(error)),
        }
    }

    /// Waits until everything is saved, and reports how the run ended. `last` is the state that it ended with.
    pub fn close(mut self, last: &Checkpoint, outcome: RunOutcome) -> Result<()> {
        self.persist_final_state(last, outcome)?;
        let url = self.run.store().url();
        let step = last.step;
        let line = match outcome {
            RunOutcome::Completed => format!("done: {}; checkpoints in {url}", count(step, "step")),
            RunOutcome::EarlyStopped => {
                let Validations { best, since } = self.validations;
                let best = best.map_or(String::new(), |best| {
                    format!("; the best is step {}, with loss {:.4}", best.step, best.loss)
                });
                format!(
                    "stopped early after {}: {} without improvement{best}\ncheckpoints in {url}",
                    count(step, "step"),
                    count(since, "validation")
                )
            }
            RunOutcome::Interrupted => {
                format!("stopped by a signal after step {step}; rerun the same command to resume")
            }
            RunOutcome::StorageFailed => format!(
                "stopped after step {step}; its checkpoint was saved in the end; rerun the same command to resume"
            ),
        };
        self.report.stop(step, outcome.reason(), &line)?;
        if let Some(text) = self.report.metrics_object() {
            self.run.publish(METRICS, text.into_bytes())?;
        }
        self.report.close();
        fault::at(FaultPoint::Closed);
        Ok(())
    }

    /// Waits until this state is in the storage or, which is an error, in the fallback.
    fn persist_final_state(&mut self, last: &Checkpoint, outcome: RunOutcome) -> Result<()> {
        // Into the fallback first, where time may be short and the storage is a server that may not answer.
        let is_urgent = outcome == RunOutcome::Interrupted && !self.run.store().is_local();
        let in_trouble = self.in_outage || self.failed.as_ref().is_some_and(may_fall_back);
        let mut kept = (is_urgent || in_trouble).then(|| self.fallback.save(last));
        self.drain();
        if self.failed.is_none() && self.saved == last.step {
            if kept.is_some() {
                self.fallback.clear(last.step)?;
            }
            return Ok(());
        }
        let error = self.failed.take().unwrap_or_else(|| {
            let message = format!("no checkpoint since step {} could be saved", self.saved);
            Failure::new(ExitCode::Storage, message).into()
        });
        if !may_fall_back(&error) {
            return Err(error);
        }
        let url = self.run.store().url().to_owned();
        let kept = kept.take().unwrap_or_else(|| self.fallback.save(last));
        let step = last.step;
        Err(error.context(match kept {
            Ok(path) => format!(
                "could not save to {url}; step {step} is safe in {path}; when the storage is back, rerun the same command: \
                 it resumes from there"
            ),
            Err(other) => format!(
                "could not save to {url}, nor to the fallback ({}); the last step that is safe is {}",
                line_of(&other),
                self.saved
            ),
        }))
    }

    /// Waits until everything handed over is saved, or cannot be.
    pub fn drain(&mut self) {
        let events = self.saver.take().map_or_else(Vec::new, Saver::close);
        for event in events {
            self.handle(event);
        }
    }

    /// The error that ended the run, if there is one.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }
}

/// Whether an error is the storage's. That another launch took the run over is not: it has the state that it needs.
fn may_fall_back(error: &Error) -> bool {
    error.is::<StoreError>() || error.is::<MetricsWriteError>()
}
