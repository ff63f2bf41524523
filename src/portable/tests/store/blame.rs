//! Whoever answers in place of the server that was meant: the line names what to change, and no time is lost on what
//! another try cannot mend.

use super::{credentials, expect_line, hasty};
use bachdist_portable::store::{RetryPolicy, Store, StoreErrorKind};
use bachdist_test_support::s3::{Variables, server};
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

/// All calls, each of which asked the server once.
fn every_call(server: &Server, scheme: &str, more: &[(&str, &str)], kind: StoreErrorKind, words: &[&str]) {
    for (action, error) in [
        ("list", server.store(scheme, more).list("").map(drop)),
        ("write", server.store(scheme, more).put("step-1", "x")),
        ("write", server.store(scheme, more).create("step-1", "x").map(drop)),
        ("read", server.store(scheme, more).get("step-1").map(drop)),
        ("delete", server.store(scheme, more).delete("step-1")),
    ]
    .map(|(action, result)| (action, result.expect_err(action)))
    {
        let says = [&["cannot", action, "s3://music/run"], words].concat();
        expect_line(error, kind, &says);
    }
}

#[test]
fn a_page_in_place_of_s3() {
    for (page, says) in [
        (answer("200 OK", HTML, LOGIN), "HTTP 200 and \"Please log in\""),
        (answer("203 Non-Authoritative", HTML, LOGIN), "HTTP 203 and \"Please log in\""),
    ] {
        let server = Server::saying(page);
        every_call(
            &server,
            "http",
            &[],
            StoreErrorKind::NotS3,
            &["is not an S3 server", says, "check AWS_ENDPOINT_URL"],
        );
        assert_eq!(server.heads().len(), 5, "nothing was tried twice");
    }
    for (page, says) in [
        (answer("403 Forbidden", HTML, "<h1>Blocked</h1>"), "HTTP 403, not an S3 error: Blocked"),
        (answer("404 Not Found", HTML, "<h1>No such page</h1>"), "HTTP 404, not an S3 error: No such page"),
        (answer("407 Proxy Authentication Required", HTML, ""), "the proxy requires a user"),
    ] {
        let server = Server::saying(page);
        every_call(&server, "http", &[], StoreErrorKind::NotS3, &[says]);
        assert_eq!(server.heads().len(), 5);
    }
}

#[test]
fn another_program_in_place_of_s3() {
    let json = answer("200 OK", "Content-Type: application/json\r\n", "{\"status\": \"up\"}");
    let server = Server::saying(json);
    let says = ["is not an S3 server", "{\\\"status\\\": \\\"up\\\"}", "AWS_ENDPOINT_URL"];
    let store = server.store("http", &[]);
    expect_line(store.list("").unwrap_err(), StoreErrorKind::NotS3, &says);
    expect_line(store.put("step-1", "x").unwrap_err(), StoreErrorKind::NotS3, &says);
    expect_line(store.get("step-1").unwrap_err(), StoreErrorKind::NotS3, &says);
    assert_eq!(server.heads().len(), 3);
}

#[test]
fn another_address() {
    let moved = |status: &str, headers: &str| Server::saying(answer(status, headers, ""));
    let to_login = moved("302 Found", "Location: https://login.example.org/?next=x\r\n");
    let says = [
        "redirects to another address https://login.example.org/?next=x, HTTP 302",
        "set AWS_ENDPOINT_URL to",
    ];
    every_call(&to_login, "http", &[], StoreErrorKind::NotS3, &says);
    let of_writes = moved("307 Temporary Redirect", "Location: https://there:9000/music/run/step-1\r\n");
    every_call(
        &of_writes,
        "http",
        &[],
        StoreErrorKind::NotS3,
        &["another address https://there:9000/music/run/step-1"],
    );
    let elsewhere = moved("301 Moved Permanently", "x-amz-bucket-region: eu-west-3\r\n");
    every_call(&elsewhere, "http", &[], StoreErrorKind::NotS3, &["wrong region", "set AWS_REGION=eu-west-3"]);
    for server in [to_login, of_writes, elsewhere] {
        assert_eq!(server.heads().len(), 5, "nothing was followed, nothing tried twice");
    }
}

