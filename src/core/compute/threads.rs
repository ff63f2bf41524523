//! Work shared out among threads.

use std::num::NonZero;
use std::sync::Mutex;

/// The threads that a program may use: `OMP_NUM_THREADS` where set, as in everything that computes beside it, otherwise
/// the cores that it may run on.
pub fn available() -> usize {
    let asked = std::env::var("OMP_NUM_THREADS").ok().and_then(|text| text.parse::<usize>().ok());
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    asked.filter(|&threads| threads > 0).unwrap_or_else(cores)
}

/// What `work` makes of each item, in their order. Threads take one item after another, so large ones come best first.
///
/// # Panics
/// If `work` does.
pub fn share_out<T: Send, R: Send>(threads: usize, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let length = items.len();
    let queue = Mutex::new(items.into_iter().enumerate());
    let take = || queue.lock().expect("nothing panics while it is held").next();
    let run = || {
        let mut done = Vec::new();
        while let Some((index, item)) = take() {
            done.push((index, work(item)));
        }
        done
    };
    let mut results: Vec<Option<R>> = (0..length).map(|_| None).collect();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done.into_iter().for_each(|(index, result)| results[index] = Some(result));
    });
    results.into_iter().map(|result| result.expect("every item was taken")).collect()
}
