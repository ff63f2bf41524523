//! One suite of promises over every kind of store: a folder, memory, a real S3 server, and that server on a bad
//! day. Then the line that each common failure prints.

mod blame;
mod faults;
mod foreign;

use bachdist_portable::store::{Creation, RetryPolicy, Store, StoreError, StoreErrorKind};
use bachdist_test_support::s3::{Server, Variables, server};
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
fn memory() {
    let store = Store::open("memory:").unwrap();
    assert!(!store.is_local());
    conforms(&store);
}

#[test]
fn folder() {
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
fn urls_that_cannot_work() {
    for (url, says) in [
        ("gs://bucket/runs", "a folder or s3://bucket/prefix"),
        ("s3://", "s3://bucket/prefix"),
        ("s3:///runs", "s3://bucket/prefix"),
        ("", "empty"),
        ("file://host/runs", "file:///absolute/folder"),
        ("s3:/bucket/runs", "s3://bucket/prefix"),
        ("$NO_SUCH_VARIABLE/runs", "NO_SUCH_VARIABLE is not set"),
    ] {
        expect_line(Store::open(url).unwrap_err(), StoreErrorKind::BadUrl, &["cannot use", url, says]);
    }
}

#[test]
fn keys_in_a_url_are_not_repeated() {
    let error = Store::open("s3://key:hidden@bucket/runs").unwrap_err();
    assert!(!error.to_string().contains("hidden"));
    expect_line(error, StoreErrorKind::BadUrl, &["cannot use s3://...@bucket/runs", "AWS_SECRET_ACCESS_KEY"]);
}

#[test]
fn a_file_in_place_of_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("notes.txt");
    fs::write(&path, "mine").unwrap();
    let store = Store::open(path.to_str().unwrap()).unwrap();
    let url = store.url().to_owned();
    let says = "a file where the folder should be";
    expect_line(
        store.put("step-1", "x").unwrap_err(),
        StoreErrorKind::Other,
        &["cannot write", &url, "/step-1:", says],
    );
    expect_line(store.list("").unwrap_err(), StoreErrorKind::Other, &["cannot list", &url, says]);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn a_folder_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(temporary.path().join("probe"), "").is_ok() {
        // Permission bits do not bind root; the kernel's own tree does.
        let error = Store::open("/sys/kernel/bachdist").unwrap().put("step-1", "x").unwrap_err();
        assert!([StoreErrorKind::Denied, StoreErrorKind::ReadOnly].contains(&error.kind), "{error:?}");
        let kind = error.kind;
        expect_line(error, kind, &["cannot write /sys/kernel/bachdist/step-1", "choose a"]);
        return;
    }
    let store = Store::open(temporary.path().to_str().unwrap()).unwrap();
    let error = store.put("step-1", "x").unwrap_err();
    expect_line(
        error,
        StoreErrorKind::Denied,
        &["cannot write", "/step-1: permission denied", "choose a folder"],
    );
}

#[test]
#[ignore = "needs tmpfs"]
fn a_read_only_file_system() {
    let Some(mount) = Tmpfs::new("size=1m,ro") else { return };
    let store = Store::open(mount.path.to_str().unwrap()).unwrap();
    let error = store.put("step-1", "x").unwrap_err();
    expect_line(error, StoreErrorKind::ReadOnly, &["cannot write", "/step-1: the file system is read-only"]);
}

#[test]
#[ignore = "needs tmpfs"]
fn a_full_disk() {
    let Some(mount) = Tmpfs::new("size=1m") else { return };
    let store = Store::open(mount.path.to_str().unwrap()).unwrap();
    store.put("step-1", vec![1; 600_000]).unwrap();
    for _ in 0..3 {
        let error = store.put("step-1", vec![2; 600_000]).unwrap_err();
        expect_line(error, StoreErrorKind::Full, &["cannot write", "/step-1: no space left"]);
    }
    // The older object is whole, and nothing half-written takes the space that is left.
    assert_eq!(store.get("step-1").unwrap(), vec![1; 600_000]);
    assert_eq!(fs::read_dir(&mount.path).unwrap().count(), 1);
}

#[test]
#[ignore = "needs s3"]
fn s3_conforms() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://bachdist/conformance/run", &[]);
    assert!(!store.is_local() && store.local_path("x").is_none());
    conforms(&store);
    conforms(&open(server, "s3://bachdist", &[]));
    assert_eq!((store.take_retries().count, store.take_retries().last), (0, None));
}

