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

    let document = "<Error><Code>NotImplemented</Code><Message>A header you provided</Message></Error>";
    assert_eq!(said_by_server("501 Not Implemented", document).0, Kind::Unsupported);

    // 400, which is the client's fault elsewhere: the network was slow.
    let document = "<Error><Code>RequestTimeout</Code></Error>";
    assert_eq!(said_by_server("400 Bad Request", document).0, Kind::Unreachable);

    let document = "<Error><Code>NotImplemented</Code><Message>No If-None-Match.</Message></Error>";
    let (kind, advice) = said_by_server("501 Not Implemented", document);
    assert_eq!((kind, advice.as_str()), (Kind::Unsupported, "http://here does not know such a request"));

    let (kind, advice) = said_by_server("418 I'm a teapot", "not XML");
    assert_eq!((kind, advice.as_str()), (Kind::Other, "http://here answered HTTP 418: no more details"));
}

#[test]
fn a_write_beside_another_is_not_an_object_that_exists() {
    let conflict = |code: &str| {
        let text = format!("non-2xx status code: 409 Conflict: <Error><Code>{code}</Code></Error>");
        let error = object_store::Error::AlreadyExists { path: "x".into(), source: text.into() };
        Answer::from_error(&error).explain(Action::Write, &error, "music", None).0
    };
    assert_eq!(conflict("ConditionalRequestConflict"), Kind::Unreachable);
    assert_eq!(conflict("SomethingElse"), Kind::Exists);
}

#[test]
fn credentials_of_the_machine() {
    let kind = |reason: &str| {
        let text = format!("Error performing PUT http://169.254.169.254/latest/api/token in 1s - {reason}");
        let error = object_store::Error::Generic { store: "S3", source: text.into() };
        Answer::from_error(&error).explain(Action::List, &error, "music", None).0
    };
    assert_eq!(kind("connection timed out"), Kind::Denied, "no such service: set the keys");
    assert_eq!(kind("status code: 503 Service Unavailable: "), Kind::Unreachable);
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
