//! The losses of several runs as one curve each, from what they recorded in `metrics.jsonl`.

use bachdist_core::metrics::{METRICS, Record, read_records};
use bachdist_core::render::RunLosses;
use bachdist_core::store::{Store, StoreError};

/// Sums over runs, by the number of the validation: epochs of different runs have different steps.
#[derive(Debug, Default)]
pub struct Losses(Vec<Point>);

/// One validation of each run.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    /// Steps made, and runs.
    steps: Sum,
    /// Validated losses, each as often as it has windows.
    held_out: Sum,
    /// Losses of the steps since the validation before.
    training: Sum,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    of: f64,
    count: f64,
}

impl Sum {
    fn add(&mut self, value: f64, count: f64) {
        self.of += value * count;
        self.count += count;
    }

    fn mean(&self) -> f64 {
        self.of / self.count
    }
}

impl Losses {
    /// Adds a run's.
    pub fn add(&mut self, store: &Store) -> Result<(), StoreError> {
        let text = store.get(METRICS)?;
        let text = String::from_utf8_lossy(&text);
        let (mut number, mut training) = (0, Sum::default());
        for record in read_records(&text) {
            match record {
                Record::Step { loss, .. } if loss.is_finite() => training.add(loss, 1.0),
                Record::Validation { step, loss, windows, .. } if loss.is_finite() => {
                    self.0.resize((number + 1).max(self.0.len()), Point::default());
                    let point = &mut self.0[number];
                    point.steps.add(step as f64, 1.0);
                    point.held_out.add(loss, windows as f64);
                    if training.count > 0.0 {
                        point.training.add(training.mean(), 1.0);
                    }
                    (number, training) = (number + 1, Sum::default());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Their means, as curves of this name.
    pub fn curves(&self, name: &str) -> RunLosses {
        let means = |sum: fn(&Point) -> &Sum| {
            let points = self.0.iter().filter(|point| sum(point).count > 0.0);
            points.map(|point| (point.steps.mean(), sum(point).mean())).collect()
        };
        let (training, held_out) = (means(|point| &point.training), means(|point| &point.held_out));
        RunLosses { name: name.into(), training, held_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_runs_by_validation() {
        let mut losses = Losses::default();
        for (loss, windows, last) in [(2.0, 10, 2), (3.0, 30, 4)] {
            let store = Store::open("memory:").unwrap();
            let step =
                |step, loss| Record::Step { step, epoch: 1, loss, accuracy: 0.5, windows_per_second: 1.0 };
            let validation = Record::Validation { step: last, epoch: 1, loss, accuracy: 0.5, windows };
            let text: String =
                [step(1, 4.0), step(last, loss), validation].iter().map(Record::to_line).collect();
            store.put(METRICS, text.into_bytes()).unwrap();
            losses.add(&store).unwrap();
        }
        let RunLosses { training, held_out, .. } = losses.curves("x");
        assert_eq!(held_out, [(3.0, 2.75)]);
        assert_eq!(training, [(3.0, 3.25)]);
    }
}
