//! Long work of one rank, like reading from storage, during which the others know that it is alive.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::Comm;

/// So often the ranks meet.
const INTERVAL: Duration = Duration::from_secs(1);

/// Does rank 0's work in a thread of its own, while all ranks meet every second: a rank that waits for this work
/// waits for a rank that comes. All ranks call it together; only rank 0 has work and gets what it gives back.
pub fn meanwhile<T: Send>(comm: &dyn Comm, work: Option<impl FnOnce() -> T + Send>) -> Option<T> {
    thread::scope(|scope| {
        let (report, done) = channel();
        let worker = work.map(|work| {
            scope.spawn(move || {
                let result = work();
                let _ = report.send(());
                result
            })
        });
        loop {
            // Disconnected: it is done and gone, or it panicked, or there was no work here.
            let working = match &worker {
                Some(_) => done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout),
                None => false,
            };
            let mut all = vec![0; comm.size()];
            comm.all_gather_words(&[u64::from(working)], &mut all);
            if all.iter().all(|&working| working == 0) {
                break;
            }
        }
        worker.map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
