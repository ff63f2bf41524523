//! What rank 0 reports of a run: a bar on a terminal or plain lines elsewhere, and `metrics.jsonl` beside the checkpoints.
//!
//! Under mpirun the stderr of a rank is a pipe, and its stdout always claims to be a terminal. So the launcher's stderr is
//! examined instead, and drawn on directly.

use std::fs::{File, OpenOptions};
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

use anyhow::Result;
use bachdist_portable::checkpoint::CheckpointEntry;
use bachdist_portable::checkpoint::claim::RunClaim;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::metrics::{METRICS, Record, StopReason, TimedRecord, Validations, lines_until};
use bachdist_portable::network::batch::EpochSums;
use bachdist_portable::print::{eprint_line, has_control_codes};
use bachdist_portable::process::peak_memory_bytes;
use bachdist_portable::schedule::Batches;
use console::Term;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::export::{Exporters, SampleJob};

/// Time between plain lines within an epoch: often enough to see that it lives, rare enough for a log.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Of rank 0.
pub struct RunReporter {
    metrics: MetricsWriter,
    /// They get the records of `metrics.jsonl`, too.
    exporters: Exporters,
    /// `None` where plain lines are printed.
    bar: Option<ProgressBar>,
    is_silent: bool,
    epochs: u64,
    steps_per_epoch: u64,
    last_step: u64,
    mean_batch_windows: f64,
    /// A moving average.
    seconds_per_window: Option<f64>,
    last_line: Instant,
    step_begin: Instant,
}

/// What one step did.
#[derive(Debug, Clone, Copy)]
pub struct StepSummary {
    /// Steps so far, this one included.
    pub step: u64,
    /// From 0.
    pub epoch: u64,
    pub ends_epoch: bool,
    /// Of the batch.
    pub windows: usize,
    pub batch: EpochSums,
    pub epoch_so_far: EpochSums,
}

impl RunReporter {
    pub fn new(
        metrics: MetricsWriter,
        exporters: Exporters,
        progress: Progress,
        batches: Batches,
        epochs: u64,
        last_step: u64,
    ) -> Self {
        let steps_per_epoch = batches.steps_per_epoch();
        let now = Instant::now();
        let bar = bar(progress, steps_per_epoch, "{prefix} [{wide_bar}] {pos}/{len} {msg}");
        RunReporter {
            metrics,
            exporters,
            bar,
            is_silent: progress == Progress::Silent,
            epochs,
            steps_per_epoch,
            last_step,
            mean_batch_windows: batches.windows as f64 / steps_per_epoch as f64,
            seconds_per_window: None,
            last_line: now,
            step_begin: now,
        }
    }

