//! Prints results to stdout, for people and programs, and notes to stderr.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write, stderr, stdout};
use std::time::{Duration, Instant};

use clap::ColorChoice;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
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
    if has_control_codes() { ColorChoice::Auto } else { ColorChoice::Never }
}

/// Prints a line to stderr, for people. Errors are ignored: there is nowhere to report them.
pub fn eprint_line(text: impl Display) {
    // In one piece: other ranks write to the same place.
    let _ = stderr().write_all(format!("{text}\n").as_bytes());
}

/// How far work is that people wait for, shown on stderr if that is a terminal, from its second second on.
pub struct WorkBar {
    bar: ProgressBar,
    begin: Instant,
}

impl WorkBar {
    /// Work on so many things, like `reading` files.
    pub fn new(what: &'static str, things: u64) -> Self {
        let template = "{msg} [{wide_bar}] {pos}/{len} {eta} left";
        let style = ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(things), ProgressDrawTarget::hidden());
        WorkBar { bar: bar.with_style(style).with_message(what), begin: Instant::now() }
    }

    /// So many more are done.
    pub fn add(&self, things: u64) {
        const QUICK: Duration = Duration::from_secs(1);
        if self.bar.is_hidden() && has_control_codes() && self.begin.elapsed() > QUICK {
            // Hidden still if stderr is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(things);
    }

    /// Prints something meanwhile.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }
}

impl Drop for WorkBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Whether people want control codes on a terminal that understands them.
pub fn has_control_codes() -> bool {
    let [term, no_color] = ["TERM", "NO_COLOR"].map(|name| std::env::var_os(name).unwrap_or_default());
    !term.is_empty() && term != "dumb" && no_color.is_empty()
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
