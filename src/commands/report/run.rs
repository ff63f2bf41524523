//! What is known of a run: its metrics, its checkpoints, and tables of evaluations that lie beside them.

use anyhow::Result;
use bachdist_portable::checkpoint::claim::last_attempt;
use bachdist_portable::checkpoint::list;
use bachdist_portable::config::{Config, to_toml};
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::metrics::{
    AttemptRecord, METRICS, Record, StopReason, TimedRecord, Validations, read_timed_records,
};
use bachdist_portable::store::Store;
use serde::Serialize;
use serde_json::Value;

/// More points than a curve has pixels to show them.
const MAX_POINTS: usize = 400;

/// Objects beside the checkpoints that have the JSON of `bachdist eval RUN`, and of the same with `--samples`.
const EVALUATION: &str = "eval.json";
const SAMPLES: &str = "samples.json";

/// A run, as its page shows it. Times are seconds since 1970, and absent in metrics of earlier versions.
#[derive(Debug, Serialize)]
pub struct RunReport {
    location: String,
    /// By what attempts name the run: a digest of its configuration and music.
    digest: Option<String>,
    config: Value,
    /// The same as a file to train with, unless another version of the program wrote it.
    toml: Option<String>,
    attempts: Vec<Attempt>,
    steps: Vec<Point>,
    validations: Vec<Point>,
    best: Option<u64>,
    checkpoints: Vec<Saved>,
    outages: Vec<Outage>,
    tables: Vec<Table>,
}

/// A launch, as far as its steps are part of the run.
#[derive(Debug, Serialize)]
struct Attempt {
    number: u64,
    /// Each host and its number of ranks.
    hosts: Vec<(String, usize)>,
    ranks: usize,
    device: String,
    /// The step that it began after, and its last one.
    from: u64,
    to: u64,
    begin: Option<f64>,
    end: Option<f64>,
    stop: Option<StopReason>,
}

/// Means over steps that follow each other, or one validation.
#[derive(Debug, Clone, Copy, Serialize)]
struct Point {
    /// The last of the steps.
    step: u64,
    /// Seconds that the run had trained then, in all attempts together.
    trained: Option<f64>,
    loss: f64,
    accuracy: f64,
    windows_per_second: Option<f64>,
}

/// A checkpoint that was saved, or is there.
#[derive(Debug, Serialize)]
struct Saved {
    name: String,
    step: u64,
    bytes: u64,
    is_there: bool,
    /// What the metrics say of it.
    pause_seconds: Option<f64>,
    upload_seconds: Option<f64>,
    retries: Option<u64>,
    peak_memory_bytes: Option<u64>,
}

/// The storage could not be reached.
#[derive(Debug, Serialize)]
struct Outage {
    /// The newest step that it had.
    step: u64,
    time: Option<f64>,
    reason: String,
}

