//! Storage errors in one line each: what failed, for which object, why, and what to do.
//!
//! `object_store` wraps a file error, or a server's answer with its XML, in several layers of its own text. This module
//! searches the layers for what a user can act on.

use crate::failure::{ExitCode, HasExitCode};

use super::http::{ForeignAnswer, between, chain, first_line};
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::{fmt, io};

/// The kinds of failure that callers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The URL or the `AWS_*` variables cannot work.
    BadUrl,
    /// No such object.
    NotFound,
    /// A create-only write found an object. [`Store::create`](super::Store::create) answers with
    /// [`Creation::Exists`](super::Creation::Exists) instead.
    Exists,
    /// A write in place of a version found another one. [`Store::replace`](super::Store::replace) answers with
    /// `false` instead.
    Changed,
    /// The server does not support such a request, such as a conditional write.
    Unsupported,
    /// The address is not that of a trusted S3 server: it answers with a web page, redirects, has an invalid certificate, or
    /// no host has the name. Where an S3 server has answered before, it is [`StoreErrorKind::Unreachable`].
    NotS3,
    /// No such bucket.
    NoBucket,
    /// Wrong, expired or insufficient credentials; no permission in a file system.
    Denied,
    /// No connection, no answer in time, or a server that reports that it cannot serve now.
    Unreachable,
    /// A read-only file system.
    ReadOnly,
    /// No space left, or a quota is exhausted.
    Full,
    /// Anything else.
    Other,
}

/// An operation on a store that failed. Its `Display` is one line.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {object}: {advice}")]
pub struct StoreError {
    /// What to branch on.
    pub kind: StoreErrorKind,
    action: Action,
    object: String,
    /// The reason and what to do about it.
    advice: String,
}

impl HasExitCode for StoreError {
    fn exit_code(&self) -> ExitCode {
        match self.kind {
            // The configuration is wrong; the storage was not asked yet.
            StoreErrorKind::BadUrl => ExitCode::Usage,
            _ => ExitCode::Storage,
        }
    }
}

/// What a failed call was meant to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Open,
    Read,
    Write,
    List,
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Open => "use",
            Action::Read => "read",
            Action::Write => "write",
            Action::List => "list",
            Action::Delete => "delete",
        })
    }
}

/// The kind of store, as far as advice depends on it.
#[derive(Debug)]
pub(super) enum StoreKind {
    Memory,
    Folder,
    S3 {
        bucket: String,
        /// Settings that a mistake may be in.
        settings: S3Settings,
    },
}

/// What messages say about the variables for storage.
#[derive(Debug, Clone, Default)]
pub(super) struct S3Settings {
    /// The address of the server, unless it is Amazon's.
    pub(super) endpoint: Option<String>,
    /// The variable that sets it.
    pub(super) endpoint_variable: &'static str,
    /// `AWS_CA_BUNDLE`.
    pub(super) ca_bundle: Option<String>,
    /// `AWS_VIRTUAL_HOSTED_STYLE_REQUEST` is on.
    pub(super) virtual_hosted: bool,
    /// `AWS_PROXY_URL` is set.
    pub(super) proxy: bool,
}

impl S3Settings {
    /// The server, as messages name it.
    fn server(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("Amazon S3")
    }

    /// Which variables to check when the wrong server answers, or none.
    fn address(&self) -> String {
        let mut variables =
            vec![if self.endpoint.is_some() { self.endpoint_variable } else { "AWS_ENDPOINT_URL" }];
        if self.virtual_hosted {
            variables.push("AWS_VIRTUAL_HOSTED_STYLE_REQUEST");
        }
        if self.proxy {
            variables.push("AWS_PROXY_URL");
        }
        variables.join(" and ")
    }
}

impl StoreKind {
    /// Whether there is a server, which may be unreachable.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, StoreKind::S3 { .. })
    }
}

impl StoreError {
    pub(super) fn new(kind: StoreErrorKind, action: Action, object: String, advice: String) -> Self {
        Self { kind, action, object, advice: one_line(&advice) }
    }

    /// The same error, after this many attempts.
    pub(super) fn after(mut self, tries: u32) -> Self {
        if tries > 1 {
            self.advice = format!("{}; tried {tries} times", self.advice);
        }
        self
    }

    /// Puts the error of an operation in words.
    pub(super) fn explain(
        action: Action,
        object: String,
        place: &StoreKind,
        error: Box<dyn Error + Send + Sync>,
    ) -> Self {
        let (kind, advice) = match place {
            StoreKind::S3 { bucket, settings } => {
                S3Answer::from_error(&*error).explain(action, &*error, bucket, settings)
            }
            StoreKind::Folder | StoreKind::Memory => explain_file(&*error),
        };
        Self::new(kind, action, object, advice)
    }
}

