//! `train.log = ["tensorboard"]`: event files beside the checkpoints, with the numbers of `metrics.jsonl` as scalars, and after
//! each validation a sample of the music as picture and sound.
//!
//! In a folder every attempt has one file, to which events are added. A bucket can only replace an object, so there each
//! upload makes a new one, and nothing is uploaded twice. TensorBoard reads the files of a folder in the order of their
//! names, so a name begins with the number of the attempt and goes on with that of the object.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;
use bachdist_portable::checkpoint::TrainingCorpus;
use bachdist_portable::checkpoint::claim::RunClaim;
use bachdist_portable::config::Config;
use bachdist_portable::metrics::Record;
use bachdist_portable::network::Architecture;
use bachdist_portable::network::inference::InferenceNetwork;
use bachdist_portable::process::host_name;
use bachdist_portable::sample::Preview;
use bachdist_portable::store::Store;
use serde_json::Value as Json;

use super::events::{self, Value};
use super::exporter::{ExportError, Exporter, SampleJob};

/// Limit on events that wait for their place: some forty samples. With more, all that wait are dropped.
const MAX_PENDING_BYTES: usize = 64 << 20;

pub struct EventLog {
    place: Place,
    /// What is not written yet: whole records.
    pending: Vec<u8>,
    config: Config,
    training: TrainingCorpus,
    architecture: Architecture,
}

enum Place {
    File {
        path: PathBuf,
        /// `None` before the first write.
        file: Option<File>,
        /// Bytes of whole records.
        length: u64,
    },
    Bucket {
        /// A connection of its own: the saver counts the retries of its own.
        store: Store,
        attempt: u64,
        /// Objects so far.
        objects: u64,
    },
}

impl EventLog {
    /// The log of an attempt. Nothing is written yet.
    pub fn new(
        config: &Config,
        training: &TrainingCorpus,
        architecture: Architecture,
        run: &RunClaim,
    ) -> Result<Self> {
        let (store, attempt) = (run.store(), run.attempt());
        let name = format!("events.out.tfevents.{attempt:06}.{}", host_name());
        let place = match store.local_path(&name) {
            Some(path) => Place::File { path, file: None, length: 0 },
            None => {
                let store = Store::open_with_policy(store.url(), config.checkpoint.retry_policy())?;
                Place::Bucket { store, attempt, objects: 0 }
            }
        };
        let (config, training) = (config.clone(), training.clone());
        Ok(EventLog { place, pending: Vec::new(), config, training, architecture })
    }

    /// Adds an event. Every file and object begins with its version.
    fn add(&mut self, at: SystemTime, event: impl FnOnce(&mut Vec<u8>)) {
        let is_beginning = match &self.place {
            Place::File { length, .. } => *length == 0,
            Place::Bucket { .. } => true,
        };
        if self.pending.is_empty() && is_beginning {
            events::begin(&mut self.pending, at);
        }
        event(&mut self.pending);
    }
}

impl Exporter for EventLog {
    fn writes_steps(&self) -> bool {
        matches!(self.place, Place::File { .. })
    }

    fn shows_samples(&self) -> bool {
        true
    }

    fn record(&mut self, at: SystemTime, record: &Record) {
        let step = match record {
            // What an earlier attempt said of the step that this one begins after still holds.
            Record::Run(attempt) => return self.add(at, |out| events::start(out, at, attempt.step)),
            Record::Resume(attempt) => return self.add(at, |out| events::start(out, at, attempt.step + 1)),
            Record::Outage { .. } | Record::Stop { .. } => return,
            Record::Step { step, .. }
            | Record::Epoch { step, .. }
            | Record::Validation { step, .. }
            | Record::Checkpoint { step, .. } => *step,
        };
        // With the names that they have in `metrics.jsonl`.
        let Ok(Json::Object(fields)) = serde_json::to_value(record) else { return };
        let kind = fields.get("kind").and_then(Json::as_str).unwrap_or_default();
        let mut scalars = Vec::new();
        for (name, value) in &fields {
            let value = match value {
                Json::Number(number) => number.as_f64(),
                Json::Null => Some(f64::NAN),
                _ => None,
            };
            // The step is the axis, and the epoch follows from it.
            if let Some(value) = value.filter(|_| !["step", "epoch"].contains(&name.as_str())) {
                scalars.push((format!("{kind}/{name}"), value));
            }
        }
        let values: Vec<Value<'_>> =
            scalars.iter().map(|(tag, value)| Value::Scalar { tag, value: *value }).collect();
        self.add(at, |out| events::values(out, at, step, &values));
    }

    fn sample(&mut self, at: SystemTime, job: &SampleJob) -> Result<(), ExportError> {
        let representation = self.config.representation.build();
        let network = InferenceNetwork::new(representation, self.architecture, &job.parameters);
        let preview = Preview::compose(&network, &self.config, &self.training, job.step);
        let Preview { roll, sound, rate, samples } = preview.map_err(|error| {
            let reason = format!("no sample of step {}: {error:#}", job.step);
            ExportError { reason: reason.clone(), message: reason }
        })?;
        let values = [
            Value::Image { tag: "sample/roll", png: &roll },
            Value::Audio { tag: "sample/sound", wav: &sound, rate, samples },
        ];
        self.add(at, |out| events::values(out, at, job.step, &values));
        Ok(())
    }

    fn write(&mut self) -> Result<(), ExportError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = match &mut self.place {
            Place::File { path, file, length } => {
                append(path, file, *length, &self.pending).map_err(|error| {
                    let message = format!("cannot write {}: {error}", path.display());
                    ExportError { reason: message.clone(), message }
                })
            }
            Place::Bucket { store, attempt, objects } => {
                let name = format!("events.out.tfevents.{attempt:06}.{objects:06}.{}", host_name());
                store.put(&name, self.pending.clone()).map_err(|error| ExportError {
                    reason: format!("{:?}", error.kind),
                    message: error.to_string(),
                })
            }
        };
        match &written {
            Ok(()) => {
                match &mut self.place {
                    Place::File { length, .. } => *length += self.pending.len() as u64,
                    Place::Bucket { objects, .. } => *objects += 1,
                }
                self.pending.clear();
            }
            Err(_) if self.pending.len() > MAX_PENDING_BYTES => self.pending = Vec::new(),
            Err(_) => {}
        }
        written
    }

    fn end(&mut self, in_order: bool) -> Result<(), ExportError> {
        // A run whose storage is out of reach does not wait for it again.
        if in_order || self.writes_steps() { self.write() } else { Ok(()) }
    }
}

/// Adds records to a file of whole records. After an error it is as it was: a reader stops at half a record for ever.
fn append(path: &PathBuf, file: &mut Option<File>, length: u64, records: &[u8]) -> io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => file.insert(OpenOptions::new().append(true).create(true).open(path)?),
    };
    file.write_all(records).inspect_err(|_| {
        // What fails here shows again at the next write.
        let _ = file.set_len(length);
    })
}
