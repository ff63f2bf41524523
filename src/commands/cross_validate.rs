//! `bachdist eval --cross-validate`: for each group of pieces, a run that never sees it, evaluated on it.
//!
//! Every fold is a run of its own beside the others, like any run in all else: it can be stopped, killed and resumed
//! on any number of ranks. Nothing is chosen by what the held-out pieces say: it is the last checkpoint that counts.

use std::path::Path;

use anyhow::Result;
use bachdist_portable::checkpoint::read::open;
use bachdist_portable::config::Config;
use bachdist_portable::evaluation::piece_report::LikelihoodTable;
use bachdist_portable::evaluation::pieces::PieceEvaluation;
use bachdist_portable::evaluation::score::SplitMetrics;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::metrics::{METRICS, Record, read_records};
use bachdist_portable::print::{eprint_line, print_line};
use bachdist_portable::render::{RunLosses, losses};
use bachdist_portable::store::{Store, StoreError};
use bachdist_portable::write::write_whole;
use serde_json::{Value, json};

use super::eval::{Evaluation, WindowEvaluation, evaluate};
use crate::cli::EvalArguments;
use crate::comm::Communicator;
use crate::comm::collectives::{collective_result, run_on_root_with_heartbeat};
use crate::report::Progress;
use crate::stop::{RunOutcome, StopFlag};
use crate::train;
use crate::train::plan::{Plan, name_of};
use crate::train::start::{Resume, StartOptions};

/// Trains what is not trained yet, evaluates, and prints on rank 0. Returns the exit code.
pub fn run(arguments: &EvalArguments, comm: &dyn Communicator, stop: &StopFlag) -> Result<u8> {
    let configs: Result<Vec<_>> = arguments
        .cross_validate
        .iter()
        .map(|path| Ok((path.as_path(), load(path, &arguments.set)?)))
        .collect();
    let progress = if arguments.json { Progress::Silent } else { Progress::Auto };
    let mut runs = Vec::new();
    for (path, config) in collective_result(comm, configs)? {
        let name = name_of(path);
        let mut plans = Vec::new();
        for group in &config.data.folds {
            let plan = Plan::prepare(comm, path, fold(&config, &name, group))?;
            // Said before hours of training, not after them.
            collective_result(comm, evaluable(&plan, group))?;
            plans.push((group.clone(), plan));
        }
        runs.push((name, plans));
    }
    let mut results = Vec::new();
    for (name, plans) in runs {
        let mut result = Pooled { name, folds: Vec::new(), losses: MeanLosses::default() };
        for (number, (group, plan)) in (1..).zip(&plans) {
            // As long as before the first step of any run.
            comm.set_collective_timeout(plan.config.train.collective_timeout(None));
            if comm.is_root() {
                let (name, folds) = (&result.name, plans.len());
                eprint_line(format_args!("\n{name}: fold {number} of {folds}, without {group}"));
            }
            let start = StartOptions { resume: Resume::Auto, change_backend: false };
            let outcome = train::run(comm, plan, stop, &start, progress)?;
            if matches!(outcome, RunOutcome::Interrupted | RunOutcome::StorageFailed) {
                return Ok(outcome.exit_code());
            }
            let work = (comm.is_root()).then_some(|| -> Result<_> {
                let evaluation = evaluate(&open(&plan.url)?.checkpoint, &plan.held_out)?;
                Ok((evaluation, Store::open(&plan.url)?))
            });
            let evaluation = run_on_root_with_heartbeat(comm, work).transpose();
            if let Some((evaluation, store)) = collective_result(comm, evaluation)? {
                result.losses.add(&store)?;
                result.folds.push((group.clone(), evaluation));
            }
        }
        results.push(result);
    }
    if comm.is_root() {
        print(&results, arguments.json)?;
        if let Some(path) = &arguments.plot {
            plot(&results, path)?;
        }
    }
    Ok(0)
}

fn load(path: &Path, overrides: &[String]) -> Result<Config> {
    let config = Config::load(path, overrides)?;
    if config.data.folds.len() < 2 {
        let message = format!(
            "{}: data.folds needs at least two groups of pieces to hold out in turn, like folds = [\"cs1-*\", \"cs2-*\"]",
            path.display()
        );
        return Err(Failure::new(ExitCode::Usage, message).into());
    }
    for (index, group) in config.data.folds.iter().enumerate() {
        let folder = folder_of(group);
        if let Some(other) = config.data.folds[..index].iter().find(|other| folder_of(other) == folder) {
            let message = format!(
                "{}: data.folds: {other:?} and {group:?} would both be kept in {folder}; every group needs a name of its own",
                path.display()
            );
            return Err(Failure::new(ExitCode::Usage, message).into());
        }
    }
    Ok(config)
}

/// An error unless the pieces held out have a window.
fn evaluable(plan: &Plan, group: &str) -> Result<()> {
    if plan.held_out_sequences().windows() > 0 {
        return Ok(());
    }
    let length = plan.config.data.sequence_length;
    let which = format!("data.folds: no piece of {group:?} has more than {length} notes");
    Err(Failure::new(ExitCode::Data, format!("{which}, so there is no window to evaluate on")).into())
}

