//! The `sample` program: composes from a checkpoint on any machine, with neither libtorch nor MPI.

use std::process::ExitCode;

use bachdist_portable::exit::code_of;
use bachdist_portable::failure::line_of;
use bachdist_portable::print::{color_choice, eprint_line};
use bachdist_portable::process::check_threads;
use bachdist_portable::sample::{Arguments, run};
use bachdist_portable::write::outlive_size_limits;
use clap::Parser;

/// Composes music from a checkpoint.
#[derive(Parser)]
#[command(name = "sample", version, max_term_width = 100, color = color_choice())]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    // Where that fails, such a limit ends the process as it would any other.
    let _ = outlive_size_limits();
    let Cli { arguments } = Cli::parse();
    let done = check_threads().map_err(Into::into).and_then(|note| {
        if let Some(note) = &note {
            eprint_line(format_args!("note: {note}"));
        }
        run(&arguments)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint_line(format_args!("sample: {}", line_of(&error)));
            ExitCode::from(code_of(&error) as u8)
        }
    }
}
