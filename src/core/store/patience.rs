//! How long a store waits and how often it asks again, and the account of it.
//!
//! One try has a time limit; a call whose try met no server, or none that could serve, is tried again until a
//! while after its first failure. What a failure is, and which calls may be repeated, the store knows.

use super::error::{Kind, StoreError};
use backon::ExponentialBuilder;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time limits of a store's calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until an answer to one try, beside what its size allows.
    pub one_try: Duration,
    /// The slowest line that is still waited for, more than 0: a try that carries so many bytes has a second more.
    pub bytes_per_second: f64,
    /// From a call's first failure to the last time that it is tried again.
    pub retry: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            one_try: Duration::from_secs(30),
            bytes_per_second: 100_000.0,
            // A server that restarts, or a new leader of several, is back by then; and a person who made a
            // mistake in an address is told within a minute. Training waits for neither.
            retry: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// The time limit of a try that carries so many bytes.
    fn limit(&self, bytes: usize) -> Duration {
        self.one_try + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second)
    }

    /// Gives an answer as long as its size allows, so that a server that takes a connection and then says
    /// nothing is an error too.
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

    /// The waits between tries: doubling from 0.1 s to 3 s, or from a 600th to a 20th of a window shorter than
    /// a minute, and up to as much again by chance, so that many clients do not come back at once.
    pub(super) fn waits(&self) -> ExponentialBuilder {
        let scale = self.retry.min(Duration::from_secs(60));
        ExponentialBuilder::default()
            .with_min_delay(scale / 600)
            .with_max_delay(scale / 20)
            .with_factor(2.0)
            .with_jitter()
            // The window ends it.
            .without_max_times()
    }
}

/// An error of a call in `object_store`'s terms.
pub(super) fn failure(kind: io::ErrorKind, reason: String) -> object_store::Error {
    object_store::Error::Generic { store: "store", source: Box::new(io::Error::new(kind, reason)) }
}

/// The tries of one call.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    first_failure: Option<Instant>,
}

impl Tries {
    /// Counts a failure; whether it is one to try again after.
    pub(super) fn go_on(&mut self, error: &StoreError, patience: &Patience) -> bool {
        self.failed += 1;
        let begin = *self.first_failure.get_or_insert_with(Instant::now);
        error.kind == Kind::Unreachable && begin.elapsed() < patience.retry
    }

    /// How many failed.
    pub(super) fn failed(&self) -> u32 {
        self.failed
    }
}

/// Tries that failed and were repeated, for an honest log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retries {
    /// How many.
    pub count: u64,
    /// Why the last of them was, in one line.
    pub last: Option<String>,
}

/// The retries of all clones of a store.
#[derive(Debug, Default)]
pub(super) struct Account(Mutex<Retries>);

impl Account {
    pub(super) fn add(&self, error: &StoreError) {
        let mut retries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        retries.count += 1;
        retries.last = Some(error.to_string());
    }

    pub(super) fn take(&self) -> Retries {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