/// Figures of an evaluation.
#[derive(Debug, Serialize)]
struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl RunReport {
    /// Reads a run in a folder or a bucket.
    pub fn read(location: &str) -> Result<RunReport> {
        let store = Store::open(location)?;
        let Some(text) = text(&store, METRICS)? else {
            let message =
                format!("{location}: no {METRICS}; a report is of a run's folder or URL, or of MIDI files");
            return Err(Failure::new(ExitCode::Data, message).into());
        };
        let digest = last_attempt(&store)?.map(|(_, attempt)| attempt.run_digest);
        let validations = Validations::read(&text);
        let mut report = RunReport {
            location: location.to_owned(),
            digest,
            config: Value::Null,
            toml: None,
            attempts: Vec::new(),
            steps: Vec::new(),
            validations: Vec::new(),
            best: validations.best.map(|best| best.step),
            checkpoints: Vec::new(),
            outages: Vec::new(),
            tables: Vec::new(),
        };
        let mut clock = Clock::default();
        for timed in read_timed_records(&text) {
            report.add(timed, &mut clock);
        }
        if report.attempts.is_empty() {
            let message = format!("{location}: {METRICS} has no attempt in it");
            return Err(Failure::new(ExitCode::Data, message).into());
        }
        report.steps = means(&report.steps);
        report.toml =
            serde_json::from_value::<Config>(report.config.clone()).ok().map(|config| to_toml(&config));
        for listed in list(&store)? {
            let name = listed.name.to_string();
            match report.checkpoints.iter_mut().find(|saved| saved.name == name) {
                Some(saved) => saved.is_there = true,
                // Saved after the metrics were read or before they were cut back, or by hand.
                None => report.checkpoints.push(Saved {
                    name,
                    step: listed.name.step,
                    bytes: listed.bytes,
                    is_there: true,
                    pause_seconds: None,
                    upload_seconds: None,
                    retries: None,
                    peak_memory_bytes: None,
                }),
            }
        }
        report.checkpoints.sort_by_key(|saved| saved.step);
        for (object, tables) in [(EVALUATION, evaluation as fn(&Value) -> Vec<Table>), (SAMPLES, samples)] {
            if let Some(text) = self::text(&store, object)? {
                let url = store.url_of(object);
                let value = serde_json::from_str(&text)
                    .map_err(|error| Failure::new(ExitCode::Data, format!("{url}: no JSON: {error}")))?;
                report.tables.extend(tables(&value));
            }
        }
        Ok(report)
    }

    /// Whether its last attempt ended in order.
    pub fn has_ended(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.stop.is_some())
    }

    fn add(&mut self, timed: TimedRecord, clock: &mut Clock) {
        let TimedRecord { time, record } = timed;
        let trained = clock.read(time, matches!(record, Record::Run(_) | Record::Resume(_)));
        let step = match record {
            Record::Run(attempt) | Record::Resume(attempt) => {
                self.config = attempt.config.clone();
                self.attempts.push(Attempt::new(attempt, time));
                return;
            }
            Record::Step { step, loss, accuracy, windows_per_second, .. } => {
                let windows_per_second = Some(windows_per_second);
                self.steps.push(Point { step, trained, loss, accuracy, windows_per_second });
                step
            }
            Record::Validation { step, loss, accuracy, .. } => {
                self.validations.push(Point { step, trained, loss, accuracy, windows_per_second: None });
                step
            }
            Record::Checkpoint {
                step,
                name,
                bytes,
                pause_seconds,
                upload_seconds,
                retries,
                peak_memory_bytes,
            } => {
                self.checkpoints.push(Saved {
                    name,
                    step,
                    bytes,
                    is_there: false,
                    pause_seconds: Some(pause_seconds),
                    upload_seconds: Some(upload_seconds),
                    retries: Some(retries),
                    peak_memory_bytes,
                });
                step
            }
            Record::Outage { step, reason } => {
                self.outages.push(Outage { step, time, reason });
                step
            }
            Record::Epoch { step, .. } => step,
            Record::Stop { step, reason } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.stop = Some(reason);
                }
                step
            }
        };
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.to = attempt.to.max(step);
            attempt.end = time.or(attempt.end);
        }
    }
}

impl Attempt {
    fn new(record: AttemptRecord, begin: Option<f64>) -> Self {
        let AttemptRecord { step, attempt, ranks, hosts: of_ranks, device, .. } = record;
        let mut hosts: Vec<(String, usize)> = Vec::new();
        for host in of_ranks {
            match hosts.iter_mut().find(|(name, _)| *name == host) {
                Some((_, ranks)) => *ranks += 1,
                None => hosts.push((host, 1)),
            }
        }
        Attempt { number: attempt, hosts, ranks, device, from: step, to: step, begin, end: begin, stop: None }
    }
}

/// How long a run has trained: the time of its attempts, without what lies between them.
#[derive(Debug, Default)]
struct Clock {
    trained: f64,
    last: Option<f64>,
}

impl Clock {
    /// The time of a record; `None` where it has none.
    fn read(&mut self, time: Option<f64>, begins_attempt: bool) -> Option<f64> {
        let time = time?;
        if let Some(last) = self.last.filter(|_| !begins_attempt) {
            // A clock may be set back.
            self.trained += (time - last).max(0.0);
        }
        self.last = Some(time);
        Some(self.trained)
    }
}

/// At most [`MAX_POINTS`], each the mean of equally many.
fn means(points: &[Point]) -> Vec<Point> {
    let of_each = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |points: &[Point], value: fn(&Point) -> f64| {
        points.iter().map(value).sum::<f64>() / points.len() as f64
    };
    let chunks = points.chunks(of_each).map(|chunk| {
        // Windows of all steps by the time of all: the harmonic mean.
        let pace = mean(chunk, |point| point.windows_per_second.map_or(f64::NAN, f64::recip));
        Point {
            loss: mean(chunk, |point| point.loss),
            accuracy: mean(chunk, |point| point.accuracy),
            windows_per_second: Some(pace.recip()),
            ..chunk[chunk.len() - 1]
        }
    });
    chunks.collect()
}

