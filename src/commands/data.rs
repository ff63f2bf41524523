//! `bachdist data`: download, inspect and generate music files.

use std::fs;
use std::path::Path;

use anyhow::Result;
use bachdist_portable::corpus::fetch::{Manifest, Progress, Summary, fetch};
use bachdist_portable::corpus::synthesize::midi_file;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::parallel::in_parallel;
use bachdist_portable::print::{count, print_line};
use bachdist_portable::process::cores;
use bachdist_portable::write::{unwritable, write_whole};
use indicatif::{ProgressBar, ProgressStyle};

use super::inspect;
use crate::cli::{DataCommand, SynthesizeArguments};

pub fn run(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::Fetch { set, folder, url } => {
            let folder = folder.clone().unwrap_or_else(|| Path::new("data").join(set));
            fetch_set(set, &folder, url.as_deref())
        }
        DataCommand::Inspect(arguments) => inspect::run(arguments),
        DataCommand::Synthesize(arguments) => synthesize(arguments),
    }
}

fn fetch_set(set: &str, folder: &Path, url: Option<&str>) -> Result<()> {
    let manifest = Manifest::named(set).expect("the command line takes the names of manifests alone");
    print_line(format_args!("{}\nlicense: {}", manifest.about, manifest.license))?;
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

/// Writes a folder of synthetic music, to see how a machine copes with much of it.
fn synthesize(arguments: &SynthesizeArguments) -> Result<()> {
    let SynthesizeArguments { folder, files, notes, seed } = arguments;
    make_empty(folder)?;
    let numbers: Vec<u64> = (1..=*files).collect();
    let written = in_parallel(cores(), &numbers, |number| {
        let path = folder.join(format!("made-up-{number:05}.mid"));
        write_whole(&path, |out| out.write_all(&midi_file(usize::from(*notes), *seed, *number)))
    });
    written.into_iter().collect::<Result<(), _>>()?;
    let (files, notes) = (count(*files, "file"), count(u64::from(*notes), "note"));
    Ok(print_line(format_args!("{}: generated {files} of {notes} each", folder.display()))?)
}

/// Creates the folder if it does not exist. Synthetic music must not be mixed with other music.
fn make_empty(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let mut entries = fs::read_dir(folder).map_err(|error| unwritable(folder, &error))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            let message =
                format!("{} is not empty; name a new folder for the synthetic music", folder.display());
            Err(Failure::new(ExitCode::Usage, message))
        }
    }
}
