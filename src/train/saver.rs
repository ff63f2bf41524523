//! Saving beside training: a thread that encodes, uploads and retires while the next steps are made.
//!
//! Training is held for the copy alone, unless two checkpoints are already waiting for the storage.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bachdist_core::checkpoint::Checkpoint;
use bachdist_core::checkpoint::run::{Listed, Retention, Run, Saved};

use crate::report::metrics;

/// Rank 0's saving thread.
pub struct Saver {
    jobs: SyncSender<Job>,
    done: Receiver<Result<Done>>,
    thread: JoinHandle<()>,
}

/// What is handed over.
pub struct Job {
    /// A copy of the state.
    pub checkpoint: Checkpoint,
    /// What `metrics.jsonl` is to hold, where it cannot be appended to.
    pub metrics: Option<String>,
}

/// A checkpoint that is safe.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Its name and size.
    pub listed: Listed,
    /// What the user should know.
    pub note: Option<String>,
    /// From the copy to the end of the upload.
    pub upload: Duration,
}

impl Saver {
    /// Starts the thread.
    pub fn new(run: Run, retention: Retention) -> Self {
        let (jobs, queue) = sync_channel(1);
        let (report, done) = channel();
        let thread = std::thread::spawn(move || work(&run, retention, &queue, &report));
        Saver { jobs, done, thread }
    }

    /// Hands over a checkpoint.
    pub fn save(&self, job: Job) -> Result<()> {
        self.jobs.send(job).map_err(|_| anyhow!("the saving thread has ended"))
    }

    /// What was finished since the last call.
    pub fn finished(&self) -> impl Iterator<Item = Result<Done>> + '_ {
        self.done.try_iter()
    }

    /// Waits for everything handed over.
    pub fn close(self) -> Vec<Result<Done>> {
        let Saver { jobs, done, thread } = self;
        drop(jobs);
        let mut results: Vec<_> = done.iter().collect();
        if thread.join().is_err() {
            results.push(Err(anyhow!("the saving thread panicked")));
        }
        results
    }
}

fn work(run: &Run, retention: Retention, queue: &Receiver<Job>, report: &Sender<Result<Done>>) {
    for Job { checkpoint, metrics } in queue {
        let begin = Instant::now();
        let save = || {
            // Before the checkpoint: whoever goes on from it finds the lines up to it.
            if let Some(text) = metrics {
                run.publish(metrics::NAME, text.into_bytes())?;
            }
            let Saved { listed, note } = run.save(&checkpoint, retention)?;
            Ok(Done { listed, note, upload: begin.elapsed() })
        };
        // The receiver is gone only when the whole run is ending.
        if report.send(save()).is_err() {
            return;
        }
    }
}
