//! `bachdist report`: runs, or pieces, as one HTML file that needs nothing from elsewhere.

mod pieces;
mod run;

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::print::{eprint_line, print_line};
use bachdist_portable::render::page;
use bachdist_portable::write::write_whole;
use serde::Serialize;

use self::run::RunReport;
use crate::cli::ReportArguments;

/// Between two looks at a run that goes on.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// What the page of runs shows.
#[derive(Debug, Serialize)]
struct RunsPage {
    runs: Vec<RunReport>,
    /// Whether the page is made again and again, so that a browser loads it anew.
    is_watched: bool,
}

pub fn run(arguments: &ReportArguments) -> Result<()> {
    let (pieces, runs): (Vec<&String>, Vec<&String>) =
        arguments.sources.iter().partition(|source| pieces::is_piece(source));
    let output = &arguments.output;
    if !pieces.is_empty() && !runs.is_empty() {
        let message =
            format!("a report is of runs or of pieces: {} is a piece, {} is a run", pieces[0], runs[0]);
        return Err(Failure::new(ExitCode::Usage, message).into());
    }
    if runs.is_empty() {
        if arguments.watch {
            let message = "--watch is for runs; a piece does not change";
            return Err(Failure::new(ExitCode::Usage, message.to_owned()).into());
        }
        write(output, &pieces::report(&pieces)?)?;
        return Ok(print_line(format_args!("wrote {}", output.display()))?);
    }
    let mut written = None;
    loop {
        let runs = runs.iter().map(|location| RunReport::read(location)).collect::<Result<Vec<_>>>()?;
        let is_watched = arguments.watch && runs.iter().any(|run| !run.has_ended());
        let made = page(include_str!("runs.html"), &RunsPage { runs, is_watched });
        if written.as_ref() != Some(&made) {
            write(output, &made)?;
            if written.is_none() {
                print_line(format_args!("wrote {}", output.display()))?;
            }
            written = Some(made);
        }
        if !is_watched {
            return Ok(());
        }
        sleep(WATCH_INTERVAL);
    }
}

fn write(path: &Path, page: &str) -> Result<()> {
    if page.len() > MAX_BYTES {
        let megabytes = page.len() as f64 / 1e6;
        eprint_line(format_args!("note: the page has {megabytes:.1} MB; fewer pieces make a smaller one"));
    }
    Ok(write_whole(path, |out| out.write_all(page.as_bytes()))?)
}

/// Pages larger than that are slow to open.
const MAX_BYTES: usize = 2_000_000;
