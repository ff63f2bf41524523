//! Whoever answers in place of the server that was meant: the line names what to change, and no time is lost on what
//! another try cannot mend.

use super::{credentials, expect_line, hasty};
use bachdist_portable::store::{RetryPolicy, Store, StoreErrorKind};
use bachdist_test_support::s3::{Variables, server};
use bachdist_test_support::snapshot::Transcript;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server that gives every request the answer that a function makes of its head, and keeps the heads.
pub struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

impl Server {
    pub fn new(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::with_tls(None, answer)
    }

    /// The same to everybody.
    fn saying(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::new(move |_| answer.clone())
    }

    fn with_tls(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { port: listener.local_addr().unwrap().port(), heads: Arc::default() };
        let (heads, answer) = (Arc::clone(&server.heads), Arc::new(answer));
        thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                let (tls, heads, answer) = (tls.clone(), Arc::clone(&heads), Arc::clone(&answer));
                // A client that does not like the server leaves, which is what most tests are about.
                thread::spawn(move || drop(serve(client, tls, &heads, &*answer)));
            }
        });
        server
    }

    fn endpoint(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.port)
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// A store there. Its window for tries is that of a user: a test that waits for it does not end in time.
    pub fn store(&self, scheme: &str, more: &[(&str, &str)]) -> Store {
        open(&self.endpoint(scheme), more)
    }
}

fn serve(
    mut client: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    heads: &Mutex<Vec<String>>,
    answer: &dyn Fn(&str) -> String,
) -> io::Result<()> {
    let mut connection: Box<dyn Connection> = match tls {
        Some(tls) => {
            let mut session = ServerConnection::new(tls).map_err(io::Error::other)?;
            while session.is_handshaking() {
                if let Err(error) = session.complete_io(&mut client) {
                    // The alert that says why has been written; what the client still sends is taken, so that its
                    // connection is not reset before it has read that.
                    client.shutdown(std::net::Shutdown::Write)?;
                    io::copy(&mut client, &mut io::sink())?;
                    return Err(error);
                }
            }
            Box::new(StreamOwned::new(session, client))
        }
        None => Box::new(client),
    };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() == 1 && !byte[0].is_ascii_alphabetic() {
            // As servers answer what is not HTTP.
            return connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    io::copy(&mut Read::by_ref(&mut connection).take(length.unwrap_or(0)), &mut io::sink())?;
    heads.lock().unwrap().push(head.clone());
    connection.write_all(answer(&head).as_bytes())?;
    connection.flush()
}

fn open(endpoint: &str, more: &[(&str, &str)]) -> Store {
    let mut variables = credentials(endpoint);
    variables.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    Store::open_with("s3://music/run", RetryPolicy::default(), variables).unwrap()
}

/// An answer of this kind.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";
const LOGIN: &str = "<!doctype html>\n<html><head><title>Please log in</title></head><body>...</body></html>";
const EMPTY_LISTING: &str = "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>";

/// All calls, each of which asks the server once.
fn every_call(said: &mut Transcript, case: &str, server: &Server, scheme: &str, names: &[&str]) {
    let store = || server.store(scheme, &[]);
    for (call, result) in [
        ("list", store().list("").map(drop)),
        ("put", store().put("step-1", "x")),
        ("create", store().create("step-1", "x").map(drop)),
        ("get", store().get("step-1").map(drop)),
        ("delete", store().delete("step-1")),
    ] {
        let names = [&["s3://music/run"], names].concat();
        let error = result.expect_err(call);
        expect_line(said, &format!("{case}: {call}"), error, StoreErrorKind::NotS3, &names);
    }
}

#[test]
fn a_page_in_place_of_s3_is_quoted() {
    let mut said = Transcript::default();
    for (case, page, names) in [
        ("a login", answer("200 OK", HTML, LOGIN), ["HTTP 200", "Please log in"]),
        ("a login", answer("203 Non-Authoritative", HTML, LOGIN), ["HTTP 203", "Please log in"]),
        ("a refusal", answer("403 Forbidden", HTML, "<h1>Blocked</h1>"), ["HTTP 403", "Blocked"]),
        ("no page", answer("404 Not Found", HTML, "<h1>No such page</h1>"), ["HTTP 404", "No such page"]),
        ("a proxy", answer("407 Proxy Authentication Required", HTML, ""), ["proxy", ""]),
    ] {
        let server = Server::saying(page);
        every_call(&mut said, case, &server, "http", &names);
        assert_eq!(server.heads().len(), 5, "nothing was tried twice");
    }
    said.check("store-page-in-place-of-s3");
}

#[test]
fn another_program_in_place_of_s3_is_quoted() {
    let json = answer("200 OK", "Content-Type: application/json\r\n", "{\"status\": \"up\"}");
    let server = Server::saying(json);
    let names = ["{\\\"status\\\": \\\"up\\\"}", "AWS_ENDPOINT_URL"];
    let store = server.store("http", &[]);
    let mut said = Transcript::default();
    for (call, error) in [
        ("list", store.list("").unwrap_err()),
        ("put", store.put("step-1", "x").unwrap_err()),
        ("get", store.get("step-1").unwrap_err()),
    ] {
        expect_line(&mut said, call, error, StoreErrorKind::NotS3, &names);
    }
    said.check("store-program-in-place-of-s3");
    assert_eq!(server.heads().len(), 3);
}

#[test]
fn a_redirect_is_named_and_not_followed() {
    let mut said = Transcript::default();
    for (case, status, headers, names) in [
        (
            "to a login",
            "302 Found",
            "Location: https://login.example.org/?next=x\r\n",
            ["https://login.example.org/?next=x", "HTTP 302"],
        ),
        (
            "to another server",
            "307 Temporary Redirect",
            "Location: https://there:9000/music/run/step-1\r\n",
            ["https://there:9000/music/run/step-1", "HTTP 307"],
        ),
        (
            "to another region",
            "301 Moved Permanently",
            "x-amz-bucket-region: eu-west-3\r\n",
            ["AWS_REGION=eu-west-3", "AWS_REGION"],
        ),
    ] {
        let server = Server::saying(answer(status, headers, ""));
        every_call(&mut said, case, &server, "http", &names);
        assert_eq!(server.heads().len(), 5, "nothing was followed, nothing tried twice");
    }
    said.check("store-redirects");
}

#[test]
fn a_server_that_answered_before_is_tried_again() {
    // A listing first; then somebody between here and there wants a login; then S3 again.
    let asked = Mutex::new(0);
    let server = Server::new(move |_| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        match *asked {
            2 | 3 => answer("200 OK", HTML, LOGIN),
            4 => answer("302 Found", "Location: https://login.example.org/\r\n", ""),
            _ => answer("200 OK", "", EMPTY_LISTING),
        }
    });
    let store = server.store("http", &[]);
    assert_eq!(store.list("").unwrap(), []);
    assert_eq!(store.list("").unwrap(), []);
    let retries = store.take_retries();
    assert_eq!((retries.count, server.heads().len()), (3, 5));
    assert!(retries.last.unwrap().contains("login.example.org"));
}

