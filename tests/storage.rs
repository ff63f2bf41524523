//! A run on a real S3 server, over a line that is not what it should be.

use std::process::Command;

use bachdist_portable::store::{RetryPolicy, Store};

use bachdist_test_support::harness::{Place, Running, bachdist, ended, json, wait_until};
use bachdist_test_support::proxy::{Fault, Proxy};
use bachdist_test_support::s3::{Server, server};

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

    // The log says so, line by line.
    let store = Store::open_with(url, RetryPolicy::default(), server.variables(server.endpoint())).unwrap();
    let metrics = String::from_utf8(store.get("metrics.jsonl").unwrap()).unwrap();
    let retries = metrics.lines().filter_map(|line| json(line)["retries"].as_u64()).sum::<u64>();
    let notes = ended.stdout.lines().filter(|line| line.contains(" was retried ")).count();
    assert!(retries > 0 && retries <= proxy.met_any() && notes > 0, "{retries} retries, {notes} notes");
}

#[test]
#[ignore = "needs s3"]
fn an_outage_shorter_than_the_window_is_nobodys_loss() {
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
    assert!(ended.stdout.contains("training continues for up to 1,000,000,000 steps"), "{}", ended.stdout);
    assert!(ended.stdout.contains("note: the storage is back; step "), "{}", ended.stdout);

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
    let error = ended.error();
    assert!(error.contains(&format!("could not save to {url}; step ")), "{error}");
    let kept = place.checkpoints("runs/tiny.unsaved");
    assert!(
        kept.len() == 1 && error.contains(&format!("is safe in runs/tiny.unsaved/{}", kept[0])),
        "{error}"
    );
    let safe = checkpoints(server, url).pop().unwrap();
    assert!(safe < kept[0], "{safe} was safe already");

    // While it is away, a launch takes nothing and loses nothing.
    let mut again = place.command(bachdist());
    let again = through(&proxy, server, again.args(run.split_whitespace()));
    bachdist_test_support::harness::ended(again).with_code(4);
    assert_eq!(place.checkpoints("runs/tiny.unsaved"), kept);

    proxy.outage(false);
    let step: u64 = kept[0][5..13].parse().unwrap();
    let two_more = format!("{run} --set train.max_steps={}", step + 2);
    let mut again = place.launch(3, &two_more).unwrap();
    let ended = bachdist_test_support::harness::ended(through(&proxy, server, &mut again)).ok();
    let says = format!("note: step {step} was moved from runs/tiny.unsaved/{} to the storage", kept[0]);
    assert!(ended.stdout.contains(&says), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("resuming after {step} steps")), "{}", ended.stdout);
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
fn what_others_put_beside_a_run_is_passed_over_in_mid_run_too() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    let proxy = Proxy::before(server.endpoint());
    let url = "s3://bachdist/storage/foreign";
    let put_foreign =
        |names: &[&str]| names.iter().for_each(|name| server.put_foreign(&format!("storage/foreign/{name}")));
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
    assert!(!ended.stdout.contains("note: "), "{}", ended.stdout);

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
fn wrong_settings_are_told_before_anything_is_asked() {
    let place = Place::with_tiny();
    for (name, value, says) in [
        ("AWS_SECRET_ACCESS_KEY", "hidden\nhidden", "AWS_SECRET_ACCESS_KEY has a line break inside"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:99999", "AWS_ENDPOINT_URL is \"http://127.0.0.1:99999\""),
        ("AWS_CA_BUNDLE", "nowhere.pem", "AWS_CA_BUNDLE is nowhere.pem, and there is no such file"),
    ] {
        let mut command = place.alone("train tiny.toml --set checkpoint.url=s3://bucket/run");
        command.envs([("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", "secret"), (name, value)]);
        let ended = ended(&mut command).with_code(2);
        let error = ended.error();
        assert!(error.contains(says) && !error.contains("hidden"), "{error}");
    }
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
    no_text.iter().for_each(|name| std::fs::write(place.path("run").join(name), "x").unwrap());
    let ended = place.bachdist("train tiny.toml").ok();
    assert!(ended.stdout.contains("resuming after 8 steps"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("note: "), "{}", ended.stdout);
    place.bachdist("checkpoint verify run").ok();
    place.sample("run --only midi").ok();
    let of_pipe = place.sample(&format!("run/{}", checkpoint(97))).with_code(4);
    assert!(of_pipe.stderr.contains("it is not a file"), "{}", of_pipe.stderr);
}
