//! `bachdist data synthesize`: a folder of made-up music, to try out with how a machine copes with much of it.

use std::fs;
use std::path::Path;

use anyhow::Result;
use bachdist_core::corpus::synthesize::midi_file;
use bachdist_core::failure::{Code, Failure};
use bachdist_core::parallel::in_parallel;
use bachdist_core::print::count;
use bachdist_core::print::print_line;
use bachdist_core::process::cores;
use bachdist_core::write::{unwritable, write_whole};

use crate::cli::Synthesize;

/// Writes the files.
pub fn run(arguments: &Synthesize) -> Result<()> {
    let Synthesize { folder, files, notes, seed } = arguments;
    make_empty(folder)?;
    let numbers: Vec<u64> = (1..=*files).collect();
    let written = in_parallel(cores(), &numbers, |number| {
        let path = folder.join(format!("made-up-{number:05}.mid"));
        write_whole(&path, |out| out.write_all(&midi_file(usize::from(*notes), *seed, *number)))
    });
    written.into_iter().collect::<Result<(), _>>()?;
    let (files, notes) = (count(*files, "file"), count(u64::from(*notes), "note"));
    Ok(print_line(format_args!("{}: {files} of {notes} made up", folder.display()))?)
}

/// Makes a folder where there is none. Music made up must not come among other music.
fn make_empty(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let mut entries = fs::read_dir(folder).map_err(|error| unwritable(folder, &error))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            let message = format!("{} is not empty; name a new folder for music made up", folder.display());
            Err(Failure::new(Code::Usage, message))
        }
    }
}
