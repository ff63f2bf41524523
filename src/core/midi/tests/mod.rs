//! Tests of MIDI reading and writing: [`rules`] one by one, [`oracle`] and [`peer`] against pretty_midi,
//! [`hostile`] input, and [`round_trip`]s. [`bytes`] and [`generated`] make the files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod bytes;
mod generated;
mod hostile;
mod oracle;
mod peer;
mod round_trip;
mod rules;

use std::path::PathBuf;

use proptest::test_runner::Config;

/// The folder of data and oracles beside the checkout, where there is one.
fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    path.exists().then_some(path)
}

/// A property's cases, without a file of past failures among the sources.
fn config(cases: u32) -> Config {
    Config { cases, max_shrink_iters: 500, failure_persistence: None, ..Config::default() }
}