#[test]
fn a_server_that_was_right_before_will_be_again() {
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
fn tls_where_there_is_none() {
    let plain = Server::saying(answer("200 OK", "", EMPTY_LISTING));
    let says = ["does not use TLS", "AWS_ENDPOINT_URL", "http://", "AWS_ALLOW_HTTP=true"];
    every_call(&plain, "https", &[], StoreErrorKind::NotS3, &says);
    // Where the real server is, and its way to say so.
    let Some(real) = server() else { return };
    let endpoint = real.endpoint().replace("http://", "https://");
    expect_line(open(&endpoint, &[]).list("").unwrap_err(), StoreErrorKind::NotS3, &says);
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
fn certificates_that_do_not_fit() {
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
    for (of, bundle, says) in [
        (&fits, None, ["not issued by an authority that this machine trusts", "set AWS_CA_BUNDLE"]),
        (&fits, Some(&other), ["not issued by an authority in AWS_CA_BUNDLE", other.bundle()]),
        (&other, Some(&other), ["is for another host: ", "other.example.org"]),
        (&old, Some(&old), ["has expired", "clock"]),
    ] {
        let (listed, tried) = line(of, bundle);
        expect_line(listed.unwrap_err(), StoreErrorKind::NotS3, &says);
        assert_eq!(tried, 0);
    }
}

#[test]
#[ignore = "needs s3"]
fn no_tls_where_it_is_spoken() {
    let server = issued("localhost", 2099).server();
    let says = ["does not answer in HTTP", "write https:// in AWS_ENDPOINT_URL"];
    every_call(&server, "http", &[], StoreErrorKind::NotS3, &says);
    let of_go =
        Server::saying("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    every_call(
        &of_go,
        "http",
        &[],
        StoreErrorKind::NotS3,
        &["expects TLS (write https:// in AWS_ENDPOINT_URL)"],
    );
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
fn servers_that_hang_up_without_a_word() {
    let plain = Server::saying(answer("200 OK", "", EMPTY_LISTING));
    let at = curt(&plain, b'G');
    // Asked by HEAD, it hangs up too.
    let error =
        Store::open_with("s3://music/run", hasty(), credentials(&format!("https://{at}"))).unwrap().list("");
    expect_line(error.unwrap_err(), StoreErrorKind::Unreachable, &["cannot reach"]);
    let at = curt(&plain, b'H');
    let says = ["does not use TLS", "AWS_ALLOW_HTTP=true"];
    expect_line(open(&format!("https://{at}"), &[]).list("").unwrap_err(), StoreErrorKind::NotS3, &says);

    let tls = issued("localhost", 2099).server();
    let at = curt(&tls, 0x16);
    let says = ["expects TLS (write https:// in AWS_ENDPOINT_URL)"];
    expect_line(open(&format!("http://{at}"), &[]).list("").unwrap_err(), StoreErrorKind::NotS3, &says);
    expect_line(
        open(&format!("http://{at}"), &[]).put("x", vec![0; 300_000]).unwrap_err(),
        StoreErrorKind::NotS3,
        &says,
    );
}

#[test]
fn bundles_that_are_none() {
    let mut empty = tempfile::NamedTempFile::new().unwrap();
    let text = |path: &str| {
        let mut variables: Variables = credentials("https://localhost:1");
        variables.insert("AWS_CA_BUNDLE".into(), path.into());
        Store::open_with("s3://music", hasty(), variables).unwrap_err()
    };
    let path = empty.path().to_str().unwrap().to_owned();
    expect_line(text(&path), StoreErrorKind::BadUrl, &["AWS_CA_BUNDLE is ", &path, "not a PEM file"]);
    empty.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    expect_line(text(&path), StoreErrorKind::BadUrl, &["AWS_CA_BUNDLE is ", &path, "not a PEM file"]);
    expect_line(
        text("/no/such.pem"),
        StoreErrorKind::BadUrl,
        &["AWS_CA_BUNDLE is /no/such.pem", "no such file"],
    );
}

#[test]
fn a_bucket_in_the_hosts_name() {
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
    expect_line(
        error,
        StoreErrorKind::BadUrl,
        &["AWS_ENDPOINT_URL is http://127.0.0.1:9000", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"],
    );
}
