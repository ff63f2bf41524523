//! Objects under one URL: a folder, a prefix in an S3 bucket, or memory for tests.
//!
//! Names are relative to the URL. Every write is atomic, and durable when it returns: a reader sees all of an object or none
//! of it, whatever crashes meanwhile. The callers decide what objects mean and which to keep.
//!
//! A call to a server that cannot be reached, or cannot serve now, is retried; see [`RetryPolicy`]. Calls to a folder are
//! not.
//!
//! Calls block. A [`Store`] may be cloned and used from several threads; the small runtime that `object_store` needs runs
//! only while one of them waits.

mod error;
mod folder;
pub(crate) mod http;
mod open;
mod retry;

pub(crate) use error::root_cause;
pub use error::{StoreError, StoreErrorKind};
pub use folder::StoredObject;
pub use retry::{Retries, RetryPolicy};

use backon::Retryable;
use bytes::Bytes;
use error::Action;
use folder::Folder;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use open::OpenStore;
use retry::{CallAttempts, failure};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Distinguishes an object from older and newer ones of the same name.
#[derive(Debug, Clone)]
pub struct ObjectVersion(UpdateVersion);

/// The result of a create-only write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The object was absent and now has the given contents.
    Created,
    /// The same, on a server without create-only writes: if several write at the same moment, the last one's contents stay,
    /// and the others may believe that theirs did.
    Unguarded,
    /// Another object has the name and was left alone.
    Exists,
}

/// Objects under one URL. Clones are cheap and share the objects.
#[derive(Debug, Clone)]
pub struct Store(Arc<OpenStore>);

