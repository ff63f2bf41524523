//! What tests need and not every machine has.
//!
//! Such a test has `#[ignore = "needs NAME"]`, so that plain `cargo test` needs no tool, and says how many tests it left to
//! `launch/test`, which runs all. There it asks for its tool by name, is skipped without it, and says so. Where
//! `BACHDIST_REQUIRE` (names between commas) has the name, the test fails instead, so that nothing is green because nothing
//! ran. `tests/tools.txt` lists the names; the shell scripts in `tests/launch` read it too.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TOOLS: &str = include_str!("../tools.txt");

/// A line of `tests/tools.txt`.
struct Tool {
    name: &'static str,
    description: &'static str,
    source: &'static str,
}

fn tools() -> impl Iterator<Item = Tool> {
    TOOLS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut columns = line.split('|').map(str::trim);
        let mut column = || columns.next().expect("three columns");
        Tool { name: column(), description: column(), source: column() }
    })
}

/// What was found of a tool. Without it the test is skipped with a line, or fails where `BACHDIST_REQUIRE` names the tool.
pub fn need<T>(name: &str, found: Option<T>) -> Option<T> {
    let all = env::args().any(|argument| argument == "--ignored" || argument == "--include-ignored");
    assert!(all, "a test that needs a tool has an attribute: #[ignore = \"needs {name}\"]");
    need_as(&env::var("BACHDIST_REQUIRE").unwrap_or_default(), name, found)
}

fn need_as<T>(required: &str, name: &str, found: Option<T>) -> Option<T> {
    for required in required.split(',').filter(|name| !name.is_empty()) {
        assert!(
            tools().any(|tool| tool.name == required),
            "BACHDIST_REQUIRE: {required:?} is not in tests/tools.txt"
        );
    }
    let tool = tools().find(|tool| tool.name == name).expect("a tool of tests/tools.txt");
    if found.is_none() {
        let missing = format!("no {name}: {} (from {})", tool.description, tool.source);
        assert!(!required.split(',').any(|required| required == name), "{missing}");
        println!("skipped: {missing}");
    }
    found
}

/// A program on the PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Where `launch/setup` installs what is not a package of the system.
pub fn cache() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("BACHDIST_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("bachdist")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/bachdist")))
}

/// The root of this checkout.
pub fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The tool `pretty_midi`: the Python of the tests' own environment.
pub fn peer_python() -> Option<PathBuf> {
    need(
        "pretty_midi",
        cache().map(|cache| cache.join("test-tools/bin/python")).filter(|python| python.exists()),
    )
}

/// The tool `music21`: the same Python, if it has music21.
pub fn music21_python() -> Option<PathBuf> {
    let python = cache().map(|cache| cache.join("test-tools/bin/python"));
    let has_music21 = |python: &PathBuf| {
        let import = Command::new(python).args(["-c", "import music21"]).output();
        import.is_ok_and(|import| import.status.success())
    };
    need("music21", python.filter(has_music21))
}

/// The tool `tensorboard`: a Python with TensorBoard and a parser of Prometheus' format.
pub fn tensorboard_python() -> Option<PathBuf> {
    let python = cache().map(|cache| cache.join("metrics-readers/bin/python"));
    need("tensorboard", python.filter(|python| python.exists()))
}

/// The General MIDI SoundFont that pretty_midi comes with.
pub fn soundfont() -> Option<PathBuf> {
    let pythons = cache().and_then(|cache| cache.join("test-tools/lib").read_dir().ok());
    let mut fonts = pythons
        .into_iter()
        .flatten()
        .flatten()
        .map(|python| python.path().join("site-packages/pretty_midi/TimGM6mb.sf2"));
    need("pretty_midi", fonts.find(|font| font.exists()))
}

/// The tool `shared`: a file or folder of it.
pub fn shared(path: &str) -> Option<PathBuf> {
    need("shared", shared_if_any(path))
}

/// The same for a test that does not depend on it.
pub fn shared_if_any(path: &str) -> Option<PathBuf> {
    project().join("../shared").join(path).canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_skips_a_test() {
        assert_eq!(need_as("", "s3", None::<()>), None);
        assert_eq!(need_as("mpi,gpu", "s3", None::<()>), None);
        assert_eq!(need_as("s3", "s3", Some(1)), Some(1));
    }

    #[test]
    #[should_panic(expected = "no s3: an S3 server")]
    fn a_missing_tool_fails_a_test_where_it_is_required() {
        need_as("mpi,s3", "s3", None::<()>);
    }

    #[test]
    #[should_panic(expected = "\"S3\" is not in tests/tools.txt")]
    fn an_unknown_name_fails_a_test() {
        need_as("S3", "mpi", Some(()));
    }
}
