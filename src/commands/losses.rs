//! The losses of several runs as one curve each, from what they recorded in `metrics.jsonl`.

use bachdist_core::checkpoint::validations::METRICS;
use bachdist_core::render::RunLosses;
use bachdist_core::store::{Store, StoreError};
use serde_json::Value;

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
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let (mut number, mut training) = (0, Sum::default());
        for line in lines {
            let (Some(step), Some(loss)) = (line["step"].as_f64(), line["loss"].as_f64()) else { continue };
            if line["kind"] == "step" {
                training.add(loss, 1.0);
            } else if line["kind"] == "validation" {
                self.0.resize((number + 1).max(self.0.len()), Point::default());
                let point = &mut self.0[number];
                point.steps.add(step, 1.0);
                point.held_out.add(loss, line["windows"].as_f64().unwrap_or(1.0));
                if training.count > 0.0 {
                    point.training.add(training.mean(), 1.0);
                }
                (number, training) = (number + 1, Sum::default());
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
            let line = |kind: &str, step: u64, loss: f64| {
                format!("{{\"kind\":\"{kind}\",\"step\":{step},\"loss\":{loss},\"windows\":{windows}}}\n")
            };
            let text =
                [line("step", 1, 4.0), line("step", last, loss), line("validation", last, loss)].concat();
            store.put(METRICS, text.into_bytes()).unwrap();
            losses.add(&store).unwrap();
        }
        let RunLosses { training, held_out, .. } = losses.curves("x");
        assert_eq!(held_out, [(3.0, 2.75)]);
        assert_eq!(training, [(3.0, 3.25)]);
    }
}
