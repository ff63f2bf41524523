//! The commands, one file each: the subcommands of `data` and `checkpoint` are with them.

pub mod baselines;
pub mod bench;
pub mod checkpoint;
pub mod cross_validate;
pub mod data;
pub mod doctor;
pub mod eval;
pub mod inspect;
pub mod replay;
mod report;
mod samples;
mod shell;
pub mod train;

use anyhow::Result;

use crate::cli::Command;
use crate::comm::Communicator;
use crate::stop::StopFlag;

/// Runs the command, and returns the exit code. `comm` has several ranks only if the command
/// [uses them](Command::uses_ranks).
pub fn dispatch(command: &Command, comm: &dyn Communicator, stop: &StopFlag) -> Result<u8> {
    match command {
        Command::Train(arguments) => return train::run(arguments, comm, stop),
        Command::Eval(arguments) if command.uses_ranks() => {
            return cross_validate::run(arguments, comm, stop);
        }
        Command::Bench(arguments) => return bench::run(arguments, comm),
        Command::Doctor(arguments) => return doctor::run(arguments, comm),
        Command::Replay(arguments) => return replay::run(arguments, comm),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Sample(arguments) => bachdist_portable::sample::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Data(command) => data::run(command),
        Command::Checkpoint(command) => checkpoint::run(command),
        Command::Completions { shell } => shell::print_completions(*shell),
        Command::Man { folder } => shell::write_manual(folder),
    }
    .map(|()| 0)
}
