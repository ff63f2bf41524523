//! The terminal that a person watches.
//!
//! Under mpirun our own stderr is a pipe and our stdout claims to be a terminal whether it is or not, so the
//! launcher's stderr is asked instead, and drawn on directly.

use std::fs::{File, OpenOptions};

use console::{Term, is_dumb};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Progress;

/// A bar of so many steps; `None` where plain lines are right.
pub fn bar(progress: Progress, steps: u64, template: &str) -> Option<ProgressBar> {
    // Unlike `term`, this draws also where there is no terminal: `--progress bar` asked for it.
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(find(progress)?), 10);
    let style = ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ");
    Some(ProgressBar::with_draw_target(Some(steps), target).with_style(style))
}

/// The terminal for a bar; `None` where plain lines are right.
fn find(progress: Progress) -> Option<Term> {
    let terminal = || launchers().or_else(own);
    match progress {
        Progress::Plain | Progress::Silent => None,
        // Without TERM nobody knows what the terminal understands.
        Progress::Auto
            if is_dumb() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) =>
        {
            None
        }
        Progress::Auto => terminal(),
        // Asked for a bar where there is no terminal: whoever reads stderr wants its control codes.
        Progress::Bar => terminal().or_else(|| Some(Term::stderr())),
    }
}

fn own() -> Option<Term> {
    let term = Term::stderr();
    term.is_term().then_some(term)
}

/// The stderr of the process that started us, if that is Open MPI's launcher on this host and on a terminal.
fn launchers() -> Option<Term> {
    std::env::var_os("OMPI_COMM_WORLD_RANK")?;
    let path = format!("/proc/{}/fd/2", std::os::unix::process::parent_id());
    let open =
        |write: bool| -> Option<File> { OpenOptions::new().read(!write).write(write).open(&path).ok() };
    let term = Term::read_write_pair(open(false)?, open(true)?);
    term.is_term().then_some(term)
}
