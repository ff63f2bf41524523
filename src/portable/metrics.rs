//! `metrics.jsonl`: one JSON object per line, beside the checkpoints of a run.
//!
//! This is the only module that writes or reads these lines. Other programs read them too, so names and units are
//! fixed; fields and kinds may be added. A reader therefore passes over fields and kinds that it does not know, and
//! over the last line where a crash cut it short.
//!
//! The results of validations are found here and nowhere else: a checkpoint is a function of identity, music and
//! step, and how often a run is validated is none of these.

use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize};

use crate::store::{Store, StoreError};

/// The object that holds them.
pub const METRICS: &str = "metrics.jsonl";

/// Version of the records, written at the beginning of every attempt. It rises when a field changes its meaning or goes;
/// files from before there was a number have none, and are of version 1.
pub const METRICS_VERSION: u64 = 1;

/// One line. Losses are in nats, and means over a batch, an epoch, or all held-out windows.
#[allow(missing_docs, reason = "a field is documented where its JSON name does not say it all")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// An attempt that begins at step 0.
    Run(AttemptRecord),
    /// An attempt that continues from a checkpoint.
    Resume(AttemptRecord),
    /// One optimizer update.
    Step {
        /// Updates so far, this one included.
        step: u64,
        /// From 1.
        epoch: u64,
        #[serde(deserialize_with = "null_is_nan")]
        loss: f64,
        accuracy: f64,
        /// All ranks together.
        windows_per_second: f64,
    },
    /// The end of an epoch, with the running means that Keras reports.
    Epoch {
        step: u64,
        epoch: u64,
        #[serde(deserialize_with = "null_is_nan")]
        loss: f64,
        accuracy: f64,
    },
    /// A pass over the held-out pieces.
    Validation {
        step: u64,
        epoch: u64,
        #[serde(deserialize_with = "null_is_nan")]
        loss: f64,
        accuracy: f64,
        windows: u64,
    },
    /// A checkpoint that the storage has.
    Checkpoint {
        step: u64,
        name: String,
        bytes: u64,
        /// How long training was held for the copy.
        pause_seconds: f64,
        /// From the copy to the end of the upload.
        upload_seconds: f64,
        /// Requests to the storage that had to be repeated.
        retries: u64,
        /// The most memory that rank 0 has had so far; absent where the system does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_memory_bytes: Option<u64>,
    },
    /// The storage cannot be reached; training continues for now.
    Outage {
        /// The newest step that the storage has.
        step: u64,
        reason: String,
    },
    /// The end of an attempt that ended in order.
    Stop { step: u64, reason: StopReason },
}

/// What is known when an attempt begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// [`METRICS_VERSION`] of the program that wrote it.
    #[serde(default = "first_version")]
    pub version: u64,
    /// The step that it begins after.
    pub step: u64,
    /// The number of the attempt, from 1.
    pub attempt: u64,
    /// Ranks that train together.
    pub ranks: usize,
    /// The host of each rank. Earlier versions did not say it.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What the ranks compute on, in words: device, threads, backend.
    #[serde(default)]
    pub device: String,
    /// The whole configuration, with defaults. Its keys are those of the version that wrote it.
    pub config: serde_json::Value,
}

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// All steps were made.
    Done,
    /// `train.early_stop` ended the run.
    Early,
    /// A signal asked for it.
    Signal,
    /// The storage was out of reach for too long.
    Storage,
}

fn first_version() -> u64 {
    1
}

/// JSON has no NaN; it is written as null.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// A record with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedRecord {
    /// Seconds since 1970. Earlier versions did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    /// What happened then.
    #[serde(flatten)]
    pub record: Record,
}

