//! The configuration of a run: a tree of structs that mirrors `configs/*.toml`. The defaults are the article's values.
//!
//! [`Config::load`] reads a file and `--set` overrides. [`Config::validate`] rejects values that cannot work with any
//! music. [`identity`] decides which keys identify a run, and knows the old names of renamed keys. Nothing here
//! reads music or opens storage.

pub mod identity;
mod read;
mod validate;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::representation::RepresentationConfig;
use crate::store::RetryPolicy;

pub use read::{ConfigError, ConfigProblem, ValueSource, to_toml};
pub use validate::is_device;

/// A run's configuration. Every key may be left out of the file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The music.
    pub data: DataConfig,
    /// What tokens mean.
    pub representation: RepresentationConfig,
    /// The network.
    pub model: ModelConfig,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// The schedule and the hardware.
    pub train: TrainConfig,
    /// The storage.
    pub checkpoint: CheckpointConfig,
}

/// `[data]`: the music.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataConfig {
    /// A file of music, a folder of them, `embedded` for the Prelude that comes with the program, or
    /// `embedded:chorales` for the four-part chorales that do.
    pub midi: String,
    /// Only this many notes of each piece are used, from its beginning.
    pub max_notes: usize,
    /// Notes in a window; the network predicts the note after them.
    pub sequence_length: usize,
    /// Names or globs of the pieces that are kept out of training and validated on.
    pub holdout: Vec<String>,
    /// Names or globs of pieces that are not read at all, such as the test split of a published set. They need not exist.
    pub exclude: Vec<String>,
    /// Names or globs, one for each fold of `eval --cross-validate`: the pieces that the fold holds out.
    pub folds: Vec<String>,
}

/// `[model]`: stacked LSTM layers, a linear dense layer, and a softmax over the tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelConfig {
    /// Number of LSTM layers.
    pub layers: usize,
    /// Units of each LSTM layer.
    pub units: usize,
    /// Units of the dense layer between the last LSTM layer and the softmax.
    pub dense: usize,
    /// Number of networks with their own weights and dropout, whose probabilities are averaged.
    pub ensemble_size: usize,
    /// Fraction of units dropped after every LSTM layer but the last, and after the dense layer.
    pub dropout: f64,
    /// Fraction of input features dropped: for each token, every kind of feature independently.
    pub input_dropout: f64,
    /// Fraction of the recurrent kernels' weights dropped, drawn anew in every step (DropConnect as in AWD-LSTM: Merity,
    /// Keskar and Socher 2018).
    pub weight_drop: f64,
}

/// `[optimizer]`: RMSprop without momentum, ε outside the root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptimizerConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the running mean of squared gradients.
    pub rho: f64,
    /// Added to the root of that mean.
    pub epsilon: f64,
    /// A gradient with a larger norm, taken over all parameters together, is scaled down to this norm.
    pub clip_norm: Option<f64>,
    /// The learning rate rises linearly to its full value during this many steps.
    pub warmup_steps: u64,
    /// The learning rate then falls linearly to zero at this step, the last one that changes weights. Without it, the
    /// rate stays constant.
    pub decay_steps: Option<u64>,
}

/// `[train]`: the schedule and the hardware.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainConfig {
    /// Passes over all windows.
    pub epochs: u64,
    /// The run ends after this many steps, if the last epoch has not ended before.
    pub max_steps: Option<u64>,
    /// Windows in a step, over all ranks together.
    pub batch_size: usize,
    /// Slices of every batch whose gradients are summed in one fixed tree. A power of two; no more ranks than lanes can
    /// share the work.
    pub lanes: usize,
    /// Decides the initial weights, the order of windows, dropout and transposition.
    pub seed: u64,
    /// Which notes of a window have a loss.
    pub loss_positions: LossPositions,
    /// Notes in a window that is trained on, instead of `data.sequence_length`. Only used with
    /// `loss_positions = "all"`.
    pub window_length: Option<usize>,
    /// Whether the rows of a batch read whole pieces one after another, and the network's state goes from one window of a row
    /// to the next (truncated backpropagation through time). Only with `loss_positions = "all"`.
    pub carry_state: bool,
    /// Augmentation: every window is transposed by a random number of semitones, at most this many up or down.
    pub transpose: u8,
    /// What computes the steps.
    pub backend: BackendChoice,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Epochs between validations on `data.holdout`.
    pub validate_every_epochs: u64,
    /// Steps between validations, instead of epochs.
    pub validate_every_steps: Option<u64>,
    /// The run ends after this many validations in a row without a new best.
    pub early_stop: Option<u64>,
    /// Seconds that ranks wait in a collective for a rank that does not arrive before they end the run: at least ten
    /// times the longest step so far, and ten times this value before the first step is done.
    pub collective_timeout_seconds: f64,
    /// What else the run is written to beside `metrics.jsonl`, in the folder or bucket of its checkpoints.
    pub log: Vec<LogFormat>,
    /// A file with the run's newest figures, in the text format of Prometheus.
    pub metrics_file: Option<String>,
}

