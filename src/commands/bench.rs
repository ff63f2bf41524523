//! `bachdist bench`: plan like `train`, measure, print.

use std::path::Path;

use anyhow::Result;
use bachdist_portable::config::{Config, ConfigError};
use bachdist_portable::print::print_line;
use bachdist_portable::schedule::Batches;

use crate::bench::{BenchOptions, measure};
use crate::cli::BenchArguments;
use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::train::plan::Plan;
use crate::train::prepare::check_memory;

/// Measures on all ranks; rank 0 prints.
pub fn run(arguments: &BenchArguments, comm: &dyn Communicator) -> Result<u8> {
    let config = collective_result(comm, config(arguments).map_err(Into::into))?;
    let path = arguments.config.as_deref().unwrap_or(Path::new("bench"));
    let plan = Plan::prepare(comm, path, config)?;
    // The music is repeated until it fills the batch that was asked for.
    let batches = Batches { windows: u64::MAX, ..plan.batches() };
    collective_result(comm, check_memory(comm, &plan, batches).map_err(Into::into))?;
    let options = BenchOptions { rounds: arguments.rounds, steps: arguments.steps };
    let report = measure(comm, &plan, options)?;
    if comm.is_root() {
        if arguments.json { print_line(serde_json::to_string(&report)?)? } else { print_line(report)? }
    }
    Ok(0)
}

fn config(arguments: &BenchArguments) -> Result<Config, ConfigError> {
    match &arguments.config {
        Some(path) => Config::load(path, &arguments.set),
        None => Config::defaults(&arguments.set),
    }
}
