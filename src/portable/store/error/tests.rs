//! Errors that no server or disk of the other tests brings about.

use super::*;

fn said_by_server(status: &str, document: &str) -> (StoreErrorKind, String) {
    let text = format!("Server returned non-2xx status code: {status}: {document}");
    let error = object_store::Error::Generic { store: "S3", source: text.into() };
    S3Answer::from_error(&error).explain(Action::Write, &error, "music", &here())
}

fn here() -> S3Settings {
    let endpoint = Some("http://here".to_owned());
    S3Settings { endpoint, endpoint_variable: "AWS_ENDPOINT_URL", ..S3Settings::default() }
}

#[test]
fn codes_of_servers_that_the_tests_do_not_run() {
    let document = "<?xml version=\"1.0\"?>\n<Error>\n<Code>RequestTimeTooSkewed</Code></Error>";
    let (kind, advice) = said_by_server("403 Forbidden", document);
    assert_eq!(kind, StoreErrorKind::Denied);
    assert!(advice.contains("clock"), "{advice}");

    let document = "<Error><Code>SlowDown</Code><Message>Please reduce\nyour rate.</Message></Error>";
    let (kind, advice) = said_by_server("503 Service Unavailable", document);
    assert_eq!(kind, StoreErrorKind::Unreachable);
    assert!(advice.contains("Please reduce") && advice.contains("HTTP 503"), "{advice}");

    let document = "<Error><Code>NotImplemented</Code><Message>A header you provided</Message></Error>";
    assert_eq!(said_by_server("501 Not Implemented", document).0, StoreErrorKind::Unsupported);

    // 400, which is the client's fault elsewhere: the network was slow.
    let document = "<Error><Code>RequestTimeout</Code></Error>";
    assert_eq!(said_by_server("400 Bad Request", document).0, StoreErrorKind::Unreachable);

    let document = "<Error><Code>NotImplemented</Code><Message>No If-None-Match.</Message></Error>";
    let (kind, advice) = said_by_server("501 Not Implemented", document);
    assert_eq!(
        (kind, advice.as_str()),
        (StoreErrorKind::Unsupported, "http://here does not support this request")
    );

    // Codes that nobody here knows: what the server says is passed on.
    let document = "<Error><Code>InvalidStorageClass</Code><Message>Not this one.</Message></Error>";
    let (kind, advice) = said_by_server("400 Bad Request", document);
    assert_eq!(kind, StoreErrorKind::Unsupported, "a condition may be meant");
    assert_eq!(advice, "http://here answered HTTP 400: Not this one. (InvalidStorageClass)");
    let (kind, advice) = said_by_server("418 I'm a teapot", "short\nand stout");
    assert_eq!((kind, advice.as_str()), (StoreErrorKind::Other, "http://here answered HTTP 418: short"));
    assert_eq!(said_by_server("418 I'm a teapot", "").1, "http://here answered HTTP 418: no more details");

    // Pages of somebody between here and there.
    let page = "<html><head><title>Blocked by Example Inc.</title></head></html>";
    for status in ["403 Forbidden", "401 Unauthorized", "404 Not Found"] {
        let (kind, advice) = said_by_server(status, page);
        assert_eq!(kind, StoreErrorKind::NotS3, "{advice}");
        assert!(advice.contains("Blocked by Example Inc. (check AWS_ENDPOINT_URL)"), "{advice}");
    }
    let (kind, advice) = said_by_server("502 Bad Gateway", "<html><h1>502 Bad Gateway</h1></html>");
    assert_eq!(kind, StoreErrorKind::Unreachable);
    assert!(advice.contains("502 Bad Gateway (HTTP 502; try again later)"), "{advice}");
    let (kind, advice) = said_by_server("400 Bad Request", "The plain HTTP request was sent to HTTPS port");
    assert_eq!(kind, StoreErrorKind::NotS3);
    assert!(advice.contains("write https:// in AWS_ENDPOINT_URL"), "{advice}");
    assert_eq!(said_by_server("403 Forbidden", "").0, StoreErrorKind::Denied);

    let document = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>";
    assert!(said_by_server("400 Bad Request", document).1.contains("set AWS_REGION=eu-west-3"));
}

