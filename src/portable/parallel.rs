//! Threads and vectors of this process, which leave no trace in results: a parallel map whose results are in the order of the
//! items, and loops in the widest vectors that the processor has.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

use pulp::Arch;

/// Applies `work` to each item on up to `threads` threads, including this one; the results are in the order of the items.
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
    // A free thread takes the next item, because some items take much longer than others.
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
        // If the system gives no more threads, fewer do the work.
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

/// left += right.
pub fn add(left: &mut [f32], right: &[f32]) {
    vectorized(
        #[inline(always)]
        || left.iter_mut().zip(right).for_each(|(left, right)| *left += right),
    );
}

/// Runs loops over slices in the widest vectors that the processor has. The closure, and what it calls, must be
/// inlined always: code that is called is compiled for the least processor, where a fused multiply-add is a function.
pub fn vectorized<R>(loops: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(loops)
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
    fn as_many_items_at_a_time_as_threads() {
        // Each of three waits for the two others: on fewer threads this would never end.
        let all_here = Barrier::new(3);
        in_parallel(3, [(); 3], |()| all_here.wait());
    }
}
