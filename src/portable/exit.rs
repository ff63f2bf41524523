//! The exit code of any error of this library. Every type that implements [`HasExitCode`](crate::failure::HasExitCode) stands in
//! the list below: an error in an `anyhow` chain has lost its type, and is asked for each.

use crate::config::ConfigError;
use crate::corpus::CorpusError;
use crate::corpus::fetch::FetchError;
use crate::environment::BadVariable;
use crate::failure::{self, AskExitCode, ExitCode, Failure, exit_code_if};
use crate::location::InvalidLocation;
use crate::store::StoreError;

const TYPES: [AskExitCode; 7] = [
    exit_code_if::<Failure>,
    exit_code_if::<BadVariable>,
    exit_code_if::<ConfigError>,
    exit_code_if::<CorpusError>,
    exit_code_if::<FetchError>,
    exit_code_if::<InvalidLocation>,
    exit_code_if::<StoreError>,
];

/// The exit code of the first cause in an error's chain that has one; [`ExitCode::Internal`] if none has.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    failure::code_of(error, &TYPES)
}
