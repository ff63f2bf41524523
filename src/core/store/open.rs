//! From a URL and `AWS_*` to a store, without touching what is there.

use super::error::{Action, Kind, Place, StoreError};
use super::folder::Folder;
use super::patience::{Account, Patience};
use super::{Inner, net};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// `AWS_*` variables.
type Variables = BTreeMap<String, String>;

pub(super) fn open(url: &str, patience: Patience, aws: Variables) -> Result<Inner, StoreError> {
    let bad = |advice: String| StoreError::new(Kind::BadUrl, Action::Open, url.to_owned(), advice);
    if let Some(rest) = url.strip_prefix("s3://") {
        if let Some((_, bucket)) = rest.split_once('@') {
            let advice = "keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not in the URL";
            let shown = format!("s3://...@{bucket}");
            return Err(StoreError::new(Kind::BadUrl, Action::Open, shown, advice.to_owned()));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        return open_s3(bucket, prefix, patience, &aws).map_err(bad);
    }
    if url == "memory:" {
        let memory = Arc::new(InMemory::new());
        let inner = inner(url.to_owned(), memory, ObjectPath::default(), Place::Memory, None, patience);
        return inner.map_err(bad);
    }
    open_folder(url).map_err(bad)
}

fn inner(
    url: String,
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    place: Place,
    folder: Option<Folder>,
    patience: Patience,
) -> Result<Inner, String> {
    let runtime = net::runtime().map_err(|error| error.to_string())?;
    Ok(Inner { url, objects, prefix, place, folder, patience, retries: Account::default(), runtime })
}

fn open_folder(url: &str) -> Result<Inner, String> {
    let path = if url.starts_with("file:") {
        let parsed = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
        parsed.to_file_path().map_err(|()| "a file URL is file:///absolute/folder".to_owned())?
    } else if url.contains("://") {
        return Err("storage is a folder or s3://bucket/prefix".to_owned());
    } else if url.is_empty() {
        return Err("the name of the folder is empty".to_owned());
    } else {
        PathBuf::from(url)
    };
    let folder = Folder::new(&path).map_err(|error| error.to_string())?;
    let prefix = ObjectPath::from_absolute_path(folder.path()).map_err(|error| error.to_string())?;
    let objects = Arc::new(LocalFileSystem::new().with_fsync(true));
    let shown = path.display().to_string();
    let shown = if shown.len() > 1 { shown.trim_end_matches('/').to_owned() } else { shown };
    // A write to a disk goes on when nobody waits for it any more, so nobody may ask for a short wait.
    inner(shown, objects, prefix, Place::Folder, Some(folder), Patience::default())
}

fn open_s3(bucket: &str, prefix: &str, patience: Patience, aws: &Variables) -> Result<Inner, String> {
    let proper = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if bucket.is_empty() || !bucket.bytes().all(proper) {
        return Err("the bucket's name is missing or odd; the form is s3://bucket/prefix".to_owned());
    }
    let prefix = ObjectPath::parse(prefix.trim_matches('/'))
        .map_err(|_| "a part of the prefix is empty, or is . or ..".to_owned())?;
    let (builder, endpoint) = builder(bucket, patience, aws)?;
    let objects = Arc::new(builder.build().map_err(|error| missing_half(aws, &error))?);
    let url = format!("s3://{bucket}/{prefix}");
    let url = url.trim_end_matches('/').to_owned();
    inner(url, objects, prefix, Place::S3 { bucket: bucket.to_owned(), endpoint }, None, patience)
}

/// The client as `AWS_*` describe it, and the address that it will speak to.
fn builder(
    bucket: &str,
    patience: Patience,
    aws: &Variables,
) -> Result<(AmazonS3Builder, Option<String>), String> {
    net::choose_tls();
    let client = |key| AmazonS3ConfigKey::Client(key);
    let mut builder = AmazonS3Builder::new();
    for (name, value) in aws {
        // AWS's tools have variables that object_store does not know, such as AWS_PAGER.
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder
        .with_bucket_name(bucket)
        // The store itself tries again, so that every try is seen, and limits each by its size.
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_config(client(ClientConfigKey::ConnectTimeout), format!("{}ms", patience.connect.as_millis()))
        .with_config(client(ClientConfigKey::Timeout), "1d")
        // Between checkpoints nobody watches idle connections, and a server may have closed them.
        .with_config(client(ClientConfigKey::PoolIdleTimeout), "5s")
        // One object at a time by a plain DELETE, which every server knows and which may be repeated.
        .with_disable_bulk_delete(true);
    let builder = without_the_systems_proxy(builder);
    let value = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
    // As object_store reads a yes.
    let yes = |value: String| ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str());
    let allowed = value(client(ClientConfigKey::AllowHttp)).is_some_and(yes);
    match &endpoint {
        Some(url) if url.starts_with("http://") && !allowed => Err(format!(
            "AWS_ENDPOINT_URL is {url}, without encryption; set AWS_ALLOW_HTTP=true to allow that"
        )),
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err(format!("AWS_ENDPOINT_URL is {url:?}; it begins with https:// or http://"))
        }
        _ => Ok((builder, endpoint)),
    }
}

/// Without a proxy in `AWS_*` there is none: a client that has no proxy at all would take `HTTP_PROXY` and its
/// like from the environment, but one whose every host is an exception asks no further.
fn without_the_systems_proxy(builder: AmazonS3Builder) -> AmazonS3Builder {
    let client = |key| AmazonS3ConfigKey::Client(key);
    if builder.get_config_value(&client(ClientConfigKey::ProxyUrl)).is_some() {
        return builder;
    }
    builder
        .with_config(client(ClientConfigKey::ProxyUrl), "http://127.0.0.1")
        .with_config(client(ClientConfigKey::ProxyExcludes), "*,0.0.0.0/0,::/0")
}

/// The builder's complaint, which for the likely case names no variable.
fn missing_half(aws: &Variables, error: &object_store::Error) -> String {
    match (aws.contains_key("AWS_ACCESS_KEY_ID"), aws.contains_key("AWS_SECRET_ACCESS_KEY")) {
        (true, false) => "AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not".to_owned(),
        (false, true) => "AWS_SECRET_ACCESS_KEY is set but AWS_ACCESS_KEY_ID is not".to_owned(),
        _ => error.to_string(),
    }
}
