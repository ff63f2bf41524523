//! What a run's validations came to: which was the best, and how many came after it.
//!
//! They are kept in `metrics.jsonl` beside the checkpoints and nowhere else: a checkpoint is a function of identity,
//! music and step, and how often a run is validated is none of these. A run that goes on reads them back there.

use serde_json::Value;

use crate::store::{Kind, Store, StoreError};

/// The object beside the checkpoints: one JSON object a line.
pub const METRICS: &str = "metrics.jsonl";

/// A run's validations so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Validations {
    /// The best one.
    pub best: Option<Best>,
    /// How many came after it.
    pub since: u64,
}

/// The validation with the least loss; of equals the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// Steps made before it.
    pub step: u64,
    /// Mean loss, in nats.
    pub loss: f64,
}

impl Validations {
    /// Adds one, and says whether it is the best so far.
    pub fn add(&mut self, step: u64, loss: f64) -> bool {
        let is_best = self.best.is_none_or(|best| loss < best.loss);
        if is_best {
            *self = Validations { best: Some(Best { step, loss }), since: 0 };
        } else {
            self.since += 1;
        }
        is_best
    }

    /// Those that the lines of `metrics.jsonl` tell of; a line cut short by a crash is passed over.
    pub fn read(text: &str) -> Self {
        let mut validations = Validations::default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for line in lines.filter(|line| line["kind"] == "validation") {
            if let (Some(step), Some(loss)) = (line["step"].as_u64(), line["loss"].as_f64()) {
                validations.add(step, loss);
            }
        }
        validations
    }

    /// Those of the run in a store; none where nothing was recorded.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        match store.get(METRICS) {
            Ok(bytes) => Ok(Self::read(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind == Kind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_least_is_the_best() {
        let line =
            |step: u64, loss: f64| format!("{{\"kind\":\"validation\",\"step\":{step},\"loss\":{loss}}}\n");
        let text: String =
            [(10, 2.5), (20, 2.25), (30, 2.25), (40, 3.0)].map(|(step, loss)| line(step, loss)).concat();
        let text = format!("{{\"kind\":\"step\",\"step\":1,\"loss\":0.5}}\n{text}{{\"kind\":\"valid");
        let found = Validations::read(&text);
        assert_eq!(found, Validations { best: Some(Best { step: 20, loss: 2.25 }), since: 2 });
        assert_eq!(Validations::read(""), Validations::default());
    }

    #[test]
    fn a_loss_that_is_no_number_is_never_better() {
        let mut validations = Validations::default();
        assert!(validations.add(1, 2.0));
        assert!(!validations.add(2, f64::NAN));
        assert_eq!(validations.since, 1);
    }
}