    /// Prints a line; above the bar, if there is one.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.is_silent => {}
            // A run continues when nobody reads its output any more.
            None => drop(writeln!(stdout(), "{text}")),
        }
    }

    /// Adds a line to `metrics.jsonl`, and to what other programs read.
    pub fn record(&mut self, record: Record) -> Result<()> {
        self.exporters.record(&record);
        self.metrics.record(record)
    }

    /// Starts the clock of the next step.
    pub fn begin_step(&mut self) {
        self.step_begin = Instant::now();
    }

    /// Records a step, and its epoch if it ends there.
    pub fn step(&mut self, summary: StepSummary) -> Result<()> {
        let seconds = self.step_begin.elapsed().as_secs_f64();
        let pace = seconds / summary.windows.max(1) as f64;
        // Averages over about the last twenty steps.
        self.seconds_per_window =
            Some(self.seconds_per_window.map_or(pace, |mean| 0.95 * mean + 0.05 * pace));
        self.record(Record::Step {
            step: summary.step,
            epoch: summary.epoch + 1,
            loss: summary.batch.mean_loss(),
            accuracy: summary.batch.accuracy(),
            windows_per_second: summary.windows as f64 / seconds,
        })?;
        self.show(summary);
        for note in self.exporters.notes() {
            self.line(&format!("note: {note}"));
        }
        if summary.ends_epoch {
            self.record(Record::Epoch {
                step: summary.step,
                epoch: summary.epoch + 1,
                loss: summary.epoch_so_far.mean_loss(),
                accuracy: summary.epoch_so_far.accuracy(),
            })?;
        }
        Ok(())
    }

    fn show(&mut self, summary: StepSummary) {
        let seconds_per_window = self.seconds_per_window.unwrap_or_default();
        let steps_left = self.last_step.saturating_sub(summary.step);
        let left = steps_left as f64 * self.mean_batch_windows * seconds_per_window;
        let figures = format!(
            "loss {:.4}  accuracy {:.4}  {:.0} windows/s",
            summary.epoch_so_far.mean_loss(),
            summary.epoch_so_far.accuracy(),
            1.0 / seconds_per_window
        );
        let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
        let epoch = format!("epoch {}/{}", summary.epoch + 1, self.epochs);
        let step_of_epoch = (summary.step - 1) % self.steps_per_epoch + 1;
        if let Some(bar) = &self.bar {
            bar.set_prefix(epoch.clone());
            // A column saved here is one more for the bar.
            bar.set_message(format!("{} {left:#} left", figures.replace("  ", " ")));
            bar.set_position(step_of_epoch);
            if summary.ends_epoch {
                bar.println(format!("{epoch}  {figures}"));
            }
        } else if summary.ends_epoch
            || summary.step == self.last_step
            || self.last_line.elapsed() > LINE_INTERVAL
        {
            let steps = self.steps_per_epoch;
            self.line(&format!("{epoch}  {step_of_epoch}/{steps}  {figures}  {left:#} left"));
            self.last_line = Instant::now();
        }
    }

    /// Reports a validation.
    pub fn validation(&mut self, step: u64, epoch: u64, sums: EpochSums) -> Result<()> {
        let (loss, accuracy) = (sums.mean_loss(), sums.accuracy());
        self.line(&format!(
            "epoch {epoch}/{}  held out: loss {loss:.4}  accuracy {accuracy:.4}",
            self.epochs
        ));
        self.record(Record::Validation { step, epoch, loss, accuracy, windows: sums.predictions })
    }

    /// Records that the storage cannot be reached any more; `saved` is the newest step that it has.
    pub fn outage(&mut self, saved: u64, reason: &str) -> Result<()> {
        self.record(Record::Outage { step: saved, reason: reason.into() })
    }

    /// Records a saved checkpoint: how long training was held for it, how long its upload took, and how many requests had
    /// to be repeated.
    pub fn checkpoint(
        &mut self,
        listed: &CheckpointEntry,
        pause: Duration,
        upload: Duration,
        retries: u64,
    ) -> Result<()> {
        self.record(Record::Checkpoint {
            step: listed.name.step,
            name: listed.name.to_string(),
            bytes: listed.bytes,
            pause_seconds: pause.as_secs_f64(),
            upload_seconds: upload.as_secs_f64(),
            retries,
            peak_memory_bytes: peak_memory_bytes(),
        })
    }

    /// See [`MetricsWriter::object`].
    pub fn metrics_object(&self) -> Option<String> {
        self.metrics.object()
    }

    /// Records and prints how a run ended.
    pub fn stop(&mut self, step: u64, reason: StopReason, line: &str) -> Result<()> {
        self.record(Record::Stop { step, reason })?;
        if let Some(bar) = self.bar.take() {
            bar.println(line);
            bar.finish_and_clear();
        } else {
            self.line(line);
        }
        Ok(())
    }

    /// Whether a sample of the music would be shown now.
    pub fn wants_sample(&self) -> bool {
        self.exporters.wants_sample()
    }

    /// Has a sample composed, beside training.
    pub fn sample(&self, sample: SampleJob) {
        self.exporters.sample(sample);
    }

    /// Waits until other programs can read everything.
    pub fn close(self) {
        for note in self.exporters.close() {
            eprint_line(format_args!("note: {note}"));
        }
    }
}

