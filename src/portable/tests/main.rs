//! All integration tests as one program.

// A panic is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]

mod certificate;
mod damage;
mod fetch;
mod outputs;
mod pages;
mod run;
mod scene;
mod store;
mod whole_pieces;
