//! What others put beside a run's objects, and servers that lack something: neither stops a run.

use super::blame::{Server, answer};
use super::{names, open};
use bachdist_portable::store::{Creation, RetryPolicy, Store, StoreErrorKind};
use bachdist_test_support::proxy::Proxy;
use bachdist_test_support::s3::server;
use bachdist_test_support::snapshot::Transcript;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;

#[test]
#[ignore = "needs s3"]
fn foreign_objects_of_any_name_are_passed_over() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://bachdist/foreign/run", &[]);
    store.put("step-1", "ours").unwrap();
    // A line break, a control character, an empty part of a name, blanks, and a folder named like a checkpoint.
    for key in
        ["new%0Aline", "step-2%0A", "%01", "a//b", "/c", "step-3%20", "step-4/x", "step-5%23x", "marker/"]
    {
        server.put_foreign(&format!("foreign/run/{key}"));
    }
    assert_eq!(names(&store, "step-"), ["step-1", "step-5#x"]);
    assert_eq!(store.get("step-1").unwrap(), b"ours");
    assert_eq!(store.create("step-1", "x").unwrap(), Creation::Exists);
}

/// As Amazon lists them; the server of the tests puts some names straight.
#[test]
fn keys_that_are_no_names_are_passed_over() {
    let entry = |key: &&str| {
        format!(
            "<Contents><Key>run/{key}</Key><LastModified>2026-11-27T15:40:07Z</LastModified><Size>7</Size></Contents>"
        )
    };
    let keys = ["/b", "..", ".", "step-1", "a//b", "x&#x0;", "x&amp;y", "step-2"];
    let prefixes = "<CommonPrefixes><Prefix>run//</Prefix></CommonPrefixes>";
    let page = move |keys: &[&str], next: &str| {
        let entries: String = keys.iter().map(entry).collect();
        answer("200 OK", "", &format!("<ListBucketResult>{next}{entries}{prefixes}</ListBucketResult>"))
    };
    let server = Server::new(move |head| {
        if head.contains("continuation-token=second") {
            page(&keys[4..], "")
        } else {
            page(
                &keys[..4],
                "<IsTruncated>true</IsTruncated><NextContinuationToken>second</NextContinuationToken>",
            )
        }
    });
    assert_eq!(names(&server.store("http", &[]), ""), ["step-1", "step-2", "x&y"]);
    assert_eq!(server.heads().len(), 2);
}

#[test]
fn foreign_files_of_any_name_and_kind_are_passed_over() {
    let temporary = tempfile::tempdir().unwrap();
    let store = Store::open(temporary.path().to_str().unwrap()).unwrap();
    store.put("step-1", "ours").unwrap();
    let path = |name: &str| temporary.path().join(name);
    fs::write(temporary.path().join(OsStr::from_bytes(b"step-\xFF")), "x").unwrap();
    fs::write(path("step-\n"), "x").unwrap();
    fs::write(path("step-5#x"), "x").unwrap();
    fs::create_dir(path("step-2")).unwrap();
    fs::create_dir(path("attempt-000001")).unwrap();
    symlink("nowhere", path("step-3")).unwrap();
    symlink("step-6", path("step-6")).unwrap();
    symlink("step-1", path("step-7")).unwrap();
    let pipe = path("step-4");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(names(&store, ""), ["step-1", "step-5#x", "step-7"]);
    assert_eq!(store.get("step-7").unwrap(), b"ours");
    assert_eq!(store.partial_writes().unwrap(), []);
    let mut said = Transcript::default();
    for (what, name) in [("a folder", "step-2"), ("a pipe, which would be waited for", "step-4")] {
        let error = store.get(name).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Other, "{error}");
        said.line(what, error);
    }
    said.check("store-no-file");
    assert_eq!(store.get("step-3").unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(store.create("attempt-000001", "x").unwrap(), Creation::Exists);
}

#[test]
#[ignore = "needs s3"]
fn a_server_without_conditional_writes_is_used_unguarded() {
    let Some(server) = server() else { return };
    for status in ["501 Not Implemented", "400 Bad Request", "405 Method Not Allowed"] {
        let proxy = Proxy::before(server.endpoint());
        proxy.without_conditions(status);
        let url = format!("s3://bachdist/foreign/without-{}", &status[..3]);
        let store =
            Store::open_with(&url, RetryPolicy::default(), server.variables(&proxy.endpoint())).unwrap();
        assert_eq!(store.create("attempt-1", "first").unwrap(), Creation::Unguarded);
        assert_eq!(store.create("attempt-1", "second").unwrap(), Creation::Exists);
        assert_eq!(store.get("attempt-1").unwrap(), b"first");
        assert!(store.replace("metrics.jsonl", "one", None).unwrap());
        let version = store.version("metrics.jsonl").unwrap();
        assert!(store.replace("metrics.jsonl", "two", version.as_ref()).unwrap());
        assert_eq!(store.get("metrics.jsonl").unwrap(), b"two");
    }
    // By the variable, without asking.
    let store = open(server, "s3://bachdist/foreign/disabled", &[("AWS_CONDITIONAL_PUT", "disabled")]);
    assert_eq!(store.create("attempt-1", "first").unwrap(), Creation::Unguarded);
    // A server that takes no writes at all says so itself.
    let read_only = Server::new(|head| {
        if head.starts_with("HEAD") {
            answer("404 Not Found", "", "")
        } else {
            answer("501 Not Implemented", "", "no writes here")
        }
    });
    let error = read_only.store("http", &[]).create("attempt-1", "x").unwrap_err();
    assert!(error.to_string().contains("HTTP 501"), "{error}");
    let mut said = Transcript::default();
    said.line("create, where nothing may be written", error);
    said.check("store-without-writes");
}
