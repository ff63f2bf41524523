//! Reads and checks environment variables, before any library sees their values.
//!
//! Blanks and line breaks at both ends are removed: they come from files and shells. An empty variable counts as unset. A
//! value that cannot be right, such as a line break in the middle or port 99999, is refused with the variable's name.
//! Messages do not show values, because many are secrets; they do show addresses.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::Path;

use reqwest::Url;

use crate::failure::{ExitCode, HasExitCode};

/// A variable whose value cannot be used. Its `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {reason}")]
pub struct BadVariable {
    /// Its name.
    pub name: String,
    /// What is wrong and what to do, continuing a sentence that begins with the name.
    pub reason: String,
}

impl BadVariable {
    pub(crate) fn new(name: &str, reason: impl Into<String>) -> Self {
        BadVariable { name: name.to_owned(), reason: reason.into() }
    }
}

impl HasExitCode for BadVariable {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// The variable that limits the number of threads.
pub const THREADS: &str = "OMP_NUM_THREADS";

/// A variable of this process; `None` if it is unset or empty.
///
/// # Errors
/// It is not text, or has a control character inside.
pub fn variable(name: &str) -> Result<Option<String>, BadVariable> {
    std::env::var_os(name).map_or(Ok(None), |value| cleaned(name, &value))
}

/// How many threads `OMP_NUM_THREADS` asks for, if it is set. A program calls this once when it starts, and refuses a wrong
/// value.
///
/// # Errors
/// It does not have the form of OpenMP: a number of at least 1, or one for each level of nesting, separated by commas.
pub fn threads() -> Result<Option<usize>, BadVariable> {
    variable(THREADS)?.map(|text| parse_threads(&text)).transpose()
}

fn parse_threads(text: &str) -> Result<usize, BadVariable> {
    let wrong = |item: &str| {
        let remedy = "set the number of threads, at least 1, or unset it to use all cores";
        BadVariable::new(
            THREADS,
            format!("is {text:?}, where {item:?} is not a number of threads ({remedy})"),
        )
    };
    let mut levels = Vec::new();
    for item in text.split(',').map(str::trim) {
        if item.is_empty() || !item.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong(item));
        }
        // Only an overflow is possible here.
        let number = item.parse().unwrap_or(usize::MAX);
        if number == 0 {
            return Err(wrong(item));
        }
        levels.push(number);
    }
    // There is no nesting here.
    Ok(levels[0])
}

fn cleaned(name: &str, value: &OsStr) -> Result<Option<String>, BadVariable> {
    let Some(text) = value.to_str() else {
        return Err(BadVariable::new(name, "is not UTF-8 text (set it again)"));
    };
    let text = text.trim();
    if text.chars().any(char::is_control) {
        let what = if text.contains(['\n', '\r']) { "a line break" } else { "a control character" };
        return Err(BadVariable::new(name, format!("has {what} inside (set it again, as one line)")));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// The form of a variable's value.
#[derive(Clone, Copy)]
enum Form {
    /// ASCII without blanks, because it becomes part of HTTP headers: keys and tokens.
    Word,
    /// A part of a host's name.
    Region,
    /// Yes or no.
    Flag,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// `http://` or `https://` and a host.
    Address,
    /// The same, possibly with a user and a password.
    Proxy,
    /// A path on a server, from its root.
    ServerPath,
    /// A file that exists.
    File,
    /// One line of text.
    Line,
    /// A certificate, which has many lines.
    Certificate,
}

/// The variables that storage uses. Others that begin with `AWS_` belong to other programs.
const STORAGE: [(&str, Form); 37] = [
    ("AWS_ACCESS_KEY_ID", Form::Word),
    ("AWS_ALLOW_HTTP", Form::Flag),
    ("AWS_ALLOW_INVALID_CERTIFICATES", Form::Flag),
    ("AWS_CA_BUNDLE", Form::File),
    ("AWS_CHECKSUM_ALGORITHM", Form::OneOf(&["sha256", "crc64nvme"])),
    ("AWS_CONDITIONAL_PUT", Form::OneOf(&["etag", "disabled"])),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", Form::File),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", Form::Address),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", Form::ServerPath),
    ("AWS_DEFAULT_REGION", Form::Region),
    ("AWS_DISABLE_TAGGING", Form::Flag),
    ("AWS_ENDPOINT", Form::Address),
    ("AWS_ENDPOINT_URL", Form::Address),
    ("AWS_ENDPOINT_URL_S3", Form::Address),
    ("AWS_ENDPOINT_URL_STS", Form::Address),
    ("AWS_IMDSV1_FALLBACK", Form::Flag),
    ("AWS_METADATA_ENDPOINT", Form::Address),
    ("AWS_PROXY_CA_CERTIFICATE", Form::Certificate),
    ("AWS_PROXY_EXCLUDES", Form::Line),
    ("AWS_PROXY_URL", Form::Proxy),
    ("AWS_REGION", Form::Region),
    ("AWS_REQUEST_PAYER", Form::OneOf(&["requester", "true", "false", "1", "0"])),
    ("AWS_ROLE_ARN", Form::Word),
    ("AWS_ROLE_SESSION_NAME", Form::Word),
    ("AWS_S3_EXPRESS", Form::Flag),
    ("AWS_SECRET_ACCESS_KEY", Form::Word),
    ("AWS_SERVER_SIDE_ENCRYPTION", Form::OneOf(&["AES256", "aws:kms", "aws:kms:dsse", "sse-c"])),
    ("AWS_SESSION_TOKEN", Form::Word),
    ("AWS_SKIP_SIGNATURE", Form::Flag),
    ("AWS_SSE_BUCKET_KEY_ENABLED", Form::Flag),
    ("AWS_SSE_CUSTOMER_KEY_BASE64", Form::Word),
    ("AWS_SSE_KMS_KEY_ID", Form::Word),
    ("AWS_TOKEN", Form::Word),
    ("AWS_UNSIGNED_PAYLOAD", Form::Flag),
    ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", Form::Flag),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", Form::File),
    ("SSL_CERT_FILE", Form::File),
];

