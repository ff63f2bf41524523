//! A run on a real S3 server, over a line that is not what it should be.

use std::process::Command;

use bachdist_portable::store::{RetryPolicy, Store};
use serde_json::Value;

use bachdist_test_support::harness::{Place, Running, bachdist, ended, json, wait_until};
use bachdist_test_support::proxy::{Fault, Proxy};
use bachdist_test_support::s3::{Server, server};
use bachdist_test_support::snapshot::{Transcript, without_reason};

/// Seconds in place of minutes, but longer than the server needs on a busy machine.
const SCALED: &str = "--set checkpoint.timeout_seconds=2 --set checkpoint.retry_seconds=30";

/// A command that reaches the server through a proxy.
fn through<'a>(proxy: &Proxy, server: &Server, command: &'a mut Command) -> &'a mut Command {
    command.envs(server.variables(&proxy.endpoint()))
}

/// The names of the checkpoints in the server, oldest first.
fn checkpoints(server: &Server, url: &str) -> Vec<String> {
    let variables = server.variables(server.endpoint());
    let store = Store::open_with(url, RetryPolicy::default(), variables).unwrap();
    store.list("step-").unwrap().into_iter().map(|entry| entry.name).collect()
}

/// The records in the server's `metrics.jsonl`.
fn records(server: &Server, url: &str) -> Vec<Value> {
    let store = Store::open_with(url, RetryPolicy::default(), server.variables(server.endpoint())).unwrap();
    let metrics = String::from_utf8(store.get("metrics.jsonl").unwrap()).unwrap();
    metrics.lines().map(json).collect()
}

#[test]
#[ignore = "needs mpi, s3"]
fn a_fifth_of_all_requests_fail_and_the_run_ends_with_the_same_name() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml --set checkpoint.every_steps=1").ok();

    let proxy = Proxy::before(server.endpoint());
    proxy.inject(0.2, 3);
    let url = "s3://bachdist/storage/faults";
    let run = format!("train tiny.toml --set checkpoint.every_steps=1 --set checkpoint.url={url} {SCALED}");
    let Some(mut command) = place.launch(2, &run) else { return };
    let ended = ended(through(&proxy, server, &mut command)).ok();
    println!("{}{} of {} requests met a fault", ended.stdout, proxy.met_any(), proxy.requests());
    assert!(Fault::ALL.iter().all(|&fault| proxy.met(fault) > 0), "of every kind");
    assert_eq!(checkpoints(server, url), place.checkpoints("run"));

    // The log says so.
    let retries = records(server, url).iter().filter_map(|record| record["retries"].as_u64()).sum::<u64>();
    assert!(retries > 0 && retries <= proxy.met_any() && !ended.notes().is_empty(), "{retries} retries");
}

#[test]
#[ignore = "needs s3"]
fn an_outage_shorter_than_the_retry_window_loses_no_checkpoint() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml").ok();

    let proxy = Proxy::before(server.endpoint());
    proxy.outage_at(2, "PUT", "/step-");
    let url = "s3://bachdist/storage/short-outage";
    let mut command = place.command(bachdist());
    command.args(format!("train tiny.toml --set checkpoint.url={url} {SCALED}").split_whitespace());
    let running = Running::start(through(&proxy, server, &mut command));
    proxy.wait_for(Fault::Outage, 5);
    assert_eq!(checkpoints(server, url), place.checkpoints("run")[..1]);
    proxy.outage(false);
    running.end().ok();
    assert_eq!(checkpoints(server, url), place.checkpoints("run"));
}

#[test]
#[ignore = "needs s3"]
fn proxies_in_the_environment_are_not_followed() {
    let Some(server) = server() else { return };
    let place = Place::new();
    let mut command = place.command(bachdist());
    command.args(["checkpoint", "list", "s3://bachdist/storage/nothing", "--json"]);
    command.envs(server.variables(server.endpoint())).env_remove("no_proxy").env_remove("NO_PROXY");
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        // Nobody listens there.
        command.env(name, "http://127.0.0.1:1");
    }
    assert_eq!(ended(&mut command).ok().json(), serde_json::json!([]));
}

