//! What rank 0 does beside training: reporting, and saving through the [`Saver`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use bachdist_core::checkpoint::Checkpoint;
use bachdist_core::checkpoint::run::{Retention, Run};
use serde_json::json;

use super::plan::Plan;
use super::saver::{Saved, Saver};
use super::start::Start;
use super::{Ended, asked};
use crate::comm::Comm;
use crate::report::layers::count;
use crate::report::metrics::Metrics;
use crate::report::{Progress, Report, Standing};

/// Rank 0's reporter and saver.
pub struct Office {
    report: Report,
    /// `None` once it is closed.
    saver: Option<Saver>,
    url: String,
    /// How long training was held for each checkpoint under way, by step.
    pauses: BTreeMap<u64, Duration>,
    /// What went wrong in saving; all ranks stop at the next step.
    failed: Option<anyhow::Error>,
}

impl Office {
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
        let url = run.store().url().to_owned();
        Ok(Office {
            report,
            saver: Some(Saver::new(run, retention)),
            url,
            pauses: BTreeMap::new(),
            failed: None,
        })
    }

    /// What rank 0 asks of all ranks at the next step.
    pub fn asked(&mut self) -> u64 {
        self.report.step_begins();
        if self.failed.is_some() { asked::STORAGE } else { 0 }
    }

    /// After every step.
    pub fn step(&mut self, standing: Standing) -> Result<()> {
        self.report.step(standing)?;
        let finished: Vec<_> = self.saver.iter().flat_map(Saver::finished).collect();
        finished.into_iter().try_for_each(|result| self.finished(result))
    }

    /// Hands a checkpoint to the saving thread.
    pub fn save(&mut self, copy: impl FnOnce() -> Checkpoint) {
        let Some(saver) = self.saver.as_ref().filter(|_| self.failed.is_none()) else { return };
        let begin = Instant::now();
        let checkpoint = copy();
        let step = checkpoint.step;
        // An error here means that the thread has ended; its own report says why.
        if saver.save(checkpoint).is_ok() {
            self.pauses.insert(step, begin.elapsed());
        }
    }

    fn finished(&mut self, result: Result<Saved>) -> Result<()> {
        match result {
            Ok(Saved { listed, upload }) => {
                let pause = self.pauses.remove(&listed.name.step).unwrap_or_default();
                self.report.checkpoint(&listed, pause, upload)
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                Ok(())
            }
        }
    }

    /// Waits until everything is safe, and says how the run ended.
    pub fn close(self, step: u64, ended: Ended) -> Result<()> {
        let url = self.url.clone();
        let (reason, line) = match ended {
            Ended::Done => ("done", format!("done: {}; checkpoints in {url}", count(step, "step"))),
            Ended::Stopped => {
                ("signal", format!("stopped as asked after step {step}; run the same command again to go on"))
            }
        };
        self.end(step, reason, &line)
    }

    /// Waits until everything handed over is safe, saying nothing.
    pub fn abandon(mut self) -> Result<()> {
        self.drain()
    }

    fn end(mut self, step: u64, reason: &str, line: &str) -> Result<()> {
        self.drain()?;
        self.report.stop(step, reason, line)
    }

    fn drain(&mut self) -> Result<()> {
        let results = self.saver.take().map_or_else(Vec::new, Saver::close);
        results.into_iter().try_for_each(|result| self.finished(result))?;
        match self.failed.take() {
            Some(error) => Err(error.context(format!("could not save to {}", self.url))),
            None => Ok(()),
        }
    }
}
