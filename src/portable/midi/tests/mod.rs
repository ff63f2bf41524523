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

use proptest::test_runner::Config;

use bachdist_test_support::tools::shared;

/// A property's cases, without a file of past failures among the sources.
fn config(cases: u32) -> Config {
    Config { max_shrink_iters: 500, ..bachdist_test_support::properties(cases) }
}
