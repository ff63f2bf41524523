//! What rank 0 says: a bar on a terminal, plain lines elsewhere, and `metrics.jsonl` beside the checkpoints.

pub mod metrics;
pub mod terminal;

use std::io::{Write, stdout};
use std::time::{Duration, Instant};

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::checkpoint::catalog::CheckpointEntry;
use bachdist_core::corpus::batches::Batches;
use bachdist_core::metrics::{Record, StopReason};
use indicatif::{HumanDuration, ProgressBar};

use metrics::Metrics;

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Progress {
    /// A bar if a person is watching.
    Auto,
    /// A bar.
    Bar,
    /// Lines.
    Plain,
    /// Nothing, where the output is for a program.
    #[value(skip)]
    Silent,
}

/// Seconds between plain lines inside an epoch.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Rank 0's reporter.
pub struct Report {
    metrics: Metrics,
    /// `None` where lines are wanted.
    bar: Option<ProgressBar>,
    is_silent: bool,
    epochs: u64,
    steps_per_epoch: u64,
    last_step: u64,
    /// Mean size of a batch.
    windows_a_step: f64,
    /// Seconds a window of late.
    pace: Option<f64>,
    last_line: Instant,
    step_begin: Instant,
}

/// Where a run stands after a step.
#[derive(Debug, Clone, Copy)]
pub struct StepSummary {
    /// Steps made.
    pub step: u64,
    /// The epoch of the last of them, from 0.
    pub epoch: u64,
    /// Whether it ended its epoch.
    pub ends_epoch: bool,
    /// Windows of its batch.
    pub windows: usize,
    /// The batch alone.
    pub batch: EpochSums,
    /// The epoch so far.
    pub epoch_so_far: EpochSums,
}

impl Report {
    /// A reporter for a run of so many epochs and steps in all.
    pub fn new(metrics: Metrics, progress: Progress, batches: Batches, epochs: u64, last_step: u64) -> Self {
        let steps_per_epoch = batches.steps_per_epoch();
        let now = Instant::now();
        let bar = terminal::bar(progress, steps_per_epoch, "{prefix} [{wide_bar}] {pos}/{len} {msg}");
        Report {
            metrics,
            bar,
            is_silent: progress == Progress::Silent,
            epochs,
            steps_per_epoch,
            last_step,
            windows_a_step: batches.windows as f64 / steps_per_epoch as f64,
            pace: None,
            last_line: now,
            step_begin: now,
        }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.is_silent => {}
            // A run goes on when nobody reads what it says any more.
            None => drop(writeln!(stdout(), "{text}")),
        }
    }

    /// A line in `metrics.jsonl`.
    pub fn record(&mut self, record: &Record) -> Result<()> {
        self.metrics.record(record)
    }

    /// The next step begins now: time from here on is its own.
    pub fn step_begins(&mut self) {
        self.step_begin = Instant::now();
    }

    /// After every step.
    pub fn step(&mut self, now: StepSummary) -> Result<()> {
        let seconds = self.step_begin.elapsed().as_secs_f64();
        let pace = seconds / now.windows.max(1) as f64;
        // About the last twenty steps.
        self.pace = Some(self.pace.map_or(pace, |of_late| 0.95 * of_late + 0.05 * pace));
        self.metrics.record(&Record::Step {
            step: now.step,
            epoch: now.epoch + 1,
            loss: now.batch.mean_loss(),
            accuracy: now.batch.accuracy(),
            windows_per_second: now.windows as f64 / seconds,
        })?;
        self.show(now);
        if now.ends_epoch {
            self.metrics.record(&Record::Epoch {
                step: now.step,
                epoch: now.epoch + 1,
                loss: now.epoch_so_far.mean_loss(),
                accuracy: now.epoch_so_far.accuracy(),
            })?;
        }
        Ok(())
    }

    fn show(&mut self, now: StepSummary) {
        let pace = self.pace.unwrap_or_default();
        let steps_left = self.last_step.saturating_sub(now.step);
        let left = steps_left as f64 * self.windows_a_step * pace;
        let figures = format!(
            "loss {:.4}  accuracy {:.4}  {:.0} windows/s",
            now.epoch_so_far.mean_loss(),
            now.epoch_so_far.accuracy(),
            1.0 / pace
        );
        let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
        let epoch = format!("epoch {}/{}", now.epoch + 1, self.epochs);
        let step_of_epoch = (now.step - 1) % self.steps_per_epoch + 1;
        if let Some(bar) = &self.bar {
            bar.set_prefix(epoch.clone());
            // Every column that is saved here is one more for the bar.
            bar.set_message(format!("{} {left:#} left", figures.replace("  ", " ")));
            bar.set_position(step_of_epoch);
            if now.ends_epoch {
                bar.println(format!("{epoch}  {figures}"));
            }
        } else if now.ends_epoch || now.step == self.last_step || self.last_line.elapsed() > LINE_EVERY {
            let steps = self.steps_per_epoch;
            self.line(&format!("{epoch}  {step_of_epoch}/{steps}  {figures}  {left:#} left"));
            self.last_line = Instant::now();
        }
    }

    /// After every validation.
    pub fn validation(&mut self, step: u64, epoch: u64, sums: EpochSums) -> Result<()> {
        let (loss, accuracy) = (sums.mean_loss(), sums.accuracy());
        self.line(&format!(
            "epoch {epoch}/{}  held out: loss {loss:.4}  accuracy {accuracy:.4}",
            self.epochs
        ));
        self.metrics.record(&Record::Validation { step, epoch, loss, accuracy, windows: sums.predictions })
    }

    /// When the storage begins to be out of reach.
    pub fn outage(&mut self, safe: u64, reason: &str) -> Result<()> {
        self.metrics.record(&Record::Outage { step: safe, reason: reason.into() })
    }

    /// After every checkpoint: how long training was held for it, how long its upload took, and how often the
    /// storage had to be asked again.
    pub fn checkpoint(
        &mut self,
        listed: &CheckpointEntry,
        pause: Duration,
        upload: Duration,
        retries: u64,
    ) -> Result<()> {
        self.metrics.record(&Record::Checkpoint {
            step: listed.name.step,
            name: listed.name.to_string(),
            bytes: listed.bytes,
            pause_seconds: pause.as_secs_f64(),
            upload_seconds: upload.as_secs_f64(),
            retries,
        })
    }

    /// What `metrics.jsonl` is to hold, where it cannot be appended to.
    pub fn metrics_object(&self) -> Option<String> {
        self.metrics.object()
    }

    /// At the end of a run that was done or stopped as asked.
    pub fn stop(&mut self, step: u64, reason: StopReason, line: &str) -> Result<()> {
        self.metrics.record(&Record::Stop { step, reason })?;
        if let Some(bar) = self.bar.take() {
            bar.println(line);
            bar.finish_and_clear();
        } else {
            self.line(line);
        }
        Ok(())
    }
}
