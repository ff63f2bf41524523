//! The real S3 server of a test program: `launch/s3-local` runs it as long as this process holds the other
//! end of its standard input, so that it ends with the tests however they end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::tools::{cache, need, project};

pub type Variables = BTreeMap<String, String>;

/// The server of this process, started by the first test that needs it.
pub struct Server {
    variables: Variables,
    /// Its standard input keeps the server up.
    _process: Child,
}

impl Server {
    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.variables["AWS_ENDPOINT_URL"]
    }

    /// The `AWS_*` of a process that is to reach it at this address: its own, or a proxy's.
    pub fn variables(&self, endpoint: &str) -> Variables {
        let mut variables = self.variables.clone();
        variables.insert("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned());
        variables
    }

    /// Puts an object whose key, given as in a URL, the store itself would never write.
    pub fn put_foreign(&self, key: &str) {
        let value = |name: &str| &self.variables[name];
        let user = format!("{}:{}", value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"));
        // This server's key is worth nothing, and may stand among the arguments.
        let put = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--path-as-is",
                "--request",
                "PUT",
                "--data-binary",
                "foreign",
            ])
            .args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &user])
            .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .arg(format!("{}/bachdist/{key}", self.endpoint()))
            .output()
            .unwrap();
        assert!(put.status.success(), "{key}: {}", String::from_utf8_lossy(&put.stderr));
    }
}

/// The server, or `None` and a printed line where it is not installed.
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start_server).as_ref()
}

fn start_server() -> Option<Server> {
    let weed = cache().map(|cache| cache.join("test-tools/bin/weed"));
    need("s3", weed.filter(|weed| weed.exists()))?;
    // `read` ends when this process does, by whatever end.
    let mut process = Command::new(project().join("launch/s3-local"))
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
