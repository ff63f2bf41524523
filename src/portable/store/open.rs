//! Opens a store from a URL and the `AWS_*` variables, without a request.

use super::error::{Action, S3Settings, StoreError, StoreErrorKind, StoreKind, root_cause};
use super::folder::Folder;
use super::http::{self, S3Connector};
use super::retry::{RetryLog, RetryPolicy};
use crate::environment::{self, BadVariable};
use crate::location;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, RetryConfig};
use reqwest::Url;
use reqwest::tls::Certificate;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::runtime::Runtime;

/// A store's objects, and how to call them.
#[derive(Debug)]
pub(super) struct OpenStore {
    /// For messages, without a trailing `/`.
    pub(super) url: String,
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Names are relative to this.
    pub(super) prefix: ObjectPath,
    pub(super) place: StoreKind,
    /// Only if the objects are files.
    pub(super) folder: Option<Folder>,
    pub(super) policy: RetryPolicy,
    pub(super) retries: RetryLog,
    /// An S3 server has answered, so the address is right: a foreign answer later is a passing failure.
    pub(super) answered: AtomicBool,
    pub(super) runtime: Runtime,
}

/// The variables for storage, checked.
type Variables = BTreeMap<&'static str, String>;

pub(super) fn open(
    url: &str,
    policy: RetryPolicy,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<OpenStore, StoreError> {
    let bad = |advice: String| StoreError::new(StoreErrorKind::BadUrl, Action::Open, url.to_owned(), advice);
    match location::parse(url) {
        Ok(location::Location::Local(path)) => open_folder(&path).map_err(bad),
        Ok(location::Location::S3 { bucket, prefix }) => {
            let variables = environment::storage(variables).map_err(|variable| bad(variable.to_string()))?;
            open_s3(&bucket, &prefix, policy, &variables).map_err(bad)
        }
        Ok(location::Location::Memory) => {
            let memory = Arc::new(InMemory::new());
            opened(url.to_owned(), memory, ObjectPath::default(), StoreKind::Memory, None, policy)
                .map_err(bad)
        }
        Err(location::InvalidLocation { shown, advice }) => {
            Err(StoreError::new(StoreErrorKind::BadUrl, Action::Open, shown, advice))
        }
    }
}

fn opened(
    url: String,
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    place: StoreKind,
    folder: Option<Folder>,
    policy: RetryPolicy,
) -> Result<OpenStore, String> {
    let runtime = http::runtime().map_err(|error| error.to_string())?;
    let (retries, answered) = (RetryLog::default(), AtomicBool::new(false));
    Ok(OpenStore { url, objects, prefix, place, folder, policy, retries, answered, runtime })
}

fn open_folder(path: &Path) -> Result<OpenStore, String> {
    let folder = Folder::new(path).map_err(|error| error.to_string())?;
    let prefix = ObjectPath::from_absolute_path(folder.path()).map_err(|error| error.to_string())?;
    let objects = Arc::new(LocalFileSystem::new().with_fsync(true));
    let shown = path.display().to_string();
    let shown = if shown.len() > 1 { shown.trim_end_matches('/').to_owned() } else { shown };
    // A write to a disk continues after its timeout, so a folder does not get a short one.
    opened(shown, objects, prefix, StoreKind::Folder, Some(folder), RetryPolicy::default())
}

fn open_s3(
    bucket: &str,
    prefix: &str,
    policy: RetryPolicy,
    variables: &Variables,
) -> Result<OpenStore, String> {
    let prefix = ObjectPath::parse(prefix).map_err(|error| error.to_string())?;
    let (builder, settings) = builder(bucket, policy, variables).map_err(|variable| variable.to_string())?;
    let objects = Arc::new(builder.build().map_err(|error| not_built(variables, &error))?);
    let url = format!("s3://{bucket}/{prefix}");
    let url = url.trim_end_matches('/').to_owned();
    opened(url, objects, prefix, StoreKind::S3 { bucket: bucket.to_owned(), settings }, None, policy)
}

/// The client that the variables describe, and what messages say about them.
fn builder(
    bucket: &str,
    policy: RetryPolicy,
    variables: &Variables,
) -> Result<(AmazonS3Builder, S3Settings), BadVariable> {
    http::choose_tls();
    let value = |name: &str| variables.get(name).map(String::as_str);
    let is = |name: &str| value(name) == Some("true");
    let mut builder = AmazonS3Builder::new();
    for (name, value) in variables {
        // Variables for the HTTP client are not keys of the builder; the connector uses them.
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder = builder
        .with_bucket_name(bucket)
        // The store retries by itself: every attempt is counted and has a timeout by its size.
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        // A plain DELETE of one object is supported by every server, and may be repeated.
        .with_disable_bulk_delete(true)
        .with_http_connector(connector(policy, variables)?);

    // In the order in which object_store prefers them.
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .into_iter()
        .find_map(|name| Some((name, value(name)?.to_owned())));
    let virtual_hosted = is("AWS_VIRTUAL_HOSTED_STYLE_REQUEST");
    let mut settings = S3Settings {
        ca_bundle: value("AWS_CA_BUNDLE").map(str::to_owned),
        virtual_hosted,
        proxy: value("AWS_PROXY_URL").is_some(),
        ..S3Settings::default()
    };
    if let Some((name, mut url)) = endpoint {
        if url.starts_with("http://") && !is("AWS_ALLOW_HTTP") {
            let reason = format!("is {url}, without encryption; set AWS_ALLOW_HTTP=true to allow that");
            return Err(BadVariable::new(name, reason));
        }
        if virtual_hosted {
            url = with_bucket(&url, bucket).ok_or_else(|| {
                let reason = format!(
                    "is {url}, where no bucket can stand before the host, as AWS_VIRTUAL_HOSTED_STYLE_REQUEST asks for (unset \
                     that, or give the host by its name)"
                );
                BadVariable::new(name, reason)
            })?;
        }
        let key = AmazonS3ConfigKey::S3Endpoint;
        builder = builder.with_config(key, &url);
        (settings.endpoint, settings.endpoint_variable) = (Some(url), name);
    }
    Ok((builder, settings))
}

/// What the HTTP client takes from the variables.
fn connector(policy: RetryPolicy, variables: &Variables) -> Result<S3Connector, BadVariable> {
    let value = |name: &str| variables.get(name).map(String::as_str);
    let proxy_certificate = "AWS_PROXY_CA_CERTIFICATE";
    let certificate = value(proxy_certificate).map(|pem| Certificate::from_pem(pem.as_bytes())).transpose();
    let certificate =
        certificate.map_err(|_| BadVariable::new(proxy_certificate, "is not a certificate in PEM"))?;
    let proxy = match value("AWS_PROXY_URL") {
        Some(url) => {
            let proxy = http::proxy(url, value("AWS_PROXY_EXCLUDES"));
            let proxy =
                proxy.map_err(|_| BadVariable::new("AWS_PROXY_URL", "is not the address of a proxy"))?;
            Some((proxy, certificate))
        }
        None => None,
    };
    let roots = value("AWS_CA_BUNDLE").map(roots).transpose()?;
    Ok(S3Connector { roots, proxy, connect: policy.connect_timeout })
}

/// The certificates in a PEM file. They take the place of the system's, as in AWS's own tools.
fn roots(path: &str) -> Result<Vec<Certificate>, BadVariable> {
    let wrong = |why: String| BadVariable::new("AWS_CA_BUNDLE", format!("is {path}, {why}"));
    let bytes = std::fs::read(path).map_err(|error| wrong(format!("which cannot be read: {error}")))?;
    let roots = Certificate::from_pem_bundle(&bytes).unwrap_or_default();
    // A damaged one shows only when all are put together.
    let works = reqwest::Client::builder().tls_certs_only(roots.iter().cloned()).build().is_ok();
    if roots.is_empty() || !works {
        return Err(wrong("which is not a PEM file of root certificates".to_owned()));
    }
    Ok(roots)
}

/// An address with the bucket before its host, unless it stands there.
fn with_bucket(endpoint: &str, bucket: &str) -> Option<String> {
    let mut url = Url::parse(endpoint).ok()?;
    let host = url.domain()?;
    if !host.starts_with(&format!("{bucket}.")) {
        let host = format!("{bucket}.{host}");
        url.set_host(Some(&host)).ok()?;
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// The builder's complaint, which for the likely cases names no variable.
fn not_built(variables: &Variables, error: &object_store::Error) -> String {
    let is_set = |name: &str| variables.contains_key(name);
    match (is_set("AWS_ACCESS_KEY_ID"), is_set("AWS_SECRET_ACCESS_KEY")) {
        (true, false) => return "AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not".to_owned(),
        (false, true) => return "AWS_SECRET_ACCESS_KEY is set but AWS_ACCESS_KEY_ID is not".to_owned(),
        _ => {}
    }
    let reason = root_cause(error);
    if reason.contains("No CA certificates") {
        return format!(
            "{reason} (set AWS_CA_BUNDLE to a PEM file with root certificates, or install ca-certificates)"
        );
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_stands_before_the_host_once() {
        for (endpoint, expected) in [
            ("https://s3.example.org", Some("https://music.s3.example.org")),
            ("http://music.localhost:9000", Some("http://music.localhost:9000")),
            ("http://localhost:9000", Some("http://music.localhost:9000")),
            ("http://127.0.0.1:9000", None),
            ("https://[::1]:9000", None),
        ] {
            assert_eq!(with_bucket(endpoint, "music").as_deref(), expected, "{endpoint}");
        }
    }
}