#[test]
fn where_another_address_is_meant() {
    let explain = |to: Option<&str>, region: Option<&str>, settings: &S3Settings| {
        let [to, region] = [to, region].map(|text| text.map(str::to_owned));
        let answer = ForeignAnswer::Redirect { status: 307, to, region };
        let source = Box::new(answer);
        let error = object_store::Error::Generic { store: "S3", source };
        let (kind, advice) = S3Answer::from_error(&error).explain(Action::Write, &error, "music", settings);
        assert_eq!(kind, StoreErrorKind::NotS3);
        advice
    };
    let amazon = S3Settings::default();
    assert!(explain(None, Some("eu-west-1"), &amazon).contains("set AWS_REGION=eu-west-1"));
    assert!(explain(None, None, &amazon).contains("set AWS_REGION to"));
    let elsewhere = explain(Some("https://there/x"), None, &here());
    assert!(
        elsewhere.contains("http://here redirects to another address https://there/x, HTTP 307"),
        "{elsewhere}"
    );
    assert!(elsewhere.contains("set AWS_ENDPOINT_URL to the address"), "{elsewhere}");
    let virtual_hosted = S3Settings { virtual_hosted: true, proxy: true, ..here() };
    let both = explain(Some("/login"), None, &virtual_hosted);
    assert!(
        both.contains("AWS_ENDPOINT_URL and AWS_VIRTUAL_HOSTED_STYLE_REQUEST and AWS_PROXY_URL"),
        "{both}"
    );
}

#[test]
fn a_write_beside_another_is_not_an_object_that_exists() {
    let conflict = |code: &str| {
        let text = format!("non-2xx status code: 409 Conflict: <Error><Code>{code}</Code></Error>");
        let error = object_store::Error::AlreadyExists { path: "x".into(), source: text.into() };
        S3Answer::from_error(&error).explain(Action::Write, &error, "music", &S3Settings::default()).0
    };
    assert_eq!(conflict("ConditionalRequestConflict"), StoreErrorKind::Unreachable);
    assert_eq!(conflict("SomethingElse"), StoreErrorKind::Exists);
}

#[test]
fn credentials_of_the_machine() {
    let kind = |reason: &str| {
        let text = format!("Error performing PUT http://169.254.169.254/latest/api/token in 1s - {reason}");
        let error = object_store::Error::Generic { store: "S3", source: text.into() };
        S3Answer::from_error(&error).explain(Action::List, &error, "music", &S3Settings::default()).0
    };
    assert_eq!(kind("connection timed out"), StoreErrorKind::Denied, "no such service: set the keys");
    assert_eq!(kind("status code: 503 Service Unavailable: "), StoreErrorKind::Unreachable);
}

#[test]
fn file_errors_by_their_kind() {
    for (found, kind) in [
        (io::ErrorKind::StorageFull, StoreErrorKind::Full),
        (io::ErrorKind::QuotaExceeded, StoreErrorKind::Full),
        (io::ErrorKind::ReadOnlyFilesystem, StoreErrorKind::ReadOnly),
        (io::ErrorKind::PermissionDenied, StoreErrorKind::Denied),
        (io::ErrorKind::NotADirectory, StoreErrorKind::Other),
    ] {
        let source = Box::new(io::Error::from(found));
        let error = object_store::Error::Generic { store: "LocalFileSystem", source };
        assert_eq!(explain_file(&error).0, kind, "{found:?}");
    }
}

#[test]
fn always_one_line() {
    let advice = "first\n  second\r\n".to_owned();
    let error = StoreError::new(StoreErrorKind::Other, Action::Read, "s3://b/x".into(), advice);
    assert_eq!(error.to_string(), "cannot read s3://b/x: first second");
}
