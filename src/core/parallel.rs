//! The same work on many things, by the threads of one process. Which thread does what does not show: results come
//! back in the order of the things.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

use crate::environment::{self, BadVariable, THREADS};

/// The threads that this process may use: as many as cores that it may run on, or fewer where `OMP_NUM_THREADS` says so.
/// More would only wait for each other. What it says was checked at the start.
pub fn cores() -> usize {
    let usable = usable_cores();
    environment::threads().ok().flatten().map_or(usable, |asked| asked.min(usable))
}

/// The cores that this process may run on.
pub fn usable_cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// What a user should know where `OMP_NUM_THREADS` asks for more threads than there are cores.
///
/// # Errors
/// It asks for no number of threads.
pub fn check_threads() -> Result<Option<String>, BadVariable> {
    let usable = usable_cores();
    Ok(environment::threads()?.filter(|&asked| asked > usable).map(|asked| {
        format!(
            "{THREADS} asks for {asked} threads; this process takes {usable}, one for each core that it may use"
        )
    }))
}

/// An error unless so many threads can be started beside this one, each with a stack as the C library gives it. Some
/// libraries wait for ever where they get none.
pub fn try_threads(threads: usize) -> std::io::Result<()> {
    const STACK_BYTES: usize = 8 << 20;
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    thread::scope(|scope| {
        // All at once: each waits until the last was started.
        let started = (0..threads).try_for_each(|_| {
            let wait = || drop(held.lock().map(|held| held.recv()));
            thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, wait).map(drop)
        });
        drop(hold);
        started
    })
}

/// What `work` makes of each item, in their order, by up to so many threads, this one among them.
pub fn in_parallel<T: Send, R: Send>(
    threads: usize,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let items: Vec<T> = items.into_iter().collect();
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    // Whoever is free takes the next item: some take much longer than others.
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().expect("nothing panics while it is held").next();
    let worker = || {
        let mut done = Vec::new();
        while let Some((index, item)) = next() {
            done.push((index, work(item)));
        }
        done
    };
    let mut all = thread::scope(|scope| {
        // Where the system gives no more threads, those that there are do the work.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, worker).ok();
        let others: Vec<_> = (1..threads).map_while(spawn).collect();
        let mut all = worker();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|&(index, _)| index);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn every_item_once_and_in_order() {
        let items: Vec<usize> = (0..1000).collect();
        let squares: Vec<usize> = items.iter().map(|x| x * x).collect();
        for threads in [0, 1, 2, 7, 2000] {
            assert_eq!(in_parallel(threads, &items, |x| x * x), squares, "{threads} threads");
        }
        assert_eq!(in_parallel(4, [0usize; 0], |x| x), [] as [usize; 0]);
    }

    #[test]
    fn threads_are_tried_out() {
        try_threads(0).unwrap();
        try_threads(3).unwrap();
    }

    #[test]
    fn as_many_items_at_a_time_as_threads() {
        // Each of three waits for the two others: on fewer threads this would never end.
        let all_here = Barrier::new(3);
        in_parallel(3, [(); 3], |()| all_here.wait());
    }
}
