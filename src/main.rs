//! The program `bachdist`; see the crate of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    bachdist::run(std::env::args_os())
}
