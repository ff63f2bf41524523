//! `bachdist doctor`: whether this machine, or the ranks that mpirun starts, can train.
//!
//! Each rank examines its host ([`rank`]) and sends its report to all others, which draw the same conclusions ([`compare`]).
//! For a run the plan is made as `train` makes it, and rank 0 tries out the storage ([`storage`]). What a rank finds wrong is
//! part of its report, not an error, so that no other rank waits for it.

mod check;
mod compare;
mod rank;
mod storage;

use std::path::Path;

use anyhow::Result;
use bachdist_portable::config::Config;
use bachdist_portable::failure::ExitCode;
use bachdist_portable::print::{count, print_line};
use serde_json::json;

use crate::cli::DoctorArguments;
use crate::comm::Communicator;
use crate::comm::collectives::{
    CollectiveError, collective_result, gather_round_robin, run_on_root_with_heartbeat,
};
use crate::train::plan::{Plan, name_of};
use crate::train::prepare::check_memory;
use check::{Check, Status};
use rank::RankReport;

/// Checks on all ranks; rank 0 prints. Returns the exit code of the first problem, or 0.
pub fn run(arguments: &DoctorArguments, comm: &dyn Communicator) -> Result<u8> {
    let config = match &arguments.config {
        Some(path) => Config::load(path, &arguments.set),
        None => Config::defaults(&arguments.set),
    };
    let config = collective_result(comm, config.map_err(Into::into))?;
    comm.set_collective_timeout(config.train.collective_timeout(None));
    let path = arguments.config.as_deref().unwrap_or(Path::new("doctor"));
    let name = name_of(path);
    let has_run = arguments.config.is_some() || config.checkpoint.url.is_some();
    let url = config.checkpoint.url.clone().unwrap_or_else(|| format!("runs/{name}"));
    let fallback = config.checkpoint.fallback.clone().unwrap_or_else(|| format!("runs/{name}.unsaved"));

    let mut report = Report { prints: comm.is_root() && !arguments.json, checks: Vec::new() };
    let own = rank::examine(comm, &config, has_run.then_some(&url));
    let all = gather_round_robin(comm, vec![serde_json::to_vec(&own)?], comm.size());
    let ranks: Vec<RankReport> =
        all.iter().map(|bytes| serde_json::from_slice(bytes)).collect::<Result<_, _>>()?;
    report.add(compare::compare(&ranks))?;
    if ranks.iter().all(|rank| rank.checks_run) {
        // A plan would report the same problem once more.
        if report.code() == 0 {
            report.add(plan(comm, path, &config)?)?;
        }
        let work = comm.is_root().then_some(|| storage::examine(&config, &url, &fallback));
        let found = run_on_root_with_heartbeat(comm, work).unwrap_or_default();
        let mut bytes = serde_json::to_vec(&found)?;
        comm.broadcast(&mut bytes);
        report.add(serde_json::from_slice(&bytes)?)?;
    }
    if comm.is_root() {
        report.finish()?;
    }
    Ok(report.code())
}

/// The same on all ranks.
struct Report {
    /// Lines, as checks are made.
    prints: bool,
    checks: Vec<Check>,
}

impl Report {
    fn add(&mut self, checks: Vec<Check>) -> Result<()> {
        for check in checks {
            if self.prints {
                print_line(&check)?;
            }
            self.checks.push(check);
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        if self.prints {
            let number = |status| self.checks.iter().filter(|check| check.status == status).count() as u64;
            let (warnings, problems) = (number(Status::Warning), number(Status::Problem));
            let verdict = if problems == 0 { "can train" } else { "cannot train" };
            let all = count(self.checks.len() as u64, "check");
            print_line(format_args!(
                "{verdict}: {all}, {}, {}",
                count(warnings, "warning"),
                count(problems, "problem")
            ))?;
        } else {
            let checks: Vec<_> = self
                .checks
                .iter()
                .map(|Check { name, status, found, remedy, code: _ }| {
                    json!({ "name": name, "status": status, "found": found, "remedy": remedy })
                })
                .collect();
            print_line(json!({ "checks": checks, "ok": self.code() == 0 }))?;
        }
        Ok(())
    }

    fn code(&self) -> u8 {
        self.checks.iter().map(|check| check.code).find(|&code| code != 0).unwrap_or(0)
    }
}

/// What training would do, or why it would not begin.
///
/// # Collective
fn plan(comm: &dyn Communicator, path: &Path, config: &Config) -> Result<Vec<Check>> {
    let check = match Plan::prepare(comm, path, config.clone()) {
        Ok(plan) => match check_memory(comm, &plan, plan.batches()) {
            Ok(Some(note)) => {
                Check::warning("plan", note, "stop what else runs here, or train a smaller model or batch")
            }
            _ => {
                let steps = count(plan.last_step, "step");
                Check::ok("plan", format!("{steps} of {} windows", plan.batches().max_windows()))
            }
        },
        // One rank alone has the message.
        Err(error) => match error.downcast_ref() {
            Some(CollectiveError { code: _, message: None }) => Check::ok("plan", ""),
            Some(CollectiveError { code, message: Some(message) }) => Check {
                code: *code,
                ..Check::of_error("plan", ExitCode::Usage, message, "change the configuration")
            },
            None => return Err(error),
        },
    };
    let all = gather_round_robin(comm, vec![serde_json::to_vec(&check)?], comm.size());
    let checks: Vec<Check> =
        all.iter().map(|bytes| serde_json::from_slice(bytes)).collect::<Result<_, _>>()?;
    let worst = checks.into_iter().reduce(|a, b| if b.status > a.status { b } else { a });
    Ok(worst.into_iter().collect())
}