#[test]
#[ignore = "needs s3"]
fn s3_wrong_secret() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://bachdist/p", &[("AWS_SECRET_ACCESS_KEY", "wrong")]);
    for error in [store.put("x", "y").unwrap_err(), store.create("x", "y").map(drop).unwrap_err()] {
        let says = ["cannot write s3://bachdist/p/x: access denied", "AWS_SECRET_ACCESS_KEY"];
        expect_line(error, StoreErrorKind::Denied, &says);
    }
    let says = ["cannot list s3://bachdist/p: access denied", "AWS_SECRET_ACCESS_KEY"];
    expect_line(store.list("").unwrap_err(), StoreErrorKind::Denied, &says);
    let says = ["cannot read s3://bachdist/p/x: access denied", "AWS_SECRET_ACCESS_KEY"];
    expect_line(store.get("x").unwrap_err(), StoreErrorKind::Denied, &says);
}

#[test]
#[ignore = "needs s3"]
fn s3_unknown_key() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://bachdist/p", &[("AWS_ACCESS_KEY_ID", "nobody")]);
    let says = ["cannot list s3://bachdist/p: access denied", "AWS_ACCESS_KEY_ID"];
    expect_line(store.list("").unwrap_err(), StoreErrorKind::Denied, &says);
}

#[test]
#[ignore = "needs s3"]
fn s3_missing_bucket() {
    let Some(server) = server() else { return };
    let store = open(server, "s3://elsewhere/p", &[]);
    let says = ["s3://elsewhere/p", "has no bucket elsewhere", "create it"];
    expect_line(store.put("x", "y").unwrap_err(), StoreErrorKind::NoBucket, &says);
    expect_line(store.list("").unwrap_err(), StoreErrorKind::NoBucket, &says);
    expect_line(store.get("x").unwrap_err(), StoreErrorKind::NoBucket, &says);
}

#[test]
fn s3_connection_refused() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let store = Store::open_with("s3://bachdist/p", hasty(), credentials(&endpoint)).unwrap();
    let says = ["cannot list s3://bachdist/p", &endpoint, "connection refused", "AWS_ENDPOINT_URL"];
    expect_line(store.list("").unwrap_err(), StoreErrorKind::Unreachable, &says);
}

#[test]
fn s3_unknown_host() {
    let store =
        Store::open_with("s3://bachdist/p", hasty(), credentials("https://no-such-host.invalid")).unwrap();
    let says = ["cannot list s3://bachdist/p", "https://no-such-host.invalid", "AWS_ENDPOINT_URL"];
    let error = store.list("").unwrap_err();
    // A machine without a name server cannot know that there is none.
    assert!([StoreErrorKind::NotS3, StoreErrorKind::Unreachable].contains(&error.kind), "{error}");
    let kind = error.kind;
    expect_line(error, kind, &says);
}

#[test]
fn s3_settings_that_cannot_work() {
    let mut variables = credentials("http://127.0.0.1:1");
    variables.remove("AWS_ALLOW_HTTP");
    let error = Store::open_with("s3://bachdist/p", hasty(), variables).unwrap_err();
    expect_line(error, StoreErrorKind::BadUrl, &["http://127.0.0.1:1", "set AWS_ALLOW_HTTP=true"]);

    let mut variables = credentials("https://127.0.0.1:1");
    variables.remove("AWS_SECRET_ACCESS_KEY");
    let error = Store::open_with("s3://bachdist/p", hasty(), variables).unwrap_err();
    expect_line(
        error,
        StoreErrorKind::BadUrl,
        &["AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not"],
    );

    let error = Store::open_with("s3://bachdist/p", hasty(), credentials("127.0.0.1:1")).unwrap_err();
    expect_line(error, StoreErrorKind::BadUrl, &["AWS_ENDPOINT_URL", "begins with https://"]);
}

#[test]
#[ignore = "needs s3"]
fn s3_settings_with_blanks_and_without_value() {
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
        expect_line(error, StoreErrorKind::BadUrl, &["cannot use s3://bachdist/p: ", name]);
    }
}

/// The kind, the words, and that it is one line of a bearable length.
fn expect_line(error: StoreError, kind: StoreErrorKind, words: &[&str]) {
    let line = error.to_string();
    println!("{line}");
    assert_eq!(error.kind, kind, "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
    assert!(!line.contains('\n') && line.len() < 300, "{line}");
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
