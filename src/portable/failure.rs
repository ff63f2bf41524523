//! How errors end a program: the exit codes that schedulers and scripts act on, and the one line that is printed.
//!
//! An error type says its code itself, by [`HasExitCode`]. This module knows none of them.

use std::error::Error;
use std::fmt::Display;

/// Why a program ended. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// A bug.
    Internal = 1,
    /// Command line or configuration.
    Usage = 2,
    /// Music files.
    Data = 3,
    /// Storage or checkpoint.
    Storage = 4,
    /// Another rank failed or hung.
    Peer = 5,
    /// A loss or gradient was not finite.
    NonFinite = 6,
    /// Stopped as requested; run again to continue.
    Stopped = 75,
}

/// An error type that decides the exit code of a program that it ends.
pub trait HasExitCode: Error + 'static {
    /// The exit code of this error.
    fn exit_code(&self) -> ExitCode;
}

/// An error that nobody handles: its exit code, and a line that says what happened, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub code: ExitCode,
    /// The line.
    pub message: String,
}

impl Failure {
    /// A failure with this code and line.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }
}

impl HasExitCode for Failure {
    fn exit_code(&self) -> ExitCode {
        self.code
    }
}

/// The failure of a system that does not start another thread.
pub fn out_of_threads(error: &dyn Display) -> Failure {
    let message = format!(
        "cannot start another thread: {error}; a limit (ulimit -v or -u, a control group) or the memory is exhausted (use \
         fewer ranks, or a smaller OMP_NUM_THREADS)"
    );
    Failure::new(ExitCode::Usage, message)
}

/// The failure behind a panic that is not a bug: the standard library and others panic if they cannot start a thread.
pub fn failure_of_panic(text: &str) -> Option<Failure> {
    let is_thread = text.contains("failed to spawn thread") || text.contains("OS can't spawn");
    is_thread.then(|| {
        out_of_threads(
            &text.rsplit_once("message: ").map_or(text, |(_, message)| message.trim_matches(['"', '}', ' '])),
        )
    })
}

/// Asks a cause for its exit code, if it has the type that this function was made for.
pub type AskExitCode = fn(&(dyn Error + 'static)) -> Option<ExitCode>;

/// The exit code of a cause if it is an `E`. As a function pointer it is an [`AskExitCode`].
pub fn exit_code_if<E: HasExitCode>(cause: &(dyn Error + 'static)) -> Option<ExitCode> {
    cause.downcast_ref().map(E::exit_code)
}

/// The exit code of the first cause in an error's chain that has one of the asked types.
pub fn code_of(error: &anyhow::Error, types: &[AskExitCode]) -> ExitCode {
    error.chain().find_map(|cause| types.iter().find_map(|ask| ask(cause))).unwrap_or(ExitCode::Internal)
}

/// An error and its causes on one line. A cause that the line already quotes is skipped.
pub fn line_of(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.contains(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_panic_without_a_thread_is_not_a_bug() {
        let error = std::io::Error::from_raw_os_error(11);
        let text = format!("failed to spawn thread: {error:?}");
        let failure = failure_of_panic(&text).unwrap();
        assert_eq!(failure.code, ExitCode::Usage);
        let line = "cannot start another thread: Resource temporarily unavailable; a limit (ulimit";
        assert!(failure.message.starts_with(line), "{failure}");
        assert_eq!(failure_of_panic("index out of bounds"), None);
    }

    #[test]
    fn the_code_survives_context_and_causes_are_not_repeated() {
        let failure = Failure::new(ExitCode::Data, "x.mid: not MIDI");
        let error = anyhow::Error::new(failure).context("cannot read x.mid: not MIDI");
        let types: [AskExitCode; 1] = [exit_code_if::<Failure>];
        assert_eq!(code_of(&error, &types), ExitCode::Data);
        assert_eq!(line_of(&error), "cannot read x.mid: not MIDI");
        let other = Err::<(), _>(std::io::Error::other("why")).context("what").unwrap_err();
        assert_eq!((code_of(&other, &types), line_of(&other).as_str()), (ExitCode::Internal, "what: why"));
    }
}
