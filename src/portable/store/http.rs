//! The HTTP client under `object_store`. It checks each answer before `object_store` reads it.
//!
//! `object_store` takes any success for an answer of S3, follows redirects with a signature for another address, and fails a
//! whole listing for one key that it cannot express. Here an answer that no S3 server gives becomes a [`ForeignAnswer`]
//! error, and such keys are removed from listings.

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::path::Path as ObjectPath;
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, LOCATION};
use reqwest::tls::Certificate;
use reqwest::{Method, NoProxy, Proxy, redirect};
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Idle connections are closed after this: between checkpoints a server may close them unnoticed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Limit for connecting to the address that gives Amazon's machines their credentials. It answers at once, or does not exist.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// Limit for asking whether a server that hung up speaks the other scheme.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Limit for quoting a foreign answer in a message.
const MAX_QUOTED_CHARS: usize = 100;

/// A runtime without threads: its tasks, such as those of a connection, advance only while a caller waits in it.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Chooses the cryptography of the process's TLS connections. Must be called before the first HTTP client is built; later
/// calls change nothing.
pub(crate) fn choose_tls() {
    // Fails only if a choice was made before, by this library or by a program that embeds it.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An answer that no S3 server gives to such a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum ForeignAnswer {
    /// A redirect to another address.
    #[error("HTTP {status}, redirected to {to:?}")]
    Redirect {
        status: u16,
        /// Where to.
        to: Option<String>,
        /// The region that Amazon says the bucket is in.
        region: Option<String>,
    },
    /// No answer, but the server speaks this scheme, the other one of `http` and `https`.
    #[error("{0} is spoken there")]
    Speaks(&'static str),
    /// A page for people.
    #[error("HTTP {status}: {line}")]
    Page {
        status: u16,
        /// Its title or first line.
        line: String,
    },
}

/// Builds clients with the same certificates and proxy.
#[derive(Debug)]
pub(super) struct S3Connector {
    /// What TLS trusts instead of the system's certificates.
    pub(super) roots: Option<Vec<Certificate>>,
    /// The proxy and its certificate. `HTTP_PROXY` and similar variables are ignored.
    pub(super) proxy: Option<(Proxy, Option<Certificate>)>,
    /// Limit for opening a connection.
    pub(super) connect: Duration,
}

impl HttpConnector for S3Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let is = |key| options.get_config_value(&key).is_some_and(|value| value == "true");
        // object_store asks for this value only for the client that gets a machine's credentials.
        let asks_machine =
            options.get_config_value(&ClientConfigKey::ConnectTimeout) == Some("1s".to_owned());
        let connect = if asks_machine { self.connect.min(METADATA_TIMEOUT) } else { self.connect };
        let mut builder = reqwest::Client::builder()
            // A signature is valid for one address.
            .redirect(redirect::Policy::none())
            .http1_only()
            .connect_timeout(connect)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .https_only(!is(ClientConfigKey::AllowHttp))
            .tls_danger_accept_invalid_certs(is(ClientConfigKey::AllowInvalidCertificates))
            .no_proxy();
        let mut more = Vec::new();
        if let Some((proxy, certificate)) = &self.proxy {
            builder = builder.proxy(proxy.clone());
            more.extend(certificate.clone());
        }
        builder = match &self.roots {
            Some(roots) => builder.tls_certs_only(roots.iter().cloned().chain(more)),
            None => builder.tls_certs_merge(more),
        };
        let client = builder.build().map_err(|error| object_store::Error::Generic {
            store: "HTTP client",
            source: Box::new(error),
        })?;
        let settled = AtomicBool::new(self.proxy.is_some());
        Ok(HttpClient::new(CheckedClient { client: HttpClient::new(client), settled }))
    }
}

/// A proxy for all requests.
pub(super) fn proxy(url: &str, excludes: Option<&str>) -> reqwest::Result<Proxy> {
    Ok(Proxy::all(url)?.no_proxy(excludes.and_then(NoProxy::from_string)))
}

