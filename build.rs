//! Writes libtorch's place into the executables, so that they run with no environment variable set; and the commit
//! that is checked out, so that figures can say what they are of.

use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    name_commit();
    if env::var_os("CARGO_FEATURE_TORCH").is_some() {
        name_libtorch();
    }
}

/// The folder of libtorch's libraries, for the loader.
fn name_libtorch() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH") else { return };
    // `launch/setup` writes this file when it makes the link lead elsewhere, which cargo does not see: the link has the
    // same name, and what it leads to may be older than the last build.
    let mut place = libtorch.clone();
    place.push(".place");
    if fs::exists(&place).unwrap_or(false) {
        println!("cargo:rerun-if-changed={}", place.display());
    }
    // The link that `launch/setup` makes may go away with the checkout; the cache folder stays.
    if let Ok(lib) = fs::canonicalize(std::path::Path::new(&libtorch).join("lib")) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
}

/// Where this is no checkout, or there is no git, nothing is said.
fn name_commit() {
    // An unpacked archive may lie inside another project's checkout.
    if git(&["ls-files", "--error-unmatch", "build.rs"]).is_none() {
        return;
    }
    // Changes with every commit and every checkout. A file that is not there would mean a build every time.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| fs::exists(log).unwrap_or(false));
    let Some(log) = log else { return };
    println!("cargo:rerun-if-changed={log}");
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=BACHDIST_COMMIT={commit}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
