//! The description of a run: one tree that mirrors `configs/*.toml`, with the article's values as defaults.
//!
//! [`Config::load`] reads a file and `--set` overrides (see [`read`]); [`Config::validate`] finds what cannot
//! work before anything starts (see [`validate`]); [`Config::identity`] is the part that decides the weights, and
//! [`compare`] says where two of them differ. Nothing here touches data or storage.

pub mod compare;
pub mod read;
pub mod validate;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::Patience;

pub use read::{ConfigError, Problem};
pub use validate::is_device;

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
    /// Names or globs, one for each group that `eval --cross-validate` holds out in turn.
    pub groups: Vec<String>,
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
    /// Networks side by side, each with weights and dropout of its own, whose probabilities are averaged.
    pub members: usize,
    /// Share of units dropped after every LSTM layer but the last, and after the dense layer.
    pub dropout: f64,
    /// Share of classes and of intervals, each for itself, that the network is not shown of the notes it learns from.
    pub input_dropout: f64,
    /// Share of the recurrent kernels' weights dropped, others in every step (DropConnect as in AWD-LSTM, Merity,
    /// Keskar and Socher 2018).
    pub weight_drop: f64,
    /// Whether it sees and predicts, beside notes, how far each is from the one before: what it learns in one key
    /// then helps in all.
    pub intervals: bool,
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
    /// A longer gradient is scaled down to this length, over all parameters together.
    pub clip_norm: Option<f64>,
    /// The step size grows evenly to its full value over so many steps.
    pub warmup_steps: u64,
    /// And falls evenly to zero until this step, the last that changes weights; without it, it stays.
    pub decay_steps: Option<u64>,
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
    /// Decides initial weights, order of windows, dropout and transposition.
    pub seed: u64,
    /// Which predictions are learnt from.
    pub objective: Objective,
    /// With `objective = "every"`: notes of the windows that training takes, in place of `data.sequence_length`.
    pub stretch: Option<usize>,
    /// Every time a window is taken it is moved by up to so many semitones, up or down.
    pub transpose: u8,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Epochs from one validation on `data.holdout` to the next.
    pub validate_every: u64,
    /// Steps from one to the next instead, where epochs are long.
    pub validate_every_steps: Option<u64>,
    /// End the run after so many validations in a row none of which was the best.
    pub early_stop: Option<u64>,
    /// Seconds that ranks wait for one that does not come before they end the run. They wait ten times the
    /// longest step where that is more, and ten times these seconds until the first step is made.
    pub hang_seconds: f64,
}

/// Which predictions are learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The note after a window (the article's).
    Last,
    /// The note after each note of a window.
    Every,
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
            groups: Vec::new(),
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Model {
            layers: 3,
            units: 256,
            dense: 256,
            members: 1,
            dropout: 0.3,
            input_dropout: 0.0,
            weight_drop: 0.0,
            intervals: false,
        }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer {
            learning_rate: 1e-3,
            rho: 0.9,
            epsilon: 1e-7,
            clip_norm: None,
            warmup_steps: 0,
            decay_steps: None,
        }
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
            objective: Objective::Last,
            stretch: None,
            transpose: 0,
            device: "auto".into(),
            validate_every: 1,
            validate_every_steps: None,
            early_stop: None,
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

impl Config {
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
            "train": {
                "batch_size": train.batch_size,
                "lanes": train.lanes,
                "seed": train.seed,
                "objective": train.objective,
                "stretch": train.stretch,
                "transpose": train.transpose,
            },
        })
    }

    /// Notes of the windows that training takes. Those that are validated, evaluated and composed from have
    /// `data.sequence_length`.
    pub fn training_length(&self) -> usize {
        match self.train.objective {
            Objective::Last => self.data.sequence_length,
            Objective::Every => self.train.stretch.unwrap_or(self.data.sequence_length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
