//! A launch's claim to a run: what it saves, what it prunes, and that it stops for a later launch.

use crate::scene::{KEEP_ALL, Scene, checkpoint, origin, stored};
use bachdist_portable::checkpoint::CheckpointName;
use bachdist_portable::checkpoint::claim::{Retention, RunClaim};
use bachdist_portable::checkpoint::list;
use bachdist_portable::checkpoint::read::Recovery;
use bachdist_portable::exit::code_of;
use bachdist_portable::failure::ExitCode;
use bachdist_portable::store::{RetryPolicy, Store};
use bachdist_test_support::proxy::Proxy;
use bachdist_test_support::s3::server;
use bachdist_test_support::snapshot::Transcript;
use serde_json::Value;

fn retention(keep: usize) -> Retention {
    Retention { keep, keep_every_steps: None, best: None }
}

fn names(store: &Store) -> Vec<CheckpointName> {
    list(store).unwrap().into_iter().map(|listed| listed.name).collect()
}

fn own(steps: &[u64]) -> Vec<CheckpointName> {
    steps.iter().map(|&step| stored(1, step).0).collect()
}

/// The next launch of the run in a scene.
fn resume(scene: &Scene) -> RunClaim {
    RunClaim::claim(scene.store.clone(), origin(1), &scene.recover()).unwrap()
}

#[test]
fn only_good_checkpoints_of_this_run_are_counted_and_deleted() {
    let scene = Scene::new(Store::open("memory:").unwrap());
    // Between its own, older and newer ones: another run's, damaged ones, and misnamed ones.
    let foreign: Vec<CheckpointName> = [1, 3, 5, 7, 9]
        .map(|step| {
            let (name, bytes) = stored(2, step);
            scene.put(&name, &bytes);
            name
        })
        .into();
    let damaged = CheckpointName { step: 5, hash: "0123456789abcdef".into() };
    scene.put(&damaged, b"");
    scene.store.put("step-00000001.safetensors", "mine").unwrap();

    let run = resume(&scene);
    run.save(&checkpoint(1, 8), retention(2)).unwrap();
    let left = |steps: &[u64]| {
        let mut left = [&foreign[..], std::slice::from_ref(&damaged), &own(steps)].concat();
        left.sort();
        left
    };
    assert_eq!(names(&scene.store), left(&[6, 8]));
    run.save(&checkpoint(1, 10), retention(2)).unwrap();
    assert_eq!(names(&scene.store), left(&[8, 10]));
    // A later launch, which knows nothing of what this one learnt.
    resume(&scene).save(&checkpoint(1, 12), retention(1)).unwrap();
    assert_eq!(names(&scene.store), left(&[12]));
    assert_eq!(scene.store.get("step-00000001.safetensors").unwrap(), b"mine");
}

#[test]
fn a_damaged_checkpoint_that_is_saved_again_counts_again() {
    let scene = Scene::new(Store::open("memory:").unwrap());
    scene.put(scene.name(2), b"");
    let run = resume(&scene);
    run.save(&checkpoint(1, 6), KEEP_ALL).unwrap();
    scene.expect(&[], 2);
    run.save(&checkpoint(1, 8), retention(2)).unwrap();
    assert_eq!(names(&scene.store), own(&[6, 8]));
}

#[test]
fn an_attempt_says_whose_it_is() {
    let scene = Scene::new(Store::open("memory:").unwrap());
    assert_eq!(resume(&scene).attempt(), 2);
    let text = String::from_utf8(scene.store.get("attempt-000002").unwrap()).unwrap();
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["run_digest"], origin(1).digest());
    assert_eq!(said["pid"], std::process::id());
    assert!(said["host"].is_string());
    assert_eq!(text, said.to_string(), "not canonical");
}

#[test]
fn a_launch_that_was_replaced_writes_nothing() {
    let scene = Scene::new(Store::open("memory:").unwrap());
    let stale = resume(&scene);
    stale.publish("metrics.jsonl", b"stale".into()).unwrap();
    let later = resume(&scene);
    later.publish("metrics.jsonl", b"later".into()).unwrap();
    let before = names(&scene.store);
    let (name, bytes) = stored(1, 8);
    let mut said = Transcript::default();
    for (call, error) in [
        ("save", stale.save(&checkpoint(1, 8), retention(1)).map(drop).unwrap_err()),
        ("put", stale.put(&name, bytes).unwrap_err()),
        ("publish", stale.publish("metrics.jsonl", b"stale again".into()).unwrap_err()),
    ] {
        assert_eq!(code_of(&error), ExitCode::Storage);
        let line = error.to_string();
        let parts = ["attempt 3 ", &format!("process {}", std::process::id()), "memory:", "attempt 2"];
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        said.line(call, line);
    }
    assert_eq!(names(&scene.store), before);
    assert_eq!(scene.store.get("metrics.jsonl").unwrap(), b"later");
    later.publish("metrics.jsonl", b"later again".into()).unwrap();

    // By a launch with another configuration, at an address that it should not have.
    let _other = RunClaim::claim(scene.store.clone(), origin(2), &Recovery::default()).unwrap();
    let line = later.save(&checkpoint(1, 8), KEEP_ALL).unwrap_err().to_string();
    assert!(line.starts_with("attempt 4 "), "{line}");
    said.line("save, after another run's launch", line);
    said.check("replaced-launch");
}

#[test]
#[ignore = "needs s3"]
fn without_create_only_writes_the_last_to_write_has_the_attempt() {
    let Some(server) = server() else { return };
    let proxy = Proxy::before(server.endpoint());
    proxy.without_conditions("501 Not Implemented");
    let variables = server.variables(&proxy.endpoint());
    let store = Store::open_with("s3://bachdist/run/unguarded", RetryPolicy::default(), variables).unwrap();
    let run = RunClaim::claim(store.clone(), origin(1), &Recovery::default()).unwrap();
    let mut said = Transcript::default();
    said.line("claim", run.note().unwrap());
    run.save(&checkpoint(1, 2), KEEP_ALL).unwrap();
    // Another launch has seen no attempt either, a moment ago.
    let other = serde_json::json!({ "host": "elsewhere", "pid": 7, "run_digest": origin(1).digest() });
    store.put("attempt-000001", other.to_string()).unwrap();
    let line = run.save(&checkpoint(1, 4), KEEP_ALL).unwrap_err().to_string();
    assert!(line.contains("elsewhere") && line.contains("process 7)"), "{line}");
    said.line("save", line);
    said.check("without-create-only-writes");
    assert_eq!(names(&store), own(&[2]));
    // On a server that knows them there is nothing to tell.
    let variables = server.variables(server.endpoint());
    let store = Store::open_with("s3://bachdist/run/guarded", RetryPolicy::default(), variables).unwrap();
    assert_eq!(RunClaim::claim(store, origin(1), &Recovery::default()).unwrap().note(), None);
}
