//! Saving beside training: a thread that encodes, uploads and retires while the next steps are made.
//!
//! Training is held for the copy alone. Copies wait in memory while the storage is slower than checkpoints come, or
//! out of reach; where they become too many, the oldest is given up, never the newest.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use bachdist_core::checkpoint::Checkpoint;
use bachdist_core::checkpoint::list::Listed;
use bachdist_core::checkpoint::retention::Retention;
use bachdist_core::checkpoint::run::{Run, Saved};
use bachdist_core::metrics::METRICS;
use bachdist_core::store::{Kind, Retries, StoreError};

/// Rank 0's saving thread.
pub struct Saver {
    queue: Arc<Queue>,
    events: Receiver<Event>,
    thread: JoinHandle<()>,
}

/// What is handed over.
pub struct Job {
    /// A copy of the state.
    pub checkpoint: Checkpoint,
    /// What `metrics.jsonl` is to hold, where it cannot be appended to.
    pub metrics: Option<String>,
    /// The step of the best validation so far, whose checkpoint is kept.
    pub best: Option<u64>,
}

/// What became of a checkpoint.
#[derive(Debug)]
pub enum Event {
    /// It is safe.
    Saved(Done),
    /// The storage was out of reach. The same checkpoint is tried again.
    Missed(Error),
    /// It cannot be saved, and the thread has ended.
    Failed(Error),
}

/// A checkpoint that is safe.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Its name and size.
    pub listed: Listed,
    /// What the user should know.
    pub note: Option<String>,
    /// What the storage was asked again for.
    pub retries: Retries,
    /// From the copy to the end of the upload.
    pub upload: Duration,
}

/// So many bytes of copies may wait.
const MOST_WAITING: usize = 256 << 20;

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<(Instant, Arc<Job>)>,
    /// No more will come, and what fails now has failed.
    closed: bool,
}

impl Saver {
    /// Starts the thread.
    pub fn new(run: Run, retention: Retention) -> Self {
        let queue = Arc::new(Queue::default());
        let (report, events) = channel();
        let worker = Worker { run, retention, queue: queue.clone(), report };
        Saver { queue, events, thread: std::thread::spawn(move || worker.work()) }
    }

    /// Hands over a checkpoint, and gives back the steps of those given up for it.
    pub fn save(&self, job: Job) -> Vec<u64> {
        let mut waiting = self.queue.lock();
        let mut size = job.size();
        waiting.jobs.push_back((Instant::now(), Arc::new(job)));
        // From the newest to the oldest, as long as there is room.
        let older = waiting.jobs.iter().rev().skip(1);
        let kept = 1 + older
            .take_while(|(_, job)| {
                size += job.size();
                size <= MOST_WAITING
            })
            .count();
        let given_up = waiting.jobs.len() - kept;
        let steps = waiting.jobs.drain(..given_up).map(|(_, job)| job.checkpoint.step).collect();
        self.queue.changed.notify_all();
        steps
    }

    /// What happened since the last call.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.try_iter()
    }

    /// Waits for everything handed over. What the storage does not take now is tried no more.
    pub fn close(self) -> Vec<Event> {
        let Saver { queue, events, thread } = self;
        queue.lock().closed = true;
        queue.changed.notify_all();
        let mut all: Vec<_> = events.iter().collect();
        if thread.join().is_err() {
            all.push(Event::Failed(anyhow!("the saving thread panicked")));
        }
        all
    }
}

impl Job {
    fn size(&self) -> usize {
        let Checkpoint { parameters, mean_square, .. } = &self.checkpoint;
        4 * (parameters.len() + mean_square.len()) + self.metrics.as_ref().map_or(0, String::len)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing is done under the lock that could leave it half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest job, once there is one; `None` when no more will come.
    fn oldest(&self) -> Option<(Instant, Arc<Job>)> {
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

    /// Takes out a job that is done, unless it was given up in the meantime.
    fn remove(&self, job: &Arc<Job>) {
        self.lock().jobs.retain(|(_, waiting)| !Arc::ptr_eq(waiting, job));
    }
}

/// The thread's part.
struct Worker {
    run: Run,
    retention: Retention,
    queue: Arc<Queue>,
    report: Sender<Event>,
}

impl Worker {
    fn work(self) {
        while let Some((handed_over, job)) = self.queue.oldest() {
            let event = match self.save(&job) {
                Ok(Saved { listed, note }) => {
                    self.queue.remove(&job);
                    let (upload, retries) = (handed_over.elapsed(), self.run.store().take_retries());
                    Event::Saved(Done { listed, note, retries, upload })
                }
                Err(error) if is_out_of_reach(&error) && !self.queue.lock().closed => Event::Missed(error),
                Err(error) => Event::Failed(error),
            };
            let failed = matches!(event, Event::Failed(_));
            // The receiver is gone only when the whole run is ending.
            if self.report.send(event).is_err() || failed {
                return;
            }
        }
    }

    fn save(&self, job: &Job) -> Result<Saved> {
        // Before the checkpoint: whoever goes on from it finds the lines up to it.
        if let Some(text) = &job.metrics {
            self.run.publish(METRICS, text.clone().into_bytes())?;
        }
        self.run.save(&job.checkpoint, Retention { best: job.best, ..self.retention })
    }
}

fn is_out_of_reach(error: &Error) -> bool {
    error.downcast_ref::<StoreError>().is_some_and(|error| error.kind == Kind::Unreachable)
}
