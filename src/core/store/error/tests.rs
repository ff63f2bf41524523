//! Errors that no server or disk of the other tests brings about.

use super::*;

fn said_by_server(status: &str, document: &str) -> (Kind, String) {
    let text = format!("Server returned non-2xx status code: {status}: {document}");
    let error = object_store::Error::Generic { store: "S3", source: text.into() };
    Answer::from_error(&error).explain(Action::Write, &error, "music", Some("http://here"))
}

#[test]
fn codes_of_servers_that_the_tests_do_not_run() {
    let document = "<?xml version=\"1.0\"?>\n<Error>\n<Code>RequestTimeTooSkewed</Code></Error>";
    let (kind, advice) = said_by_server("403 Forbidden", document);
    assert_eq!(kind, Kind::Denied);
    assert!(advice.contains("clock"), "{advice}");

    let document = "<Error><Code>SlowDown</Code><Message>Please reduce\nyour rate.</Message></Error>";
    let (kind, advice) = said_by_server("503 Service Unavailable", document);
    assert_eq!(kind, Kind::Unreachable);
    assert!(advice.contains("Please reduce") && advice.contains("HTTP 503"), "{advice}");

    let (kind, advice) = said_by_server("418 I'm a teapot", "not XML");
    assert_eq!((kind, advice.as_str()), (Kind::Other, "http://here answered HTTP 418: no more details"));
}

#[test]
fn file_errors_by_their_kind() {
    for (found, kind) in [
        (io::ErrorKind::StorageFull, Kind::Full),
        (io::ErrorKind::QuotaExceeded, Kind::Full),
        (io::ErrorKind::ReadOnlyFilesystem, Kind::ReadOnly),
        (io::ErrorKind::PermissionDenied, Kind::Denied),
        (io::ErrorKind::NotADirectory, Kind::Other),
    ] {
        let source = Box::new(io::Error::from(found));
        let error = object_store::Error::Generic { store: "LocalFileSystem", source };
        assert_eq!(explain_file(&error).0, kind, "{found:?}");
    }
}

#[test]
fn always_one_line() {
    let advice = "first\n  second\r\n".to_owned();
    let error = StoreError::new(Kind::Other, Action::Read, "s3://b/x".into(), advice);
    assert_eq!(error.to_string(), "cannot read s3://b/x: first second");
}