#[test]
#[ignore = "needs s3"]
fn tls_with_a_server_that_has_none_is_refused() {
    let plain = Server::saying(answer("200 OK", "", EMPTY_LISTING));
    let names = ["AWS_ENDPOINT_URL", "http://", "AWS_ALLOW_HTTP=true"];
    let mut said = Transcript::default();
    every_call(&mut said, "a plain server", &plain, "https", &names);
    // Where the real server is, and its way to say so.
    let Some(real) = server() else { return };
    let error = open(&real.endpoint().replace("http://", "https://"), &[]).list("").unwrap_err();
    expect_line(&mut said, "the real server: list", error, StoreErrorKind::NotS3, &names);
    said.check("store-no-tls-there");
}

/// A certificate for a host by an issuer of its own, and a file with the issuer's.
struct Issued {
    config: Arc<ServerConfig>,
    bundle: tempfile::NamedTempFile,
}

fn issued(host: &str, last_year: i32) -> Issued {
    let issuer_key = rcgen::KeyPair::generate().unwrap();
    let mut issuer = rcgen::CertificateParams::new([]).unwrap();
    issuer.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer_certificate = issuer.self_signed(&issuer_key).unwrap();
    let mut bundle = tempfile::NamedTempFile::new().unwrap();
    bundle.write_all(issuer_certificate.pem().as_bytes()).unwrap();

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    let certificate = params.signed_by(&key, &rcgen::Issuer::new(issuer, issuer_key)).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    Issued { config: Arc::new(config), bundle }
}

impl Issued {
    fn server(&self) -> Server {
        Server::with_tls(Some(Arc::clone(&self.config)), |_| answer("200 OK", "", EMPTY_LISTING))
    }

    fn bundle(&self) -> &str {
        self.bundle.path().to_str().unwrap()
    }
}

#[test]
#[ignore = "needs s3"]
fn certificates_that_do_not_fit_are_refused() {
    let (fits, other, old) =
        (issued("localhost", 2099), issued("other.example.org", 2099), issued("localhost", 2001));
    let line = |of: &Issued, bundle: Option<&Issued>| {
        let server = of.server();
        let more: Vec<_> = bundle.iter().map(|bundle| ("AWS_CA_BUNDLE", bundle.bundle())).collect();
        let listed = server.store("https", &more).list("");
        let tried = server.heads().len();
        (listed, tried)
    };
    let (listed, tried) = line(&fits, Some(&fits));
    assert_eq!((listed.unwrap(), tried), (vec![], 1), "trusted by AWS_CA_BUNDLE");
    let mut said = Transcript::default();
    for (case, of, bundle, names) in [
        ("of an unknown issuer", &fits, None, ["AWS_CA_BUNDLE", ""]),
        ("of another issuer", &fits, Some(&other), ["AWS_CA_BUNDLE", other.bundle()]),
        ("of another host", &other, Some(&other), ["other.example.org", ""]),
        ("expired", &old, Some(&old), ["clock", ""]),
    ] {
        let (listed, tried) = line(of, bundle);
        expect_line(&mut said, case, listed.unwrap_err(), StoreErrorKind::NotS3, &names);
        assert_eq!(tried, 0);
    }
    said.check("store-certificates");
}

