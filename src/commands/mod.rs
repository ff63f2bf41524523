//! The commands, one file each.

pub mod bench;
pub mod checkpoint;
pub mod cross_validate;
pub mod data;
pub mod diff;
pub mod eval;
pub mod inspect;
mod losses;
pub mod replay;
pub mod synthesize;
pub mod train;

use anyhow::Result;
use bachdist_core::failure::Code;

use crate::cli::{Cli, Command};
use crate::comm::Comm;
use crate::comm::agree::agree;

/// Does what the command line says, and gives back the exit code.
pub fn dispatch(cli: Cli, comm: &dyn Comm) -> Result<u8> {
    let alone = match cli.command {
        Command::Train(arguments) => return train::run(&arguments, comm),
        Command::Bench(arguments) => return bench::run(&arguments, comm),
        Command::Replay(arguments) => return replay::run(&arguments, comm),
        Command::Eval(arguments) if !arguments.cross_validate.is_empty() => {
            return cross_validate::run(&arguments, comm);
        }
        // The others are for one process; under a launcher rank 0 does them.
        _ if comm.rank() != 0 => Ok(()),
        Command::Sample(arguments) => bachdist_core::sample::run(&arguments),
        Command::Data(command) => data::run(&command),
        Command::Checkpoint(command) => checkpoint::run(&command),
        Command::Eval(arguments) => eval::run(&arguments),
    };
    agree(comm, alone).map(|()| 0)
}

/// The exit code of a training that was stopped as asked.
pub const STOPPED: u8 = Code::Stopped as u8;
