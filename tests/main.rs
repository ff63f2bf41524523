//! Tests of the whole program, in one binary so that libtorch links once.

mod cli;
mod harness;
mod inspect;
mod ranks;
mod resume;
mod sample;
mod terminal;
