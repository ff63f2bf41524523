//! Storage errors in one line each: what could not be done, to which object, why, and what to do next.
//!
//! `object_store` reports a file error, or a server's answer with its XML, under several layers of its own
//! words. Here the layers are searched for what a person can act on.

use std::error::Error;
use std::fmt;
use std::io;

/// What a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The URL, or the `AWS_*` that go with it, cannot work.
    BadUrl,
    /// No such object.
    NotFound,
    /// A create-only write found an object. [`Store::create`](super::Store::create) answers with
    /// [`Creation::Exists`](super::Creation::Exists) instead.
    Exists,
    /// A write in place of a version found another one. [`Store::replace`](super::Store::replace) answers with
    /// `false` instead.
    Changed,
    /// The server does not know such a request.
    Unsupported,
    /// No such bucket.
    NoBucket,
    /// Wrong, expired or insufficient credentials; no permission in a file system.
    Denied,
    /// No connection, no answer in time, or a server that says it cannot serve now.
    Unreachable,
    /// A file system that nobody may write to.
    ReadOnly,
    /// No space left, or a quota reached.
    Full,
    /// Anything else.
    Other,
}

/// An operation on a store that failed. Its `Display` is one line.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {object}: {advice}")]
pub struct StoreError {
    /// What to branch on.
    pub kind: Kind,
    action: Action,
    object: String,
    /// The reason and what to do about it.
    advice: String,
}

/// What was tried.
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

/// Where the store is, as far as advice depends on it.
#[derive(Debug)]
pub(super) enum Place {
    Memory,
    Folder,
    S3 {
        bucket: String,
        /// `AWS_ENDPOINT_URL`, where it is set.
        endpoint: Option<String>,
    },
}

impl Place {
    /// Whether there is a server to be out of reach.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Place::S3 { .. })
    }
}

impl StoreError {
    pub(super) fn new(kind: Kind, action: Action, object: String, advice: String) -> Self {
        Self { kind, action, object, advice: one_line(&advice) }
    }

    /// The same error, as the last of so many tries.
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
        place: &Place,
        error: Box<dyn Error + Send + Sync>,
    ) -> Self {
        let (kind, advice) = match place {
            Place::S3 { bucket, endpoint } => {
                Answer::from_error(&*error).explain(action, &*error, bucket, endpoint.as_deref())
            }
            Place::Folder | Place::Memory => explain_file(&*error),
        };
        Self::new(kind, action, object, advice)
    }
}

const CHANGED: &str = "somebody else has written it";

fn explain_file(error: &(dyn Error + 'static)) -> (Kind, String) {
    match error.downcast_ref() {
        Some(object_store::Error::NotFound { .. }) => return (Kind::NotFound, "no such file".into()),
        Some(object_store::Error::AlreadyExists { .. }) => return (Kind::Exists, "it exists".into()),
        Some(object_store::Error::Precondition { .. }) => return (Kind::Changed, CHANGED.into()),
        _ => {}
    }
    let Some(error) = find::<io::Error>(error) else { return (Kind::Other, innermost(error)) };
    let (kind, advice) = match error.kind() {
        io::ErrorKind::NotFound => (Kind::NotFound, "no such file or folder, and none can be made there"),
        io::ErrorKind::PermissionDenied => {
            (Kind::Denied, "permission denied (choose a folder that this user may write and read)")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            (Kind::ReadOnly, "the file system is read-only (choose another folder)")
        }
        io::ErrorKind::StorageFull => {
            (Kind::Full, "no space left on the device (free some, or choose another folder)")
        }
        io::ErrorKind::QuotaExceeded => {
            (Kind::Full, "the disk quota is used up (free some space, or choose another folder)")
        }
        io::ErrorKind::NotADirectory => {
            (Kind::Other, "there is a file where the folder should be (move it, or choose another folder)")
        }
        _ => return (Kind::Other, error.to_string()),
    };
    (kind, advice.to_owned())
}

/// What a server answered, as far as it did.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    /// HTTP status.
    status: Option<u16>,
    /// The `Code` of S3's error document, such as `NoSuchBucket`.
    code: Option<String>,
    /// Its `Message`.
    message: Option<String>,
}

