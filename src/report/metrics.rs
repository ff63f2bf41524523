//! `metrics.jsonl`: one JSON object a line, beside the checkpoints.
//!
//! In a folder every line is written at once. In a bucket, where nothing can be appended to, the whole object
//! is written again before every checkpoint and at the end, by the thread that saves.

use std::fs::{File, OpenOptions};
use std::io::Write;

use anyhow::Result;
use bachdist_core::checkpoint::claim::RunClaim;
use bachdist_core::failure::{Code, Failure};
use bachdist_core::metrics::{METRICS, Record, Validations, lines_until};
use bachdist_core::store::StoreErrorKind;

/// The file or object being written.
pub enum Metrics {
    /// A file that grows.
    File(File),
    /// All the text of an object.
    Object(String),
}

impl Metrics {
    /// Opens the metrics of a run that goes on after `step`: what was recorded of later steps is cut off. A run
    /// that begins at step 0 begins its metrics too.
    ///
    /// A file is a new one from now on: what an earlier launch still writes goes to the old one, which nobody sees.
    ///
    /// Gives back the validations before that step too.
    pub fn open(run: &RunClaim, step: u64) -> Result<(Self, Validations)> {
        let store = run.store();
        let before = match store.get(METRICS) {
            Ok(bytes) if step > 0 => lines_until(&String::from_utf8_lossy(&bytes), step),
            Ok(_) => String::new(),
            Err(error) if error.kind == StoreErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let validations = Validations::read(&before);
        let metrics = match store.local_path(METRICS) {
            Some(path) => {
                run.publish(METRICS, before.into_bytes())?;
                Metrics::File(OpenOptions::new().append(true).open(path).map_err(unwritten)?)
            }
            None => Metrics::Object(before),
        };
        Ok((metrics, validations))
    }

    /// Adds a line.
    pub fn record(&mut self, record: &Record) -> Result<()> {
        match self {
            // One write a line, so that a reader never sees half of one.
            Metrics::File(file) => file.write_all(record.to_line().as_bytes()).map_err(unwritten),
            Metrics::Object(text) => {
                text.push_str(&record.to_line());
                Ok(())
            }
        }
    }

    /// What the object is to hold; `None` for a file, which holds it already.
    pub fn object(&self) -> Option<String> {
        match self {
            Metrics::File(_) => None,
            Metrics::Object(text) => Some(text.clone()),
        }
    }
}

/// The file did not take a line: a full disk, mostly, which is trouble with the storage like any other.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {METRICS}: {0}")]
pub struct Unwritten(String);

fn unwritten(error: std::io::Error) -> anyhow::Error {
    let unwritten = Unwritten(error.to_string());
    anyhow::Error::new(Failure::new(Code::Storage, unwritten.to_string())).context(unwritten)
}