/// The variables for storage among these, checked. Flags become `true` or `false`.
///
/// # Errors
/// The first, by name, that cannot be used.
pub fn storage(
    variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<BTreeMap<&'static str, String>, BadVariable> {
    let mut given: BTreeMap<OsString, OsString> =
        variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let mut found = BTreeMap::new();
    for (name, form) in STORAGE {
        if let Some(value) = given.remove(OsStr::new(name))
            && let Some(text) = form.read(name, &value)?
        {
            found.insert(name, text);
        }
    }
    Ok(found)
}

impl Form {
    fn read(self, name: &str, value: &OsStr) -> Result<Option<String>, BadVariable> {
        let wrong = |reason: &dyn Display| Err(BadVariable::new(name, reason.to_string()));
        if let Form::Certificate = self {
            let text = value.to_string_lossy();
            return Ok((!text.trim().is_empty()).then(|| text.into_owned()));
        }
        let Some(text) = cleaned(name, value)? else { return Ok(None) };
        let has_blank = text.contains(char::is_whitespace);
        match self {
            Form::File if Path::new(&text).is_file() => {}
            Form::File => return wrong(&format_args!("is {text}, and there is no such file")),
            Form::Line => {}
            _ if has_blank => return wrong(&"has a blank inside (set it again, without)"),
            _ if !text.is_ascii() => return wrong(&"has a character that is not ASCII (set it again)"),
            Form::Region
                if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) =>
            {
                return wrong(&"is not the name of a region, such as eu-central-1");
            }
            Form::ServerPath if !text.starts_with('/') => {
                return wrong(&"is not a path on the server (it begins with /)");
            }
            // The same words as object_store accepts.
            Form::Flag => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "on" | "yes" | "y" => return Ok(Some("true".to_owned())),
                "0" | "false" | "off" | "no" | "n" => return Ok(Some("false".to_owned())),
                _ => return wrong(&"is neither true nor false"),
            },
            Form::OneOf(known) if !known.iter().any(|known| known.eq_ignore_ascii_case(&text)) => {
                return wrong(&format_args!("is none of {}", known.join(", ")));
            }
            Form::Address | Form::Proxy => return address(name, &text, self).map(Some),
            Form::Word | Form::Region | Form::ServerPath | Form::OneOf(_) | Form::Certificate => {}
        }
        Ok(Some(text))
    }
}

