//! Mean loss curves over the folds of a cross-validation, from what its runs recorded in `metrics.jsonl`.

use bachdist_portable::metrics::{METRICS, Record, read_records};
use bachdist_portable::render::RunLosses;
use bachdist_portable::store::{Store, StoreError};

/// Sums over runs, by the index of the validation, because epochs of different runs have different numbers of steps.
#[derive(Debug, Default)]
pub struct MeanLosses(Vec<LossPoint>);

/// The validations of this index.
#[derive(Debug, Clone, Copy, Default)]
struct LossPoint {
    steps: WeightedSum,
    /// Weighted by windows.
    held_out: WeightedSum,
    /// Over the steps since the previous validation.
    training: WeightedSum,
}

#[derive(Debug, Clone, Copy, Default)]
struct WeightedSum {
    sum: f64,
    weight: f64,
}

impl WeightedSum {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

impl MeanLosses {
    /// Adds the losses of the run in `store`.
    pub fn add(&mut self, store: &Store) -> Result<(), StoreError> {
        let text = store.get(METRICS)?;
        let text = String::from_utf8_lossy(&text);
        let (mut index, mut training) = (0, WeightedSum::default());
        for record in read_records(&text) {
            match record {
                Record::Step { loss, .. } if loss.is_finite() => training.add(loss, 1.0),
                Record::Validation { step, loss, windows, .. } if loss.is_finite() => {
                    self.0.resize((index + 1).max(self.0.len()), LossPoint::default());
                    let point = &mut self.0[index];
                    point.steps.add(step as f64, 1.0);
                    point.held_out.add(loss, windows as f64);
                    if training.weight > 0.0 {
                        point.training.add(training.mean(), 1.0);
                    }
                    (index, training) = (index + 1, WeightedSum::default());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The mean curves, to be drawn under this name.
    pub fn curves(&self, name: &str) -> RunLosses {
        let mut curves = RunLosses { name: name.into(), training: Vec::new(), held_out: Vec::new() };
        for LossPoint { steps, held_out, training } in &self.0 {
            for (sum, curve) in [(training, &mut curves.training), (held_out, &mut curves.held_out)] {
                if sum.weight > 0.0 {
                    curve.push((steps.mean(), sum.mean()));
                }
            }
        }
        curves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_runs_by_validation() {
        let mut losses = MeanLosses::default();
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
