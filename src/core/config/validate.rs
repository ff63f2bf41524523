//! What cannot work in a configuration, found before anything starts, all of it together.

use crate::place::{self, NoPlace};

use super::{Checkpoint, Config, Data, Model, Objective, Optimizer, Problem, Train};

/// The largest value a size or count may have. It keeps every product of two of them far from overflow, and a
/// typing error from asking for terabytes.
const LARGEST: usize = 1 << 20;

/// The longest time that may be waited for anything, in seconds.
const LONGEST: f64 = 7.0 * 24.0 * 3600.0;

/// Two octaves: farther than any key, and pieces would leave their range.
const FARTHEST: u8 = 24;

impl Config {
    /// All values that cannot work, in the order of the file's tables.
    pub fn validate(&self) -> Vec<Problem> {
        let mut checks = Checks(Vec::new());
        checks.data(&self.data);
        checks.length(self);
        checks.model(&self.model);
        checks.optimizer(&self.optimizer);
        checks.train(&self.train);
        checks.checkpoint(&self.checkpoint);
        checks.0
    }
}

/// Whether `train.device` may be this.
pub fn is_device(name: &str) -> bool {
    match name.strip_prefix("cuda:") {
        Some(index) => index.parse::<u16>().is_ok(),
        None => matches!(name, "auto" | "cpu" | "cuda"),
    }
}

/// What was found wrong so far.
struct Checks(Vec<Problem>);

impl Checks {
    fn check(&mut self, holds: bool, key: &str, message: impl Into<String>) {
        if !holds {
            self.0.push(Problem::new(key, message.into()));
        }
    }

    fn size(&mut self, key: &str, value: usize) {
        let holds = (1..=LARGEST).contains(&value);
        self.check(holds, key, format!("{value} is not between 1 and {LARGEST}"));
    }

    /// A count of steps, epochs or the like; one that is not given is fine.
    fn count(&mut self, key: &str, value: impl Into<Option<u64>>) {
        self.check(value.into() != Some(0), key, "must be at least 1");
    }

    fn share(&mut self, key: &str, value: f64) {
        self.check((0.0..1.0).contains(&value), key, "must be at least 0 and less than 1");
    }

    fn positive(&mut self, key: &str, value: f64) {
        self.check(value > 0.0 && value.is_finite(), key, "must be more than 0");
    }

    fn seconds(&mut self, key: &str, value: f64) {
        let holds = value > 0.0 && value <= LONGEST;
        self.check(holds, key, format!("{value} is not more than 0 and at most {LONGEST}, a week"));
    }

    fn place<T>(&mut self, key: &str, place: Result<T, NoPlace>) {
        if let Err(error) = place {
            self.0.push(Problem::new(key, error.to_string()));
        }
    }

    fn data(&mut self, data: &Data) {
        self.size("data.max_notes", data.max_notes);
        self.size("data.sequence_length", data.sequence_length);
        self.place("data.midi", place::music(&data.midi));
        for (key, patterns) in [("data.holdout", &data.holdout), ("data.groups", &data.groups)] {
            for pattern in patterns {
                let parsed = globset::Glob::new(pattern);
                self.check(parsed.is_ok(), key, format!("{pattern:?} is not a name or glob"));
            }
        }
    }

    /// The notes of a window, against those of a piece.
    fn length(&mut self, config: &Config) {
        let Config { data, train, .. } = config;
        let is_every = train.objective == Objective::Every;
        if let Some(stretch) = train.stretch {
            self.size("train.stretch", stretch);
            let message = "takes part only where train.objective = \"every\"";
            self.check(is_every, "train.stretch", message);
        }
        let longest = data.sequence_length.max(config.training_length());
        let message = format!("{} notes hold no window of {longest} and the note after it", data.max_notes);
        self.check(data.max_notes > longest, "data.max_notes", message);
    }

    fn model(&mut self, model: &Model) {
        self.size("model.layers", model.layers);
        self.size("model.units", model.units);
        self.size("model.dense", model.dense);
        self.size("model.members", model.members);
        self.share("model.dropout", model.dropout);
        self.share("model.input_dropout", model.input_dropout);
        self.share("model.weight_drop", model.weight_drop);
    }