impl TimedRecord {
    /// What happens now.
    pub fn now(record: Record) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // Whole milliseconds, whose digits are few.
        let time = since.ok().map(|since| since.as_millis() as f64 / 1e3);
        TimedRecord { time, record }
    }

    /// The line that is written for it, with its end. Keys are in alphabetical order, as they always were.
    pub fn to_line(&self) -> String {
        // Through a `Value`, whose maps are sorted. It fails only for maps with keys that are no strings.
        let object = serde_json::to_value(self).expect("records have string keys");
        format!("{object}\n")
    }
}

/// The records of a file.
pub fn read_records(text: &str) -> impl Iterator<Item = Record> {
    read_timed_records(text).map(|timed| timed.record)
}

/// The same with their times.
pub fn read_timed_records(text: &str) -> impl Iterator<Item = TimedRecord> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// The lines that a run keeps when it continues after `step`: those of later steps go, and the validation after this
/// step too, because it is made again. Lines of unknown kinds are kept, and a line cut short by a crash is dropped with
/// everything behind it.
pub fn lines_until(text: &str, step: u64) -> String {
    /// What lines of every kind have.
    #[derive(Deserialize)]
    struct Stamp {
        kind: String,
        step: u64,
    }
    let mut kept = String::new();
    for line in text.lines() {
        let Ok(stamp) = serde_json::from_str::<Stamp>(line) else { break };
        if stamp.step < step || stamp.step == step && stamp.kind != "validation" {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The results of a run's validations so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Validations {
    /// The best one.
    pub best: Option<BestValidation>,
    /// Validations since then.
    pub since: u64,
}

/// The validation with the lowest loss; the first one of equals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestValidation {
    /// Steps made before it.
    pub step: u64,
    /// Mean loss in nats.
    pub loss: f64,
}

impl Validations {
    /// Adds one, and says whether it is the best so far. NaN is never better than anything that came before.
    pub fn add(&mut self, step: u64, loss: f64) -> bool {
        let is_best = self.best.is_none_or(|best| loss < best.loss);
        if is_best {
            *self = Validations { best: Some(BestValidation { step, loss }), since: 0 };
        } else {
            self.since += 1;
        }
        is_best
    }

    /// Those in the text of a `metrics.jsonl`.
    pub fn read(text: &str) -> Self {
        let mut validations = Validations::default();
        for record in read_records(text) {
            if let Record::Validation { step, loss, .. } = record {
                validations.add(step, loss);
            }
        }
        validations
    }

    /// Those of the run in a store; none where nothing was recorded.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let bytes = store.get_if_present(METRICS)?;
        Ok(bytes.map_or_else(Self::default, |bytes| Self::read(&String::from_utf8_lossy(&bytes))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn validation(step: u64, loss: f64) -> Record {
        Record::Validation { step, epoch: 1, loss, accuracy: 0.5, windows: 10 }
    }

    fn line(record: Record, time: Option<f64>) -> String {
        TimedRecord { time, record }.to_line()
    }

    /// Other programs read these bytes.
    #[test]
    fn the_bytes_of_every_kind() {
        let config = json!({ "train": { "epochs": 3 } });
        let hosts = ["a", "b"].map(String::from).into();
        let device = "cpu, with 1 thread per rank; backend native".into();
        let attempt = AttemptRecord { version: 1, step: 0, attempt: 1, ranks: 2, hosts, device, config };
        let records = [
            Record::Run(attempt.clone()),
            Record::Resume(AttemptRecord { step: 20, ..attempt }),
            Record::Step { step: 1, epoch: 1, loss: 4.25, accuracy: 0.0, windows_per_second: 1e3 },
            Record::Epoch { step: 20, epoch: 1, loss: f64::NAN, accuracy: 0.125 },
            validation(20, 2.5),
            Record::Checkpoint {
                step: 20,
                name: "step-00000020-6b402f28f286157d.safetensors".into(),
                bytes: 9,
                pause_seconds: 0.0625,
                upload_seconds: 1.0,
                retries: 0,
                peak_memory_bytes: Some(5),
            },
            Record::Outage { step: 20, reason: "no route".into() },
            Record::Stop { step: 20, reason: StopReason::Early },
        ];
        let expected = r#"
{"attempt":1,"config":{"train":{"epochs":3}},"device":"cpu, with 1 thread per rank; backend native","hosts":["a","b"],"kind":"run","ranks":2,"step":0,"time":1.5,"version":1}
{"attempt":1,"config":{"train":{"epochs":3}},"device":"cpu, with 1 thread per rank; backend native","hosts":["a","b"],"kind":"resume","ranks":2,"step":20,"time":1.5,"version":1}
{"accuracy":0.0,"epoch":1,"kind":"step","loss":4.25,"step":1,"time":1.5,"windows_per_second":1000.0}
{"accuracy":0.125,"epoch":1,"kind":"epoch","loss":null,"step":20,"time":1.5}
{"accuracy":0.5,"epoch":1,"kind":"validation","loss":2.5,"step":20,"time":1.5,"windows":10}
{"bytes":9,"kind":"checkpoint","name":"step-00000020-6b402f28f286157d.safetensors","pause_seconds":0.0625,"peak_memory_bytes":5,"retries":0,"step":20,"time":1.5,"upload_seconds":1.0}
{"kind":"outage","reason":"no route","step":20,"time":1.5}
{"kind":"stop","reason":"early","step":20,"time":1.5}
"#;
        let text: String = records.into_iter().map(|record| line(record, Some(1.5))).collect();
        assert_eq!(text, expected[1..]);
        let read: Vec<_> = read_timed_records(&text).collect();
        assert!(matches!(read[3].record, Record::Epoch { loss, .. } if loss.is_nan()));
        let lines: String = read.iter().map(TimedRecord::to_line).collect();
        assert_eq!(lines, text);
        assert!(TimedRecord::now(Record::Stop { step: 1, reason: StopReason::Done }).time > Some(1.7e9));
    }

    #[test]
    fn a_reader_passes_over_what_it_does_not_know() {
        let known = r#"{"kind":"stop","step":4,"reason":"done","more":[1]}"#;
        let text = format!("{{\"kind\":\"weather\",\"step\":3}}\n{known}\n{{\"kind\":\"st");
        let read: Vec<_> = read_records(&text).collect();
        assert_eq!(read, [Record::Stop { step: 4, reason: StopReason::Done }]);
        let before = r#"{"attempt":1,"config":{},"kind":"run","ranks":1,"step":0}"#;
        let read: Vec<_> = read_records(before).collect();
        assert!(matches!(&read[..], [Record::Run(AttemptRecord { version: 1, .. })]), "{read:?}");
    }

    #[test]
    fn later_steps_and_torn_lines_are_cut_off() {
        let kept = [line(validation(1, 2.0), None), "{\"kind\":\"weather\",\"step\":2}\n".into()].concat();
        let rest = [Record::Outage { step: 3, reason: String::new() }, validation(2, 1.0)];
        let rest: String = rest.into_iter().map(|record| line(record, Some(2.0))).collect();
        let stop = line(Record::Stop { step: 2, reason: StopReason::Signal }, None);
        assert_eq!(lines_until(&format!("{kept}{rest}{stop}{{\"st"), 2), format!("{kept}{stop}"));
    }

    #[test]
    fn the_first_of_the_lowest_is_the_best() {
        let all = [(10, 2.5), (20, 2.25), (30, 2.25), (40, 3.0)].map(|(step, loss)| validation(step, loss));
        let text: String = all.into_iter().map(|record| line(record, None)).collect();
        let found = Validations::read(&format!("{text}{{\"kind\":\"valid"));
        assert_eq!(found, Validations { best: Some(BestValidation { step: 20, loss: 2.25 }), since: 2 });
        assert_eq!(Validations::read(""), Validations::default());
    }

    #[test]
    fn nan_is_never_better() {
        let mut validations = Validations::default();
        assert!(validations.add(1, 2.0));
        assert!(!validations.add(2, f64::NAN));
        assert_eq!(validations.since, 1);
    }
}
