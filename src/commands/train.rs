//! `bachdist train`: read, check, plan, run.

use anyhow::Result;
use bachdist_portable::config::{Config, to_toml};
use bachdist_portable::print::print_line;

use crate::cli::TrainArguments;
use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::stop::StopFlag;
use crate::train;
use crate::train::plan::Plan;
use crate::train::start::StartOptions;

/// Returns the exit code.
pub fn run(arguments: &TrainArguments, comm: &dyn Communicator, stop: &StopFlag) -> Result<u8> {
    let config =
        collective_result(comm, Config::load(&arguments.config, &arguments.set).map_err(Into::into))?;
    let plan = Plan::prepare(comm, &arguments.config, config)?;
    if arguments.dry_run {
        if comm.is_root() {
            print_line(dry_run(&plan, comm))?;
        }
        return Ok(0);
    }
    let start = StartOptions { resume: arguments.resume.clone(), change_backend: arguments.change_backend };
    Ok(train::run(comm, &plan, stop, &start, arguments.progress)?.exit_code())
}

/// The resolved configuration with the plan as comments, so that the output is a valid configuration.
fn dry_run(plan: &Plan, comm: &dyn Communicator) -> String {
    let mut config = plan.config.clone();
    // The default depends on the file's name, and the output may go to a file of another name.
    config.checkpoint.url = Some(plan.url.clone());
    let notes: String = plan.notes.iter().map(|note| format!("\nnote: {note}")).collect();
    let plan = format!("{}{notes}", plan.summary(comm));
    let plan: Vec<String> = plan.lines().map(|line| format!("# {line}")).collect();
    format!("{}\n{}", to_toml(&config), plan.join("\n"))
}
