//! `bachdist`: join the other ranks, do what the command line says, report an error once, end with its code.

use std::process::ExitCode;

use anyhow::Error;
use bachdist::cli::Cli;
use bachdist::comm::agree::{Agreed, located};
use bachdist::comm::{Comm, world};
use bachdist_core::failure::{Code, code_of};
use bachdist_core::print::tell;
use clap::Parser;

fn main() -> ExitCode {
    let comm = match world::join() {
        Ok(comm) => comm,
        Err(error) => {
            print_lines(&error.to_string());
            return ExitCode::from(Code::Usage as u8);
        }
    };
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Every rank has the same command line: one says what is wrong with it.
            if comm.rank() == 0 {
                let _ = message.print();
            }
            return ExitCode::from(message.exit_code() as u8);
        }
    };
    match bachdist::commands::dispatch(cli, &*comm) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(report(&error, &*comm)),
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

fn print_lines(text: &str) {
    for line in text.lines() {
        tell(format_args!("bachdist: {line}"));
    }
}
