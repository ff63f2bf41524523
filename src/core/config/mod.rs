//! The description of a run: one tree that mirrors `configs/*.toml`, with the article's values as defaults.
//!
//! [`Config::load`] reads a file and `--set` overrides (see [`read`]); [`Config::validate`] finds what cannot
//! work before anything starts; [`Config::identity`] is the part that decides the weights, and [`compare`] says
//! where two of them differ. Nothing here touches data or storage.

pub mod compare;
pub mod read;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::Patience;

pub use read::{ConfigError, Problem};

/// A run's description. Every key is optional in the file; the defaults are the article's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// What is learnt from.
    pub data: Data,
    /// The network.
    pub model: Model,
    /// How its weights are updated.
    pub optimizer: Optimizer,
    /// How long, on what, in which portions.
    pub train: Train,
    /// Where the run is kept.
    pub checkpoint: Checkpoint,
}

/// `[data]`: what is learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// A MIDI file, a folder of them, or `embedded` for the Prelude that comes with the program.
    pub midi: String,
    /// How notes become classes.
    pub representation: Representation,
    /// At most this many notes of each piece, from its beginning.
    pub max_notes: usize,
    /// Notes in a window; the network predicts the one after them.
    pub sequence_length: usize,
    /// What to do with a pitch that has no class (outside 1..=79).
    pub out_of_range: OutOfRange,
    /// Names or globs of pieces that training never sees.
    pub holdout: Vec<String>,
}

/// How notes become classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Representation {
    /// Class = pitch − 1, of 79 (the article's).
    Pitch,
}

/// What to do with a pitch outside 1..=79.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutOfRange {
    /// Stop before training and name the file and the note.
    Refuse,
    /// Leave the note out.
    Drop,
    /// Move the note by octaves to the nearest pitch inside.
    Transpose,
}

/// `[model]`: stacked LSTM layers, a linear dense layer, a softmax over the classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// LSTM layers.
    pub layers: usize,
    /// Units of each LSTM layer.
    pub units: usize,
    /// Units of the dense layer between the last LSTM layer and the softmax.
    pub dense: usize,
    /// Share of units dropped after every LSTM layer but the last, and after the dense layer.
    pub dropout: f64,
}

/// `[optimizer]`: RMSprop without momentum, ε outside the root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Optimizer {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the running mean of squared gradients.
    pub rho: f64,
    /// Added to the root of that mean.
    pub epsilon: f64,
}

/// `[train]`: how long, on what, in which portions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Train {
    /// Passes over all windows.
    pub epochs: u64,
    /// Stop after this many steps, where that comes before the last epoch's end.
    pub max_steps: Option<u64>,
    /// Windows of a step, over all ranks together.
    pub batch_size: usize,
    /// Slices of every batch whose gradients are summed in one fixed tree; a power of two, and the most ranks
    /// that can share the work.
    pub lanes: usize,
    /// Decides initial weights, order of windows and dropout.
    pub seed: u64,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Epochs from one validation on `data.holdout` to the next.
    pub validate_every: u64,
    /// Seconds that ranks wait for one that does not come before they end the run. They wait ten times the
    /// longest step where that is more, and ten times these seconds until the first step is made.
    pub hang_seconds: f64,
}

/// `[checkpoint]`: where the run is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// A folder or `s3://bucket/prefix`; without it `runs/<config name>`.
    pub url: Option<String>,
    /// Steps from one checkpoint to the next; the last step has one always.
    pub every_steps: u64,
    /// The newest so many are kept.
    pub keep: usize,
    /// Beside them, those whose step is a multiple of this.
    pub keep_every: Option<u64>,
    /// Steps that training goes on for without a safe checkpoint while the storage is out of reach; without it
    /// three times `every_steps`.
    pub max_unsaved_steps: Option<u64>,
    /// A folder for the last checkpoint where the storage does not take it; without it `runs/<config name>.unsaved`.
    pub fallback: Option<String>,
    /// How long one try of a call to storage may take, beside a second for each 100 kB that it carries.
    pub timeout_seconds: f64,
    /// How long after its first failure a call to a server that is out of reach is tried again.
    pub retry_seconds: f64,
}

