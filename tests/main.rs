//! All integration tests as one program, so that libtorch is linked once.

// A panic is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]

mod bench;
mod bits;
mod cli;
mod corpus;
mod crash;
mod damage;
mod eval;
mod failure;
mod golden;
mod harness;
mod inspect;
mod preempt;
mod ranks;
mod replay;
mod resume;
// The server and the proxy before it are shared with the tests of the member crate.
#[path = "../src/core/tests/s3_proxy/mod.rs"]
#[allow(dead_code)] // each package's tests use a part
mod s3_proxy;
#[path = "../src/core/tests/s3_server/mod.rs"]
mod s3_server;
mod sample;
mod storage;
mod terminal;
mod validation;
mod writers;
