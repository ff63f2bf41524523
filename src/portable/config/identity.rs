//! Which keys identify a run, and how two runs' values differ.
//!
//! Invariant: [`Config::identity`] holds every key that changes the weights after a given step, and no other. It is part
//! of every checkpoint; a run refuses checkpoints of another identity. The functions below name every key of every table,
//! so a new key does not compile until it is decided where it belongs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CheckpointConfig, Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig};

/// A key that older versions knew by another name. Configurations that use the old name are refused with the new one;
/// the identity in an old checkpoint is read under the new one.
#[derive(Debug)]
pub struct RenamedKey {
    /// Dotted, like `train.stretch`.
    pub old: &'static str,
    /// Dotted; its table may be another.
    pub new: &'static str,
    /// Values that were renamed too, the old one first.
    pub values: &'static [(&'static str, &'static str)],
}

/// All renamed keys. The only list: add a line here when you rename or move a key.
pub const RENAMED_KEYS: [RenamedKey; 10] = [
    RenamedKey { old: "checkpoint.keep_every", new: "checkpoint.keep_every_steps", values: &[] },
    RenamedKey { old: "data.groups", new: "data.folds", values: &[] },
    RenamedKey { old: "data.out_of_range", new: "representation.out_of_range", values: &[] },
    RenamedKey { old: "data.representation", new: "representation.kind", values: &[] },
    RenamedKey { old: "model.intervals", new: "representation.intervals", values: &[] },
    RenamedKey { old: "model.members", new: "model.ensemble_size", values: &[] },
    RenamedKey { old: "train.hang_seconds", new: "train.collective_timeout_seconds", values: &[] },
    RenamedKey { old: "train.objective", new: "train.loss_positions", values: &[("every", "all")] },
    RenamedKey { old: "train.stretch", new: "train.window_length", values: &[] },
    RenamedKey { old: "train.validate_every", new: "train.validate_every_epochs", values: &[] },
];

impl RenamedKey {
    /// The entry for an old name.
    pub fn find(key: &str) -> Option<&'static RenamedKey> {
        RENAMED_KEYS.iter().find(|renamed| renamed.old == key)
    }

    /// The new name of a value; values that were not renamed keep theirs.
    pub fn value<'a>(&self, old: &'a str) -> &'a str {
        self.values.iter().find(|(value, _)| *value == old).map_or(old, |(_, new)| new)
    }
}

/// The keys of a configuration by what they decide. Keys that only this host or this launch needs are in neither.
struct KeysByEffect {
    /// They decide the weights after a given step.
    identity: Value,
    /// They decide when ranks validate, save and stop, so all ranks need the same values.
    schedule: Value,
}

impl KeysByEffect {
    fn of(config: &Config) -> Self {
        let Config { data, representation, model, optimizer, train, checkpoint } = config;
        let DataConfig {
            midi: _, // the music itself is compared by its fingerprint
            max_notes,
            sequence_length,
            holdout,
            exclude,
            folds: _,
        } = data;
        let ModelConfig { layers, units, dense, ensemble_size, dropout, input_dropout, weight_drop } = model;
        let OptimizerConfig { learning_rate, rho, epsilon, clip_norm, warmup_steps, decay_steps } = optimizer;
        let TrainConfig {
            epochs,
            max_steps,
            batch_size,
            lanes,
            seed,
            loss_positions,
            window_length,
            carry_state,
            transpose,
            backend,
            device: _, // may differ from host to host
            validate_every_epochs,
            validate_every_steps,
            early_stop,
            collective_timeout_seconds: _,
            log: _, // rank 0 alone writes these
            metrics_file: _,
        } = train;
        let CheckpointConfig {
            url: _, // its default depends on the configuration's name: compared where that is known
            every_steps,
            keep,
            keep_every_steps,
            max_unsaved_steps: _, // rank 0 alone uses storage
            fallback: _,
            timeout_seconds: _,
            retry_seconds: _,
        } = checkpoint;
        let mut identity = json!({
            "data": {
                "max_notes": max_notes,
                "sequence_length": sequence_length,
                "holdout": holdout,
            },
            "representation": representation,
            "model": {
                "layers": layers,
                "units": units,
                "dense": dense,
                "ensemble_size": ensemble_size,
                "dropout": dropout,
                "input_dropout": input_dropout,
                "weight_drop": weight_drop,
            },
            "optimizer": {
                "learning_rate": learning_rate,
                "rho": rho,
                "epsilon": epsilon,
                "clip_norm": clip_norm,
                "warmup_steps": warmup_steps,
                "decay_steps": decay_steps,
            },
            "train": {
                "batch_size": batch_size,
                "lanes": lanes,
                "seed": seed,
                "loss_positions": loss_positions,
                "window_length": window_length,
                "transpose": transpose,
                "backend": backend,
            },
        });
        // Absent otherwise: runs from before there was a choice keep their identity.
        if *carry_state {
            identity["train"]["carry_state"] = true.into();
        }
        if !exclude.is_empty() {
            identity["data"]["exclude"] = json!(exclude);
        }
        KeysByEffect {
            identity,
            schedule: json!({
                "train": {
                    "epochs": epochs,
                    "max_steps": max_steps,
                    "validate_every_epochs": validate_every_epochs,
                    "validate_every_steps": validate_every_steps,
                    "early_stop": early_stop,
                },
                "checkpoint": {
                    "every_steps": every_steps,
                    "keep": keep,
                    "keep_every_steps": keep_every_steps,
                },
            }),
        }
    }
}