impl Store {
    /// Opens a folder (`runs/cello`, `/data/runs`, `file:///data/runs`), `s3://bucket/prefix` with `AWS_*`
    /// from the environment, or `memory:`, which is empty and this store's own.
    ///
    /// Nothing is created or read yet: the first write creates a folder, and the first call shows whether a server answers.
    ///
    /// # Errors
    /// [`StoreErrorKind::BadUrl`]: a URL or `AWS_*` that cannot work.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with_policy(url, RetryPolicy::default())
    }

    /// Like [`Store::open`], with these timeouts for a server; a folder has the default ones.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_with_policy(url: &str, policy: RetryPolicy) -> Result<Self, StoreError> {
        Self::open_with(url, policy, std::env::vars_os())
    }

    /// Like [`Store::open_with_policy`], with these variables instead of the environment. Only those for storage are used.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_with(
        url: &str,
        policy: RetryPolicy,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) -> Result<Self, StoreError> {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        open::open(url, policy, variables).map(|opened| Self(Arc::new(opened)))
    }

    /// The URL of the whole store, as messages should name it.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The URL of one object, as messages should name it.
    pub fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.0.url)
    }

    /// Whether the objects are files on this machine's file systems.
    pub fn is_local(&self) -> bool {
        self.0.folder.is_some()
    }

    /// The file that holds, or would hold, an object; `None` for a store that is not a folder.
    pub fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.0.folder.as_ref().map(|folder| folder.path().join(name))
    }

    /// The retries of all clones of the store since the last call of this.
    pub fn take_retries(&self) -> Retries {
        self.0.retries.take()
    }

    /// The contents of an object that may be absent.
    pub fn get_if_present(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.get(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The contents of an object.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] if it is absent; or the store does not answer.
    pub fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        if let Some(folder) = &self.0.folder {
            folder.check_readable(name).map_err(|error| self.explain(Action::Read, name, error.into()))?;
        }
        let (policy, is_remote) = (self.0.policy, self.0.place.is_remote());
        self.call(Action::Read, name, |objects, path| async move {
            let found = policy.limited(0, objects.get(&path)).await?;
            if is_remote && found.meta.e_tag.is_none() {
                // Every S3 server sends an ETag, so this answer is not an object.
                let begin = found.bytes().await.unwrap_or_default();
                let line = http::first_line(&String::from_utf8_lossy(&begin));
                let source = Box::new(http::ForeignAnswer::Page { status: 200, line });
                return Err(object_store::Error::Generic { store: "S3", source });
            }
            let size = found.meta.size as usize;
            let bytes = policy.limited(size, found.bytes()).await?;
            if bytes.len() < size {
                let short = format!("the answer ended after {} of {size} bytes", bytes.len());
                return Err(failure(io::ErrorKind::UnexpectedEof, short));
            }
            Ok(Vec::from(bytes))
        })
    }

    /// Writes an object; it replaces one of the same name.
    ///
    /// # Errors
    /// The object cannot be stored; an older one, if any, is untouched.
    pub fn put(&self, name: &str, contents: impl Into<Bytes>) -> Result<(), StoreError> {
        self.write(name, contents.into(), PutMode::Overwrite)
    }

    /// Writes an object only if none has this name: of any number of writers, on any number of machines, exactly one gets
    /// [`Creation::Created`].
    ///
    /// Over a network, a writer whose acknowledgement was lost retries and may find its own object. It gets `Exists`, never
    /// wrongly `Created`.
    ///
    /// # Errors
    /// The object cannot be stored.
    pub fn create(&self, name: &str, contents: impl Into<Bytes>) -> Result<Creation, StoreError> {
        let contents = contents.into();
        match self.write(name, contents.clone(), PutMode::Create) {
            Ok(()) => return Ok(Creation::Created),
            Err(error) if error.kind == StoreErrorKind::Exists => return Ok(Creation::Exists),
            // Servers without create-only writes say so in different ways. If the server rejects something else, the plain
            // write that follows fails too.
            Err(error) if error.kind == StoreErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
        if self.version(name)?.is_some() {
            return Ok(Creation::Exists);
        }
        self.put(name, contents.clone())?;
        Ok(if self.get(name)? == contents { Creation::Unguarded } else { Creation::Exists })
    }

    /// The version of an object; `None` if it is absent.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn version(&self, name: &str) -> Result<Option<ObjectVersion>, StoreError> {
        let policy = self.0.policy;
        let found = self.call(Action::Read, name, |objects, path| async move {
            policy.limited(0, objects.head(&path)).await
        });
        match found {
            Ok(found) => {
                Ok(Some(ObjectVersion(UpdateVersion { e_tag: found.e_tag, version: found.version })))
            }
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When an object was written, by the clock of the server or file system.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] if it is absent; or the store does not answer.
    pub fn modified(&self, name: &str) -> Result<SystemTime, StoreError> {
        let policy = self.0.policy;
        let found = self.call(Action::Read, name, |objects, path| async move {
            policy.limited(0, objects.head(&path)).await
        })?;
        Ok(found.last_modified.into())
    }

    /// Replaces this version of an object, or creates it if `version` is `None`. Returns `false`, and writes nothing, if the
    /// object has another version by now. Folders, and servers without conditional writes, do not check the version.
    ///
    /// # Errors
    /// The object cannot be stored.
    pub fn replace(
        &self,
        name: &str,
        contents: impl Into<Bytes>,
        version: Option<&ObjectVersion>,
    ) -> Result<bool, StoreError> {
        let contents = contents.into();
        let mode = match version {
            _ if self.is_local() => PutMode::Overwrite,
            None => PutMode::Create,
            Some(ObjectVersion(UpdateVersion { e_tag: None, .. })) => PutMode::Overwrite,
            Some(ObjectVersion(version)) => PutMode::Update(version.clone()),
        };
        match self.write(name, contents.clone(), mode) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind, StoreErrorKind::Exists | StoreErrorKind::Changed) => Ok(false),
            Err(error) if error.kind == StoreErrorKind::Unsupported => {
                self.put(name, contents).map(|()| true)
            }
            Err(error) => Err(error),
        }
    }

    /// Half-written files, of a write in progress or of a crash. They are not objects: nothing lists or reads them, and a
    /// launch removes them when they are old. Only a folder has any.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn partial_writes(&self) -> Result<Vec<StoredObject>, StoreError> {
        let found = self.0.folder.as_ref().map_or(Ok(Vec::new()), Folder::partial_writes);
        found.map_err(|error| self.explain(Action::List, "", error.into()))
    }

    /// The objects directly under the URL whose names begin with `prefix`, sorted by name, without half-written files. A
    /// folder that does not exist is empty. What is not a file (a folder, a pipe, a dangling link) and what has a name that
    /// cannot be asked for is not listed.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn list(&self, prefix: &str) -> Result<Vec<StoredObject>, StoreError> {
        let mut entries = match &self.0.folder {
            // object_store's own listing of a folder fails as a whole if one name is not UTF-8.
            Some(folder) => folder.files().map_err(|error| self.explain(Action::List, "", error.into()))?,
            None => {
                let policy = self.0.policy;
                let found = self.call(Action::List, "", |objects, path| async move {
                    policy.limited(0, objects.list_with_delimiter(Some(&path))).await
                })?;
                let objects = found.objects.into_iter();
                objects
                    .filter_map(|object| {
                        Some(StoredObject { name: object.location.filename()?.to_owned(), size: object.size })
                    })
                    .collect()
            }
        };
        entries.retain(|entry| entry.name.starts_with(prefix));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Deletes an object; it may be absent already.
    ///
    /// # Errors
    /// The object cannot be deleted.
    pub fn delete(&self, name: &str) -> Result<(), StoreError> {
        let policy = self.0.policy;
        let deleted = self.call(Action::Delete, name, |objects, path| async move {
            policy.limited(0, objects.delete(&path)).await
        });
        match deleted {
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn write(&self, name: &str, contents: Bytes, mode: PutMode) -> Result<(), StoreError> {
        if let Some(folder) = &self.0.folder {
            folder.sweep_once();
        }
        let policy = self.0.policy;
        self.call(Action::Write, name, |objects, path| {
            let (payload, mode) = (PutPayload::from_bytes(contents.clone()), mode.clone());
            let size = contents.len();
            async move { policy.limited(size, objects.put_opts(&path, payload, mode.into())).await.map(drop) }
        })
    }

    /// Runs one operation on this thread until it succeeds or the policy ends the retries, and puts an error in words.
    fn call<T, Operation>(
        &self,
        action: Action,
        name: &str,
        operation: impl Fn(Arc<dyn ObjectStore>, ObjectPath) -> Operation,
    ) -> Result<T, StoreError>
    where
        Operation: Future<Output = Result<T, object_store::Error>>,
    {
        let inner = &self.0;
        let path = match name {
            "" => Ok(inner.prefix.clone()),
            // Parsed, not encoded: the object has exactly the caller's name, or the call fails.
            name => ObjectPath::parse(format!("{}/{name}", inner.prefix)),
        };
        let path =
            path.map_err(|error| self.explain(action, name, Box::new(object_store::Error::from(error))))?;
        let one_try = || async {
            let done = operation(Arc::clone(&inner.objects), path.clone()).await;
            let done = done.map_err(|error| self.explain(action, name, Box::new(error)));
            match done {
                Err(mut error)
                    if error.kind == StoreErrorKind::NotS3 && inner.answered.load(Ordering::Relaxed) =>
                {
                    error.kind = StoreErrorKind::Unreachable;
                    Err(error)
                }
                Err(error)
                    if ![StoreErrorKind::NotFound, StoreErrorKind::Exists, StoreErrorKind::Changed]
                        .contains(&error.kind) =>
                {
                    Err(error)
                }
                done => {
                    inner.answered.store(true, Ordering::Relaxed);
                    done
                }
            }
        };
        if !inner.place.is_remote() {
            return inner.runtime.block_on(one_try());
        }
        let mut tries = CallAttempts::default();
        let call = one_try
            .retry(inner.policy.waits())
            .when(|error| tries.should_retry(error, &inner.policy))
            .notify(|error, _| inner.retries.add(error));
        let result = inner.runtime.block_on(call);
        result.map_err(|error| error.after(tries.failed()))
    }

    fn explain(
        &self,
        action: Action,
        name: &str,
        error: Box<dyn std::error::Error + Send + Sync>,
    ) -> StoreError {
        let object = if name.is_empty() { self.0.url.clone() } else { self.url_of(name) };
        StoreError::explain(action, object, &self.0.place, error)
    }
}
