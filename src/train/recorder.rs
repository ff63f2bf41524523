//! What rank 0 does beside training: reporting, and saving through the [`Saver`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use bachdist_core::checkpoint::Checkpoint;
use bachdist_core::checkpoint::run::{Retention, Run};
use bachdist_core::failure::line_of;
use bachdist_core::store::{Kind, StoreError};
use serde_json::json;

use super::plan::Plan;
use super::saver::{Done, Job, Saver};
use super::start::Start;
use super::{Ended, asked};
use crate::comm::Comm;
use crate::report::layers::count;
use crate::report::metrics::{Metrics, NAME};
use crate::report::{Progress, Report, Standing};

/// Rank 0's reporter and saver.
pub struct Recorder {
    report: Report,
    run: Run,
    /// `None` once it is closed.
    saver: Option<Saver>,
    /// How long training was held for each checkpoint under way, by step.
    pauses: BTreeMap<u64, Duration>,
    /// Saves in a row that met no storage.
    missed: u32,
    /// What ends the run; all ranks stop at the next step.
    failed: Option<anyhow::Error>,
}

/// So many saves in a row may find the storage out of reach before the run ends.
const PATIENCE: u32 = 3;

impl Recorder {
    /// Says what is about to be done, and starts the saving thread.
    pub fn open(run: Run, plan: &Plan, start: &Start, comm: &dyn Comm, progress: Progress) -> Result<Self> {
        let metrics = Metrics::open(run.store(), start.step)?;
        let mut report = Report::new(metrics, progress, plan.batches(), plan.epochs(), plan.last_step);
        report.line(&plan.summary(comm));
        start.notes.iter().for_each(|note| report.line(&format!("note: {note}")));
        let kind = if start.step == 0 { "run" } else { "resume" };
        if let Some(from) = &start.from {
            // On a line of its own: with the location it would be longer than a terminal is wide.
            report.line(&format!("going on after {}, from\n  {from}", count(start.step, "step")));
        }
        report.record(json!({
            "kind": kind,
            "step": start.step,
            "attempt": run.attempt(),
            "ranks": comm.size(),
            "config": plan.config,
        }))?;
        let retention =
            Retention { keep: plan.config.checkpoint.keep, keep_every: plan.config.checkpoint.keep_every };
        let saver = Some(Saver::new(run.clone(), retention));
        Ok(Recorder { report, run, saver, pauses: BTreeMap::new(), missed: 0, failed: None })
    }

    /// Before every step: starts its clock, and says what rank 0 asks of all ranks.
    pub fn begin_step(&mut self) -> u64 {
        self.report.step_begins();
        if self.failed.is_some() { asked::STORAGE } else { 0 }
    }

    /// After every step. What goes wrong here ends the run in order, with all ranks.
    pub fn step(&mut self, standing: Standing) {
        let reported = self.report.step(standing);
        self.keep_error(reported);
        let finished: Vec<_> = self.saver.iter().flat_map(Saver::finished).collect();
        finished.into_iter().for_each(|result| self.finished(result));
    }

    /// Hands a checkpoint to the saving thread.
    pub fn save(&mut self, copy: impl FnOnce() -> Checkpoint) {
        let Some(saver) = self.saver.as_ref().filter(|_| self.failed.is_none()) else { return };
        let begin = Instant::now();
        let checkpoint = copy();
        let step = checkpoint.step;
        let handed_over = saver.save(Job { checkpoint, metrics: self.report.metrics_object() });
        self.pauses.insert(step, begin.elapsed());
        self.keep_error(handed_over);
    }

    fn keep_error(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    fn finished(&mut self, result: Result<Done>) {
        match result {
            Ok(Done { listed, note, upload }) => {
                self.missed = 0;
                let pause = self.pauses.remove(&listed.name.step).unwrap_or_default();
                note.iter().for_each(|note| self.report.line(&format!("note: {note}")));
                let reported = self.report.checkpoint(&listed, pause, upload);
                self.keep_error(reported);
            }
            Err(error) if self.missed + 1 < PATIENCE && is_out_of_reach(&error) => {
                self.missed += 1;
                self.report.line(&format!("note: {}; the next checkpoint tries again", line_of(&error)));
            }
            Err(error) => self.keep_error(Err(error)),
        }
    }

    /// Waits until everything is safe, and says how the run ended.
    pub fn close(mut self, step: u64, ended: Ended) -> Result<()> {
        self.drain()?;
        let url = self.run.store().url();
        let (reason, line) = match ended {
            Ended::Done => ("done", format!("done: {}; checkpoints in {url}", count(step, "step"))),
            Ended::Stopped => {
                ("signal", format!("stopped as asked after step {step}; run the same command again to go on"))
            }
        };
        self.report.stop(step, reason, &line)?;
        match self.report.metrics_object() {
            Some(text) => self.run.publish(NAME, text.into_bytes()),
            None => Ok(()),
        }
    }

    /// Waits until everything handed over is safe. A checkpoint that met no storage is a failure now: there is no
    /// next one to try again.
    pub fn drain(&mut self) -> Result<()> {
        let results = self.saver.take().map_or_else(Vec::new, Saver::close);
        self.missed = PATIENCE;
        results.into_iter().for_each(|result| self.finished(result));
        match self.failed.take() {
            Some(error) => Err(error.context(format!("could not save to {}", self.run.store().url()))),
            None => Ok(()),
        }
    }
}

fn is_out_of_reach(error: &anyhow::Error) -> bool {
    error.downcast_ref::<StoreError>().is_some_and(|error| error.kind == Kind::Unreachable)
}
