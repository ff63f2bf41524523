//! Saving: a thread that encodes, uploads and prunes checkpoints while training makes the next steps, and a folder for the
//! last checkpoint if the storage does not take it.
//!
//! Training is held for the copy only. Copies wait in memory while the storage is slow or cannot be reached; when there
//! are too many, the oldest is dropped, never the newest.

use std::collections::VecDeque;
use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use bachdist_portable::checkpoint::claim::{Retention, RunClaim, StoredCheckpoint};
use bachdist_portable::checkpoint::identity::{CheckpointFilter, RunIdentity};
use bachdist_portable::checkpoint::read::{Recovery, read_matching, recover};
use bachdist_portable::checkpoint::{Checkpoint, CheckpointEntry, CheckpointName, list};
use bachdist_portable::metrics::METRICS;
use bachdist_portable::store::{Retries, Store, StoreError, StoreErrorKind};

use super::plan::Plan;

/// Rank 0's saving thread.
pub struct Saver {
    queue: Arc<SaveQueue>,
    events: Receiver<SaveEvent>,
    thread: JoinHandle<()>,
}

/// A checkpoint to save.
pub struct SaveJob {
    pub checkpoint: Checkpoint,
    /// The contents of `metrics.jsonl`, where the storage cannot append to it.
    pub metrics: Option<String>,
    /// The step of the best validation so far. Its checkpoint is never pruned.
    pub best: Option<u64>,
}

/// The outcome of saving a checkpoint.
#[derive(Debug)]
pub enum SaveEvent {
    Saved(SavedCheckpoint),
    /// The storage could not be reached. The same checkpoint is tried again.
    StorageUnreachable(Error),
    /// It cannot be saved, and the thread has ended.
    Failed(Error),
}

/// A checkpoint that the storage has.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedCheckpoint {
    pub listed: CheckpointEntry,
    /// What the user should know.
    pub note: Option<String>,
    pub retries: Retries,
    /// From the copy to the end of the upload.
    pub upload: Duration,
}

/// Limit on waiting copies: twenty of the article's 12 MB, which is little beside the memory of a host that trains.
const MAX_QUEUED_BYTES: usize = 256 << 20;

#[derive(Default)]
struct SaveQueue {
    waiting: Mutex<QueuedJobs>,
    changed: Condvar,
}

#[derive(Default)]
struct QueuedJobs {
    /// With the time when each was handed over.
    jobs: VecDeque<(Instant, Arc<SaveJob>)>,
    /// No more will come, and what fails now is not tried again.
    closed: bool,
}

impl Saver {
    pub fn new(run: RunClaim, retention: Retention) -> Self {
        let queue = Arc::new(SaveQueue::default());
        let (report, events) = channel();
        let worker = SaveWorker { run, retention, queue: queue.clone(), report };
        Saver { queue, events, thread: std::thread::spawn(move || worker.work()) }
    }

    /// Hands over a checkpoint, and returns the steps of those that were dropped for it.
    pub fn save(&self, job: SaveJob) -> Vec<u64> {
        let mut waiting = self.queue.lock();
        let mut size = job.size();
        waiting.jobs.push_back((Instant::now(), Arc::new(job)));
        // From the newest to the oldest, as long as there is room.
        let older = waiting.jobs.iter().rev().skip(1);
        let kept = 1 + older
            .take_while(|(_, job)| {
                size += job.size();
                size <= MAX_QUEUED_BYTES
            })
            .count();
        let dropped = waiting.jobs.len() - kept;
        let steps = waiting.jobs.drain(..dropped).map(|(_, job)| job.checkpoint.step).collect();
        self.queue.changed.notify_all();
        steps
    }

    /// Events since the last call.
    pub fn events(&self) -> impl Iterator<Item = SaveEvent> + '_ {
        self.events.try_iter()
    }

    /// Waits for everything handed over. What the storage does not take now is not tried again.
    pub fn close(self) -> Vec<SaveEvent> {
        let Saver { queue, events, thread } = self;
        queue.lock().closed = true;
        queue.changed.notify_all();
        let mut all: Vec<_> = events.iter().collect();
        if thread.join().is_err() {
            all.push(SaveEvent::Failed(anyhow!("the saving thread panicked")));
        }
        all
    }
}

impl SaveJob {
    fn size(&self) -> usize {
        let Checkpoint { parameters, mean_square, .. } = &self.checkpoint;
        4 * (parameters.len() + mean_square.len()) + self.metrics.as_ref().map_or(0, String::len)
    }
}

