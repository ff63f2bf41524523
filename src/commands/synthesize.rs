//! `bachdist data synthesize`: a folder of synthetic music, to see how a machine copes with much of it.

use std::fs;
use std::path::Path;

use anyhow::Result;
use bachdist_portable::corpus::synthesize::midi_file;
use bachdist_portable::failure::{Code, Failure};
use bachdist_portable::parallel::in_parallel;
use bachdist_portable::print::count;
use bachdist_portable::print::print_line;
use bachdist_portable::process::cores;
use bachdist_portable::write::{unwritable, write_whole};

use crate::cli::SynthesizeArguments;

pub fn run(arguments: &SynthesizeArguments) -> Result<()> {
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
            Err(Failure::new(Code::Usage, message))
        }
    }
}