impl Default for Data {
    fn default() -> Self {
        Data {
            midi: "embedded".into(),
            representation: Representation::Pitch,
            max_notes: 1000,
            sequence_length: 20,
            out_of_range: OutOfRange::Refuse,
            holdout: Vec::new(),
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Model { layers: 3, units: 256, dense: 256, dropout: 0.3 }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer { learning_rate: 1e-3, rho: 0.9, epsilon: 1e-7 }
    }
}

impl Default for Train {
    fn default() -> Self {
        Train {
            epochs: 50,
            max_steps: None,
            batch_size: 64,
            lanes: 8,
            seed: 1,
            device: "auto".into(),
            validate_every: 1,
            hang_seconds: 60.0,
        }
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        let patience = Patience::default();
        Checkpoint {
            url: None,
            every_steps: 500,
            keep: 3,
            keep_every: None,
            max_unsaved_steps: None,
            fallback: None,
            timeout_seconds: patience.one_try.as_secs_f64(),
            retry_seconds: patience.retry.as_secs_f64(),
        }
    }
}

impl Train {
    /// How long ranks wait for one that does not come, given the longest step so far.
    pub fn patience(&self, longest_step: Option<Duration>) -> Duration {
        let least = Duration::from_secs_f64(self.hang_seconds);
        longest_step.map_or(10 * least, |step| least.max(10 * step))
    }
}

impl Checkpoint {
    /// The time limits of calls to storage.
    pub fn patience(&self) -> Patience {
        let [one_try, retry] = [self.timeout_seconds, self.retry_seconds].map(Duration::from_secs_f64);
        let defaults = Patience::default();
        Patience { connect: defaults.connect.min(one_try), one_try, retry, ..defaults }
    }
}

/// The largest value a size or count may have. It keeps every product of two of them far from overflow, and a
/// typing error from asking for terabytes.
const LARGEST: usize = 1 << 20;

/// The longest time that may be waited for anything, in seconds.
const LONGEST: f64 = 7.0 * 24.0 * 3600.0;

/// The fewest units of a layer. In libtorch's products of fewer than 12 columns, a row's bits depend on where it
/// lies and on the number of threads.
pub const NARROWEST: usize = 16;

/// The most parameters, 4 GB of them.
const MOST_PARAMETERS: f64 = 1e9;

impl Model {
    /// About how many parameters there are, in numbers that cannot overflow.
    fn numbers(&self) -> f64 {
        let [layers, units, dense] = [self.layers, self.units, self.dense].map(|size| size as f64);
        8.0 * layers * units * units + dense * units
    }
}

impl Config {
    /// All values that cannot work, in the order of the file's tables.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, key: &str, message: String| {
            if !holds {
                problems.push(Problem::new(key, message));
            }
        };
        let Config { data, model, optimizer, train, checkpoint } = self;
        let sizes = [
            ("data.max_notes", data.max_notes),
            ("data.sequence_length", data.sequence_length),
            ("model.layers", model.layers),
            ("model.units", model.units),
            ("model.dense", model.dense),
            ("train.batch_size", train.batch_size),
            ("train.lanes", train.lanes),
            ("checkpoint.keep", checkpoint.keep),
        ];
        for (key, value) in sizes {
            let holds = (1..=LARGEST).contains(&value);
            check(holds, key, format!("{value} is not between 1 and {LARGEST}"));
        }
        check(!data.midi.is_empty(), "data.midi", "names no file or folder".into());
        check(
            data.max_notes > data.sequence_length,
            "data.max_notes",
            format!(
                "{} notes hold no window of {} and the note after it",
                data.max_notes, data.sequence_length
            ),
        );
        for pattern in &data.holdout {
            let parsed = globset::Glob::new(pattern);
            check(parsed.is_ok(), "data.holdout", format!("{pattern:?} is not a name or glob"));
        }
        check(
            (0.0..1.0).contains(&model.dropout),
            "model.dropout",
            "must be at least 0 and less than 1".into(),
        );
        for (key, width) in [("model.units", model.units), ("model.dense", model.dense)] {
            check(
                !(1..NARROWEST).contains(&width),
                key,
                format!(
                    "{width} is less than {NARROWEST}, where results would depend on the number of ranks"
                ),
            );
        }
        check(
            model.numbers() <= MOST_PARAMETERS,
            "model.units",
            format!("about {:.1e} parameters, more than {MOST_PARAMETERS:.0e}", model.numbers()),
        );
        let positive = |x: f64| x > 0.0 && x.is_finite();
        check(positive(optimizer.learning_rate), "optimizer.learning_rate", "must be more than 0".into());
        check(
            (0.0..1.0).contains(&optimizer.rho),
            "optimizer.rho",
            "must be at least 0 and less than 1".into(),
        );
        check(positive(optimizer.epsilon), "optimizer.epsilon", "must be more than 0".into());
        check(
            train.lanes.is_power_of_two() && train.lanes <= 1024,
            "train.lanes",
            format!("{} is not a power of two up to 1024", train.lanes),
        );
        check(train.epochs > 0, "train.epochs", "must be at least 1".into());
        check(train.max_steps != Some(0), "train.max_steps", "must be at least 1".into());
        // TOML's whole numbers end there; a larger seed could be set, but not written down again.
        check(train.seed <= i64::MAX as u64, "train.seed", format!("must be at most {}", i64::MAX));
        check(
            is_device(&train.device),
            "train.device",
            format!("{:?} is none of auto, cpu, cuda, cuda:N", train.device),
        );
        if let Some(url) = &checkpoint.url {
            let known = ["s3://", "file://", "memory:"].iter().any(|scheme| url.starts_with(scheme));
            let holds = known || !url.is_empty() && !url.contains("://");
            check(holds, "checkpoint.url", format!("{url:?} is neither a folder nor s3://bucket/prefix"));
        }
        check(train.validate_every > 0, "train.validate_every", "must be at least 1".into());
        check(checkpoint.every_steps > 0, "checkpoint.every_steps", "must be at least 1".into());
        check(checkpoint.keep_every != Some(0), "checkpoint.keep_every", "must be at least 1".into());
        check(
            checkpoint.max_unsaved_steps != Some(0),
            "checkpoint.max_unsaved_steps",
            "must be at least 1".into(),
        );
        if let Some(folder) = &checkpoint.fallback {
            let holds = !folder.is_empty() && !folder.contains("://");
            check(holds, "checkpoint.fallback", format!("{folder:?} is not a folder"));
        }
        for (key, seconds) in [
            ("train.hang_seconds", train.hang_seconds),
            ("checkpoint.timeout_seconds", checkpoint.timeout_seconds),
            ("checkpoint.retry_seconds", checkpoint.retry_seconds),
        ] {
            let holds = seconds > 0.0 && seconds <= LONGEST;
            check(holds, key, format!("{seconds} is not more than 0 and at most {LONGEST}, a week"));
        }
        problems
    }

    /// The part of the configuration that decides the weights after a given step, as one JSON object with
    /// sorted keys. It leaves out where data and checkpoints lie, device, threads and how long to train.
    pub fn identity(&self) -> serde_json::Value {
        let Config { data, model, optimizer, train, .. } = self;
        serde_json::json!({
            "data": {
                "representation": data.representation,
                "max_notes": data.max_notes,
                "sequence_length": data.sequence_length,
                "out_of_range": data.out_of_range,
                "holdout": data.holdout,
            },
            "model": model,
            "optimizer": optimizer,
            "train": { "batch_size": train.batch_size, "lanes": train.lanes, "seed": train.seed },
        })
    }
}