/// A client that checks its answers.
#[derive(Debug)]
struct CheckedClient {
    client: HttpClient,
    /// Whether the other of `http` and `https` is meant is not asked any more: there was an answer, it was asked once, or
    /// there is a proxy.
    settled: AtomicBool,
}

impl CheckedClient {
    /// The other scheme, if a server that hung up before its first answer speaks that one. Many servers close a connection
    /// that speaks TLS to a plain port, or HTTP to a TLS port.
    async fn other_scheme(&self, url: &str, error: &HttpError) -> Option<&'static str> {
        if !is_hung_up(error) || self.settled.swap(true, Ordering::Relaxed) {
            return None;
        }
        let mut other = reqwest::Url::parse(url).ok()?;
        let scheme = if other.scheme() == "http" { "https" } else { "http" };
        let port = other.port_or_known_default();
        other.set_scheme(scheme).and(other.set_port(port)).ok()?;
        other.set_path("/");
        other.set_query(None);
        // This request carries nothing of the original one, so any server may answer it.
        let builder = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none());
        let client = builder.timeout(PROBE_TIMEOUT).tls_danger_accept_invalid_certs(true).build().ok()?;
        client.head(other).send().await.ok().map(|_| scheme)
    }
}

/// Whether a connection was opened and then closed without an answer.
fn is_hung_up(error: &HttpError) -> bool {
    // The error of a connection is often wrapped in one that says nothing.
    chain(error).any(|cause| {
        match (cause.downcast_ref::<io::Error>(), cause.downcast_ref::<hyper::Error>()) {
            (Some(error), _) => {
                matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
            }
            (_, Some(error)) => error.is_incomplete_message() || error.is_closed(),
            _ => false,
        }
    })
}

/// An error and its causes.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An `io::Error` steps over the error that it was made of.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inside.map(|inside| inside as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

#[async_trait]
impl HttpService for CheckedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let lists = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
        // The token of Amazon's machines is requested by PUT too, and its answer has no ETag.
        let puts = request.method() == Method::PUT && !request.uri().path().ends_with("/api/token");
        let url = request.uri().to_string();
        let (mut parts, body) = match self.client.execute(request).await {
            Ok(answer) => answer.into_parts(),
            Err(error) => {
                let other = self.other_scheme(&url, &error).await;
                return Err(other.map_or(error, |scheme| foreign(ForeignAnswer::Speaks(scheme))));
            }
        };
        self.settled.store(true, Ordering::Relaxed);
        let (status, headers) = (parts.status, &parts.headers);
        let is_page = text_of(headers, CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
        if status.is_success() && !lists && !is_page && (!puts || headers.contains_key(ETAG)) {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let bytes = body.bytes().await?;
        let text = String::from_utf8_lossy(&bytes);
        let status_number = status.as_u16();
        if status.is_redirection() && status_number != 304 {
            let region = text_of(headers, "x-amz-bucket-region").or(between(&text, "<Region>", "</Region>"));
            let to = text_of(headers, LOCATION).or(between(&text, "<Endpoint>", "</Endpoint>"));
            let to_owned = |text: &str| first_line(text);
            return Err(foreign(ForeignAnswer::Redirect {
                status: status_number,
                to: to.map(to_owned),
                region: region.map(to_owned),
            }));
        }
        if status.is_success() && !(lists && text.contains("<ListBucketResult")) {
            return Err(foreign(ForeignAnswer::Page { status: status_number, line: first_line(&text) }));
        }
        let text = if lists && status.is_success() { without_foreign_keys(&text) } else { text.into_owned() };
        // Its length may have changed.
        parts.headers.remove("content-length");
        Ok(HttpResponse::from_parts(parts, text.into()))
    }
}

fn foreign(answer: ForeignAnswer) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, answer)
}

