//! One suite of promises over every kind of store: a folder, memory, a real S3 server, and that server on a bad
//! day. Then the line that each common failure prints.

mod blame;
mod faults;
mod foreign;

use bachdist_portable::store::{Creation, RetryPolicy, Store, StoreError, StoreErrorKind};
use bachdist_test_support::s3::{Server, Variables, server};
use bachdist_test_support::snapshot::Transcript;
use bachdist_test_support::tools::need;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

/// Everything that callers rely on, whatever holds the objects.
fn conforms(store: &Store) {
    conforms_over(store, Line::Sound);
}

/// What a test may expect of the line to a server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Sound,
    /// Acknowledgements may be lost: then a writer may find its own object.
    Lossy,
}

fn conforms_over(store: &Store, line: Line) {
    // Nothing is there, and nothing is no error.
    assert_eq!(names(store, ""), [""; 0]);
    assert_eq!(store.get("absent").unwrap_err().kind, StoreErrorKind::NotFound);
    store.delete("absent").unwrap();

    // What is put is got, empty and large; a put replaces the whole.
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    store.put("step-2", large.clone()).unwrap();
    assert!(store.get("step-2").unwrap() == large, "3 MB come back changed");
    store.put("step-2", "short").unwrap();
    assert_eq!(store.get("step-2").unwrap(), b"short");
    store.put("step-10", Vec::new()).unwrap();
    assert_eq!(store.get("step-10").unwrap(), b"");

    // Create writes once, and leaves the winner's contents alone.
    let created = |found| found == Creation::Created || line == Line::Lossy;
    assert!(created(store.create("attempt-1", "first").unwrap()));
    assert_eq!(store.create("attempt-1", "second").unwrap(), Creation::Exists);
    assert_eq!(store.get("attempt-1").unwrap(), b"first");
    assert_eq!(store.create("step-2", "other").unwrap(), Creation::Exists);

    // Listings: by name, with sizes, direct children only, and only those that begin as asked.
    store.put("deeper/step-3", "hidden").unwrap();
    assert_eq!(store.get("deeper/step-3").unwrap(), b"hidden");
    let entries = store.list("").unwrap();
    let found: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.size)).collect();
    assert_eq!(found, [("attempt-1", 5), ("step-10", 0), ("step-2", 5)]);
    assert_eq!(names(store, "step-"), ["step-10", "step-2"]);
    assert_eq!(names(store, "none"), [""; 0]);

    // A deleted name is free again.
    store.delete("attempt-1").unwrap();
    assert!(created(store.create("attempt-1", "third").unwrap()));
    assert_eq!(store.get("attempt-1").unwrap(), b"third");

    // A replacement, only in place of the version that is meant; a folder knows no versions.
    if line == Line::Sound {
        assert!(store.version("log").unwrap().is_none());
        assert!(store.replace("log", "one", None).unwrap());
        let one = store.version("log").unwrap();
        assert!(store.replace("log", "two", one.as_ref()).unwrap());
        for outdated in [one, None] {
            assert_eq!(store.replace("log", "three", outdated.as_ref()).unwrap(), store.is_local());
        }
        assert_eq!(
            store.get("log").unwrap(),
            if store.is_local() { b"three".to_vec() } else { b"two".to_vec() }
        );
        store.delete("log").unwrap();
    }

    // Names cannot lead outside.
    assert_eq!(store.put("../outside", "x").unwrap_err().kind, StoreErrorKind::Other);
    assert_eq!(store.get("..").unwrap_err().kind, StoreErrorKind::Other);

    one_of_many_creates(store, line);
    readers_see_whole_objects(store);
}

/// Of eight threads that create one name at once, one succeeds, and its contents stay.
fn one_of_many_creates(store: &Store, line: Line) {
    let start = Barrier::new(8);
    let created: Vec<usize> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let (store, start) = (store.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    store.create("attempt-2", format!("thread {i}")).unwrap()
                })
            })
            .collect();
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        (0..8).filter(|&i| outcomes[i] == Creation::Created).collect()
    });
    let unheard = created.is_empty() && line == Line::Lossy;
    assert!(created.len() == 1 || unheard, "threads {created:?} created it");
    let found = String::from_utf8(store.get("attempt-2").unwrap()).unwrap();
    let winners = if unheard { (0..8).collect() } else { created };
    assert!(winners.iter().any(|i| found == format!("thread {i}")), "{found} is not of {winners:?}");
}