/// Whether `train.device` may be this.
pub fn is_device(name: &str) -> bool {
    match name.strip_prefix("cuda:") {
        Some(index) => index.parse::<u16>().is_ok(),
        None => matches!(name, "auto" | "cpu" | "cuda"),
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
        config.train.lanes = 6;
        config.train.device = "tpu".into();
        config.model.dropout = 1.0;
        config.data.max_notes = 20;
        config.optimizer.learning_rate = f64::NAN;
        config.model.units = 15;
        config.checkpoint.retry_seconds = f64::INFINITY;
        let keys: Vec<_> = config.validate().into_iter().map(|p| p.key).collect();
        let expected = [
            "data.max_notes",
            "model.dropout",
            "model.units",
            "optimizer.learning_rate",
            "train.lanes",
            "train.device",
            "checkpoint.retry_seconds",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn identity_leaves_out_where_and_how_long() {
        let a = Config::default();
        let mut b = a.clone();
        b.data.midi = "elsewhere".into();
        b.train.epochs = 9;
        b.train.max_steps = Some(3);
        b.train.device = "cpu".into();
        b.checkpoint.url = Some("s3://x/y".into());
        b.checkpoint.retry_seconds = 5.0;
        assert_eq!(a.identity(), b.identity());
        b.train.seed = 2;
        assert_ne!(a.identity(), b.identity());
    }
}
