//! `bachdist completions` and `bachdist man`: what shells and `man` want to know, made of the command line itself.

use std::fs;
use std::path::Path;

use anyhow::Result;
use bachdist_portable::print::print_line;
use bachdist_portable::write::unwritable;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Prints the script that makes a shell complete commands and options.
pub fn print_completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bachdist", &mut script);
    Ok(print_line(String::from_utf8(script)?.trim_end())?)
}

/// Writes a manual page for every command into a folder, and makes that if it is not there.
pub fn write_manual(folder: &Path) -> Result<()> {
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    Ok(written.map_err(|error| unwritable(folder, &error))?)
}
