//! Timeouts and retries of calls to a server, and a log of the retries.
//!
//! Every attempt has a timeout. A call that finds no server, or one that cannot serve now, is retried until
//! [`RetryPolicy::retry_window`] has passed since its first failure. Every call of a store may be repeated.

use super::error::{StoreError, StoreErrorKind};
use backon::ExponentialBuilder;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The timeouts and retries of a store's calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// Limit for the answer to one attempt, plus what its size allows.
    pub attempt_timeout: Duration,
    /// The slowest connection to wait for, more than 0: an attempt that transfers this many bytes gets one second more.
    pub min_bytes_per_second: f64,
    /// How long after its first failure a call is still retried.
    pub retry_window: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(30),
            min_bytes_per_second: 100_000.0,
            // Enough for a server to restart, or a cluster to elect a leader; and a wrong address is reported within a
            // minute. Training does not wait meanwhile.
            retry_window: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The timeout of an attempt that transfers this many bytes.
    fn limit(&self, bytes: usize) -> Duration {
        self.attempt_timeout + Duration::from_secs_f64(bytes as f64 / self.min_bytes_per_second)
    }

    /// Puts the timeout on an answer, so that a server that accepts a connection and then never answers is an error too.
    pub(super) async fn limited<T>(
        &self,
        bytes: usize,
        answer: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, object_store::Error> {
        let limit = self.limit(bytes);
        match tokio::time::timeout(limit, answer).await {
            Ok(result) => result,
            Err(_) => {
                let late = format!("no answer within {limit:.1?}");
                Err(failure(io::ErrorKind::TimedOut, late))
            }
        }
    }

    /// The waits between attempts: doubling from 0.1 s to 3 s, or from a 600th to a 20th of a window shorter than a minute,
    /// with jitter, so that many clients do not come back at once.
    pub(super) fn waits(&self) -> ExponentialBuilder {
        let scale = self.retry_window.min(Duration::from_secs(60));
        ExponentialBuilder::default()
            .with_min_delay(scale / 600)
            .with_max_delay(scale / 20)
            .with_factor(2.0)
            .with_jitter()
            // The retry window ends it.
            .without_max_times()
    }
}

/// An error of a call in `object_store`'s terms.
pub(super) fn failure(kind: io::ErrorKind, reason: String) -> object_store::Error {
    object_store::Error::Generic { store: "store", source: Box::new(io::Error::new(kind, reason)) }
}

/// The attempts of one call.
#[derive(Debug, Default)]
pub(super) struct CallAttempts {
    failed: u32,
    first_failure: Option<Instant>,
}

impl CallAttempts {
    /// Counts a failure and decides whether to retry.
    pub(super) fn should_retry(&mut self, error: &StoreError, policy: &RetryPolicy) -> bool {
        self.failed += 1;
        let begin = *self.first_failure.get_or_insert_with(Instant::now);
        error.kind == StoreErrorKind::Unreachable && begin.elapsed() < policy.retry_window
    }

    /// The number of failed attempts.
    pub(super) fn failed(&self) -> u32 {
        self.failed
    }
}

/// CallAttempts that failed and were repeated, for an honest log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retries {
    /// Number of retries.
    pub count: u64,
    /// The error before the last of them, in one line.
    pub last: Option<String>,
}

/// The retries of all clones of a store.
#[derive(Debug, Default)]
pub(super) struct RetryLog(Mutex<Retries>);

impl RetryLog {
    pub(super) fn add(&self, error: &StoreError) {
        let mut retries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        retries.count += 1;
        retries.last = Some(error.to_string());
    }

    pub(super) fn take(&self) -> Retries {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
