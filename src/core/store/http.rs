//! HTTP beneath `object_store`: the client that it is given, and a look at each answer before it reads it.
//!
//! `object_store` takes any success for S3's, follows redirects with the signature of another address, and gives up a
//! whole listing for one key that it cannot express. Here an answer that no S3 server gives becomes a [`ForeignAnswer`] error,
//! and a listing loses what is not ours.

use super::error::chain;
use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::path::Path as ObjectPath;
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, LOCATION};
use reqwest::tls::Certificate;
use reqwest::{Method, NoProxy, Proxy, redirect};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Between checkpoints nobody watches idle connections, and a server may have closed them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Amazon's machines answer at once when they are asked for credentials, and nobody else has that address.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that has just hung up answers as soon if it is asked as it wants to be.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// So long may the line of a foreign answer be that is quoted.
const MAX_QUOTED_CHARS: usize = 100;

/// A runtime without threads: its tasks, a connection's for one, advance while a caller waits in it.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Chooses the cryptography of every TLS connection of the process. To be called before the first HTTP
/// client is built; calls after the first change nothing.
pub(crate) fn choose_tls() {
    // The only error is that a choice was made before, by us or by a program that embeds the library.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An answer that no S3 server gives to such a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum ForeignAnswer {
    /// It sends to another address.
    #[error("HTTP {status}, redirected to {to:?}")]
    Redirect {
        status: u16,
        /// Where to.
        to: Option<String>,
        /// The region that Amazon says the bucket is in.
        region: Option<String>,
    },
    /// There was none, but there is one to the other of `http` and `https`, which is this.
    #[error("{0} is spoken there")]
    Speaks(&'static str),
    /// It is something to read for people.
    #[error("HTTP {status}: {line}")]
    Page {
        status: u16,
        /// What it begins with.
        line: String,
    },
}

/// Makes clients, all with the same certificates and proxy.
#[derive(Debug)]
pub(super) struct S3Connector {
    /// What TLS trusts in place of the system's.
    pub(super) roots: Option<Vec<Certificate>>,
    /// Address, certificate and exceptions. Without one there is none, whatever `HTTP_PROXY` and its like say.
    pub(super) proxy: Option<(Proxy, Option<Certificate>)>,
    /// Until a connection stands.
    pub(super) connect: Duration,
}

impl HttpConnector for S3Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let is = |key| options.get_config_value(&key).is_some_and(|value| value == "true");
        // object_store shortens it for the client that asks a machine for its credentials.
        let asks_machine =
            options.get_config_value(&ClientConfigKey::ConnectTimeout) == Some("1s".to_owned());
        let connect = if asks_machine { self.connect.min(METADATA_TIMEOUT) } else { self.connect };
        let mut builder = reqwest::Client::builder()
            // A signature holds for one address.
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

/// A client whose answers are looked at.
#[derive(Debug)]
struct CheckedClient {
    client: HttpClient,
    /// Nobody asks any more whether the other of `http` and `https` is meant: there was an answer, or it was asked, or
    /// a proxy is between.
    settled: AtomicBool,
}

impl CheckedClient {
    /// Of a server that hangs up before it has ever answered: the other scheme, if there is an answer to that. Many
    /// servers say nothing to TLS where they speak none, or to HTTP where they speak TLS.
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
        // Nothing of the request is in this one, so it does not matter who answers.
        let builder = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none());
        let client = builder.timeout(PROBE_TIMEOUT).tls_danger_accept_invalid_certs(true).build().ok()?;
        client.head(other).send().await.ok().map(|_| scheme)
    }
}

/// Whether a connection stood, and ended without an answer.
fn is_hung_up(error: &HttpError) -> bool {
    // One error of a connection is often wrapped in another of no kind.
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

#[async_trait]
impl HttpService for CheckedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let lists = request.uri().query().is_some_and(|query| query.contains("list-type=2"));
        // The token of Amazon's machines is put too, and has none.
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
        // It may have another length by now.
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

/// What a text for people begins with, on one short line: of a web page its title.
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
            // A line is full when it says something.
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

/// A listing without the objects that `object_store` has no name for (`a//b`, `..`, control characters), and without
/// folders, which nobody here asks for: it reads all names in the answer or none, so that one key of somebody else's
/// would hide every checkpoint. None of ours has such a name.
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
        // Cut short: object_store will say so.
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

/// Whether `object_store` has a name for a key, as it stands in XML.
fn has_name(key: &str) -> bool {
    let Some(key) = unescaped(key) else { return false };
    // Its reader of XML leaves out blanks at the ends, which makes another name.
    key == key.trim() && !key.contains('\u{FFFD}') && ObjectPath::parse(&key).is_ok()
}

/// Text from XML; `None` where something in it is no text.
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
