//! Rejects values that cannot work with any music, before anything starts. All problems are reported together.

use crate::location::{self, InvalidLocation};

use super::{
    CheckpointConfig, Config, ConfigProblem, DataConfig, LossPositions, ModelConfig, OptimizerConfig,
    TrainConfig,
};

/// Limit of sizes and counts. The product of two of them is far from overflow, and a typing error cannot ask for
/// terabytes.
const MAX_SIZE: usize = 1 << 20;

/// Limit of timeouts: a week.
const MAX_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

/// Limit of transposition: two octaves reach every key, and farther away pieces leave the range of pitches.
const MAX_SEMITONES: u8 = 24;

/// Limit of lanes: their padding costs memory, and no cluster here has more ranks.
const MAX_LANES: usize = 1024;

impl Config {
    /// All values that cannot work, in the order of the tables.
    pub fn validate(&self) -> Vec<ConfigProblem> {
        let mut checks = Checks(Vec::new());
        checks.data(&self.data);
        checks.window_length(self);
        checks.model(&self.model);
        checks.optimizer(&self.optimizer);
        checks.train(&self.train);
        checks.checkpoint(&self.checkpoint);
        checks.0
    }
}

/// Whether this is a value of `train.device`.
pub fn is_device(name: &str) -> bool {
    match name.strip_prefix("cuda:") {
        Some(index) => index.parse::<u16>().is_ok(),
        None => matches!(name, "auto" | "cpu" | "cuda"),
    }
}

/// The problems found so far.
struct Checks(Vec<ConfigProblem>);

impl Checks {
    fn check(&mut self, holds: bool, key: &str, message: impl Into<String>) {
        if !holds {
            self.0.push(ConfigProblem::new(key, message.into()));
        }
    }

    fn size(&mut self, key: &str, value: usize) {
        let holds = (1..=MAX_SIZE).contains(&value);
        self.check(holds, key, format!("{value} is not between 1 and {MAX_SIZE}"));
    }

    /// A count of steps or epochs; an optional one may be absent.
    fn count(&mut self, key: &str, value: impl Into<Option<u64>>) {
        self.check(value.into() != Some(0), key, "must be at least 1");
    }

    fn fraction(&mut self, key: &str, value: f64) {
        self.check((0.0..1.0).contains(&value), key, "must be at least 0 and less than 1");
    }

    fn positive(&mut self, key: &str, value: f64) {
        self.check(value > 0.0 && value.is_finite(), key, "must be more than 0");
    }

    fn seconds(&mut self, key: &str, value: f64) {
        let holds = value > 0.0 && value <= MAX_SECONDS;
        self.check(holds, key, format!("{value} is not between 0 and {MAX_SECONDS} (a week)"));
    }

    fn place<T>(&mut self, key: &str, place: Result<T, InvalidLocation>) {
        if let Err(error) = place {
            self.0.push(ConfigProblem::new(key, error.to_string()));
        }
    }

    fn data(&mut self, data: &DataConfig) {
        self.size("data.max_notes", data.max_notes);
        self.size("data.sequence_length", data.sequence_length);
        self.place("data.midi", location::music(&data.midi));
        let DataConfig { holdout, exclude, folds, .. } = data;
        for (key, patterns) in [("data.holdout", holdout), ("data.exclude", exclude), ("data.folds", folds)] {
            for pattern in patterns {
                let parsed = globset::Glob::new(pattern);
                self.check(parsed.is_ok(), key, format!("{pattern:?} is not a name or glob"));
            }
        }
    }

    /// Windows have to fit into pieces of `data.max_notes`.
    fn window_length(&mut self, config: &Config) {
        let Config { data, train, .. } = config;
        if let Some(window_length) = train.window_length {
            self.size("train.window_length", window_length);
            let message = "is only used when train.loss_positions = \"all\"";
            self.check(train.loss_positions == LossPositions::All, "train.window_length", message);
        }
        if train.carry_state {
            let message = "needs train.loss_positions = \"all\"";
            self.check(train.loss_positions == LossPositions::All, "train.carry_state", message);
            // Pieces need not fill a window.
            return;
        }
        let longest = data.sequence_length.max(config.training_length());
        let message =
            format!("{} is too short for a window of {longest} notes and the note after it", data.max_notes);
        self.check(data.max_notes > longest, "data.max_notes", message);
    }