impl Answer {
    /// `object_store` keeps the type that holds the answer to itself, but prints all of it.
    fn from_error(error: &(dyn Error + 'static)) -> Self {
        let text = error.to_string();
        let status = between(&text, "status code: ", " ").and_then(|status| status.parse().ok());
        let code = between(&text, "<Code>", "</Code>").map(str::to_owned);
        let message = between(&text, "<Message>", "</Message>").map(str::to_owned);
        Self { status, code, message }
    }

    /// Whether the server says that the same request may succeed in a moment.
    fn is_passing(&self) -> bool {
        match self.code.as_deref() {
            // Some with a status that blames the client, such as 400 for a body that a network cut short, and
            // 409 for a create-only write beside another; or in the body of a success.
            Some(
                "ConditionalRequestConflict"
                | "IncompleteBody"
                | "InternalError"
                | "OperationAborted"
                | "RequestTimeout"
                | "ServiceUnavailable"
                | "SlowDown",
            ) => true,
            // Not 501, of a server that does not know create-only writes, nor 507, without space.
            _ => matches!(self.status, Some(408 | 429 | 500 | 502..=504 | 509..)),
        }
    }

    fn explain(
        &self,
        action: Action,
        error: &(dyn Error + 'static),
        bucket: &str,
        endpoint: Option<&str>,
    ) -> (Kind, String) {
        match error.downcast_ref() {
            Some(object_store::Error::AlreadyExists { .. }) if !self.is_passing() => {
                return (Kind::Exists, "it exists".into());
            }
            Some(object_store::Error::Precondition { .. }) if !self.is_passing() => {
                return (Kind::Changed, CHANGED.into());
            }
            Some(object_store::Error::InvalidPath { .. }) => return (Kind::Other, innermost(error)),
            _ => {}
        }
        let text = error.to_string();
        // Amazon's machines have their credentials from there, and nobody else has that address.
        let from_the_machine = text.contains("169.254.169.254") || text.contains("latest/api/token");
        if from_the_machine && !self.is_passing() {
            let advice = "no credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)";
            return (Kind::Denied, advice.into());
        }
        if let Some(known) = self.explain_code(bucket, endpoint) {
            return known;
        }
        if let Some(known) = self.explain_status(action, endpoint) {
            return known;
        }
        let server = server(endpoint);
        if text.contains("redirect") {
            let advice = format!("{server} sends to another address (set AWS_REGION to the bucket's region)");
            return (Kind::Other, advice);
        }
        let refused = find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
        let reason = if refused {
            "connection refused".to_owned()
        } else if let Some(error) = find::<rustls::Error>(error) {
            format!("no TLS connection, {error}")
        } else {
            innermost(error)
        };
        let check = match endpoint {
            Some(_) => "AWS_ENDPOINT_URL, and that the server runs",
            None => "the network, AWS_REGION, and AWS_ENDPOINT_URL for servers other than Amazon's",
        };
        (Kind::Unreachable, format!("cannot reach {server}: {reason} (check {check})"))
    }

    /// Codes from <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, which other
    /// servers use too.
    fn explain_code(&self, bucket: &str, endpoint: Option<&str>) -> Option<(Kind, String)> {
        let advice = match self.code.as_deref()? {
            "NoSuchBucket" => {
                let server = server(endpoint);
                let advice =
                    format!("{server} has no bucket {bucket} (create it, or check the bucket's name)");
                return Some((Kind::NoBucket, advice));
            }
            "NoSuchKey" => return Some((Kind::NotFound, "no such object".into())),
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
            "AuthorizationHeaderMalformed" | "IncorrectEndpoint" | "IllegalLocationConstraintException" => {
                "wrong region (set AWS_REGION to the bucket's region)"
            }
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
                "access denied (check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and what they may do in this bucket)"
            }
            "NotImplemented" => {
                let advice = format!("{} does not know such a request", server(endpoint));
                return Some((Kind::Unsupported, advice));
            }
            "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" => {
                return Some((Kind::Full, "the server has no space left for this bucket".into()));
            }
            _ => return None,
        };
        Some((Kind::Denied, advice.into()))
    }

    fn explain_status(&self, action: Action, endpoint: Option<&str>) -> Option<(Kind, String)> {
        let said = self.message.as_deref().or(self.code.as_deref()).unwrap_or("no more details");
        if self.is_passing() {
            let answer = self.status.map_or_else(String::new, |status| format!("HTTP {status}; "));
            let advice = format!("{} cannot serve now: {said} ({answer}try again later)", server(endpoint));
            return Some((Kind::Unreachable, advice));
        }
        let status = self.status?;
        Some(match status {
            401 | 403 => {
                let advice = "(check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)";
                (Kind::Denied, format!("access denied {advice}"))
            }
            404 if matches!(action, Action::Read | Action::Delete) => {
                (Kind::NotFound, "no such object".into())
            }
            // S3 would have said that the bucket is absent.
            404 => {
                let advice = "answered HTTP 404; is it an S3 server? (check AWS_ENDPOINT_URL)";
                (Kind::Other, format!("{} {advice}", server(endpoint)))
            }
            507 => (Kind::Full, "the server has no space left".into()),
            _ => (Kind::Other, format!("{} answered HTTP {status}: {said}", server(endpoint))),
        })
    }
}

fn server(endpoint: Option<&str>) -> &str {
    endpoint.unwrap_or("Amazon S3")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// The first error of a type among an error and its causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The cause of all causes, in its own words.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and its causes.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An `io::Error` steps over the error that it was made of.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inside.map(|inside| inside as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
