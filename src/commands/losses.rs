//! The losses of several runs as one curve each, from what they recorded in `metrics.jsonl`.

use std::collections::BTreeMap;

use bachdist_core::checkpoint::validations::METRICS;
use bachdist_core::render::RunLosses;
use bachdist_core::store::{Store, StoreError};
use serde_json::Value;

/// Sums by step, over runs.
#[derive(Debug, Default)]
pub struct Losses {
    /// Validated losses, times windows, and windows.
    held_out: BTreeMap<u64, (f64, f64)>,
    /// Losses of the steps since the validation before, and how many.
    training: BTreeMap<u64, (f64, f64)>,
}

impl Losses {
    /// Adds a run's; one that recorded nothing adds nothing.
    pub fn add(&mut self, store: &Store) -> Result<(), StoreError> {
        let text = store.get(METRICS)?;
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut since = (0.0, 0.0);
        for line in lines {
            let (Some(step), Some(loss)) = (line["step"].as_u64(), line["loss"].as_f64()) else { continue };
            if line["kind"] == "step" {
                since = (since.0 + loss, since.1 + 1.0);
            } else if line["kind"] == "validation" {
                let windows = line["windows"].as_f64().unwrap_or(1.0);
                let held_out = self.held_out.entry(step).or_default();
                *held_out = (held_out.0 + loss * windows, held_out.1 + windows);
                let training = self.training.entry(step).or_default();
                *training = (training.0 + since.0, training.1 + since.1);
                since = (0.0, 0.0);
            }
        }
        Ok(())
    }

    /// Their means, as curves of this name.
    pub fn curves(&self, name: &str) -> RunLosses {
        let means = |sums: &BTreeMap<u64, (f64, f64)>| {
            let mean = |(&step, &(sum, count)): (&u64, &(f64, f64))| (step as f64, sum / count);
            sums.iter().filter(|(_, (_, count))| *count > 0.0).map(mean).collect()
        };
        RunLosses { name: name.into(), training: means(&self.training), held_out: means(&self.held_out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_runs_by_step() {
        let mut losses = Losses::default();
        for (loss, windows) in [(2.0, 10), (3.0, 30)] {
            let store = Store::open("memory:").unwrap();
            let line = |kind: &str, step: u64, loss: f64| {
                format!("{{\"kind\":\"{kind}\",\"step\":{step},\"loss\":{loss},\"windows\":{windows}}}\n")
            };
            let text = [line("step", 1, 4.0), line("step", 2, loss), line("validation", 2, loss)].concat();
            store.put(METRICS, text.into_bytes()).unwrap();
            losses.add(&store).unwrap();
        }
        let RunLosses { training, held_out, .. } = losses.curves("x");
        assert_eq!(held_out, [(2.0, 2.75)]);
        assert_eq!(training, [(2.0, 3.25)]);
    }
}
