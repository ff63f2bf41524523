//! From many times to one: on a shared machine a few are far too long.

use std::hint::black_box;
use std::time::Instant;

use super::phases::Times;

/// The median of at least one number; of an even count the mean of the middle two.
pub fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    let middle = of.len() / 2;
    if of.len().is_multiple_of(2) { f64::midpoint(of[middle - 1], of[middle]) } else { of[middle] }
}

/// The mean over the middle half of at least one step, in order of their time: it forgets outliers as a median does,
/// but the parts still add up to the whole.
pub fn middle_mean(mut of: Vec<Times>) -> Times {
    of.sort_by(|a, b| a.step.total_cmp(&b.step));
    let cut = of.len() / 4;
    let middle = &of[cut..of.len() - cut];
    let mean = |part: fn(&Times) -> f64| middle.iter().map(part).sum::<f64>() / middle.len() as f64;
    Times {
        weights: mean(|times| times.weights),
        data: mean(|times| times.data),
        forward: mean(|times| times.forward),
        gradient: mean(|times| times.gradient),
        exchange: mean(|times| times.exchange),
        update: mean(|times| times.update),
        step: mean(|times| times.step),
    }
}

/// Seconds of one call: the median of some turns, each with calls enough to fill a hundredth of a second.
pub fn seconds_of<T>(mut work: impl FnMut() -> T) -> f64 {
    const TURNS: usize = 9;
    const LEAST: f64 = 0.01;
    let mut time = |calls: u32| {
        let begin = Instant::now();
        (0..calls).for_each(|_| drop(black_box(work())));
        begin.elapsed().as_secs_f64() / f64::from(calls)
    };
    let first = time(1).max(1e-9);
    let calls = (LEAST / first).ceil().clamp(1.0, 1e7) as u32;
    median((0..TURNS).map(|_| time(calls)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 900.0]), 3.0);
    }

    #[test]
    fn the_middle_forgets_outliers_and_adds_up() {
        let times =
            |weights: f64, data: f64| Times { weights, data, step: weights + data, ..Times::default() };
        let middle = middle_mean(vec![times(1.0, 2.0), times(50.0, 50.0), times(0.1, 0.1), times(3.0, 2.0)]);
        assert_eq!((middle.weights, middle.data, middle.step), (2.0, 2.0, 4.0));
        assert_eq!(middle_mean(vec![times(1.0, 2.0)]).step, 3.0);
    }
}
