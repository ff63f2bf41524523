//! What other programs read of a run while it trains: the same records as `metrics.jsonl`, in the forms that they know.
//!
//! Each [`Exporter`] has a thread of its own, so that none of them holds training or another one. What fails is noted and
//! tried again with the next write; it never ends a run.

mod prometheus;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use bachdist_portable::config::TrainConfig;
use bachdist_portable::location;
use bachdist_portable::metrics::Record;

use prometheus::MetricsFile;

/// Shortest time between writes of steps. Prometheus and TensorBoard look every few seconds at most.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// One form, with the place where it is written.
trait Exporter: Send {
    fn record(&mut self, at: SystemTime, record: &Record);

    /// Writes what has changed. After an error it is called again, with more to write.
    fn write(&mut self) -> Result<(), ExportError>;

    /// Writes for the last time.
    fn end(&mut self) -> Result<(), ExportError>;
}

/// Something could not be written.
struct ExportError {
    /// Equal for errors that are one and the same to the user: a message may also have times and counts.
    reason: String,
    message: String,
}

/// The exporters of a run, on rank 0. When it is dropped, it waits until the last is written.
pub struct Exporters {
    threads: Vec<(Sender<Message>, JoinHandle<()>)>,
    notes: Receiver<String>,
}

/// A record, and when it was made.
type Message = (SystemTime, Record);

impl Exporters {
    /// Starts those that the configuration asks for, for the run at this URL.
    pub fn start(train: &TrainConfig, url: &str) -> Result<Self> {
        let mut exporters: Vec<Box<dyn Exporter>> = Vec::new();
        if let Some(file) = &train.metrics_file {
            exporters.push(Box::new(MetricsFile::new(location::file(file)?, url)));
        }
        let (report, notes) = channel();
        let threads = exporters.into_iter().map(|exporter| {
            let (sender, messages) = channel();
            let worker = Worker { exporter, messages, report: report.clone(), failure: None };
            (sender, std::thread::spawn(move || worker.work()))
        });
        Ok(Exporters { threads: threads.collect(), notes })
    }

    pub fn record(&self, record: &Record) {
        for (sender, _) in &self.threads {
            // The receiver is gone only after a panic, which was reported.
            let _ = sender.send((SystemTime::now(), record.clone()));
        }
    }

    /// What the user should know since the last call.
    pub fn notes(&self) -> Vec<String> {
        self.notes.try_iter().collect()
    }

    /// Writes what there is, and returns the last notes.
    pub fn close(mut self) -> Vec<String> {
        self.join();
        self.notes()
    }

    fn join(&mut self) {
        // All at once, then one after another: they end when their senders are dropped.
        let threads: Vec<_> = self.threads.drain(..).map(|(_, thread)| thread).collect();
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
}

impl Worker {
    fn work(mut self) {
        let mut written = None::<Instant>;
        let mut has_more = false;
        loop {
            let wait = match written {
                Some(written) if has_more => WRITE_INTERVAL.saturating_sub(written.elapsed()),
                _ if has_more => Duration::ZERO,
                _ => Duration::MAX,
            };
            let is_due = match self.messages.recv_timeout(wait) {
                Ok((at, record)) => {
                    self.exporter.record(at, &record);
                    has_more = true;
                    // The others are rare, and what one waits for.
                    !matches!(record, Record::Step { .. } | Record::Epoch { .. })
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if is_due {
                let result = self.exporter.write();
                self.note(result);
                (written, has_more) = (Some(Instant::now()), false);
            }
        }
        let result = self.exporter.end();
        self.note(result);
    }

    /// Reports a failure once, and that it is over.
    fn note(&mut self, result: Result<(), ExportError>) {
        let note = match result {
            Ok(()) if self.failure.take().is_some() => "what other programs read of the run is written again",
            Ok(()) => return,
            Err(ExportError { reason, .. }) if self.failure.as_ref() == Some(&reason) => return,
            Err(ExportError { reason, message }) => {
                self.failure = Some(reason);
                &format!("{message}; training continues without it")
            }
        };
        // Nobody listens any more where the run ends by an error.
        let _ = self.report.send(note.to_owned());
    }
}