impl Config {
    /// The keys that decide the weights after a given step, as one JSON object. Its keys are sorted when it is written,
    /// so equal identities have equal bytes.
    pub fn identity(&self) -> Value {
        KeysByEffect::of(self).identity
    }

    /// What must be equal on all ranks: the identity, and the schedule of validations, checkpoints and the end.
    pub fn shared_by_ranks(&self) -> Value {
        let KeysByEffect { identity, schedule } = KeysByEffect::of(self);
        json!([identity, schedule])
    }

    /// Reads back what [`Config::identity`] of this or an older version wrote. Keys outside the identity, and keys that
    /// the older version did not have, get their defaults.
    pub fn from_identity(identity: &Value) -> Result<Config, serde_json::Error> {
        Config::deserialize(with_new_names(identity))
    }
}

/// An identity with its keys and values under the names that they have today.
fn with_new_names(identity: &Value) -> Value {
    let mut identity = identity.clone();
    for renamed in &RENAMED_KEYS {
        let (Some((old_table, old)), Some((new_table, new))) =
            (renamed.old.split_once('.'), renamed.new.split_once('.'))
        else {
            continue;
        };
        let table = identity.get_mut(old_table).and_then(Value::as_object_mut);
        let Some(mut value) = table.and_then(|table| table.remove(old)) else { continue };
        if let Some(name) = value.as_str() {
            value = renamed.value(name).into();
        }
        identity[new_table][new] = value;
    }
    if let Some(train) = identity.get_mut("train").and_then(Value::as_object_mut) {
        // From before there was a choice.
        train.entry("backend").or_insert_with(|| "native".into());
    }
    identity
}

/// A value that differs between two descriptions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueDifference {
    /// Dotted, like `model.units`.
    pub key: String,
    /// The two values; null where one has no such key.
    pub values: [Value; 2],
}

impl ValueDifference {
    /// The difference in words; `sides` says where each of the two values is found, like `["there", "here"]`.
    pub fn describe(&self, sides: [&str; 2]) -> String {
        let [a, b] = self.values.each_ref().map(|value| match value {
            Value::Null => "absent".to_owned(),
            value => value.to_string(),
        });
        format!("{} is {a} {} and {b} {}", self.key, sides[0], sides[1])
    }
}

/// All values that differ, sorted by key.
pub fn differences(a: &Value, b: &Value) -> Vec<ValueDifference> {
    let mut found = Vec::new();
    collect_differences(String::new(), [a, b], &mut found);
    found
}

fn collect_differences(key: String, values: [&Value; 2], found: &mut Vec<ValueDifference>) {
    match values {
        [Value::Object(a), Value::Object(b)] => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let [a, b] = [a, b].map(|object| object.get(name).unwrap_or(&Value::Null));
                collect_differences(key, [a, b], found);
            }
        }
        [a, b] if a != b => found.push(ValueDifference { key, values: [a.clone(), b.clone()] }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, LossPositions};

    #[test]
    fn identity_leaves_out_storage_hardware_and_duration() {
        let a = Config::default();
        let mut b = a.clone();
        b.data.midi = "elsewhere".into();
        b.train.epochs = 9;
        b.train.max_steps = Some(3);
        b.train.device = "cpu".into();
        b.train.log = vec![LogFormat::TensorBoard];
        b.train.metrics_file = Some("cello.prom".into());
        b.checkpoint.url = Some("s3://x/y".into());
        b.checkpoint.retry_seconds = 5.0;
        assert_eq!(a.identity(), b.identity());
        b.train.seed = 2;
        assert_ne!(a.identity(), b.identity());
    }

    #[test]
    fn identity_is_read_back() {
        let mut config = Config::default();
        config.model.units = 100;
        let back = Config::from_identity(&config.identity()).unwrap();
        assert_eq!(back.identity(), config.identity());
    }

    #[test]
    fn an_identity_with_old_names_is_read_under_the_new_ones() {
        let old = json!({
            "model": { "members": 3 },
            "train": { "objective": "every", "stretch": 64, "seed": 7 },
        });
        let config = Config::from_identity(&old).unwrap();
        assert_eq!((config.model.ensemble_size, config.train.seed), (3, 7));
        let TrainConfig { loss_positions, window_length, .. } = config.train;
        assert_eq!((loss_positions, window_length), (LossPositions::All, Some(64)));
    }

    #[test]
    fn renamed_keys_lead_to_keys_that_exist() {
        let known = serde_json::to_value(Config::default()).unwrap();
        for RenamedKey { old, new, .. } in &RENAMED_KEYS {
            let [old, new] = [old, new].map(|key| known.pointer(&format!("/{}", key.replace('.', "/"))));
            assert!(old.is_none() && new.is_some(), "{old:?} {new:?}");
        }
    }

    #[test]
    fn differences_are_named_by_key() {
        let (a, mut b) = (Config::default(), Config::default());
        b.model.units = 128;
        b.data.holdout = vec!["x".into()];
        let described: Vec<_> = differences(&a.identity(), &b.identity())
            .iter()
            .map(|difference| difference.describe(["there", "here"]))
            .collect();
        assert_eq!(
            described,
            ["data.holdout is [] there and [\"x\"] here", "model.units is 256 there and 128 here"]
        );
    }

    #[test]
    fn a_key_that_only_one_has_is_absent_in_the_other() {
        let found = differences(&json!({"a": {"b": 1}}), &json!({"a": {"b": 1, "c": "x"}}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].describe(["there", "here"]), "a.c is absent there and \"x\" here");
    }
}