/// The folder of the run that never sees a group.
fn folder_of(group: &str) -> String {
    let name = group.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    format!("without-{}", name.trim_matches('-'))
}

/// The run that never sees a group, beside those that never see the others.
fn fold(config: &Config, name: &str, group: &str) -> Config {
    let mut fold = config.clone();
    fold.data.holdout.push(group.to_owned());
    let folder = folder_of(group);
    let runs = config.checkpoint.url.clone().unwrap_or_else(|| format!("runs/{name}-folds"));
    fold.checkpoint.fallback.get_or_insert_with(|| format!("runs/{name}-folds.unsaved/{folder}"));
    fold.checkpoint.url = Some(format!("{}/{folder}", runs.trim_end_matches('/')));
    fold
}

/// A configuration's folds, and all of them together.
struct Pooled {
    name: String,
    /// Each group with what was said of it.
    folds: Vec<(String, Evaluation)>,
    /// Of all folds.
    losses: MeanLosses,
}

impl Pooled {
    fn all(&self) -> Option<Evaluation> {
        let (_, first) = self.folds.first()?;
        let mut all = first.clone();
        for (_, evaluation) in &self.folds[1..] {
            all.extend(evaluation.clone());
        }
        Some(all)
    }

    fn print_folds(&self) -> Result<()> {
        let (mut windows, mut rows) = (Vec::new(), Vec::new());
        for (group, evaluation) in &self.folds {
            match evaluation {
                Evaluation::Windows(evaluation) => windows.push((group, evaluation)),
                Evaluation::Pieces(evaluation) => {
                    rows.extend(evaluation.pooled(false).first().map(|network| (group.clone(), *network)));
                }
            }
        }
        if windows.is_empty() {
            return Ok(print_line(LikelihoodTable { title: "held out", rows }.to_string().trim_end())?);
        }
        print_line(format_args!(
            "{:<28}{:>8}{:>8}{:>8}{:>19}",
            "held out", "windows", "nats", "top 1", "with cache: nats"
        ))?;
        for (group, evaluation) in windows {
            let [windows, with_cache] =
                [&evaluation.windows, &evaluation.with_cache].map(|scores| scores.all().overall);
            let top1 = 100.0 * windows.top1;
            print_line(format_args!(
                "{group:<28}{:>8}{:>8.3}{top1:>7.1}%{:>19.3}",
                windows.windows, windows.nats, with_cache.nats
            ))?;
        }
        Ok(())
    }

    fn json(&self) -> Result<Value> {
        let mut folds = Vec::new();
        for (group, evaluation) in &self.folds {
            folds.push(match evaluation {
                Evaluation::Windows(evaluation) => {
                    let [windows, with_cache] =
                        [&evaluation.windows, &evaluation.with_cache].map(|scores| scores.all());
                    json!({ "group": group, "windows": windows, "memory": with_cache })
                }
                Evaluation::Pieces(evaluation) => {
                    let [overall, unknown_tunes] =
                        [false, true].map(|unknown_only| evaluation.pooled(unknown_only).first().copied());
                    json!({ "group": group, "overall": overall, "unknown_tunes": unknown_tunes })
                }
            });
        }
        let pooled = self.all().map(|all| all.to_json()).transpose()?;
        Ok(json!({ "name": self.name, "folds": folds, "pooled": pooled }))
    }
}

/// Draws the losses, with the best baseline to compare with.
fn plot(results: &[Pooled], path: &Path) -> Result<()> {
    let curves: Vec<_> = results.iter().map(|result| result.losses.curves(&result.name)).collect();
    let baselines = results.iter().filter_map(Pooled::all).flat_map(|all| all.baselines());
    let best = baselines.min_by(|(_, a), (_, b)| a.total_cmp(b));
    let marks: Vec<_> = best.map(|(name, nats)| (format!("{name} {nats:.2}"), nats)).into_iter().collect();
    let picture = losses("Loss of training and on held-out pieces", &curves, &marks);
    write_whole(path, |out| out.write_all(&picture.png))?;
    if let Some(note) = &picture.note {
        eprint_line(format_args!("note: {note}"));
    }
    Ok(())
}

fn print(results: &[Pooled], as_json: bool) -> Result<()> {
    if as_json {
        let results: Result<Vec<_>> = results.iter().map(Pooled::json).collect();
        return Ok(print_line(Value::from(results?))?);
    }
    let (mut windows, mut pieces) = (Vec::new(), Vec::new());
    for result in results {
        let Some(all) = result.all() else { continue };
        print_line(format_args!("\n{}, each group of pieces held out in turn\n\n{all}", result.name))?;
        result.print_folds()?;
        match all {
            Evaluation::Windows(all) => windows.push((&result.name, all)),
            Evaluation::Pieces(all) => pieces.push((&result.name, all)),
        }
    }
    summary_of_windows(&windows)?;
    summary_of_pieces(&pieces)
}

