//! What tests find beside the checkout and on the machine: music, oracles, and the programs of others.

use std::path::PathBuf;

/// A file or folder beside the checkout, where there is one.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    path.exists().then_some(path)
}

/// The Python of the tests' own environment, which has pretty_midi and NumPy.
pub fn python() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("BACHDIST_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("bachdist")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/bachdist")))?;
    let python = cache.join("test-tools/bin/python");
    python.exists().then_some(python)
}