/// Where `metrics.jsonl` is written. In a folder every line is written at once. In a bucket, where nothing can be appended
/// to, the whole object is written again before every checkpoint and at the end, by the thread that saves.
pub enum MetricsWriter {
    File(File),
    /// The whole text so far.
    Object(String),
}

impl MetricsWriter {
    /// Opens the metrics of a run that continues after `step`, and returns its validations so far. Records of later steps
    /// are cut off, and a run that begins at step 0 begins its metrics anew.
    ///
    /// A file is replaced by a new one, so that what an earlier launch still writes goes to the old one, unseen.
    pub fn open(run: &RunClaim, step: u64) -> Result<(Self, Validations)> {
        let store = run.store();
        let before = match store.get_if_present(METRICS)? {
            Some(bytes) if step > 0 => lines_until(&String::from_utf8_lossy(&bytes), step),
            _ => String::new(),
        };
        let validations = Validations::read(&before);
        let metrics = match store.local_path(METRICS) {
            Some(path) => {
                run.publish(METRICS, before.into_bytes())?;
                MetricsWriter::File(OpenOptions::new().append(true).open(path).map_err(unwritten)?)
            }
            None => MetricsWriter::Object(before),
        };
        Ok((metrics, validations))
    }

    pub fn record(&mut self, record: Record) -> Result<()> {
        let line = TimedRecord::now(record).to_line();
        match self {
            // In one write, so that a reader never sees half a line.
            MetricsWriter::File(file) => file.write_all(line.as_bytes()).map_err(unwritten),
            MetricsWriter::Object(text) => {
                text.push_str(&line);
                Ok(())
            }
        }
    }

    /// The text to write with the next checkpoint; `None` for a file, which has it already.
    pub fn object(&self) -> Option<String> {
        match self {
            MetricsWriter::File(_) => None,
            MetricsWriter::Object(text) => Some(text.clone()),
        }
    }
}

/// The file did not take a line, mostly because the disk is full. It is handled like any other error of the storage.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {METRICS}: {0}")]
pub struct MetricsWriteError(String);

fn unwritten(error: std::io::Error) -> anyhow::Error {
    let error = MetricsWriteError(error.to_string());
    anyhow::Error::new(Failure::new(ExitCode::Storage, error.to_string())).context(error)
}

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Progress {
    /// A bar if standard error is a terminal, otherwise lines
    Auto,
    /// A bar
    Bar,
    /// Lines
    Plain,
    /// Nothing, where the output is for a program.
    #[value(skip)]
    Silent,
}

/// A bar over `steps`; `None` where plain lines are to be printed.
pub fn bar(progress: Progress, steps: u64, template: &str) -> Option<ProgressBar> {
    // Unlike `ProgressDrawTarget::term`, this draws without a terminal too, as `--progress bar` demands.
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(find(progress)?), 10);
    let style = ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ");
    Some(ProgressBar::with_draw_target(Some(steps), target).with_style(style))
}

/// The terminal to draw on; `None` where plain lines are to be printed.
fn find(progress: Progress) -> Option<Term> {
    match progress {
        Progress::Plain | Progress::Silent => None,
        // Without TERM, what the terminal understands is unknown.
        Progress::Auto if !has_control_codes() => None,
        Progress::Auto => launcher_terminal().or_else(own_terminal),
        // Where there is no terminal, the reader of stderr wants the control codes.
        Progress::Bar => launcher_terminal().or_else(own_terminal).or_else(|| Some(Term::stderr())),
    }
}

fn own_terminal() -> Option<Term> {
    let term = Term::stderr();
    term.is_term().then_some(term)
}

/// The stderr of the parent process, if that is Open MPI's launcher on this host and its stderr is a terminal.
fn launcher_terminal() -> Option<Term> {
    std::env::var_os("OMPI_COMM_WORLD_RANK")?;
    let path = format!("/proc/{}/fd/2", std::os::unix::process::parent_id());
    let read = File::open(&path).ok()?;
    let write = OpenOptions::new().write(true).open(&path).ok()?;
    let term = Term::read_write_pair(read, write);
    term.is_term().then_some(term)
}