/// Every configuration in a line, and the baselines, which are the same for all.
fn summary_of_windows(pooled: &[(&String, WindowEvaluation)]) -> Result<()> {
    let Some((_, first)) = pooled.first() else { return Ok(()) };
    print_line(format_args!(
        "\n{:<28}{:>8}{:>8}{:>14}{:>18}",
        "all groups", "nats", "top 1", "with cache", "with cache, novel"
    ))?;
    for (name, all) in pooled {
        let SplitMetrics { overall, .. } = all.windows.all();
        let with_cache = all.with_cache.all();
        let (top1, novel) = (100.0 * overall.top1, with_cache.novel.nats);
        print_line(format_args!(
            "{name:<28}{:>8.3}{top1:>7.1}%{:>14.3}{novel:>18.3}",
            overall.nats, with_cache.overall.nats
        ))?;
    }
    for (name, scores) in &first.baselines {
        let SplitMetrics { overall, .. } = scores.all();
        print_line(format_args!("{name:<28}{:>8.3}{:>7.1}%", overall.nats, 100.0 * overall.top1))?;
    }
    Ok(())
}

/// The same of whole pieces. The baselines are those of the first configuration.
fn summary_of_pieces(pooled: &[(&String, PieceEvaluation)]) -> Result<()> {
    let Some((_, first)) = pooled.first() else { return Ok(()) };
    let mut rows = Vec::new();
    for (name, all) in pooled {
        rows.extend(all.pooled(false).first().map(|network| ((*name).clone(), *network)));
    }
    rows.extend(first.models.iter().cloned().zip(first.pooled(false)).skip(1));
    Ok(print_line(format_args!(
        "\n{}",
        LikelihoodTable { title: "all groups", rows }.to_string().trim_end()
    ))?)
}

/// Sums over runs, by the index of the validation, because epochs of different runs have different numbers of steps.
#[derive(Debug, Default)]
struct MeanLosses(Vec<LossPoint>);

/// The validations of this index.
#[derive(Debug, Clone, Copy, Default)]
struct LossPoint {
    steps: WeightedSum,
    /// Weighted by windows.
    held_out: WeightedSum,
    /// Over the steps since the previous validation.
    training: WeightedSum,
}

#[derive(Debug, Clone, Copy, Default)]
struct WeightedSum {
    sum: f64,
    weight: f64,
}

impl WeightedSum {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

impl MeanLosses {
    /// Adds the losses of the run in `store`.
    pub fn add(&mut self, store: &Store) -> Result<(), StoreError> {
        let text = store.get(METRICS)?;
        let text = String::from_utf8_lossy(&text);
        let (mut index, mut training) = (0, WeightedSum::default());
        for record in read_records(&text) {
            match record {
                Record::Step { loss, .. } if loss.is_finite() => training.add(loss, 1.0),
                Record::Validation { step, loss, windows, .. } if loss.is_finite() => {
                    self.0.resize((index + 1).max(self.0.len()), LossPoint::default());
                    let point = &mut self.0[index];
                    point.steps.add(step as f64, 1.0);
                    point.held_out.add(loss, windows as f64);
                    if training.weight > 0.0 {
                        point.training.add(training.mean(), 1.0);
                    }
                    (index, training) = (index + 1, WeightedSum::default());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The mean curves, to be drawn under this name.
    pub fn curves(&self, name: &str) -> RunLosses {
        let mut curves = RunLosses { name: name.into(), training: Vec::new(), held_out: Vec::new() };
        for LossPoint { steps, held_out, training } in &self.0 {
            for (sum, curve) in [(training, &mut curves.training), (held_out, &mut curves.held_out)] {
                if sum.weight > 0.0 {
                    curve.push((steps.mean(), sum.mean()));
                }
            }
        }
        curves
    }
}

#[cfg(test)]
mod tests {
    use bachdist_portable::metrics::TimedRecord;

    use super::*;

    #[test]
    fn means_over_runs_by_validation() {
        let mut losses = MeanLosses::default();
        for (loss, windows, last) in [(2.0, 10, 2), (3.0, 30, 4)] {
            let store = Store::open("memory:").unwrap();
            let step =
                |step, loss| Record::Step { step, epoch: 1, loss, accuracy: 0.5, windows_per_second: 1.0 };
            let validation = Record::Validation { step: last, epoch: 1, loss, accuracy: 0.5, windows };
            let text: String = [step(1, 4.0), step(last, loss), validation]
                .map(|record| TimedRecord { time: None, record }.to_line())
                .concat();
            store.put(METRICS, text.into_bytes()).unwrap();
            losses.add(&store).unwrap();
        }
        let RunLosses { training, held_out, .. } = losses.curves("x");
        assert_eq!(held_out, [(3.0, 2.75)]);
        assert_eq!(training, [(3.0, 3.25)]);
    }
}
