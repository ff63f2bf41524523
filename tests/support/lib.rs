//! What the tests of both crates share.
//!
//! - [`tools`]: what a test needs and not every machine has. A test without it is skipped, or fails where
//!   `BACHDIST_REQUIRE` names it.
//! - [`harness`]: the built programs, run as a user runs them.
//! - [`browser`]: a browser that looks at pages.
//! - [`snapshot`]: what people read, held by snapshots.
//! - [`s3`]: a real S3 server, and [`proxy`]: what fails between it and a client.

// A panic is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]
// Nobody reads these pages but who reads the code.
#![allow(missing_docs)]

pub mod browser;
pub mod harness;
pub mod proxy;
pub mod s3;
pub mod snapshot;
pub mod tools;

use proptest::test_runner::{Config, FileFailurePersistence};

/// Settings of properties (`proptest!`). Cases that failed are kept in a file of that name beside the source, which is
/// committed: they are tried first from then on.
pub fn properties(cases: u32) -> Config {
    let file = FileFailurePersistence::WithSource("proptest-regressions");
    Config { cases, failure_persistence: Some(Box::new(file)), ..Config::default() }
}
