//! `bachdist train`: read, check, plan, run.

use anyhow::Result;
use bachdist_core::config::{Config, read};

use super::STOPPED;
use crate::cli::Train;
use crate::comm::Comm;
use crate::comm::agree::agree;
use crate::train::plan::Plan;
use crate::train::{self, Ended};

/// Trains, and gives back the exit code.
pub fn run(arguments: &Train, comm: &dyn Comm) -> Result<u8> {
    let config = agree(comm, Config::load(&arguments.config, &arguments.set).map_err(Into::into))?;
    let plan = agree(comm, Plan::new(comm, &arguments.config, config))?;
    if arguments.dry_run {
        if comm.rank() == 0 {
            println!("{}\n{}", read::to_toml(&plan.config), plan.summary(comm));
        }
        return Ok(0);
    }
    Ok(match train::run(comm, &plan, &arguments.resume, arguments.progress)? {
        Ended::Done => 0,
        Ended::Stopped => STOPPED,
    })
}
