//! `bachdist`: join the other ranks, do what the command line says, report an error once, end with its code.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;

use anyhow::Error;
use bachdist::cli::Cli;
use bachdist::comm::agree::{Agreed, located, place};
use bachdist::comm::{Comm, world};
use bachdist::model::device;
use bachdist::phase::Phase;
use bachdist_core::failure::{Code, code_of, failure_of_panic};
use bachdist_core::fault;
use bachdist_core::print::tell;
use clap::Parser;

fn main() -> ExitCode {
    device::ask_for_equal_bits();
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
    let comm = match world::join() {
        Ok(comm) => comm,
        Err(error) => {
            print_lines(&error.to_string());
            return Code::Usage as u8;
        }
    };
    let comm = &*comm;
    report_panics(comm);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Every rank has the same command line: one says what is wrong with it.
            if comm.rank() == 0 {
                let _ = message.print();
            }
            return message.exit_code() as u8;
        }
    };
    if let Err(error) = fault::arm(comm.rank()) {
        if comm.rank() == 0 {
            print_lines(&error.to_string());
        }
        return Code::Usage as u8;
    }
    match bachdist::commands::dispatch(cli, comm) {
        Ok(code) => code,
        Err(error) => report(&error, comm),
    }
    // MPI is finalized here, with all ranks present.
}

/// Says what went wrong, and gives back the exit code. If the other ranks do not know of it, it ends them too.
fn report(error: &Error, comm: &dyn Comm) -> u8 {
    if let Some(Agreed { code, line }) = error.downcast_ref() {
        if let Some(line) = line {
            print_lines(line);
        }
        return *code;
    }
    print_lines(&located(comm, error));
    let code = code_of(error) as u8;
    if comm.size() > 1 {
        comm.abort(i32::from(code));
    }
    code
}

/// A panic on any thread is a line like every error; `RUST_BACKTRACE=1` adds where it came from.
fn report_panics(comm: &dyn Comm) {
    let place = place(comm);
    set_hook(Box::new(move |panic| {
        let what = text_of(panic.payload());
        if let Some(failure) = failure_of_panic(what) {
            return tell(format_args!("bachdist: {place}{}: {failure}", Phase::now()));
        }
        let at = panic.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
        tell(format_args!(
            "bachdist: {place}{}: panicked: {what}{at}; this is a mistake in bachdist",
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
