//! The `sample` program.
fn main() {}
