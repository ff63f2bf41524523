//! Writes libtorch's place into the executables, so that they run with no environment variable set.

use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    let Some(libtorch) = env::var_os("LIBTORCH") else { return };
    // The link that `launch/setup` makes may go away with the checkout; the cache folder stays.
    if let Ok(lib) = fs::canonicalize(std::path::Path::new(&libtorch).join("lib")) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
}