#[test]
#[ignore = "needs s3"]
fn plain_http_with_a_server_that_needs_tls_is_refused() {
    let mut said = Transcript::default();
    let names = ["https://", "AWS_ENDPOINT_URL"];
    every_call(&mut said, "a TLS server", &issued("localhost", 2099).server(), "http", &names);
    let of_go =
        Server::saying("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    every_call(&mut said, "a TLS server in Go", &of_go, "http", &names);
    said.check("store-tls-there");
}

/// A server that hangs up on whatever does not begin as it should, and answers otherwise through the one behind it.
fn curt(behind: &Server, first_byte: u8) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), behind.port);
    thread::spawn(move || {
        for client in listener.incoming().filter_map(Result::ok) {
            let mut first = [0];
            if client.peek(&mut first).is_err() || first != [first_byte] {
                continue;
            }
            let server = TcpStream::connect(("127.0.0.1", behind)).unwrap();
            let [mut to, mut from] = [&server, &client].map(|side| side.try_clone().unwrap());
            thread::spawn(move || drop(io::copy(&mut from, &mut to)));
            thread::spawn(move || {
                let (mut from, mut to) = (server, client);
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    format!("localhost:{port}")
}

#[test]
#[ignore = "needs s3"]
fn servers_that_hang_up_are_asked_in_the_other_protocol() {
    let mut said = Transcript::default();
    let plain = Server::saying(answer("200 OK", "", EMPTY_LISTING));
    let at = curt(&plain, b'G');
    // Asked by HEAD, it hangs up too.
    let store = Store::open_with("s3://music/run", hasty(), credentials(&format!("https://{at}"))).unwrap();
    assert_eq!(store.list("").unwrap_err().kind, StoreErrorKind::Unreachable);
    let store = open(&format!("https://{}", curt(&plain, b'H')), &[]);
    let error = store.list("").unwrap_err();
    expect_line(&mut said, "plain: list", error, StoreErrorKind::NotS3, &["AWS_ALLOW_HTTP=true"]);

    let tls = issued("localhost", 2099).server();
    let endpoint = format!("http://{}", curt(&tls, 0x16));
    for (call, error) in [
        ("TLS: list", open(&endpoint, &[]).list("").unwrap_err()),
        ("TLS: put", open(&endpoint, &[]).put("x", vec![0; 300_000]).unwrap_err()),
    ] {
        expect_line(&mut said, call, error, StoreErrorKind::NotS3, &["https://", "AWS_ENDPOINT_URL"]);
    }
    said.check("store-servers-that-hang-up");
}

#[test]
fn useless_certificate_bundles_are_refused() {
    let mut broken = tempfile::NamedTempFile::new().unwrap();
    broken.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let mut said = Transcript::default();
    for (case, path) in [
        ("empty", empty.path().to_str().unwrap()),
        ("broken", broken.path().to_str().unwrap()),
        ("absent", "/no/such.pem"),
    ] {
        let mut variables: Variables = credentials("https://localhost:1");
        variables.insert("AWS_CA_BUNDLE".into(), path.into());
        let error = Store::open_with("s3://music", hasty(), variables).unwrap_err();
        expect_line(&mut said, case, error, StoreErrorKind::BadUrl, &["AWS_CA_BUNDLE ", path]);
    }
    said.check("store-certificate-bundles");
}

#[test]
fn the_bucket_may_stand_in_the_hosts_name() {
    // A proxy sees whom a request is for, without a name server that knows such hosts.
    let proxy = Server::saying(answer("200 OK", "", EMPTY_LISTING));
    let address = proxy.endpoint("http");
    let more = [("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"), ("AWS_PROXY_URL", &*address)];
    let store = open("http://s3.example.org", &more);
    assert_eq!(store.list("").unwrap(), []);
    let heads = proxy.heads();
    assert!(heads[0].starts_with("GET http://music.s3.example.org/?"), "{}", heads[0]);
    assert!(heads[0].contains("prefix=run%2F"), "{}", heads[0]);
    let store = open("http://s3.example.org", &more[1..]);
    assert_eq!(store.list("").unwrap(), []);
    assert!(proxy.heads()[1].starts_with("GET http://s3.example.org/music?"), "{}", proxy.heads()[1]);

    let mut variables = credentials("http://127.0.0.1:9000");
    variables.insert("AWS_VIRTUAL_HOSTED_STYLE_REQUEST".into(), "1".into());
    let error = Store::open_with("s3://music", hasty(), variables).unwrap_err();
    let names = ["AWS_ENDPOINT_URL ", "http://127.0.0.1:9000", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"];
    let mut said = Transcript::default();
    expect_line(&mut said, "a host that is a number", error, StoreErrorKind::BadUrl, &names);
    said.check("store-bucket-in-the-hosts-name");
}