/// A form in which other programs read what a run logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Event files, with a sample of the music after each validation.
    TensorBoard,
}

/// What computes the steps of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// `torch` on a GPU, `native` on a CPU.
    Auto,
    /// Our own arithmetic, on CPUs: the same bits on every processor.
    Native,
    /// libtorch, on a GPU or on CPUs.
    Torch,
}

/// Which notes of a window have a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossPositions {
    /// The note after the window (the article's).
    Last,
    /// The note after each note of the window.
    All,
}

/// `[checkpoint]`: the storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointConfig {
    /// A folder or `s3://bucket/prefix`; without it `runs/<config name>`.
    pub url: Option<String>,
    /// Steps between checkpoints. The last step always has one.
    pub every_steps: u64,
    /// This many of the newest checkpoints are kept.
    pub keep: usize,
    /// Checkpoints whose step is a multiple of this are kept too.
    pub keep_every_steps: Option<u64>,
    /// The run ends after this many steps without a saved checkpoint while the storage is unreachable; without it, three
    /// times `every_steps`.
    pub max_unsaved_steps: Option<u64>,
    /// A folder for the last checkpoint when the storage does not accept it; without it `runs/<config name>.unsaved`.
    pub fallback: Option<String>,
    /// Time limit of one attempt at a storage call, plus one second for each 100 kB that it transfers.
    pub timeout_seconds: f64,
    /// A storage call to an unreachable server is retried until this long after its first failure.
    pub retry_seconds: f64,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            midi: "embedded".into(),
            max_notes: 1000,
            sequence_length: 20,
            holdout: Vec::new(),
            exclude: Vec::new(),
            folds: Vec::new(),
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            layers: 3,
            units: 256,
            dense: 256,
            ensemble_size: 1,
            dropout: 0.3,
            input_dropout: 0.0,
            weight_drop: 0.0,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            learning_rate: 1e-3,
            rho: 0.9,
            epsilon: 1e-7,
            clip_norm: None,
            warmup_steps: 0,
            decay_steps: None,
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            epochs: 50,
            max_steps: None,
            batch_size: 64,
            lanes: 8,
            seed: 1,
            loss_positions: LossPositions::Last,
            window_length: None,
            carry_state: false,
            transpose: 0,
            backend: BackendChoice::Auto,
            device: "auto".into(),
            validate_every_epochs: 1,
            validate_every_steps: None,
            early_stop: None,
            collective_timeout_seconds: 60.0,
            log: Vec::new(),
            metrics_file: None,
        }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        let policy = RetryPolicy::default();
        CheckpointConfig {
            url: None,
            every_steps: 500,
            keep: 3,
            keep_every_steps: None,
            max_unsaved_steps: None,
            fallback: None,
            timeout_seconds: policy.attempt_timeout.as_secs_f64(),
            retry_seconds: policy.retry_window.as_secs_f64(),
        }
    }
}

impl Config {
    /// Notes in the windows that are trained on. Validation, evaluation and sampling use `data.sequence_length`.
    pub fn training_length(&self) -> usize {
        match self.train.loss_positions {
            LossPositions::Last => self.data.sequence_length,
            LossPositions::All => self.train.window_length.unwrap_or(self.data.sequence_length),
        }
    }
}

impl TrainConfig {
    /// A piece with more tokens than this has something to predict, where windows have `length` tokens. Pieces that are
    /// read whole need not fill a window.
    pub fn tokens_before_prediction(&self, length: usize) -> usize {
        if self.carry_state { 1 } else { length }
    }

    /// How long a rank waits in a collective for the others, given the longest step so far.
    pub fn collective_timeout(&self, longest_step: Option<Duration>) -> Duration {
        let least = Duration::from_secs_f64(self.collective_timeout_seconds);
        longest_step.map_or(10 * least, |step| least.max(10 * step))
    }
}

impl CheckpointConfig {
    /// The time limits and retries of calls to storage.
    pub fn retry_policy(&self) -> RetryPolicy {
        let attempt_timeout = Duration::from_secs_f64(self.timeout_seconds);
        let defaults = RetryPolicy::default();
        RetryPolicy {
            connect_timeout: defaults.connect_timeout.min(attempt_timeout),
            attempt_timeout,
            retry_window: Duration::from_secs_f64(self.retry_seconds),
            ..defaults
        }
    }
}