/// While one thread replaces an object, another never reads a mixture or an absence, nor lists a file that
/// is half-written.
fn readers_see_whole_objects(store: &Store) {
    let versions = [vec![1_u8; 300_000], vec![2_u8; 200_000]];
    store.put("step-4", versions[0].clone()).unwrap();
    let names_before = names(store, "");
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for i in 0..20 {
                store.put("step-4", versions[i % 2].clone()).unwrap();
            }
        });
        while !writer.is_finished() {
            let read = store.get("step-4").unwrap();
            assert!(versions.contains(&read), "{} bytes that nobody wrote", read.len());
            assert_eq!(names(store, ""), names_before);
        }
    });
}

fn names(store: &Store, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn memory_keeps_every_promise() {
    let store = Store::open("memory:").unwrap();
    assert!(!store.is_local());
    conforms(&store);
}

#[test]
fn a_folder_keeps_every_promise() {
    let temporary = tempfile::tempdir().unwrap();
    // Nothing in a folder's name is special.
    let path = temporary.path().join("new/my runs #1 %41 [ü]~");
    let store = Store::open(path.to_str().unwrap()).unwrap();
    assert!(names(&store, "").is_empty() && !path.exists(), "opening and looking must create nothing");
    assert!(store.is_local());
    conforms(&store);
    let file = store.local_path("step-2").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"short");
    assert_eq!(file, path.canonicalize().unwrap().join("step-2"));

    // A file URL, and a path with `..`, name the same objects; a later file beside them is one.
    fs::write(path.join("metrics.jsonl"), "{}").unwrap();
    let again = Store::open(&format!("{}/../{}", path.display(), "my runs #1 %41 [ü]~")).unwrap();
    assert_eq!(names(&again, "metrics"), ["metrics.jsonl"]);
    let simple = temporary.path().join("simple");
    Store::open(simple.to_str().unwrap()).unwrap().put("a", "b").unwrap();
    let by_url = Store::open(&format!("file://{}/", simple.display())).unwrap();
    assert_eq!(by_url.get("a").unwrap(), b"b");
}

#[test]
fn half_written_files_are_not_listed() {
    let temporary = tempfile::tempdir().unwrap();
    let store = Store::open(temporary.path().to_str().unwrap()).unwrap();
    // What a crash in the middle of a put leaves.
    fs::write(temporary.path().join("step-1#1"), "half").unwrap();
    assert_eq!(names(&store, ""), [""; 0]);
    let unfinished: Vec<_> =
        store.partial_writes().unwrap().into_iter().map(|entry| (entry.name, entry.size)).collect();
    assert_eq!(unfinished, [("step-1#1".to_owned(), 4)]);
    store.put("step-1", "whole").unwrap();
    assert_eq!(names(&store, ""), ["step-1"]);
    assert_eq!(store.get("step-1").unwrap(), b"whole");
}

// Failures, each in one line.

#[test]
fn unusable_urls_are_refused() {
    let mut said = Transcript::default();
    for url in [
        "gs://bucket/runs",
        "s3://",
        "s3:///runs",
        "",
        "file://host/runs",
        "s3:/bucket/runs",
        "$NO_SUCH_VARIABLE/runs",
    ] {
        expect_line(&mut said, url, Store::open(url).unwrap_err(), StoreErrorKind::BadUrl, &[url]);
    }
    let error = Store::open("s3://key:hidden@bucket/runs").unwrap_err();
    assert!(!error.to_string().contains("hidden"));
    let names = ["s3://...@bucket/runs", "AWS_SECRET_ACCESS_KEY"];
    expect_line(&mut said, "s3://key:hidden@bucket/runs", error, StoreErrorKind::BadUrl, &names);
    said.check("store-urls");
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("notes.txt");
    fs::write(&path, "mine").unwrap();
    let store = Store::open(path.to_str().unwrap()).unwrap();
    let url = store.url().to_owned();
    let mut said = Transcript::default();
    let put = store.put("step-1", "x").unwrap_err();
    expect_line(&mut said, "put", put, StoreErrorKind::Other, &[&url, "/step-1:"]);
    expect_line(&mut said, "list", store.list("").unwrap_err(), StoreErrorKind::Other, &[&url]);
    said.check("store-file-in-place-of-a-folder");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn a_folder_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let mut said = Transcript::default();
    if fs::write(temporary.path().join("probe"), "").is_ok() {
        // Permission bits do not bind root; the kernel's own tree does, and which of two kinds depends on the kernel.
        let error = Store::open("/sys/kernel/bachdist").unwrap().put("step-1", "x").unwrap_err();
        assert!([StoreErrorKind::Denied, StoreErrorKind::ReadOnly].contains(&error.kind), "{error:?}");
        let kind = error.kind;
        expect_line(&mut said, "put", error, kind, &["/sys/kernel/bachdist/step-1"]);
        return;
    }
    let store = Store::open(temporary.path().to_str().unwrap()).unwrap();
    let error = store.put("step-1", "x").unwrap_err();
    expect_line(&mut said, "put", error, StoreErrorKind::Denied, &["/step-1: "]);
    said.check("store-permission-denied");
}

