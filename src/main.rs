//! `bachdist`: read the command line, join the other ranks if it is work for several, do it, report an error once, end
//! with its code.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;

use anyhow::Error;
use bachdist::cli::{Cli, Command};
use bachdist::comm::collectives::{CollectiveError, collective_result, with_rank_prefix};
use bachdist::comm::launch::{self, Launch};
use bachdist::comm::{Communicator, SingleProcess};
use bachdist::commands;
use bachdist::failure::code_of;
use bachdist::model::device;
use bachdist::phase::Phase;
use bachdist::stop::StopFlag;
use bachdist_core::failure::{Code, failure_of_panic};
use bachdist_core::fault;
use bachdist_core::parallel::check_threads;
use bachdist_core::print::tell;
use bachdist_core::write::outlive_size_limits;
use clap::Parser;

fn main() -> ExitCode {
    device::ask_for_equal_bits();
    // Where that fails, such a limit ends the process as it would any other.
    let _ = outlive_size_limits();
    // A panic has said its line by then, and ended the other ranks.
    let code = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        failure_of_panic(text_of(&*panic)).map_or(Code::Internal, |failure| failure.code) as u8
    });
    ExitCode::from(code)
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it does not say why")
}

fn run() -> u8 {
    let launch = Launch::from_environment();
    report_panics(launch.rank_prefix());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Every rank has the same command line: one says what is wrong with it.
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
        // Under a launcher one rank does it.
        return if launch.is_root() {
            dispatch(&cli.command, &SingleProcess, &StopFlag::default())
        } else {
            0
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
    // MPI is finalized here, with all ranks present.
}

/// Does the work, and gives back the exit code.
fn dispatch(command: &Command, comm: &dyn Communicator, stop: &StopFlag) -> u8 {
    // Each host has an environment of its own.
    match collective_result(comm, check_threads().map_err(Into::into)) {
        Ok(note) if comm.is_root() => note.iter().for_each(|note| tell(format_args!("note: {note}"))),
        Ok(_) => {}
        Err(error) => return report(&error, comm),
    }
    commands::dispatch(command, comm, stop).unwrap_or_else(|error| report(&error, comm))
}

/// Ends a rank before it has joined the others, which all end alike: one of them says why.
fn refuse(launch: &Launch, error: &dyn Display) -> u8 {
    if launch.is_root() {
        print_lines(&error.to_string());
    }
    Code::Usage as u8
}

/// Says what went wrong, and gives back the exit code. If the other ranks do not know of it, it ends them too.
fn report(error: &Error, comm: &dyn Communicator) -> u8 {
    if let Some(CollectiveError { code, message }) = error.downcast_ref() {
        if let Some(message) = message {
            print_lines(message);
        }
        return *code;
    }
    print_lines(&with_rank_prefix(comm, error));
    let code = code_of(error) as u8;
    if comm.size() > 1 {
        comm.abort(i32::from(code));
    }
    code
}

/// A panic on any thread is a line like every error; `RUST_BACKTRACE=1` adds where it came from.
fn report_panics(location: String) {
    set_hook(Box::new(move |panic| {
        let what = text_of(panic.payload());
        if let Some(failure) = failure_of_panic(what) {
            return tell(format_args!("bachdist: {location}{}: {failure}", Phase::now()));
        }
        let at = panic.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
        tell(format_args!(
            "bachdist: {location}{}: panicked: {what}{at}; this is a mistake in bachdist",
            Phase::now()
        ));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            tell(trace);
        }
    }));
}

fn print_lines(text: &str) {
    for line in text.lines() {
        tell(format_args!("bachdist: {line}"));
    }
}