fn text_of(headers: &HeaderMap, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The first line of a text, shortened; the title of a web page.
pub(super) fn first_line(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let begin = at + lower[at..].find('>')? + 1;
        Some(&text[begin..begin + lower[begin..].find("</title")?])
    });
    let mut line = String::new();
    let mut in_tag = false;
    for character in title.unwrap_or(text).chars() {
        match character {
            // The line ends once it says something.
            '\n' | '\r' if !line.trim().is_empty() && title.is_none() => break,
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                line.push(' ');
            }
            _ if in_tag => {}
            _ if character.is_control() => line.push(' '),
            _ => line.push(character),
        }
    }
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

pub(super) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// A listing without folders, and without keys that `object_store` cannot express (`a//b`, `..`, control characters).
/// `object_store` fails the whole listing for one such key, so another program's object would hide every checkpoint.
fn without_foreign_keys(listing: &str) -> String {
    let mut kept = String::with_capacity(listing.len());
    let mut rest = listing;
    while let Some(begin) = rest.find("<Co") {
        kept.push_str(&rest[..begin]);
        rest = &rest[begin..];
        let (tag, end) = match (rest.starts_with("<Contents>"), rest.starts_with("<CommonPrefixes>")) {
            (true, _) => ("Contents", "</Contents>"),
            (_, true) => ("CommonPrefixes", "</CommonPrefixes>"),
            _ => {
                kept.push_str("<Co");
                rest = &rest["<Co".len()..];
                continue;
            }
        };
        // A truncated answer: object_store reports it.
        let Some(length) = rest.find(end).map(|at| at + end.len()) else { break };
        let (entry, after) = rest.split_at(length);
        if tag == "Contents" && between(entry, "<Key>", "</Key>").is_some_and(has_name) {
            kept.push_str(entry);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Whether `object_store` can express a key, as it is written in XML.
fn has_name(key: &str) -> bool {
    let Some(key) = unescaped(key) else { return false };
    // Its XML reader trims blanks, which makes another name.
    key == key.trim() && !key.contains('\u{FFFD}') && ObjectPath::parse(&key).is_ok()
}

/// The text that XML encodes; `None` for an invalid entity.
fn unescaped(xml: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = xml;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let (name, left) = after.split_once(';')?;
        text.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#')?;
                let hexadecimal = number.strip_prefix('x').map(|digits| u32::from_str_radix(digits, 16));
                char::from_u32(hexadecimal.unwrap_or_else(|| number.parse()).ok()?)?
            }
        });
        rest = left;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_what_people_should_read() {
        let page = "<!DOCTYPE html>\n<html><head><TITLE lang=en>Log\n in</TITLE></head><body>password</body>";
        assert_eq!(first_line(page), "Log in");
        assert_eq!(first_line("\n\n<h1>Bad\tGateway</h1>\nnginx"), "Bad Gateway");
        assert_eq!(first_line("{\"error\": \"no such\u{1} route\"}"), "{\"error\": \"no such route\"}");
        assert_eq!(first_line(""), "");
        assert_eq!(first_line(&"é".repeat(200)).chars().count(), MAX_QUOTED_CHARS + 3);
        assert_eq!(first_line("<title>never ends"), "never ends");
    }

    #[test]
    fn a_listing_keeps_what_has_a_name() {
        let entry = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        let listing = |keys: &[&str]| {
            let entries: String = keys.iter().map(|key| entry(key)).collect();
            format!("<ListBucketResult><Count>2</Count>{entries}</ListBucketResult>")
        };
        let named = ["run/step-1", "run/a &amp; b", "run/ü#x", "run/&#x41;"];
        let all = [
            "run/step-1",
            "run//b",
            "run/..",
            "run/a &amp; b",
            "run/./c",
            "run/&#x1;",
            "run/a\u{7f}",
            "run/ü#x",
            "run/&odd;",
            "run/step-2 ",
            "run/\u{FFFD}",
            "run/&#x41;",
        ];
        let prefixes = "<CommonPrefixes><Prefix>run//</Prefix></CommonPrefixes>";
        let given = listing(&all).replace("<Count>", &format!("{prefixes}<Count>"));
        assert_eq!(without_foreign_keys(&given), listing(&named));
        let cut = &listing(&named)[..70];
        assert_eq!(without_foreign_keys(cut), cut);
    }
}