#[test]
#[ignore = "needs tmpfs"]
fn a_read_only_file_system_is_refused() {
    let Some(mount) = Tmpfs::new("size=1m,ro") else { return };
    let store = Store::open(mount.path.to_str().unwrap()).unwrap();
    let mut said = Transcript::default();
    let error = store.put("step-1", "x").unwrap_err();
    expect_line(&mut said, "put", error, StoreErrorKind::ReadOnly, &["/step-1: "]);
    said.check("store-read-only");
}

#[test]
#[ignore = "needs tmpfs"]
fn a_full_disk_leaves_the_older_object() {
    let Some(mount) = Tmpfs::new("size=1m") else { return };
    let store = Store::open(mount.path.to_str().unwrap()).unwrap();
    store.put("step-1", vec![1; 600_000]).unwrap();
    let mut said = Transcript::default();
    for _ in 0..3 {
        let error = store.put("step-1", vec![2; 600_000]).unwrap_err();
        expect_line(&mut said, "put", error, StoreErrorKind::Full, &["/step-1: "]);
    }
    said.check("store-full");
    // The older object is whole, and nothing half-written takes the space that is left.
    assert_eq!(store.get("step-1").unwrap(), vec![1; 600_000]);
    assert_eq!(fs::read_dir(&mount.path).unwrap().count(), 1);
}

#[test]
#[ignore = "needs s3"]
fn s3_keeps_every_promise() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://bachdist/conformance/run", &[]);
    assert!(!store.is_local() && store.local_path("x").is_none());
    conforms(&store);
    conforms(&open(server, "s3://bachdist", &[]));
    assert_eq!((store.take_retries().count, store.take_retries().last), (0, None));
}

#[test]
#[ignore = "needs s3"]
fn a_wrong_secret_is_denied() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://bachdist/p", &[("AWS_SECRET_ACCESS_KEY", "wrong")]);
    let mut said = Transcript::default();
    for (call, error) in [
        ("put", store.put("x", "y").unwrap_err()),
        ("create", store.create("x", "y").map(drop).unwrap_err()),
        ("list", store.list("").unwrap_err()),
        ("get", store.get("x").unwrap_err()),
    ] {
        let names = ["s3://bachdist/p", "AWS_SECRET_ACCESS_KEY"];
        expect_line(&mut said, call, error, StoreErrorKind::Denied, &names);
    }
    said.check("store-wrong-secret");
}

#[test]
#[ignore = "needs s3"]
fn an_unknown_key_is_denied() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://bachdist/p", &[("AWS_ACCESS_KEY_ID", "nobody")]);
    let mut said = Transcript::default();
    let names = ["s3://bachdist/p", "AWS_ACCESS_KEY_ID"];
    expect_line(&mut said, "list", store.list("").unwrap_err(), StoreErrorKind::Denied, &names);
    said.check("store-unknown-key");
}

#[test]
#[ignore = "needs s3"]
fn a_missing_bucket_is_named() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://elsewhere/p", &[]);
    let mut said = Transcript::default();
    for (call, error) in [
        ("put", store.put("x", "y").unwrap_err()),
        ("list", store.list("").unwrap_err()),
        ("get", store.get("x").unwrap_err()),
    ] {
        expect_line(&mut said, call, error, StoreErrorKind::NoBucket, &["s3://elsewhere/p"]);
    }
    said.check("store-missing-bucket");
}

#[test]
fn a_refused_connection_names_the_endpoint() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let store = Store::open_with("s3://bachdist/p", hasty(), credentials(&endpoint)).unwrap();
    let error = store.list("").unwrap_err();
    let mut said = Transcript::default();
    said.line_without_numbers("list", &error.to_string());
    said.check("store-connection-refused");
    let names = ["s3://bachdist/p", &endpoint, "AWS_ENDPOINT_URL"];
    expect_line(&mut Transcript::default(), "list", error, StoreErrorKind::Unreachable, &names);
}

#[test]
fn an_unknown_host_is_named() {
    let store =
        Store::open_with("s3://bachdist/p", hasty(), credentials("https://no-such-host.invalid")).unwrap();
    let names = ["s3://bachdist/p", "https://no-such-host.invalid", "AWS_ENDPOINT_URL"];
    let error = store.list("").unwrap_err();
    // A machine without a name server cannot know that there is none.
    assert!([StoreErrorKind::NotS3, StoreErrorKind::Unreachable].contains(&error.kind), "{error}");
    let kind = error.kind;
    expect_line(&mut Transcript::default(), "list", error, kind, &names);
}

