//! What rank 0 does beside training: reporting, and saving through the [`Saver`].
//!
//! While the storage is out of reach training goes on, up to `checkpoint.max_unsaved_steps`. When the run ends and
//! the storage does not take the last checkpoint, it goes into the [`Fallback`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use bachdist_core::checkpoint::retention::Retention;
use bachdist_core::checkpoint::run::Run;
use bachdist_core::checkpoint::{Checkpoint, EpochSums};
use bachdist_core::failure::{Code, Failure, line_of};
use bachdist_core::fault;
use bachdist_core::metrics::{AttemptRecord, METRICS, METRICS_VERSION, Record, StopReason, Validations};
use bachdist_core::store::StoreError;

use super::fallback::Fallback;
use super::plan::Plan;
use super::saver::{Done, Event, Job, Saver};
use super::start::Start;
use super::{Ended, asked};
use crate::comm::Communicator;
use crate::report::layers::count;
use crate::report::metrics::{Metrics, Unwritten};
use crate::report::{Progress, Report, Standing};

/// Rank 0's reporter and saver.
pub struct Recorder {
    report: Report,
    run: Run,
    /// `None` once it is closed.
    saver: Option<Saver>,
    fallback: Fallback,
    /// Those recorded so far.
    validations: Validations,
    max_unsaved_steps: u64,
    /// How long training was held for each checkpoint under way, by step.
    pauses: BTreeMap<u64, Duration>,
    /// The newest step that was handed over, or gone on from.
    handed_over: u64,
    /// The newest step that is safe in the storage.
    safe: u64,
    /// The storage was out of reach when it was last tried.
    out_of_reach: bool,
    /// What ends the run; all ranks stop at the next step.
    failed: Option<Error>,
}

impl Recorder {
    /// Says what is about to be done, and starts the saving thread.
    pub fn open(
        run: Run,
        plan: &Plan,
        start: &Start,
        comm: &dyn Communicator,
        progress: Progress,
    ) -> Result<Self> {
        let (metrics, validations) = Metrics::open(&run, start.step)?;
        let mut report = Report::new(metrics, progress, plan.batches(), plan.epochs(), plan.last_step);
        report.line(&plan.summary(comm));
        plan.notes.iter().chain(&start.notes).for_each(|note| report.line(&format!("note: {note}")));
        if let Some(from) = &start.from {
            // On a line of its own: with the location it would be longer than a terminal is wide.
            report.line(&format!("going on after {}, from\n  {from}", count(start.step, "step")));
        }
        let attempt = AttemptRecord {
            version: METRICS_VERSION,
            step: start.step,
            attempt: run.attempt(),
            ranks: comm.size(),
            config: serde_json::to_value(&plan.config)?,
        };
        report.record(&if start.step == 0 { Record::Run(attempt) } else { Record::Resume(attempt) })?;
        let checkpoint = &plan.config.checkpoint;
        let retention =
            Retention { keep: checkpoint.keep, keep_every: checkpoint.keep_every_steps, best: None };
        Ok(Recorder {
            saver: Some(Saver::new(run.clone(), retention)),
            fallback: Fallback::new(plan)?,
            max_unsaved_steps: plan.max_unsaved_steps(),
            validations,
            report,
            run,
            pauses: BTreeMap::new(),
            handed_over: start.step,
            safe: start.step,
            out_of_reach: false,
            failed: None,
        })
    }

    /// Before a step, of which so many were made: starts its clock, and says what rank 0 asks of all ranks.
    pub fn begin_step(&mut self, steps: u64) -> u64 {
        self.report.step_begins();
        let unsaved = steps.saturating_sub(self.safe);
        let too_long = self.out_of_reach && unsaved >= self.max_unsaved_steps;
        if self.failed.is_some() || too_long { asked::STORAGE } else { 0 }
    }

    /// After every step. What goes wrong here ends the run in order, with all ranks.
    pub fn step(&mut self, standing: Standing) {
        let reported = self.report.step(standing);
        self.keep_error(reported);
        let events: Vec<_> = self.saver.iter().flat_map(Saver::events).collect();
        events.into_iter().for_each(|event| self.saving(event));
    }

    /// What the validations recorded so far came to.
    pub fn validations(&self) -> Validations {
        self.validations
    }

    /// After a validation.
    pub fn validation(&mut self, step: u64, epoch: u64, sums: EpochSums) {
        self.validations.add(step, sums.mean_loss());
        let reported = self.report.validation(step, epoch, sums);
        self.keep_error(reported);
    }

    /// Hands the checkpoint of a step to the saving thread, once.
    pub fn save(&mut self, step: u64, copy: impl FnOnce() -> Result<Checkpoint>) -> Result<()> {
        let Some(saver) = self.saver.as_ref().filter(|_| self.failed.is_none() && step > self.handed_over)
        else {
            return Ok(());
        };
        let begin = Instant::now();
        let checkpoint = copy()?;
        self.handed_over = step;
        let best = self.validations.best.map(|best| best.step);
        let given_up = saver.save(Job { checkpoint, metrics: self.report.metrics_object(), best });
        self.pauses.insert(step, begin.elapsed());
        for step in given_up {
            self.report
                .line(&format!("note: gave up the checkpoint of step {step}: too many wait for the storage"));
        }
        Ok(())
    }

