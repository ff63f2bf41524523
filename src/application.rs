//! What the process does: read the command line, join the other ranks if the command uses them, run it, report an error
//! once, and end with its exit code.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process;

use anyhow::Error;
use bachdist_portable::failure::{ExitCode, failure_of_panic};
use bachdist_portable::fault;
use bachdist_portable::print::eprint_line;
use bachdist_portable::process::check_threads;
use bachdist_portable::write::outlive_size_limits;
use clap::Parser;

use crate::cli::{Cli, Command};
use crate::comm::collectives::{CollectiveError, collective_result, with_rank_prefix};
use crate::comm::launch::{self, Launch};
use crate::comm::{Communicator, SingleProcess};
use crate::commands;
use crate::failure::code_of;
use crate::phase::Phase;
use crate::stop::StopFlag;
#[cfg(feature = "torch")]
use crate::torch;

/// Runs the program with these arguments, the first of which is its name. Called once, first in `main`.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    #[cfg(feature = "torch")]
    torch::cuda::request_deterministic_cublas();
    // If that fails, exceeding a file size limit ends the process by its signal, as it does any other program.
    let _ = outlive_size_limits();
    // By the time that a panic gets here, its message is printed and the other ranks are aborted.
    let code = catch_unwind(AssertUnwindSafe(|| run_command(arguments))).unwrap_or_else(|panic| {
        failure_of_panic(panic_message(&*panic)).map_or(ExitCode::Internal, |failure| failure.code) as u8
    });
    process::ExitCode::from(code)
}

fn run_command(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let launch = Launch::from_environment();
    report_panics(launch.rank_prefix());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(message) => {
            // Every rank has the same command line, so one message is enough.
            if launch.is_root() {
                let _ = message.print();
            }
            return message.exit_code() as u8;
        }
    };
    if let Err(error) = fault::arm(launch.rank()) {
        return refuse(&launch, &error);
    }
    if !cli.command.uses_ranks() {
        // Under a launcher, rank 0 alone does it.
        return match launch.is_root() {
            true => dispatch(&cli.command, &SingleProcess, &StopFlag::default()),
            false => 0,
        };
    }
    // Before MPI is initialized, which may take a while: no signal may end a rank that could have saved.
    let stop = if cli.command.trains() { StopFlag::install() } else { Ok(StopFlag::default()) };
    let stop = match stop {
        Ok(stop) => stop,
        Err(error) => return refuse(&launch, &format!("cannot handle signals: {error}")),
    };
    match launch::join(&launch) {
        Ok(comm) => dispatch(&cli.command, &*comm, &stop),
        Err(error) => refuse(&launch, &error),
    }
    // `comm` is dropped here, which finalizes MPI with all ranks present.
}

/// Runs the command, and returns the exit code.
fn dispatch(command: &Command, comm: &dyn Communicator, stop: &StopFlag) -> u8 {
    // Each host has its own environment.
    match collective_result(comm, check_threads().map_err(Into::into)) {
        Ok(Some(note)) if comm.is_root() => eprint_line(format_args!("note: {note}")),
        Ok(_) => {}
        Err(error) => return report(&error, comm),
    }
    commands::dispatch(command, comm, stop).unwrap_or_else(|error| report(&error, comm))
}

/// Ends a rank before it has joined the others. All of them end alike, so rank 0 alone says why.
fn refuse(launch: &Launch, error: &dyn Display) -> u8 {
    if launch.is_root() {
        print_error(&error.to_string());
    }
    ExitCode::Usage as u8
}

/// Prints an error, and returns its exit code. If the other ranks do not know of the error, it aborts them.
fn report(error: &Error, comm: &dyn Communicator) -> u8 {
    if let Some(CollectiveError { code, message }) = error.downcast_ref() {
        if let Some(message) = message {
            print_error(message);
        }
        return *code;
    }
    print_error(&with_rank_prefix(comm, error));
    let code = code_of(error) as u8;
    if comm.size() > 1 {
        comm.abort(i32::from(code));
    }
    code
}

/// Prints a panic on any thread as one line, like every error; `RUST_BACKTRACE=1` adds where it came from.
fn report_panics(rank_prefix: String) {
    set_hook(Box::new(move |panic| {
        let message = panic_message(panic.payload());
        let phase = Phase::now();
        if let Some(failure) = failure_of_panic(message) {
            return eprint_line(format_args!("bachdist: {rank_prefix}{phase}: {failure}"));
        }
        let at = panic.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
        eprint_line(format_args!(
            "bachdist: {rank_prefix}{phase}: panicked: {message}{at}; this is a bug in bachdist; please report it"
        ));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            eprint_line(trace);
        }
    }));
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

fn print_error(text: &str) {
    for line in text.lines() {
        eprint_line(format_args!("bachdist: {line}"));
    }
}
