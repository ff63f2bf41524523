//! `bachdist data`: download, inspect and generate music files.

use std::path::Path;

use anyhow::Result;
use bachdist_portable::corpus::fetch::{Manifest, Progress, Summary, fetch};
use bachdist_portable::print::{count, print_line};
use indicatif::{ProgressBar, ProgressStyle};

use super::{inspect, synthesize};
use crate::cli::DataCommand;

pub fn run(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::Fetch { folder, url } => fetch_all(folder, url.as_deref()),
        DataCommand::Inspect(arguments) => inspect::run(arguments),
        DataCommand::Synthesize(arguments) => synthesize::run(arguments),
    }
}

fn fetch_all(folder: &Path, url: Option<&str>) -> Result<()> {
    let manifest = Manifest::cello();
    let style = ProgressStyle::with_template("{msg} {bar:20} {bytes}/{total_bytes}")?.progress_chars("=> ");
    // Drawn on stderr, and only if that is a terminal.
    let bar = ProgressBar::new(0).with_style(style);
    let mut progress = |now: Progress<'_>| {
        bar.set_length(now.bytes_total);
        bar.set_position(now.bytes);
        bar.set_message(format!("{}/{} {:<14}", now.files_done, now.files, now.file));
    };
    let summary = fetch(&manifest, url.unwrap_or(&manifest.base_url), folder, &mut progress);
    bar.finish_and_clear();
    let Summary { kept, fetched, .. } = summary?;
    Ok(print_line(format_args!(
        "{}: {} downloaded, {kept} already there",
        folder.display(),
        count(fetched as u64, "file")
    ))?)
}
