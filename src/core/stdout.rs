//! Printing results, which are for other programs too.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};

use crate::failure::{Code, Failure};

/// Prints a line; a reader that has gone away, like `head`, is no error.
pub fn say(text: impl Display) -> Result<(), Failure> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Storage, format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}