/// A run that would go on for ever, with a checkpoint every 20 steps.
const LONG: &str = "train tiny.toml --set train.epochs=100000 --set checkpoint.every_steps=20 \
                    --set checkpoint.timeout_seconds=1 --set checkpoint.retry_seconds=0.3";

#[test]
#[ignore = "needs mpi, s3"]
fn an_outage_that_ends_is_bridged() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    let proxy = Proxy::before(server.endpoint());
    let url = "s3://bachdist/storage/outage";
    // The third checkpoint meets it.
    proxy.outage_at(3, "PUT", "/step-");
    let run = format!("{LONG} --set checkpoint.url={url} --set checkpoint.max_unsaved_steps=1000000000");
    let Some(mut launch) = place.launch(2, &run) else { return };
    let running = Running::start(through(&proxy, server, &mut launch));
    proxy.wait_for(Fault::Outage, 20);
    let before = checkpoints(server, url).pop().unwrap();
    proxy.outage(false);
    wait_until("a newer checkpoint", || checkpoints(server, url).pop().unwrap() > before);
    running.signal("USR1");
    let ended = running.end().with_code(75);
    let mut said = Transcript::default();
    for (when, part) in [("the storage goes away", "1,000,000,000"), ("it is back", "is back")] {
        let notes = ended.notes();
        let note = notes.iter().find(|note| note.contains(part)).unwrap_or_else(|| panic!("{notes:?}"));
        said.line_without_numbers(when, &without_reason(note, &proxy.endpoint()));
    }
    said.check("storage-outage-bridged");
    assert!(records(server, url).iter().any(|record| record["kind"] == "outage"));
    let newest = checkpoints(server, url).pop().unwrap();
    assert_eq!(newest, straight(&place, &newest));
}

#[test]
#[ignore = "needs mpi, s3"]
fn storage_that_is_gone_for_good_loses_nothing() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    let proxy = Proxy::before(server.endpoint());
    let url = "s3://bachdist/storage/gone";
    proxy.outage_at(3, "PUT", "/step-");
    let run = format!("{LONG} --set checkpoint.url={url} --set checkpoint.max_unsaved_steps=40");
    let Some(mut launch) = place.launch(2, &run) else { return };
    let ended = ended(through(&proxy, server, &mut launch)).with_code(4);
    let kept = place.checkpoints("runs/tiny.unsaved");
    assert!(kept.len() == 1, "{kept:?}");
    let named = [url, &format!("runs/tiny.unsaved/{}", kept[0])];
    assert!(named.iter().all(|named| ended.error().contains(named)), "{}", ended.stderr);
    let mut said = Transcript::default();
    let lost = without_reason(ended.error(), &proxy.endpoint());
    said.line_without_numbers("the storage goes away", &lost);
    let safe = checkpoints(server, url).pop().unwrap();
    assert!(safe < kept[0], "{safe} was safe already");

    // While it is away, a launch takes nothing and loses nothing.
    let mut again = place.command(bachdist());
    let again = through(&proxy, server, again.args(run.split_whitespace()));
    let still = bachdist_test_support::harness::ended(again).with_code(4);
    let still = without_reason(still.error(), &proxy.endpoint());
    said.line_without_numbers("it is still away", &still);
    assert_eq!(place.checkpoints("runs/tiny.unsaved"), kept);

    proxy.outage(false);
    let step: u64 = kept[0][5..13].parse().unwrap();
    let two_more = format!("{run} --set train.max_steps={}", step + 2);
    let mut again = place.launch(3, &two_more).unwrap();
    let ended = bachdist_test_support::harness::ended(through(&proxy, server, &mut again)).ok();
    let notes = ended.notes();
    let moved = notes.iter().find(|note| note.contains(&kept[0])).unwrap_or_else(|| panic!("{notes:?}"));
    said.line_without_numbers("it is back", moved);
    said.check("storage-gone");
    let of_kind = |kind: &str| records(server, url).iter().rfind(|record| record["kind"] == kind).cloned();
    assert_eq!(of_kind("resume").unwrap()["step"], step);
    assert!(!place.path("runs/tiny.unsaved").exists());
    let newest = checkpoints(server, url).pop().unwrap();
    assert_eq!(newest, straight(&place, &newest));
}