#[test]
fn unusable_s3_settings_are_refused() {
    let mut said = Transcript::default();
    let mut refused = |endpoint: &str, without: Option<&str>, names: &[&str]| {
        let mut variables = credentials(endpoint);
        variables.retain(|name, _| Some(name.as_str()) != without);
        let error = Store::open_with("s3://bachdist/p", hasty(), variables).unwrap_err();
        let settings = format!("{endpoint}, without {}", without.unwrap_or("nothing"));
        expect_line(&mut said, &settings, error, StoreErrorKind::BadUrl, names);
    };
    refused("http://127.0.0.1:1", Some("AWS_ALLOW_HTTP"), &["http://127.0.0.1:1", "AWS_ALLOW_HTTP=true"]);
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    refused("https://127.0.0.1:1", Some("AWS_SECRET_ACCESS_KEY"), &keys);
    refused("127.0.0.1:1", None, &["AWS_ENDPOINT_URL", "https://"]);
    said.check("store-unusable-settings");
}

#[test]
#[ignore = "needs s3"]
fn s3_settings_are_trimmed_and_empty_ones_are_unset() {
    let Some(server) = server() else { return };
    let secret = format!(" {}\r\n", server.variables("")["AWS_SECRET_ACCESS_KEY"]);
    let endpoint = format!("{}/\n", server.endpoint());
    let changes = [
        ("AWS_SECRET_ACCESS_KEY", &*secret),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_SESSION_TOKEN", ""),
        ("AWS_ENDPOINT_URL_S3", " "),
        ("AWS_PROXY_URL", ""),
        ("AWS_CA_BUNDLE", ""),
        ("AWS_ALLOW_HTTP", " TRUE "),
        ("AWS_CHECKSUM_ALGORITHM", ""),
    ];
    let store = open(server, "s3://bachdist/blanks", &changes);
    store.put("step-1", "x").unwrap();
    assert_eq!(names(&store, ""), ["step-1"]);
    let mut said = Transcript::default();
    for (name, value) in [
        ("AWS_SECRET_ACCESS_KEY", "hidden\nhidden"),
        ("AWS_ACCESS_KEY_ID", "hidden\rhidden"),
        ("AWS_SESSION_TOKEN", "hidden hidden"),
        ("AWS_REGION", "eu west"),
        ("AWS_ENDPOINT_URL", "http://localhost:99999"),
        ("AWS_ENDPOINT_URL", "http://"),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "perhaps"),
    ] {
        let mut variables = server.variables(server.endpoint());
        variables.insert(name.into(), value.into());
        let error = Store::open_with("s3://bachdist/p", hasty(), variables).unwrap_err();
        assert!(!error.to_string().contains("hidden"), "{error}");
        expect_line(&mut said, name, error, StoreErrorKind::BadUrl, &["s3://bachdist/p: ", name]);
    }
    said.check("store-settings-of-a-server");
}

/// The kind, the names in it, and that it is one line of a bearable length; its words go into a snapshot.
fn expect_line(said: &mut Transcript, call: &str, error: StoreError, kind: StoreErrorKind, names: &[&str]) {
    let line = error.to_string();
    assert_eq!(error.kind, kind, "{line}");
    for name in names {
        assert!(line.contains(name), "{name:?} is not in: {line}");
    }
    assert!(!line.contains('\n') && line.len() < 300, "{line}");
    said.line(call, line);
}

/// A small file system of its own, where this user may mount one.
struct Tmpfs {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Tmpfs {
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).output();
        let mounted = mounted.is_ok_and(|mounted| mounted.status.success());
        need("tmpfs", mounted.then_some(Self { path, _folder: folder }))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

/// Opens a store as a process with the server's `AWS_*` would, some of them changed.
fn open(server: &Server, url: &str, changes: &[(&str, &str)]) -> Store {
    let mut variables = server.variables(server.endpoint());
    variables.extend(changes.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    Store::open_with(url, RetryPolicy::default(), variables).unwrap()
}

/// `AWS_*` for a server that will not answer.
fn credentials(endpoint: &str) -> Variables {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "somebody"),
        ("AWS_SECRET_ACCESS_KEY", "something"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Gives up soon, for servers that will never answer.
fn hasty() -> RetryPolicy {
    RetryPolicy { retry_window: Duration::from_millis(300), ..RetryPolicy::default() }
}