    fn model(&mut self, model: &ModelConfig) {
        self.size("model.layers", model.layers);
        self.size("model.units", model.units);
        self.size("model.dense", model.dense);
        self.size("model.ensemble_size", model.ensemble_size);
        self.fraction("model.dropout", model.dropout);
        self.fraction("model.input_dropout", model.input_dropout);
        self.fraction("model.weight_drop", model.weight_drop);
    }

    fn optimizer(&mut self, optimizer: &OptimizerConfig) {
        self.positive("optimizer.learning_rate", optimizer.learning_rate);
        self.fraction("optimizer.rho", optimizer.rho);
        self.positive("optimizer.epsilon", optimizer.epsilon);
        self.positive("optimizer.clip_norm", optimizer.clip_norm.unwrap_or(1.0));
        self.count("optimizer.decay_steps", optimizer.decay_steps);
        let holds = optimizer.decay_steps.is_none_or(|decay| optimizer.warmup_steps < decay);
        self.check(holds, "optimizer.warmup_steps", "must be less than optimizer.decay_steps");
    }

    fn train(&mut self, train: &TrainConfig) {
        self.size("train.batch_size", train.batch_size);
        self.size("train.lanes", train.lanes);
        let lanes = train.lanes;
        let message = format!("{lanes} is not a power of two up to {MAX_LANES}");
        self.check(lanes == 0 || lanes.is_power_of_two() && lanes <= MAX_LANES, "train.lanes", message);
        self.count("train.epochs", train.epochs);
        self.count("train.max_steps", train.max_steps);
        // The largest integer in TOML: with --set a larger one could be given, but not written to a file.
        let message = format!("must be at most {}", i64::MAX);
        self.check(train.seed <= i64::MAX as u64, "train.seed", message);
        let message = format!("{} semitones is more than {MAX_SEMITONES}", train.transpose);
        self.check(train.transpose <= MAX_SEMITONES, "train.transpose", message);
        let message = format!("{:?} is not one of auto, cpu, cuda, cuda:N", train.device);
        self.check(is_device(&train.device), "train.device", message);
        self.count("train.validate_every_epochs", train.validate_every_epochs);
        self.count("train.validate_every_steps", train.validate_every_steps);
        self.count("train.early_stop", train.early_stop);
        self.seconds("train.collective_timeout_seconds", train.collective_timeout_seconds);
        if let Some(file) = &train.metrics_file {
            self.place("train.metrics_file", location::file(file));
        }
    }

    fn checkpoint(&mut self, checkpoint: &CheckpointConfig) {
        if let Some(url) = &checkpoint.url {
            self.place("checkpoint.url", location::parse(url));
        }
        self.count("checkpoint.every_steps", checkpoint.every_steps);
        self.size("checkpoint.keep", checkpoint.keep);
        self.count("checkpoint.keep_every_steps", checkpoint.keep_every_steps);
        self.count("checkpoint.max_unsaved_steps", checkpoint.max_unsaved_steps);
        if let Some(folder) = &checkpoint.fallback {
            self.place("checkpoint.fallback", location::folder(folder));
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
        config.data.folds = vec!["[".into()];
        config.model.dropout = 1.0;
        config.model.units = 0;
        config.optimizer.learning_rate = f64::NAN;
        config.optimizer.clip_norm = Some(0.0);
        (config.optimizer.warmup_steps, config.optimizer.decay_steps) = (5, Some(5));
        (config.train.lanes, config.train.transpose, config.train.window_length) = (6, 25, Some(64));
        config.train.device = "tpu".into();
        config.train.early_stop = Some(0);
        config.train.metrics_file = Some("s3://bucket/cello.prom".into());
        config.checkpoint.retry_seconds = f64::INFINITY;
        let keys: Vec<_> = config.validate().into_iter().map(|p| p.key).collect();
        let expected = [
            "data.folds",
            "train.window_length",
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
            "train.metrics_file",
            "checkpoint.retry_seconds",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_window_has_to_fit_into_a_piece() {
        let mut config = Config::default();
        (config.train.loss_positions, config.train.window_length) = (LossPositions::All, Some(1000));
        let problems = config.validate();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].message, "1000 is too short for a window of 1000 notes and the note after it");
    }
}
