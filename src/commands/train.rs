//! `bachdist train`: read, check, plan, run.

use anyhow::{Context, Result};
use bachdist_core::config::{Config, read};

use super::STOPPED;
use crate::cli::Train;
use crate::comm::Comm;
use crate::comm::agree::agree;
use crate::stop::StopFlag;
use crate::train::plan::Plan;
use crate::train::{self, Ended};

/// Trains, and gives back the exit code.
pub fn run(arguments: &Train, comm: &dyn Comm) -> Result<u8> {
    // Before anything that takes long, so that a signal is never met with sudden death.
    let stop = StopFlag::install().context("cannot handle signals")?;
    let config = agree(comm, Config::load(&arguments.config, &arguments.set).map_err(Into::into))?;
    let plan = agree(comm, Plan::new(comm, &arguments.config, config))?;
    if arguments.dry_run {
        if comm.rank() == 0 {
            println!("{}\n{}", read::to_toml(&plan.config), plan.summary(comm));
        }
        return Ok(0);
    }
    Ok(match train::run(comm, &plan, &stop, &arguments.resume, arguments.progress)? {
        Ended::Done => 0,
        Ended::Stopped => STOPPED,
    })
}
