//! The store against a server on a bad day: what passes is bridged and counted, what stays is one line.

use super::{Line, conforms_over, expect_line};
use bachdist_portable::store::{Creation, RetryPolicy, Store, StoreErrorKind};
use bachdist_test_support::proxy::{Fault, Proxy};
use bachdist_test_support::s3::{Server, server};
use bachdist_test_support::snapshot::{Transcript, without_reason};
use std::thread;
use std::time::Duration;

/// Seconds in place of minutes, but longer than the server needs on a busy machine.
fn scaled() -> RetryPolicy {
    RetryPolicy {
        attempt_timeout: Duration::from_secs(2),
        min_bytes_per_second: 3e6,
        retry_window: Duration::from_secs(30),
        ..RetryPolicy::default()
    }
}

/// A store behind a proxy of its own, in a prefix of its own.
fn open(server: &Server, prefix: &str) -> (Store, Proxy) {
    let proxy = Proxy::before(server.endpoint());
    (behind(&proxy, server, prefix, scaled()), proxy)
}

fn behind(proxy: &Proxy, server: &Server, prefix: &str, patience: RetryPolicy) -> Store {
    let url = format!("s3://bachdist/faults/{prefix}");
    Store::open_with(&url, patience, server.variables(&proxy.endpoint())).unwrap()
}

#[test]
#[ignore = "needs s3"]
fn every_promise_is_kept_although_a_fifth_of_all_requests_fail() {
    let Some(server) = server() else { return };
    let (store, proxy) = open(server, "conformance");
    proxy.inject(0.2, 1);
    conforms_over(&store, Line::Lossy);
    let (failed, repeated) = (proxy.met_any(), store.take_retries());
    println!("{failed} of {} requests met a fault: {repeated:?}", proxy.requests());
    assert!(Fault::ALL.iter().all(|&fault| proxy.met(fault) > 0), "of every kind");
    // More where the machine was so busy that the server was late.
    assert!(repeated.count >= failed, "{failed} failed, {repeated:?}");
}

/// Every call, when its first two tries meet this fault.
fn every_call_survives(prefix: &str, fault: Fault) {
    let Some(server) = server() else { return };
    let (store, proxy) = open(server, prefix);
    let mut said = Transcript::default();
    let mut twice = |call: &mut dyn FnMut()| {
        let before = proxy.met(fault);
        proxy.inject_next(fault, 2);
        call();
        let retries = store.take_retries();
        assert_eq!((proxy.met(fault) - before, retries.count >= 2), (2, true), "{retries:?}");
        let last = retries.last.unwrap();
        assert!(!last.contains('\n'), "{last}");
        let is_answer = [Fault::SlowDown, Fault::Stall].contains(&fault);
        let last = if is_answer { last } else { without_reason(&last, &proxy.endpoint()) };
        said.line_without_numbers("retried", &last);
    };
    let contents = vec![7; 200_000];
    twice(&mut || store.put("step-1", contents.clone()).unwrap());
    twice(&mut || assert!(store.get("step-1").unwrap() == contents));
    // The server may have made it at the first try.
    let lossy = [Fault::ResetAfter, Fault::Truncate].contains(&fault);
    let expected = if lossy { Creation::Exists } else { Creation::Created };
    twice(&mut || assert_eq!(store.create("attempt-1", "first").unwrap(), expected));
    assert_eq!(store.get("attempt-1").unwrap(), b"first");
    twice(&mut || assert_eq!(store.list("").unwrap().len(), 2));
    twice(&mut || store.delete("attempt-1").unwrap());
    assert_eq!(store.get("attempt-1").unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(store.take_retries(), Default::default(), "an absent object is an answer");
    said.check(&format!("store-retried-{prefix}"));
}

#[test]
#[ignore = "needs s3"]
fn every_call_survives_a_slow_down() {
    every_call_survives("slow-down", Fault::SlowDown);
}

#[test]
#[ignore = "needs s3"]
fn every_call_survives_a_reset_before_the_request() {
    every_call_survives("reset-before", Fault::ResetBefore);
}

#[test]
#[ignore = "needs s3"]
fn every_call_survives_a_reset_after_the_request() {
    every_call_survives("reset-after", Fault::ResetAfter);
}

#[test]
#[ignore = "needs s3"]
fn every_call_survives_a_stall() {
    every_call_survives("stall", Fault::Stall);
}

#[test]
#[ignore = "needs s3"]
fn every_call_survives_a_truncated_answer() {
    every_call_survives("truncated", Fault::Truncate);
}

#[test]
#[ignore = "needs s3"]
fn an_outage_shorter_than_the_window_is_bridged() {
    let Some(server) = server() else { return };
    let (store, proxy) = open(server, "short");
    proxy.outage(true);
    thread::scope(|scope| {
        let writer = scope.spawn(|| store.put("step-1", "whole"));
        proxy.wait_for(Fault::Outage, 5);
        proxy.outage(false);
        writer.join().unwrap().unwrap();
    });
    assert_eq!(store.get("step-1").unwrap(), b"whole");
    assert!(store.take_retries().count >= 5);
}

#[test]
#[ignore = "needs s3"]
fn an_outage_longer_than_the_window_leaves_what_was_there() {
    let Some(server) = server() else { return };
    let (patient, proxy) = open(server, "long");
    patient.put("step-1", "older").unwrap();
    proxy.outage_at(2, "PUT", "/step-1");
    patient.put("step-1", "old").unwrap();
    let hasty = RetryPolicy { retry_window: Duration::from_millis(500), ..scaled() };
    let store = behind(&proxy, server, "long", hasty);
    let endpoint = proxy.endpoint();
    let names = ["s3://bachdist/faults/long", &endpoint, "AWS_ENDPOINT_URL"];
    let mut said = Transcript::default();
    for (call, error) in [
        ("put", store.put("step-1", "new").unwrap_err()),
        ("create", store.create("attempt-1", "new").unwrap_err()),
        ("get", store.get("step-1").unwrap_err()),
        ("list", store.list("").unwrap_err()),
        ("delete", store.delete("step-1").unwrap_err()),
    ] {
        said.line_without_numbers(call, &without_reason(&error.to_string(), &endpoint));
        expect_line(&mut Transcript::default(), call, error, StoreErrorKind::Unreachable, &names);
    }
    said.check("store-outage");
    // Of each call, the last failure was not repeated.
    assert_eq!(store.take_retries().count, proxy.met(Fault::Outage) - 5);
    proxy.outage(false);
    assert_eq!(patient.get("step-1").unwrap(), b"old");
    assert_eq!(patient.list("").unwrap().len(), 1);
}

#[test]
#[ignore = "needs s3"]
fn refusals_are_not_repeated() {
    let Some(server) = server() else { return };
    let proxy = Proxy::before(server.endpoint());
    let mut variables = server.variables(&proxy.endpoint());
    variables.insert("AWS_SECRET_ACCESS_KEY".into(), "wrong".into());
    let store = Store::open_with("s3://bachdist/faults/refused", scaled(), variables).unwrap();
    assert_eq!(store.put("step-1", "x").unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!((proxy.requests(), store.take_retries()), (1, Default::default()));
}