/// An address in a form that every library reads the same way.
fn address(name: &str, text: &str, form: Form) -> Result<String, BadVariable> {
    let wrong = |reason: String| Err(BadVariable::new(name, reason));
    // The part before an @ may have a password.
    let shown = text.rsplit_once('@').map_or(text.to_owned(), |(_, rest)| format!("...@{rest}"));
    let url = match Url::parse(text) {
        _ if !["http://", "https://"].iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme)) => {
            return wrong(format!("is {shown:?}; it begins with https:// or http://"));
        }
        Err(error) => return wrong(format!("is {shown:?}, which is not an address: {error}")),
        Ok(url) => url,
    };
    if url.port() == Some(0) {
        return wrong(format!("is {shown:?}, and there is no port 0"));
    }
    if matches!(form, Form::Proxy) {
        return Ok(url.to_string());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let keys = "keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        return wrong(format!("is {shown:?}, with a user or password, which are not sent ({keys})"));
    }
    if url.fragment().is_some() || url.query().is_some() {
        return wrong(format!("is {shown:?}; an address ends before ? and #"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn read(name: &str, value: &str) -> Result<Option<String>, String> {
        let found = storage([(name, value)]).map_err(|error| error.to_string())?;
        Ok(found.into_values().next())
    }

    fn some(text: &str) -> Result<Option<String>, String> {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn each_name_once_and_in_order() {
        assert!(STORAGE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn blanks_at_the_ends_mean_nothing_and_empty_is_unset() {
        assert_eq!(read("AWS_SECRET_ACCESS_KEY", " secret\r\n"), some("secret"));
        assert_eq!(read("AWS_REGION", "\teu-west-1 "), some("eu-west-1"));
        for (name, form) in STORAGE {
            for empty in ["", " ", "\r\n"] {
                assert_eq!(form.read(name, OsStr::new(empty)), Ok(None), "{name}");
            }
        }
        assert_eq!(read("AWS_PAGER", "\n\u{1}x"), Ok(None), "another program's");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name_and_secrets_are_not_repeated() {
        for (name, form) in STORAGE {
            let lines = form.read(name, OsStr::new("hidden\nhidden"));
            let bytes = form.read(name, &OsString::from_vec(vec![b'h', 0xFF]));
            if matches!(form, Form::Certificate) {
                continue;
            }
            for error in [lines.unwrap_err(), bytes.unwrap_err()] {
                let line = error.to_string();
                assert!(line.starts_with(name) && !line.contains("hidden") && !line.contains('\n'), "{line}");
            }
        }
        for (name, value, says) in [
            ("AWS_ACCESS_KEY_ID", "hidden hidden", "a blank inside"),
            ("AWS_SESSION_TOKEN", "hidden\u{7f}hidden", "a control character"),
            ("AWS_SECRET_ACCESS_KEY", "hiddenü", "not ASCII"),
            ("AWS_REGION", "eu/west", "not the name of a region"),
            ("AWS_ALLOW_HTTP", "maybe", "neither true nor false"),
            ("AWS_CHECKSUM_ALGORITHM", "md5", "none of sha256"),
            ("AWS_CA_BUNDLE", "/no/such.pem", "no such file"),
            ("AWS_ENDPOINT_URL", "localhost:9000", "begins with https:// or http://"),
            ("AWS_ENDPOINT_URL", "http://localhost:99999", "invalid port number"),
            ("AWS_ENDPOINT_URL", "http://localhost:0", "no port 0"),
            ("AWS_ENDPOINT_URL", "https://", "empty host"),
            ("AWS_ENDPOINT_URL", "https://[::1", "invalid IPv6 address"),
            ("AWS_ENDPOINT_URL", "https://user:hidden@host", "keys belong in"),
            ("AWS_ENDPOINT_URL", "https://host?x=1", "ends before ?"),
            ("AWS_PROXY_URL", "host:hidden@proxy", "begins with https:// or http://"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "v2", "begins with /"),
        ] {
            let line = read(name, value).unwrap_err();
            assert!(line.starts_with(name) && line.contains(says) && !line.contains("hidden"), "{line}");
        }
    }

    #[test]
    fn what_is_right_is_handed_on_in_one_form() {
        assert_eq!(read("AWS_ALLOW_HTTP", "YES"), some("true"));
        assert_eq!(read("AWS_ENDPOINT_URL", "HTTPS://Host:9000/"), some("https://host:9000"));
        assert_eq!(read("AWS_ENDPOINT_URL", "https://host/base/"), some("https://host/base"));
        assert_eq!(read("AWS_PROXY_URL", "http://me:pass@proxy:3128"), some("http://me:pass@proxy:3128/"));
        assert_eq!(read("AWS_PROXY_CA_CERTIFICATE", "a\nb"), some("a\nb"));
    }

    #[test]
    fn threads_are_read_as_openmp_reads_them() {
        for (text, threads) in
            [("4", 4), ("4,2", 4), (" 3 , 2,1", 3), ("007", 7), ("99999999999999999999", usize::MAX)]
        {
            assert_eq!(parse_threads(text), Ok(threads), "{text}");
        }
        for text in ["0", "4,0", "-1", "abc", "4;2", "4,", ",4", "2.5", "0x10"] {
            let line = parse_threads(text).unwrap_err().to_string();
            assert!(line.starts_with("OMP_NUM_THREADS is ") && line.contains("unset it"), "{line}");
        }
    }
}
