//! What other programs read of a run while it trains: the same records as `metrics.jsonl`, in the forms that they know.
//!
//! Each [`Exporter`] has a thread of its own, so that none of them holds training or another one. What fails is noted and
//! tried again with the next write; it never ends a run.

mod events;
mod exporter;
mod prometheus;
mod tensorboard;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use bachdist_portable::checkpoint::TrainingCorpus;
use bachdist_portable::checkpoint::claim::RunClaim;
use bachdist_portable::config::{Config, LogFormat};
use bachdist_portable::location;
use bachdist_portable::metrics::{Record, StopReason};
use bachdist_portable::network::Architecture;

pub use exporter::SampleJob;
use exporter::{ExportError, Exporter};
use prometheus::MetricsFile;
use tensorboard::EventLog;

/// Shortest time between writes of steps. Prometheus and TensorBoard look every few seconds at most.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The exporters of a run, on rank 0. When it is dropped, it waits until the last is written.
pub struct Exporters {
    threads: Vec<ExporterThread>,
    notes: Receiver<String>,
    /// Somebody waits for the end: samples that are not begun are left out.
    in_haste: Arc<AtomicBool>,
}

struct ExporterThread {
    sender: Sender<Message>,
    thread: JoinHandle<()>,
    shows_samples: bool,
    /// It has a sample to compose.
    is_busy: Arc<AtomicBool>,
}

enum Message {
    /// With the time when it was made.
    Record(SystemTime, Record),
    Sample(SystemTime, SampleJob),
    /// The run has ended in order.
    End,
}

impl Exporters {
    /// Starts those that the configuration asks for.
    pub fn start(
        config: &Config,
        training: &TrainingCorpus,
        architecture: Architecture,
        run: &RunClaim,
    ) -> Result<Self> {
        let mut exporters: Vec<Box<dyn Exporter>> = Vec::new();
        if let Some(file) = &config.train.metrics_file {
            exporters.push(Box::new(MetricsFile::new(location::file(file)?, run.store().url())));
        }
        if config.train.log.contains(&LogFormat::TensorBoard) {
            exporters.push(Box::new(EventLog::new(config, training, architecture, run)?));
        }
        let (report, notes) = channel();
        let in_haste = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for exporter in exporters {
            let (sender, messages) = channel();
            let is_busy = Arc::new(AtomicBool::new(false));
            let shows_samples = exporter.shows_samples();
            let worker = Worker {
                exporter,
                messages,
                report: report.clone(),
                failure: None,
                is_busy: is_busy.clone(),
                in_haste: in_haste.clone(),
            };
            let thread = std::thread::spawn(move || worker.work());
            threads.push(ExporterThread { sender, thread, shows_samples, is_busy });
        }
        Ok(Exporters { threads, notes, in_haste })
    }

    /// Threads that the exporters of a configuration take.
    pub fn threads(config: &Config) -> usize {
        usize::from(config.train.metrics_file.is_some()) + usize::from(!config.train.log.is_empty())
    }

    pub fn record(&self, record: &Record) {
        if matches!(record, Record::Stop { reason: StopReason::Signal, .. }) {
            self.in_haste.store(true, Ordering::Relaxed);
        }
        for thread in &self.threads {
            // The receiver is gone only after a panic, which was reported.
            let _ = thread.sender.send(Message::Record(SystemTime::now(), record.clone()));
        }
    }

    /// Whether a sample would be composed now: one at a time, and none that waits behind another.
    pub fn wants_sample(&self) -> bool {
        self.threads.iter().any(|thread| thread.shows_samples && !thread.is_busy.load(Ordering::Relaxed))
    }

    /// Has a sample composed, if one is wanted.
    pub fn sample(&self, sample: SampleJob) {
        let free = self
            .threads
            .iter()
            .find(|thread| thread.shows_samples && !thread.is_busy.swap(true, Ordering::Relaxed));
        if let Some(thread) = free {
            let _ = thread.sender.send(Message::Sample(SystemTime::now(), sample));
        }
    }

    /// What the user should know since the last call.
    pub fn notes(&self) -> Vec<String> {
        self.notes.try_iter().collect()
    }

    /// Writes what there is, and returns the last notes.
    pub fn close(mut self) -> Vec<String> {
        for thread in &self.threads {
            let _ = thread.sender.send(Message::End);
        }
        self.join();
        self.notes()
    }

    fn join(&mut self) {
        // Threads end when their senders are dropped: of all first, so that they end side by side.
        let threads: Vec<_> = self.threads.drain(..).map(|thread| thread.thread).collect();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Drop for Exporters {
    fn drop(&mut self) {
        self.join();
    }
}

/// The thread of one exporter.
struct Worker {
    exporter: Box<dyn Exporter>,
    messages: Receiver<Message>,
    report: Sender<String>,
    /// Why the last write failed, if it did.
    failure: Option<String>,
    is_busy: Arc<AtomicBool>,
    in_haste: Arc<AtomicBool>,
}

impl Worker {
    fn work(mut self) {
        // Longer than any run.
        const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
        let mut written = None::<Instant>;
        let mut has_steps = false;
        let mut in_order = false;
        loop {
            let wait = match written {
                _ if !has_steps => FOREVER,
                Some(written) => WRITE_INTERVAL.saturating_sub(written.elapsed()),
                None => Duration::ZERO,
            };
            let is_due = match self.messages.recv_timeout(wait) {
                Ok(Message::Record(at, record)) => {
                    self.exporter.record(at, &record);
                    let is_step = matches!(record, Record::Step { .. } | Record::Epoch { .. });
                    has_steps |= is_step && self.exporter.writes_steps();
                    // The others are rare, and what one waits for.
                    !is_step
                }
                Ok(Message::Sample(at, job)) => {
                    let is_wanted = !self.in_haste.load(Ordering::Relaxed);
                    if is_wanted && let Err(error) = self.exporter.sample(at, &job) {
                        self.note(Err(error));
                    }
                    self.is_busy.store(false, Ordering::Relaxed);
                    is_wanted
                }
                Ok(Message::End) => {
                    in_order = true;
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if is_due {
                let result = self.exporter.write();
                self.note(result);
                (written, has_steps) = (Some(Instant::now()), false);
            }
        }
        let result = self.exporter.end(in_order);
        self.note(result);
    }

    /// Reports a failure once, and that it is over.
    fn note(&mut self, result: Result<(), ExportError>) {
        let note = match result {
            Ok(()) => match self.failure.take() {
                Some(_) => "what other programs read of the run is written again".to_owned(),
                None => return,
            },
            Err(ExportError { reason, .. }) if self.failure.as_ref() == Some(&reason) => return,
            Err(ExportError { reason, message }) => {
                self.failure = Some(reason);
                format!("{message}; training continues without it")
            }
        };
        // Nobody listens any more where the run ends by an error.
        let _ = self.report.send(note);
    }
}