    fn optimizer(&mut self, optimizer: &Optimizer) {
        self.positive("optimizer.learning_rate", optimizer.learning_rate);
        self.share("optimizer.rho", optimizer.rho);
        self.positive("optimizer.epsilon", optimizer.epsilon);
        self.positive("optimizer.clip_norm", optimizer.clip_norm.unwrap_or(1.0));
        self.count("optimizer.decay_steps", optimizer.decay_steps);
        let holds = optimizer.decay_steps.is_none_or(|decay| optimizer.warmup_steps < decay);
        self.check(holds, "optimizer.warmup_steps", "must be less than optimizer.decay_steps");
    }

    fn train(&mut self, train: &Train) {
        self.size("train.batch_size", train.batch_size);
        self.size("train.lanes", train.lanes);
        let message = format!("{} is not a power of two up to 1024", train.lanes);
        let lanes = train.lanes;
        self.check(lanes == 0 || lanes.is_power_of_two() && lanes <= 1024, "train.lanes", message);
        self.count("train.epochs", train.epochs);
        self.count("train.max_steps", train.max_steps);
        // TOML's whole numbers end there; a larger seed could be set, but not written down again.
        let message = format!("must be at most {}", i64::MAX);
        self.check(train.seed <= i64::MAX as u64, "train.seed", message);
        let message = format!("{} semitones are more than {FARTHEST}", train.transpose);
        self.check(train.transpose <= FARTHEST, "train.transpose", message);
        let message = format!("{:?} is none of auto, cpu, cuda, cuda:N", train.device);
        self.check(is_device(&train.device), "train.device", message);
        self.count("train.validate_every", train.validate_every);
        self.count("train.validate_every_steps", train.validate_every_steps);
        self.count("train.early_stop", train.early_stop);
        self.seconds("train.hang_seconds", train.hang_seconds);
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        if let Some(url) = &checkpoint.url {
            self.place("checkpoint.url", place::parse(url));
        }
        self.count("checkpoint.every_steps", checkpoint.every_steps);
        self.size("checkpoint.keep", checkpoint.keep);
        self.count("checkpoint.keep_every", checkpoint.keep_every);
        self.count("checkpoint.max_unsaved_steps", checkpoint.max_unsaved_steps);
        if let Some(folder) = &checkpoint.fallback {
            self.place("checkpoint.fallback", place::folder(folder));
        }
        self.seconds("checkpoint.timeout_seconds", checkpoint.timeout_seconds);
        self.seconds("checkpoint.retry_seconds", checkpoint.retry_seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn impossible_values_are_all_reported() {
        let mut config = Config::default();
        config.data.max_notes = 20;
        config.data.groups = vec!["[".into()];
        config.model.dropout = 1.0;
        config.model.units = 0;
        config.optimizer.learning_rate = f64::NAN;
        config.optimizer.clip_norm = Some(0.0);
        (config.optimizer.warmup_steps, config.optimizer.decay_steps) = (5, Some(5));
        (config.train.lanes, config.train.transpose, config.train.stretch) = (6, 25, Some(64));
        config.train.device = "tpu".into();
        config.train.early_stop = Some(0);
        config.checkpoint.retry_seconds = f64::INFINITY;
        let keys: Vec<_> = config.validate().into_iter().map(|p| p.key).collect();
        let expected = [
            "data.groups",
            "train.stretch",
            "data.max_notes",
            "model.units",
            "model.dropout",
            "optimizer.learning_rate",
            "optimizer.clip_norm",
            "optimizer.warmup_steps",
            "train.lanes",
            "train.transpose",
            "train.device",
            "train.early_stop",
            "checkpoint.retry_seconds",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_stretch_has_to_fit_into_a_piece() {
        let mut config = Config::default();
        (config.train.objective, config.train.stretch) = (Objective::Every, Some(1000));
        let problems = config.validate();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].message, "1000 notes hold no window of 1000 and the note after it");
    }
}
