//! How times are measured: many calls, on all ranks at once, reduced to one number.

use std::hint::black_box;
use std::time::Instant;

use crate::comm::Communicator;

/// How often everything is measured.
#[derive(Debug, Clone, Copy)]
pub struct BenchOptions {
    /// Rounds of GEMMs and steps, after a warm-up round that does not count.
    pub rounds: u64,
    /// Steps of a round.
    pub steps: u64,
}

/// Seconds of one call: the median of some samples, each with enough calls to fill a hundredth of a second.
pub fn seconds_of<T>(mut work: impl FnMut() -> T) -> f64 {
    const SAMPLES: usize = 9;
    const MIN_SECONDS: f64 = 0.01;
    let mut time = |calls: u32| {
        let begin = Instant::now();
        for _ in 0..calls {
            drop(black_box(work()));
        }
        begin.elapsed().as_secs_f64() / f64::from(calls)
    };
    let first = time(1).max(1e-9);
    let calls = (MIN_SECONDS / first).ceil().clamp(1.0, 1e7) as u32;
    median((0..SAMPLES).map(|_| time(calls)).collect())
}

/// Returns when every rank has come.
pub fn barrier(comm: &dyn Communicator) {
    comm.all_gather_words(&[0], &mut vec![0; comm.size()]);
}

/// The slowest rank's, of each of several times, on every rank. All ranks call it with the same number of times.
pub fn slowest(comm: &dyn Communicator, own: &[f64]) -> Vec<f64> {
    let words: Vec<u64> = own.iter().map(|seconds| seconds.to_bits()).collect();
    let mut all = vec![0; words.len() * comm.size()];
    comm.all_gather_words(&words, &mut all);
    let mut slowest = vec![0.0f64; words.len()];
    for of_rank in all.chunks_exact(words.len()) {
        for (slowest, &word) in slowest.iter_mut().zip(of_rank) {
            *slowest = slowest.max(f64::from_bits(word));
        }
    }
    slowest
}

/// The median of at least one number; of an even count the mean of the middle two.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len().is_multiple_of(2) {
        f64::midpoint(samples[middle - 1], samples[middle])
    } else {
        samples[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::SingleProcess;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 900.0]), 3.0);
    }

    #[test]
    fn alone_everybody_is_the_slowest() {
        assert_eq!(slowest(&SingleProcess, &[0.5, 2.0, 1.0]), [0.5, 2.0, 1.0]);
    }
}
