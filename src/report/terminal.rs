//! The terminal to draw a progress bar on.
//!
//! Under mpirun the stderr of a rank is a pipe, and its stdout always claims to be a terminal. So the launcher's stderr is
//! examined instead, and drawn on directly.

use std::fs::{File, OpenOptions};

use console::{Term, is_dumb};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Progress {
    /// A bar if standard error is a terminal, otherwise lines
    Auto,
    /// A bar
    Bar,
    /// Lines
    Plain,
    /// Nothing, where the output is for a program.
    #[value(skip)]
    Silent,
}

/// A bar over `steps`; `None` where plain lines are to be printed.
pub fn bar(progress: Progress, steps: u64, template: &str) -> Option<ProgressBar> {
    // Unlike `ProgressDrawTarget::term`, this draws without a terminal too, as `--progress bar` demands.
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(find(progress)?), 10);
    let style = ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ");
    Some(ProgressBar::with_draw_target(Some(steps), target).with_style(style))
}

/// The terminal to draw on; `None` where plain lines are to be printed.
fn find(progress: Progress) -> Option<Term> {
    match progress {
        Progress::Plain | Progress::Silent => None,
        // Without TERM, what the terminal understands is unknown.
        Progress::Auto
            if is_dumb() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) =>
        {
            None
        }
        Progress::Auto => launcher_terminal().or_else(own_terminal),
        // Where there is no terminal, the reader of stderr wants the control codes.
        Progress::Bar => launcher_terminal().or_else(own_terminal).or_else(|| Some(Term::stderr())),
    }
}

fn own_terminal() -> Option<Term> {
    let term = Term::stderr();
    term.is_term().then_some(term)
}

/// The stderr of the parent process, if that is Open MPI's launcher on this host and its stderr is a terminal.
fn launcher_terminal() -> Option<Term> {
    std::env::var_os("OMPI_COMM_WORLD_RANK")?;
    let path = format!("/proc/{}/fd/2", std::os::unix::process::parent_id());
    let read = File::open(&path).ok()?;
    let write = OpenOptions::new().write(true).open(&path).ok()?;
    let term = Term::read_write_pair(read, write);
    term.is_term().then_some(term)
}
