//! Printing results, which are for other programs too, and notes for people.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};

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

/// Prints a line on stderr, for people. Where nobody listens there is nobody to tell.
pub fn tell(text: impl Display) {
    // In one piece: other ranks write to the same place.
    let _ = stderr().write_all(format!("{text}\n").as_bytes());
}
