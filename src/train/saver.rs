//! Saving beside training: a thread that encodes, uploads and retires while the next steps are made.
//!
//! Training is held for the copy alone, unless two checkpoints are already waiting for the storage.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bachdist_core::checkpoint::Checkpoint;
use bachdist_core::checkpoint::run::{Listed, Retention, Run};

/// Rank 0's saving thread.
pub struct Saver {
    jobs: SyncSender<Checkpoint>,
    done: Receiver<Result<Saved>>,
    thread: JoinHandle<()>,
}

/// A checkpoint that is safe.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Its name and size.
    pub listed: Listed,
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
    pub fn save(&self, checkpoint: Checkpoint) -> Result<()> {
        self.jobs.send(checkpoint).map_err(|_| anyhow!("the saving thread has ended"))
    }

    /// What was finished since the last call.
    pub fn finished(&self) -> impl Iterator<Item = Result<Saved>> + '_ {
        self.done.try_iter()
    }

    /// Waits for everything handed over.
    pub fn close(self) -> Vec<Result<Saved>> {
        let Saver { jobs, done, thread } = self;
        drop(jobs);
        let results = done.iter().collect();
        if thread.join().is_err() {
            return vec![Err(anyhow!("the saving thread panicked"))];
        }
        results
    }
}

fn work(run: &Run, retention: Retention, queue: &Receiver<Checkpoint>, report: &Sender<Result<Saved>>) {
    for checkpoint in queue {
        let begin = Instant::now();
        let result = run.save(&checkpoint, retention).map(|listed| Saved { listed, upload: begin.elapsed() });
        let failed = result.is_err();
        // The receiver is gone only when the whole run is ending.
        if report.send(result).is_err() || failed {
            return;
        }
    }
}