/// The name that a run in a folder, which never met an outage, has after as many steps as this one.
fn straight(place: &Place, name: &str) -> String {
    let step: u64 = name[5..13].parse().unwrap();
    let options = "--set train.epochs=100000 --set checkpoint.every_steps=1000000";
    place
        .bachdist(&format!(
            "train tiny.toml {options} --set checkpoint.url=straight --set train.max_steps={step}"
        ))
        .ok();
    place.checkpoints("straight").pop().unwrap()
}

#[test]
#[ignore = "needs s3"]
fn foreign_objects_beside_a_running_run_are_passed_over() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    let proxy = Proxy::before(server.endpoint());
    let url = "s3://bachdist/storage/foreign";
    let put_foreign = |names: &[&str]| {
        for name in names {
            server.put_foreign(&format!("storage/foreign/{name}"));
        }
    };
    put_foreign(&["step-%0A", "a//b"]);
    // Halted between two checkpoints, while somebody else is busy there.
    let mut command = place.command(bachdist());
    command.args(
        format!("train tiny.toml --set checkpoint.url={url} --set checkpoint.keep=1 {SCALED}")
            .split_whitespace(),
    );
    command.env("BACHDIST_FAULT", "step#7=stop");
    let running = Running::start(through(&proxy, server, &mut command));
    let status = || std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
    wait_until("a halted process", || status().contains("State:\tT"));
    put_foreign(&["/c", "new%0Aline", "attempt-%01", "step-00000001-0123456789abcdef.safetensors/x"]);
    running.signal("CONT");
    let ended = running.end().ok();
    assert_eq!(ended.notes(), [""; 0]);

    let on_server = |arguments: &str| {
        let mut command = place.command(bachdist());
        bachdist_test_support::harness::ended(
            command.args(arguments.split_whitespace()).envs(server.variables(server.endpoint())),
        )
        .ok()
    };
    let listed = on_server(&format!("checkpoint list {url} --json")).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "one is kept: {listed}");
    let verified = on_server(&format!("checkpoint verify {url} --json")).json();
    assert_eq!(verified[0]["ok"], true, "{verified}");
    on_server(&format!("sample {url} --only midi"));
    // The same command goes on there.
    on_server(&format!("train tiny.toml --set checkpoint.url={url} --set train.epochs=4"));
}

#[test]
fn wrong_settings_are_refused_before_any_request() {
    let place = Place::with_tiny();
    let mut said = Transcript::default();
    for (name, value) in [
        ("AWS_SECRET_ACCESS_KEY", "hidden\nhidden"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:99999"),
        ("AWS_CA_BUNDLE", "nowhere.pem"),
    ] {
        let mut command = place.alone("train tiny.toml --set checkpoint.url=s3://bucket/run");
        command.envs([("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", "secret"), (name, value)]);
        let ended = ended(&mut command).with_code(2);
        assert!(ended.error().contains(name) && !ended.stderr.contains("hidden"), "{}", ended.stderr);
        said.messages(name, &ended);
    }
    said.check("storage-settings");
}

#[test]
fn files_of_any_kind_beside_a_run_are_passed_over() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml --set train.epochs=2").ok();
    let path = |name: &str| place.path("run").join(name);
    let checkpoint = |step: u64| format!("step-{step:08}-0123456789abcdef.safetensors");
    std::fs::create_dir(path(&checkpoint(99))).unwrap();
    std::os::unix::fs::symlink("nowhere", path(&checkpoint(98))).unwrap();
    assert!(Command::new("mkfifo").arg(path(&checkpoint(97))).status().unwrap().success());
    std::fs::create_dir(path("attempt-000002")).unwrap();
    let no_text = [b"step-\xFF".as_slice(), b"step-\n"].map(std::ffi::OsStr::from_bytes);
    for name in no_text {
        std::fs::write(place.path("run").join(name), "x").unwrap();
    }
    let ended = place.bachdist("train tiny.toml").ok();
    assert_eq!(place.resumed_after("run"), [8]);
    assert_eq!(ended.notes(), [""; 0]);
    place.bachdist("checkpoint verify run").ok();
    place.sample("run --only midi").ok();
    let mut said = Transcript::default();
    let pipe = checkpoint(97);
    said.fails(&place, &format!("sample run/{pipe}"), 4, &pipe);
    said.check("a-pipe-in-place-of-a-checkpoint");
}