/// A text that may not be there.
fn text(store: &Store, name: &str) -> Result<Option<String>> {
    let bytes = store.get_if_present(name)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The figures of `bachdist eval --json` that have a value, those of the baselines beside them.
fn evaluation(json: &Value) -> Vec<Table> {
    let Some(overall) = json["overall"].as_object() else { return Vec::new() };
    let mut baselines: Vec<(&String, &Value)> = json["baselines"].as_object().into_iter().flatten().collect();
    // Two notes come before ten.
    baselines.sort_by_key(|(name, _)| (name.len(), *name));
    let figures = overall.iter().filter(|(_, value)| value.is_number());
    let rows = figures.map(|(name, value)| {
        let of_baselines = baselines.iter().map(|(_, baseline)| match &baseline["overall"][name] {
            Value::Null => baseline[name].clone(),
            value => value.clone(),
        });
        [name.replace('_', " ").into(), value.clone()].into_iter().chain(of_baselines).collect()
    });
    let names = baselines.iter().map(|(name, _)| name.replace('_', " "));
    let head = ["figure".to_owned(), "network".to_owned()].into_iter().chain(names).collect();
    let of = json["checkpoint"].as_str().unwrap_or_default();
    vec![Table { title: format!("Evaluation of {of}"), head, rows: rows.collect() }]
}

/// The harmony of `bachdist eval --samples --json`, beside that of the training music.
fn samples(json: &Value) -> Vec<Table> {
    let Some(figures) = json["harmony"]["figures"].as_array() else { return Vec::new() };
    let row = |figure: &Value| ["meaning", "samples", "corpus"].map(|key| figure[key].clone()).to_vec();
    let samples = &json["harmony"]["samples"];
    let head = ["mean of pieces", "samples", "training music"].map(String::from).to_vec();
    vec![Table {
        title: format!("Harmony of {samples} composed pieces"),
        head,
        rows: figures.iter().map(row).collect(),
    }]
}

#[cfg(test)]
mod tests {
    use bachdist_portable::metrics::METRICS_VERSION;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_killed_attempt_and_one_that_is_done() {
        let attempt = |step, attempt, hosts: &[&str]| AttemptRecord {
            version: METRICS_VERSION,
            step,
            attempt,
            ranks: hosts.len(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            device: "cpu".into(),
            config: json!({ "train": { "seed": 1 } }),
        };
        let step = |step| Record::Step { step, epoch: 1, loss: 2.0, accuracy: 0.5, windows_per_second: 10.0 };
        let records = [
            (100.0, Record::Run(attempt(0, 1, &["a", "a", "b"]))),
            (101.0, step(1)),
            (103.0, step(2)),
            (900.0, Record::Resume(attempt(2, 2, &["c"]))),
            (904.0, step(3)),
            (904.5, Record::Validation { step: 3, epoch: 1, loss: 1.5, accuracy: 0.6, windows: 9 }),
            (905.0, Record::Stop { step: 3, reason: StopReason::Done }),
        ];
        let text: String = records
            .into_iter()
            .map(|(time, record)| TimedRecord { time: Some(time), record }.to_line())
            .collect();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(METRICS), text).unwrap();
        let report = RunReport::read(folder.path().to_str().unwrap()).unwrap();
        assert!(report.has_ended());
        let [first, second] = &report.attempts[..] else { panic!("{:?}", report.attempts) };
        assert_eq!(first.hosts, [("a".into(), 2), ("b".into(), 1)]);
        assert_eq!((first.from, first.to, first.end, first.stop), (0, 2, Some(103.0), None));
        assert_eq!((second.from, second.to, second.stop), (2, 3, Some(StopReason::Done)));
        // The hours between the attempts are no training.
        let trained: Vec<_> = report.steps.iter().map(|point| point.trained).collect();
        assert_eq!(trained, [Some(1.0), Some(3.0), Some(7.0)]);
        assert_eq!(report.validations[0].trained, Some(7.5));
        assert_eq!(report.best, Some(3));
    }

    #[test]
    fn long_curves_become_means() {
        let point = |step: u64| Point {
            step,
            trained: Some(step as f64),
            loss: step as f64,
            accuracy: 0.5,
            windows_per_second: Some(if step.is_multiple_of(2) { 10.0 } else { 30.0 }),
        };
        let points: Vec<_> = (1..=2 * MAX_POINTS as u64).map(point).collect();
        let means = means(&points);
        assert_eq!(means.len(), MAX_POINTS);
        assert_eq!((means[0].step, means[0].loss, means[0].trained), (2, 1.5, Some(2.0)));
        // Two steps in 1/10 + 1/30 of a second for each window.
        assert!((means[0].windows_per_second.unwrap() - 15.0).abs() < 1e-9);
        assert_eq!(super::means(&points[..7]).len(), 7);
        assert!(super::means(&[]).is_empty());
    }
}