impl SaveQueue {
    fn lock(&self) -> MutexGuard<'_, QueuedJobs> {
        // No code under the lock can leave it in a half-done state.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest job, once there is one; `None` when no more will come.
    fn oldest(&self) -> Option<(Instant, Arc<SaveJob>)> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.jobs.front() {
                return Some(job.clone());
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Removes a job that is done, unless it was dropped in the meantime.
    fn remove(&self, job: &Arc<SaveJob>) {
        self.lock().jobs.retain(|(_, waiting)| !Arc::ptr_eq(waiting, job));
    }
}

/// The thread's part.
struct SaveWorker {
    run: RunClaim,
    retention: Retention,
    queue: Arc<SaveQueue>,
    report: Sender<SaveEvent>,
}

impl SaveWorker {
    fn work(self) {
        while let Some((handed_over, job)) = self.queue.oldest() {
            let event = match self.save(&job) {
                Ok(StoredCheckpoint { listed, note }) => {
                    self.queue.remove(&job);
                    let (upload, retries) = (handed_over.elapsed(), self.run.store().take_retries());
                    SaveEvent::Saved(SavedCheckpoint { listed, note, retries, upload })
                }
                Err(error) if is_unreachable(&error) && !self.queue.lock().closed => {
                    SaveEvent::StorageUnreachable(error)
                }
                Err(error) => SaveEvent::Failed(error),
            };
            let failed = matches!(event, SaveEvent::Failed(_));
            // The receiver is gone only when the whole run is ending.
            if self.report.send(event).is_err() || failed {
                return;
            }
        }
    }

    fn save(&self, job: &SaveJob) -> Result<StoredCheckpoint> {
        // Before the checkpoint, so that whoever resumes from it finds the lines up to it.
        if let Some(text) = &job.metrics {
            self.run.publish(METRICS, text.clone().into_bytes())?;
        }
        self.run.save(&job.checkpoint, Retention { best: job.best, ..self.retention })
    }
}

fn is_unreachable(error: &Error) -> bool {
    error.downcast_ref::<StoreError>().is_some_and(|error| error.kind == StoreErrorKind::Unreachable)
}

/// Where the last checkpoint goes if the storage does not take it: a folder on rank 0's host, in which the next launch
/// looks too. It exists only while there is something in it, and checkpoints of other runs in it are left alone.
#[derive(Debug, Clone)]
pub struct FallbackStore {
    store: Store,
    whose: CheckpointFilter,
}

impl FallbackStore {
    /// The folder of a plan's run. Nothing is created or read yet.
    pub fn new(plan: &Plan) -> Result<Self, StoreError> {
        let whose = CheckpointFilter::Run(RunIdentity::new(&plan.config, &plan.training));
        Ok(FallbackStore { store: Store::open(&plan.fallback)?, whose })
    }

    /// Saves a checkpoint in place of older ones, and returns its path.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<String> {
        let bytes = checkpoint.encode();
        let name = CheckpointName::of(checkpoint.step, &bytes);
        self.store.put(&name.to_string(), bytes)?;
        if let Some(older) = name.step.checked_sub(1) {
            self.delete_until(older)?;
        }
        Ok(self.store.url_of(&name.to_string()))
    }

    pub fn recover(&self) -> Result<Recovery, StoreError> {
        recover(&self.store, &self.whose)
    }

    /// A line for each checkpoint that recovery skipped.
    pub fn notes(&self, recovery: &Recovery) -> Vec<String> {
        recovery.notes(&self.store)
    }

    /// The path of a checkpoint here.
    pub fn path(&self, name: &CheckpointName) -> String {
        self.store.url_of(&name.to_string())
    }

    /// Removes the checkpoint of this step and older ones, which the storage has by now.
    pub fn clear(&self, step: u64) -> Result<()> {
        self.delete_until(step)?;
        let folder = self.store.local_path("").context("a fallback is a folder")?;
        // It refuses a folder that is not empty.
        let _ = fs::remove_dir(folder);
        Ok(())
    }

    fn delete_until(&self, step: u64) -> Result<()> {
        for CheckpointEntry { name, .. } in list(&self.store)? {
            if name.step <= step && read_matching(&self.store, &name, &self.whose)?.is_ok() {
                self.store.delete(&name.to_string())?;
            }
        }
        Ok(())
    }
}
