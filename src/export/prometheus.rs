//! `train.metrics_file`: the newest figures of a run as a text file for the textfile collector of Prometheus' node_exporter.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>. Names end in their base unit,
//! and those of counters in `_total`. A figure that is not known yet is left out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bachdist_portable::metrics::Record;
use bachdist_portable::write::write_whole;

use super::exporter::{ExportError, Exporter};

/// A metric of the file: its name without `bachdist_`, whether it is a counter or a gauge, and its help.
type Metric = (&'static str, &'static str, &'static str);

#[rustfmt::skip] // one to a line
const METRICS: [Metric; 19] = [
    ("steps_total", "counter", "Optimizer updates made since the beginning of the run."),
    ("epoch", "gauge", "Epoch of the last step, from 1."),
    ("loss_nats", "gauge", "Mean loss of the last batch."),
    ("accuracy_ratio", "gauge", "Share of right predictions in the last batch."),
    ("windows_per_second", "gauge", "Windows trained on per second in the last step, all ranks together."),
    ("validation_loss_nats", "gauge", "Mean loss of the last validation."),
    ("validation_accuracy_ratio", "gauge", "Share of right predictions in the last validation."),
    ("validation_step", "gauge", "Step of the last validation."),
    ("checkpoint_step", "gauge", "Step of the last checkpoint that the storage has."),
    ("checkpoint_size_bytes", "gauge", "Size of the last checkpoint."),
    ("checkpoint_pause_seconds", "gauge", "Time that training was held for the last checkpoint."),
    ("checkpoint_upload_seconds", "gauge", "Time from the copy of the last checkpoint to the end of its upload."),
    ("storage_retries_total", "counter", "Requests to the storage that were repeated for checkpoints of this attempt."),
    ("storage_outage", "gauge", "1 if the storage could not be reached when it was last tried, else 0."),
    ("peak_memory_bytes", "gauge", "Most physical memory that rank 0 has had, at the last checkpoint."),
    ("attempt", "gauge", "Number of this launch of the run, from 1."),
    ("ranks", "gauge", "Ranks that train together."),
    ("running", "gauge", "1 while the run trains, 0 when this launch of it has ended."),
    ("last_update_timestamp_seconds", "gauge", "Unix time of the last figure."),
];

/// The file, and what stands in it.
pub struct MetricsFile {
    path: PathBuf,
    /// The label that tells runs apart, escaped.
    run: String,
    /// Keys are names of [`METRICS`].
    values: BTreeMap<&'static str, f64>,
}

impl MetricsFile {
    /// The file of the run at this URL. Nothing is written yet.
    pub fn new(path: PathBuf, url: &str) -> Self {
        let run = url.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        MetricsFile { path, run, values: BTreeMap::new() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, kind, help) in METRICS {
            let Some(value) = self.values.get(name) else { continue };
            // Rust's and Prometheus' words for NaN are the same, and those for infinity are not.
            let value = match value.is_infinite() {
                true if *value > 0.0 => "+Inf".to_owned(),
                true => "-Inf".to_owned(),
                false => value.to_string(),
            };
            let run = &self.run;
            let _ = writeln!(
                text,
                "# HELP bachdist_{name} {help}\n# TYPE bachdist_{name} {kind}\nbachdist_{name}{{run=\"{run}\"}} {value}"
            );
        }
        text
    }
}

impl Exporter for MetricsFile {
    fn record(&mut self, at: SystemTime, record: &Record) {
        let values = &mut self.values;
        match record {
            Record::Run(attempt) | Record::Resume(attempt) => values.extend([
                ("steps_total", attempt.step as f64),
                ("attempt", attempt.attempt as f64),
                ("ranks", attempt.ranks as f64),
                ("storage_retries_total", 0.0),
                ("storage_outage", 0.0),
                ("running", 1.0),
            ]),
            Record::Step { step, epoch, loss, accuracy, windows_per_second } => values.extend([
                ("steps_total", *step as f64),
                ("epoch", *epoch as f64),
                ("loss_nats", *loss),
                ("accuracy_ratio", *accuracy),
                ("windows_per_second", *windows_per_second),
            ]),
            // Its means are those of steps that were all shown.
            Record::Epoch { .. } => {}
            Record::Validation { step, epoch: _, loss, accuracy, windows: _ } => values.extend([
                ("validation_step", *step as f64),
                ("validation_loss_nats", *loss),
                ("validation_accuracy_ratio", *accuracy),
            ]),
            Record::Checkpoint {
                step,
                name: _,
                bytes,
                pause_seconds,
                upload_seconds,
                retries,
                peak_memory_bytes,
            } => {
                values.extend([
                    ("checkpoint_step", *step as f64),
                    ("checkpoint_size_bytes", *bytes as f64),
                    ("checkpoint_pause_seconds", *pause_seconds),
                    ("checkpoint_upload_seconds", *upload_seconds),
                    ("storage_outage", 0.0),
                ]);
                values.extend(peak_memory_bytes.map(|bytes| ("peak_memory_bytes", bytes as f64)));
                *values.entry("storage_retries_total").or_default() += *retries as f64;
            }
            Record::Outage { step, reason: _ } => {
                values.extend([("checkpoint_step", *step as f64), ("storage_outage", 1.0)]);
            }
            Record::Stop { step, reason: _ } => {
                values.extend([("steps_total", *step as f64), ("running", 0.0)]);
            }
        }
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        values.insert("last_update_timestamp_seconds", since.as_secs_f64());
    }

    fn write(&mut self) -> Result<(), ExportError> {
        let text = self.text();
        write_whole(&self.path, |out| out.write_all(text.as_bytes()))
            .map_err(|error| ExportError { reason: error.message.clone(), message: error.message })
    }

    fn end(&mut self, _in_order: bool) -> Result<(), ExportError> {
        // Also where the run ends by an error, which has no record.
        self.values.insert("running", 0.0);
        self.write()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bachdist_portable::metrics::{AttemptRecord, METRICS_VERSION, StopReason};

    use super::*;

    fn after(records: &[Record]) -> MetricsFile {
        let mut file = MetricsFile::new("x.prom".into(), "runs/\"a\\b\"\n");
        for record in records {
            file.record(UNIX_EPOCH + Duration::from_millis(1500), record);
        }
        file
    }

    fn attempt() -> AttemptRecord {
        AttemptRecord {
            version: METRICS_VERSION,
            step: 4,
            attempt: 2,
            ranks: 3,
            hosts: Vec::new(),
            device: String::new(),
            config: ().into(),
        }
    }

    #[test]
    fn the_bytes_of_a_file() {
        let text = after(&[Record::Outage { step: 3, reason: String::new() }]).text();
        let label = r#"{run="runs/\"a\\b\"\n"}"#;
        let expected = format!(
            "# HELP bachdist_checkpoint_step Step of the last checkpoint that the storage has.\n\
             # TYPE bachdist_checkpoint_step gauge\n\
             bachdist_checkpoint_step{label} 3\n\
             # HELP bachdist_storage_outage 1 if the storage could not be reached when it was last tried, else 0.\n\
             # TYPE bachdist_storage_outage gauge\n\
             bachdist_storage_outage{label} 1\n\
             # HELP bachdist_last_update_timestamp_seconds Unix time of the last figure.\n\
             # TYPE bachdist_last_update_timestamp_seconds gauge\n\
             bachdist_last_update_timestamp_seconds{label} 1.5\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_whole_run_gives_a_value_to_every_metric() {
        let checkpoint = |retries| Record::Checkpoint {
            step: 5,
            name: String::new(),
            bytes: 9,
            pause_seconds: 0.5,
            upload_seconds: 1.0,
            retries,
            peak_memory_bytes: Some(7),
        };
        let step = |loss| Record::Step { step: 5, epoch: 1, loss, accuracy: 0.5, windows_per_second: 1e3 };
        let validation = Record::Validation { step: 5, epoch: 1, loss: 2.0, accuracy: 0.5, windows: 3 };
        let stop = Record::Stop { step: 5, reason: StopReason::Done };
        let records = [
            Record::Resume(attempt()),
            step(f64::INFINITY),
            validation,
            Record::Outage { step: 4, reason: String::new() },
            checkpoint(2),
            checkpoint(1),
        ];
        let mut file = after(&records);
        assert!(file.values.keys().all(|key| METRICS.iter().any(|(name, ..)| name == key)));
        assert_eq!(file.values.len(), METRICS.len());
        let text = file.text();
        for line in ["loss_nats{} +Inf", "storage_retries_total{} 3", "storage_outage{} 0", "running{} 1"] {
            let line = format!("bachdist_{}\n", line.replace("{}", &format!("{{run=\"{}\"}}", file.run)));
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
        file.record(UNIX_EPOCH, &step(f64::NAN));
        file.record(UNIX_EPOCH, &stop);
        assert!(file.text().contains(" NaN\n") && file.values["running"] == 0.0);
    }
}