const CHANGED: &str = "another process has written it";

fn explain_file(error: &(dyn Error + 'static)) -> (StoreErrorKind, String) {
    match error.downcast_ref() {
        Some(object_store::Error::NotFound { .. }) => {
            return (StoreErrorKind::NotFound, "no such file".into());
        }
        Some(object_store::Error::AlreadyExists { .. }) => {
            return (StoreErrorKind::Exists, "it already exists".into());
        }
        Some(object_store::Error::Precondition { .. }) => return (StoreErrorKind::Changed, CHANGED.into()),
        _ => {}
    }
    let Some(error) = find::<io::Error>(error) else { return (StoreErrorKind::Other, root_cause(error)) };
    let (kind, advice) = match error.kind() {
        io::ErrorKind::NotFound => {
            (StoreErrorKind::NotFound, "no such file or folder, and none can be made there")
        }
        io::ErrorKind::PermissionDenied => {
            (StoreErrorKind::Denied, "permission denied (choose a folder that this user may write and read)")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            (StoreErrorKind::ReadOnly, "the file system is read-only (choose another folder)")
        }
        io::ErrorKind::StorageFull => {
            (StoreErrorKind::Full, "no space left on the device (free some, or choose another folder)")
        }
        io::ErrorKind::QuotaExceeded => {
            (StoreErrorKind::Full, "the disk quota is used up (free some space, or choose another folder)")
        }
        io::ErrorKind::NotADirectory => (
            StoreErrorKind::Other,
            "there is a file where the folder should be (move it, or choose another folder)",
        ),
        _ => return (StoreErrorKind::Other, error.to_string()),
    };
    (kind, advice.to_owned())
}

/// A server's answer, as far as there was one.
#[derive(Debug, Default, PartialEq)]
struct S3Answer {
    /// HTTP status.
    status: Option<u16>,
    /// The `Code` of S3's error document, such as `NoSuchBucket`.
    code: Option<String>,
    /// Its `Message`.
    message: Option<String>,
    /// The region that Amazon says the bucket is in.
    region: Option<String>,
    /// The first line of the answer; empty if there was none.
    line: String,
}

impl S3Answer {
    /// Parses the text of the error: `object_store` keeps the type with the answer private, but prints all of it.
    fn from_error(error: &(dyn Error + 'static)) -> Self {
        let text = error.to_string();
        let Some((_, answer)) = text.split_once("status code: ") else { return Self::default() };
        let (head, body) = answer.split_once(':').unwrap_or((answer, ""));
        let status = head.split(' ').next().and_then(|status| status.parse().ok());
        let part = |before, after| between(body, before, after).map(str::to_owned);
        Self {
            status,
            code: part("<Code>", "</Code>"),
            message: part("<Message>", "</Message>"),
            region: part("<Region>", "</Region>"),
            line: first_line(body),
        }
    }

    /// Whether the server reports that the same request may succeed in a moment.
    fn is_passing(&self) -> bool {
        match self.code.as_deref() {
            // Some come with a status that blames the client, such as 400 for a body that the network truncated and 409 for
            // two concurrent create-only writes; some in the body of a success.
            Some(
                "ConditionalRequestConflict"
                | "IncompleteBody"
                | "InternalError"
                | "OperationAborted"
                | "RequestTimeout"
                | "ServiceUnavailable"
                | "SlowDown",
            ) => true,
            // Not 501, of a server without create-only writes, nor 507, of one without space.
            _ => matches!(self.status, Some(408 | 429 | 500 | 502..=504 | 509..)),
        }
    }

    fn explain(
        &self,
        action: Action,
        error: &(dyn Error + 'static),
        bucket: &str,
        settings: &S3Settings,
    ) -> (StoreErrorKind, String) {
        match error.downcast_ref() {
            Some(object_store::Error::AlreadyExists { .. }) if !self.is_passing() => {
                return (StoreErrorKind::Exists, "it already exists".into());
            }
            Some(object_store::Error::Precondition { .. }) if !self.is_passing() => {
                return (StoreErrorKind::Changed, CHANGED.into());
            }
            Some(object_store::Error::InvalidPath { .. }) => {
                return (StoreErrorKind::Other, root_cause(error));
            }
            // AWS_CONDITIONAL_PUT=disabled.
            Some(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                return (StoreErrorKind::Unsupported, root_cause(error));
            }
            _ => {}
        }
        if let Some(answer) = find::<ForeignAnswer>(error) {
            return (StoreErrorKind::NotS3, explain_foreign(answer, settings));
        }
        let text = error.to_string();
        // Amazon's machines have their credentials from there, and nobody else has that address.
        let from_the_machine = text.contains("169.254.169.254") || text.contains("latest/api/token");
        if from_the_machine && !self.is_passing() {
            let advice = "no credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)";
            return (StoreErrorKind::Denied, advice.into());
        }
        if let Some(known) = self.explain_code(bucket, settings) {
            return known;
        }
        if let Some(known) = self.explain_status(action, settings) {
            return known;
        }
        explain_line(error, settings)
    }

    /// Codes from <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, which other
    /// servers use too.
    fn explain_code(&self, bucket: &str, settings: &S3Settings) -> Option<(StoreErrorKind, String)> {
        let server = settings.server();
        let advice = match self.code.as_deref()? {
            "NoSuchBucket" => {
                let mut advice =
                    format!("{server} has no bucket {bucket} (create it, or check the bucket's name)");
                if settings.virtual_hosted {
                    advice.push_str(
                        "; AWS_VIRTUAL_HOSTED_STYLE_REQUEST is on: the server has to know it by its host",
                    );
                }
                return Some((StoreErrorKind::NoBucket, advice));
            }
            "NoSuchKey" => return Some((StoreErrorKind::NotFound, "no such object".into())),
            "InvalidAccessKeyId" => {
                "access denied: the server does not know the key (check AWS_ACCESS_KEY_ID)"
            }
            "SignatureDoesNotMatch" => {
                "access denied: wrong secret (check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            }
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
                "access denied: the session has expired (renew AWS_SESSION_TOKEN and the keys that go with it)"
            }
            "RequestTimeTooSkewed" => {
                "access denied: this machine's clock differs from the server's (set it)"
            }
            "AuthorizationHeaderMalformed"
            | "IncorrectEndpoint"
            | "IllegalLocationConstraintException"
            | "PermanentRedirect"
            | "TemporaryRedirect" => {
                return Some((StoreErrorKind::Denied, wrong_region(self.region.as_deref())));
            }
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
                "access denied (check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and what they may do in this bucket)"
            }
            "NotImplemented" => {
                let advice = format!("{server} does not support this request");
                return Some((StoreErrorKind::Unsupported, advice));
            }
            "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" => {
                return Some((StoreErrorKind::Full, "the server has no space left for this bucket".into()));
            }
            _ => return None,
        };
        Some((StoreErrorKind::Denied, advice.into()))
    }

    fn explain_status(&self, action: Action, settings: &S3Settings) -> Option<(StoreErrorKind, String)> {
        let server = settings.server();
        let said = match (&self.message, &self.code) {
            (Some(message), Some(code)) if !self.is_passing() => format!("{message} ({code})"),
            (Some(message), Some(_)) => message.clone(),
            (Some(said), None) | (None, Some(said)) => said.clone(),
            (None, None) if self.line.is_empty() => "no more details".to_owned(),
            (None, None) => self.line.clone(),
        };
        if self.is_passing() {
            let answer = self.status.map_or_else(String::new, |status| format!("HTTP {status}; "));
            let advice = format!("{server} cannot serve now: {said} ({answer}try again later)");
            return Some((StoreErrorKind::Unreachable, advice));
        }
        let status = self.status?;
        // Of S3's answers only those without a body have no code.
        let is_s3 = self.code.is_some() || self.line.is_empty();
        Some(match status {
            // As Go's and nginx's servers say it.
            400 if ["HTTPS server", "HTTPS port"].iter().any(|says| self.line.contains(says)) => (
                StoreErrorKind::NotS3,
                format!("{server} expects TLS (write https:// in {})", settings.address()),
            ),
            407 => (
                StoreErrorKind::NotS3,
                "the proxy requires a user and a password (AWS_PROXY_URL=http://user:password@...)".into(),
            ),
            401 | 403 | 404 if !is_s3 => {
                let check = settings.address();
                (
                    StoreErrorKind::NotS3,
                    format!("{server} answered HTTP {status}, not an S3 error: {said} (check {check})"),
                )
            }
            401 | 403 => {
                let advice = "(check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)";
                (StoreErrorKind::Denied, format!("access denied {advice}"))
            }
            404 if matches!(action, Action::Read | Action::Delete) => {
                (StoreErrorKind::NotFound, "no such object".into())
            }
            // S3 would have said that the bucket is absent.
            404 => {
                let check = settings.address();
                (
                    StoreErrorKind::NotS3,
                    format!("{server} answered HTTP 404; is it an S3 server? (check {check})"),
                )
            }
            400 | 405 | 501 if matches!(action, Action::Write) => {
                (StoreErrorKind::Unsupported, format!("{server} answered HTTP {status}: {said}"))
            }
            507 => (StoreErrorKind::Full, "the server has no space left".into()),
            _ => (StoreErrorKind::Other, format!("{server} answered HTTP {status}: {said}")),
        })
    }
}

fn wrong_region(region: Option<&str>) -> String {
    match region {
        Some(region) => format!("wrong region: the bucket is in {region} (set AWS_REGION={region})"),
        None => "wrong region (set AWS_REGION to the bucket's region)".to_owned(),
    }
}

fn explain_foreign(answer: &ForeignAnswer, settings: &S3Settings) -> String {
    let (server, check) = (settings.server(), settings.address());
    match answer {
        ForeignAnswer::Redirect { region: Some(region), .. } => wrong_region(Some(region)),
        ForeignAnswer::Redirect { status, to, .. } => {
            let amazon =
                settings.endpoint.is_none() || to.as_ref().is_some_and(|to| to.contains(".amazonaws.com"));
            let to = to.as_ref().map_or_else(String::new, |to| format!(" {to}"));
            let remedy = if amazon {
                "set AWS_REGION to the bucket's region".to_owned()
            } else {
                format!("set {check} to the address where the S3 server itself answers")
            };
            format!("{server} redirects to another address{to}, HTTP {status} ({remedy})")
        }
        ForeignAnswer::Speaks("https") => format!("{server} expects TLS (write https:// in {check})"),
        ForeignAnswer::Speaks(_) => no_tls(settings),
        ForeignAnswer::Page { status, line } => {
            let says = if line.is_empty() { "nothing".to_owned() } else { format!("{line:?}") };
            format!("{server} is not an S3 server: it answered HTTP {status} and {says} (check {check})")
        }
    }
}

/// Why a request got no answer.
fn explain_line(error: &(dyn Error + 'static), settings: &S3Settings) -> (StoreErrorKind, String) {
    let (server, address) = (settings.server(), settings.address());
    if let Some(error) = find::<rustls::Error>(error) {
        return explain_tls(error, settings);
    }
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        let advice = format!(
            "{server} does not answer in HTTP; does it expect TLS? (write https:// in {address}, or check it)"
        );
        return (StoreErrorKind::NotS3, advice);
    }
    let reason = root_cause(error);
    // How the C libraries of Linux report that a host does not exist, as opposed to a temporary failure.
    let no_host =
        ["Name or service not known", "No address associated with hostname", "Name does not resolve"];
    let kind = if no_host.iter().any(|says| reason.contains(says)) {
        StoreErrorKind::NotS3
    } else {
        StoreErrorKind::Unreachable
    };
    let refused = find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    let reason = if refused { "connection refused".to_owned() } else { reason };
    let check = match settings.endpoint {
        Some(_) => format!("{address}, and that the server runs"),
        None => "the network, AWS_REGION, and AWS_ENDPOINT_URL for servers other than Amazon's".to_owned(),
    };
    (kind, format!("cannot reach {server}: {reason} (check {check})"))
}

fn no_tls(settings: &S3Settings) -> String {
    format!(
        "{} does not use TLS (check {}; an address without encryption begins with http:// and needs AWS_ALLOW_HTTP=true)",
        settings.server(),
        settings.address()
    )
}

/// Why there is no TLS connection. Retrying does not help.
fn explain_tls(error: &rustls::Error, settings: &S3Settings) -> (StoreErrorKind, String) {
    let (server, address) = (settings.server(), settings.address());
    let advice = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match &settings.ca_bundle {
                Some(bundle) => {
                    format!(
                        "the certificate of {server} is not issued by an authority in AWS_CA_BUNDLE ({bundle})"
                    )
                }
                None => format!(
                    "the certificate of {server} is not issued by an authority that this machine trusts (set AWS_CA_BUNDLE to a PEM file with the issuer's certificate)"
                ),
            },
            CertificateError::NotValidForName => {
                format!("the certificate of {server} is for another host (check the host in {address})")
            }
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "the certificate of {server} is for another host: {} (check the host in {address})",
                presented.join(", ")
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate of {server} has expired, or this machine's clock is wrong")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the certificate of {server} is not valid yet, or this machine's clock is wrong")
            }
            _ => format!("the certificate of {server} cannot be trusted: {problem} (check {address})"),
        },
        rustls::Error::InvalidMessage(_) => no_tls(settings),
        rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::UnrecognisedName,
        ) => format!("{server} refuses the TLS connection: {error} (check {address})"),
        _ => format!("no TLS connection to {server}: {error} (check {address})"),
    };
    (StoreErrorKind::NotS3, advice)
}

/// The first error of a type among an error and its causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The last cause of an error, as text.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
