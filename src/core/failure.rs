//! Exit codes: what a scheduler or a script can tell from how a program ended.

use crate::config::ConfigError;
use crate::corpus::CorpusError;
use crate::corpus::fetch::FetchError;
use crate::environment::BadVariable;
use crate::place::NoPlace;
use crate::store::{Kind, StoreError};

/// Why a program ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Something that should not happen.
    Internal = 1,
    /// Command line or configuration.
    Usage = 2,
    /// Music files.
    Data = 3,
    /// Storage or checkpoint.
    Storage = 4,
    /// A peer failed or hung.
    Peer = 5,
    /// A loss or gradient was not finite.
    NonFinite = 6,
    /// Stopped as asked; run again to continue.
    Stopped = 75,
}

/// An error with its exit code and a line that says what happened, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// The line.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }
}

/// The failure of a machine or a limit that gives no more threads.
pub fn out_of_threads(error: &dyn std::fmt::Display) -> Failure {
    let message = format!(
        "cannot start another thread: {error}; a limit is reached (ulimit -v or -u, a control group), or memory: fewer ranks \
         or a smaller OMP_NUM_THREADS need less"
    );
    Failure::new(Code::Usage, message)
}

/// The failure behind a panic that is nobody's mistake: the standard library and others panic where they get no thread.
pub fn failure_of_panic(text: &str) -> Option<Failure> {
    let is_thread = text.contains("failed to spawn thread") || text.contains("OS can't spawn");
    is_thread.then(|| {
        out_of_threads(
            &text.rsplit_once("message: ").map_or(text, |(_, message)| message.trim_matches(['"', '}', ' '])),
        )
    })
}

/// The exit code of an error: that of the first cause that has one.
pub fn code_of(error: &anyhow::Error) -> Code {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            Some(failure.code)
        } else if cause.is::<ConfigError>() {
            Some(Code::Usage)
        } else if matches!(cause.downcast_ref(), Some(FetchError::Folder { .. })) {
            Some(Code::Storage)
        } else if matches!(cause.downcast_ref(), Some(CorpusError::Place(_))) {
            Some(Code::Usage)
        } else if cause.is::<CorpusError>() || cause.is::<FetchError>() {
            Some(Code::Data)
        } else if let Some(error) = cause.downcast_ref::<StoreError>() {
            // Where it was looked for was wrong, and nothing was asked of a storage yet.
            Some(if error.kind == Kind::BadUrl { Code::Usage } else { Code::Storage })
        } else if cause.is::<BadVariable>() || cause.is::<NoPlace>() {
            Some(Code::Usage)
        } else {
            None
        }
    };
    error.chain().find_map(of_cause).unwrap_or(Code::Internal)
}

/// The chain of an error on one line, each cause once.
pub fn line_of(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Many errors already quote their source.
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
    fn a_panic_for_want_of_a_thread_is_no_mistake() {
        let error = std::io::Error::from_raw_os_error(11);
        let text = format!("failed to spawn thread: {error:?}");
        let failure = failure_of_panic(&text).unwrap();
        assert_eq!(failure.code, Code::Usage);
        let line = "cannot start another thread: Resource temporarily unavailable; a limit is reached";
        assert!(failure.message.starts_with(line), "{failure}");
        assert_eq!(failure_of_panic("index out of bounds"), None);
    }

    #[test]
    fn the_code_survives_context_and_causes_are_not_repeated() {
        let failure = Failure::new(Code::Data, "x.mid: not MIDI");
        let error = anyhow::Error::new(failure).context("cannot read x.mid: not MIDI");
        assert_eq!(code_of(&error), Code::Data);
        assert_eq!(line_of(&error), "cannot read x.mid: not MIDI");
        let other = Err::<(), _>(std::io::Error::other("why")).context("what").unwrap_err();
        assert_eq!((code_of(&other), line_of(&other).as_str()), (Code::Internal, "what: why"));
    }
}