    fn keep_error(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    fn saving(&mut self, event: Event) {
        match event {
            Event::Saved(Done { listed, note, retries, upload }) => {
                let step = listed.name.step;
                if self.out_of_reach {
                    self.report.line(&format!("note: the storage is back; step {step} is safe"));
                }
                (self.out_of_reach, self.safe) = (false, step);
                note.iter().for_each(|note| self.report.line(&format!("note: {note}")));
                if let Some(last) = &retries.last {
                    let times = count(retries.count, "time");
                    self.report.line(&format!("note: saving step {step} was tried again {times}: {last}"));
                }
                let pause = self.pauses.remove(&step).unwrap_or_default();
                let reported = self.report.checkpoint(&listed, pause, upload, retries.count);
                self.keep_error(reported);
            }
            Event::Missed(error) => {
                // Once for every outage, however often it is tried.
                if !self.out_of_reach {
                    let most = count(self.max_unsaved_steps, "step");
                    let line = line_of(&error);
                    self.report.line(&format!(
                        "note: {line}; training goes on for up to {most} after step {}",
                        self.safe
                    ));
                    let reported = self.report.outage(self.safe, &line);
                    self.keep_error(reported);
                }
                self.out_of_reach = true;
            }
            Event::Failed(error) => self.keep_error(Err(error)),
        }
    }

    /// Waits until everything is safe, and says how the run ended. `last` is the state it ended with.
    pub fn close(mut self, last: &Checkpoint, ended: Ended) -> Result<()> {
        self.make_safe(last, ended)?;
        let url = self.run.store().url();
        let step = last.step;
        let (reason, line) = match ended {
            Ended::Done => (StopReason::Done, format!("done: {}; checkpoints in {url}", count(step, "step"))),
            Ended::Early => (StopReason::Early, self.early(step)),
            Ended::Stopped => (
                StopReason::Signal,
                format!("stopped as asked after step {step}; run the same command again to go on"),
            ),
            Ended::Unsaved => (
                StopReason::Storage,
                format!(
                    "stopped after step {step}, which the storage took after all; run the same command again to go on"
                ),
            ),
        };
        self.report.stop(step, reason, &line)?;
        if let Some(text) = self.report.metrics_object() {
            self.run.publish(METRICS, text.into_bytes())?;
        }
        fault::at("closed");
        Ok(())
    }

    /// Why the run ended before its last step.
    fn early(&self, step: u64) -> String {
        let Validations { best, since } = self.validations;
        let best =
            best.map_or(String::new(), |best| format!("; the best is step {}: {:.4}", best.step, best.loss));
        let (steps, times) = (count(step, "step"), count(since, "validation"));
        format!(
            "done early: {steps}, {times} without a better one{best}\ncheckpoints in {}",
            self.run.store().url()
        )
    }

    /// Waits until this state is safe: in the storage, or else, which is an error, in the fallback.
    fn make_safe(&mut self, last: &Checkpoint, ended: Ended) -> Result<()> {
        // First, where there may be little time and a server that does not answer.
        let urgent = ended == Ended::Stopped && !self.run.store().is_local();
        let mut kept = (urgent || self.in_trouble()).then(|| self.fallback.keep(last));
        self.drain();
        if self.failed.is_none() && self.safe == last.step {
            if kept.is_some() {
                self.fallback.forget(last.step)?;
            }
            return Ok(());
        }
        let error = self.failed.take().unwrap_or_else(|| {
            let message = format!("no checkpoint since step {} could be saved", self.safe);
            Failure::new(Code::Storage, message).into()
        });
        if !may_fall_back(&error) {
            return Err(error);
        }
        let url = self.run.store().url().to_owned();
        let kept = kept.take().unwrap_or_else(|| self.fallback.keep(last));
        let step = last.step;
        Err(error.context(match kept {
            Ok(path) => format!(
                "could not save to {url}; step {step} is safe in {path}, and the same command finds it there when the \
                 storage is back"
            ),
            Err(other) => format!(
                "could not save to {url}, nor beside it ({}); the last step that is safe is {}",
                line_of(&other),
                self.safe
            ),
        }))
    }

    fn in_trouble(&self) -> bool {
        self.out_of_reach || self.failed.as_ref().is_some_and(may_fall_back)
    }

    /// Waits until everything handed over is safe, or cannot be.
    pub fn drain(&mut self) {
        let events = self.saver.take().map_or_else(Vec::new, Saver::close);
        events.into_iter().for_each(|event| self.saving(event));
    }

    /// What ended the run, if anything did.
    pub fn failure(&mut self) -> Option<Error> {
        self.failed.take()
    }
}

/// Whether an error is the storage's. Another launch that took over the run is none: it has what it needs.
fn may_fall_back(error: &Error) -> bool {
    error.is::<StoreError>() || error.is::<Unwritten>()
}
