//! Prints results to stdout, for people and programs, and notes to stderr.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write, stderr, stdout};

use clap::ColorChoice;
use indicatif::HumanCount;
use serde::Serialize;

use crate::failure::{ExitCode, Failure};

/// Prints a line to stdout. It is not an error if the reader, like `head`, has closed the pipe.
pub fn print_line(text: impl Display) -> Result<(), Failure> {
    printed(writeln!(stdout(), "{text}"))
}

fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(ExitCode::Storage, format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a JSON object with a list, item by item, so that the list is never in memory as a whole.
pub struct Listing {
    out: BufWriter<Stdout>,
    items: usize,
}

impl Listing {
    /// Begins an object with these members, which is open, and a list of this name.
    pub fn begin(members: &serde_json::Value, list: &str) -> Result<Self, Failure> {
        let mut out = BufWriter::with_capacity(1 << 16, stdout());
        let members = members.to_string();
        let members = members.trim_end_matches('}');
        let comma = if members == "{" { "" } else { "," };
        printed(write!(out, "{members}{comma}{}:[", serde_json::Value::from(list)))?;
        Ok(Listing { out, items: 0 })
    }

    /// Adds an item.
    pub fn add(&mut self, item: &impl Serialize) -> Result<(), Failure> {
        let comma = if self.items == 0 { "" } else { "," };
        self.items += 1;
        printed(self.out.write_all(comma.as_bytes()))?;
        printed(serde_json::to_writer(&mut self.out, item).map_err(io::Error::from))
    }

    /// Ends the list and the object, with more members.
    pub fn end(mut self, members: &serde_json::Value) -> Result<(), Failure> {
        let members = members.to_string();
        let comma = if members == "{}" { "" } else { "," };
        let members = members.strip_prefix('{').expect("an object");
        printed(writeln!(self.out, "]{comma}{members}").and_then(|()| self.out.flush()))
    }
}

/// For help and mistakes in the command line: none where the terminal understands none. clap alone would color them there
/// if CI is set.
pub fn color_choice() -> ColorChoice {
    match std::env::var_os("TERM") {
        Some(term) if term != "dumb" => ColorChoice::Auto,
        _ => ColorChoice::Never,
    }
}

/// Prints a line to stderr, for people. Errors are ignored: there is nowhere to report them.
pub fn eprint_line(text: impl Display) {
    // In one piece: other ranks write to the same place.
    let _ = stderr().write_all(format!("{text}\n").as_bytes());
}

/// A number of things, with its digits in groups of three: 1 step, 2,000 steps.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", HumanCount(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_singular() {
        assert_eq!([0, 1, 2000].map(|n| count(n, "step")), ["0 steps", "1 step", "2,000 steps"]);
    }
}
