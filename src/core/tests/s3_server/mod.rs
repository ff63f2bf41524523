//! The real S3 server of a test program: `launch/s3-local` runs it as long as this process holds the other
//! end of its standard input, so that it ends with the tests however they end.

use bachdist_core::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

pub type Variables = BTreeMap<String, String>;

/// The server of this process, started by the first test that needs it.
pub struct Server {
    variables: Variables,
    /// Its standard input keeps the server up.
    _process: Child,
}

impl Server {
    /// Opens a store as a process with the server's `AWS_*` would, some of them changed.
    pub fn open(&self, url: &str, changes: &[(&str, Option<&str>)]) -> Result<Store, StoreError> {
        let mut variables = self.variables.clone();
        for (name, value) in changes {
            match value {
                Some(value) => variables.insert((*name).to_owned(), (*value).to_owned()),
                None => variables.remove(*name),
            };
        }
        Store::open_with(url, variables)
    }
}

/// The server, or `None` and a printed line where it is not installed.
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start_server).as_ref()
}

fn start_server() -> Option<Server> {
    let weed = cache()?.join("test-tools/bin/weed");
    if !weed.exists() {
        println!("skipped: no S3 server (launch/setup --tests installs it)");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../launch/s3-local");
    // `read` ends when this process does, by whatever end.
    let mut process = Command::new(script)
        .args(["run", "bash", "-c", "env | grep ^AWS_; echo; read -r _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let variables = lines
        .map(Result::unwrap)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect();
    let server = Server { variables, _process: process };
    assert!(server.variables.contains_key("AWS_ENDPOINT_URL"), "launch/s3-local did not start");
    Some(server)
}

fn cache() -> Option<PathBuf> {
    let named = |name| env::var_os(name).map(PathBuf::from);
    named("BACHDIST_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|cache| cache.join("bachdist")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/bachdist")))
}

/// `AWS_*` for a server that will not answer.
pub fn credentials(endpoint: &str) -> Variables {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "somebody"),
        ("AWS_SECRET_ACCESS_KEY", "something"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
