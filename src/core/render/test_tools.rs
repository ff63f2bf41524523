//! Where tests find their peers: the packages that `launch/setup --tests` installs.

use std::path::PathBuf;

/// The folder of the test tools if `sub_path` exists in it; otherwise says that the test is skipped.
pub(super) fn test_tools(sub_path: &str) -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = from("BACHDIST_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|cache| cache.join("bachdist")))
        .or_else(|| from("HOME").map(|home| home.join(".cache/bachdist")))?;
    let tools = cache.join("test-tools");
    if tools.join(sub_path).exists() {
        return Some(tools);
    }
    println!("skipped: no {} (launch/setup --tests installs it)", tools.join(sub_path).display());
    None
}
