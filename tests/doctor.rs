//! `bachdist doctor` on a machine that can train, and with things broken on purpose.

use std::fs;
use std::io::Write;
use std::path::Path;

use bachdist_test_support::harness::{Ended, Place, bachdist, ended, melody, open_mpi_5};
use bachdist_test_support::proxy::Proxy;
use bachdist_test_support::s3::server;
use bachdist_test_support::snapshot::Transcript;
use bachdist_test_support::tools::need;
use serde_json::Value;

/// Status, what was found, and the remedy of a check.
fn check<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str, &'a str) {
    let checks = report["checks"].as_array().expect("a list");
    let check =
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
    let [status, found, remedy] = ["status", "found", "remedy"].map(|key| check[key].as_str());
    assert_eq!(status == Some("ok"), remedy.is_none(), "{check}");
    (status.expect("a status"), found.expect("a text"), remedy.unwrap_or_default())
}

/// The names of the checks that are not ok, with the exit code that they lead to.
fn assert_wrong(ended: Ended, code: i32, names: &[&str]) -> Value {
    let report = ended.with_code(code).json();
    let checks = report["checks"].as_array().expect("a list");
    let wrong: Vec<_> =
        checks.iter().filter(|check| check["status"] != "ok").map(|check| &check["name"]).collect();
    // What depends on the machine is tested by itself.
    let wrong: Vec<_> = wrong
        .into_iter()
        .filter(|name| !["MPI", "device", "cores"].contains(&name.as_str().unwrap()))
        .collect();
    assert_eq!(wrong, names, "{report:#}");
    assert_eq!(report["ok"], code == 0);
    report
}

/// A check and its remedy, for a snapshot.
fn say(said: &mut Transcript, call: &str, report: &Value, name: &str) {
    let (status, found, remedy) = check(report, name);
    said.line_without_numbers(call, &format!("{status} {name}: {found}\n    {remedy}"));
}

fn is_empty_but_for(place: &Place, names: &[&str]) -> bool {
    let mut left: Vec<_> =
        fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    left == names
}

#[test]
fn a_machine_that_can_train() {
    let place = Place::with_tiny();
    let machine = assert_wrong(place.bachdist("doctor --json"), 0, &[]);
    assert!(!machine["checks"].to_string().contains("storage"), "{machine}");

    let run = assert_wrong(place.bachdist("doctor tiny.toml --json"), 0, &[]);
    assert_eq!(check(&run, "corpus").1, "1 piece, 150 tokens");
    for name in [
        "threads",
        "processor",
        "hosts",
        "plan",
        "storage",
        "conditions",
        "clock",
        "speed",
        "disk",
        "fallback",
    ] {
        assert_eq!(check(&run, name).0, "ok", "{run}");
    }
    let lines = place.bachdist("doctor tiny.toml").ok().stdout;
    assert!(lines.lines().all(|line| line.chars().count() <= 100), "{lines}");
    assert!(lines.lines().last().unwrap().starts_with("can train: "), "{lines}");
    assert!(is_empty_but_for(&place, &["tiny.toml"]), "nothing is left");

    // Beside a run it leaves everything as it was.
    place.bachdist("train tiny.toml").ok();
    let before = place.checkpoints("run");
    place.bachdist("doctor tiny.toml").ok();
    assert_eq!(place.checkpoints("run"), before);
    assert_eq!(
        fs::read_dir(place.path("run")).unwrap().count(),
        before.len() + 2,
        "an attempt and metrics.jsonl"
    );
}

#[test]
fn settings_without_a_configuration() {
    let place = Place::new();
    let report = assert_wrong(place.bachdist("doctor --set checkpoint.url=run --json"), 0, &[]);
    assert!(check(&report, "storage").1.contains("run "), "{report}");
    assert_eq!(place.bachdist("doctor nowhere.toml").with_code(2).errors().len(), 1);
    assert!(is_empty_but_for(&place, &[]));
}

#[test]
fn music_that_cannot_be_used() {
    let place = Place::with_tiny();
    let doctor = |midi: &str| place.bachdist(&format!("doctor tiny.toml --set data.midi={midi} --json"));
    place.write("music/a.mid", melody(60, 7));
    assert_wrong(doctor("music"), 0, &[]);
    place.write("music/b.mid", "MThd and no more");
    let broken = assert_wrong(doctor("music"), 3, &["corpus"]);
    assert!(check(&broken, "corpus").1.contains("b.mid"), "{broken}");
    assert!(check(&broken, "corpus").2.contains("data inspect music"), "{broken}");
    let nowhere = assert_wrong(doctor("nowhere"), 3, &["corpus"]);
    let mut said = Transcript::default();
    say(&mut said, "a file that is not MIDI", &broken, "corpus");
    say(&mut said, "no such folder", &nowhere, "corpus");
    said.check("doctor-music");
    let text = place.bachdist("doctor tiny.toml --set data.midi=nowhere").with_code(3).stdout;
    assert!(text.lines().last().unwrap().starts_with("cannot train: "), "{text}");
}

#[test]
fn folders_that_take_no_checkpoint() {
    let place = Place::with_tiny();
    place.write("run", "a file");
    let report = assert_wrong(place.bachdist("doctor tiny.toml --json"), 4, &["storage"]);
    let mut said = Transcript::default();
    say(&mut said, "a file in place of the folder", &report, "storage");
    fs::remove_file(place.path("run")).unwrap();
    let fallback = "doctor tiny.toml --set checkpoint.fallback=/proc/none --json";
    let report = assert_wrong(place.bachdist(fallback), 4, &["fallback"]);
    say(&mut said, "a fallback where nothing can be written", &report, "fallback");
    // A network that no disk holds, and no memory.
    let large = "doctor tiny.toml --set model.units=200000 --json";
    let report = place.bachdist(large).with_code(2).json();
    assert_eq!(check(&report, "plan").0, "problem");
    assert_eq!(check(&report, "disk").0, "warning");
    said.check("doctor-folders");
}

#[test]
fn a_gpu_that_is_not_there() {
    let report = Place::with_tiny().bachdist("doctor tiny.toml --set train.device=cuda:7777 --json");
    let report = report.with_code(2).json();
    assert_eq!(check(&report, "device").0, "problem");
}

#[test]
fn a_host_that_does_not_resolve() {
    let place = Place::new();
    let with_file = || ended(place.alone("doctor --json").env("OMPI_MCA_orte_default_hostfile", "hosts"));
    let absent = assert_wrong(with_file(), 2, &["hosts"]);
    place.write("hosts", "# workers\nlocalhost slots=2\n");
    assert_wrong(with_file(), 0, &[]);
    place.write("hosts", "localhost slots=2\nno-such-host.invalid slots=2\n");
    let report = assert_wrong(with_file(), 2, &["hosts"]);
    let mut said = Transcript::default();
    say(&mut said, "no such file", &absent, "hosts");
    say(&mut said, "a host without an address", &report, "hosts");
    said.check("doctor-hosts");
}

/// mpirun of another MPI, or none at all.
#[test]
fn an_mpirun_that_does_not_belong_to_the_program() {
    if !cfg!(feature = "mpi") {
        return;
    }
    let place = Place::new();
    let with_path = || {
        let report = ended(place.alone("doctor --json").env("PATH", place.path("bin"))).ok().json();
        let (status, found, _) = check(&report, "MPI");
        (status.to_owned(), found.to_owned())
    };
    place.write("bin/other", "");
    assert_eq!(with_path().0, "warning");
    place.write("bin/mpirun", "#!/bin/sh\necho HYDRA build details:\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.path("bin/mpirun"), executable).unwrap();
    let (status, found) = with_path();
    assert!(status == "warning" && found.contains("HYDRA"), "{found}");
}

#[test]
#[ignore = "needs mpi"]
fn ranks_that_can_train() {
    let place = Place::with_tiny();
    let Some(ended) = place.on_ranks(2, "doctor tiny.toml --json") else { return };
    let report = assert_wrong(ended, 0, &[]);
    assert!(check(&report, "MPI").1.contains("2 ranks"), "{report}");
    assert_eq!(check(&report, "program").1, "the same on 2 ranks");
    assert!(is_empty_but_for(&place, &["tiny.toml"]));
    let text = place.on_ranks(2, "doctor tiny.toml").unwrap().ok().stdout;
    assert_eq!(text.matches("can train: ").count(), 1, "{text}");
}

#[test]
#[ignore = "needs mpi, mpi5"]
fn ranks_of_open_mpi_5() {
    let Some(open_mpi) = open_mpi_5() else { return };
    let place = Place::with_tiny();
    let report =
        assert_wrong(ended(&mut place.launch_under(&open_mpi, 2, "doctor tiny.toml --json")), 0, &[]);
    assert!(check(&report, "MPI").1.starts_with("Open MPI 5."), "{report}");
}

#[test]
#[ignore = "needs mpi"]
fn more_ranks_than_cores_or_lanes() {
    let place = Place::with_tiny();
    let cores = std::thread::available_parallelism().unwrap().get();
    let command = "doctor tiny.toml --set train.lanes=256 --set train.batch_size=256 --json";
    let Some(ended) = place.on_ranks(cores + 1, command) else { return };
    let report = ended.ok().json();
    let (status, found, _) = check(&report, "cores");
    assert!(status == "warning" && found.starts_with(&format!("{} ranks share", cores + 1)), "{found}");

    let report =
        place.on_ranks(3, "doctor tiny.toml --set train.lanes=2 --json").unwrap().with_code(2).json();
    assert_eq!(check(&report, "plan").0, "problem");
    assert!(check(&report, "plan").2.starts_with("start at most 2 ranks"), "{report}");
}

/// A rank's report names it; no other rank waits for one that found something wrong.
#[test]
#[ignore = "needs mpi"]
fn a_rank_that_differs_is_named() {
    let place = Place::with_tiny();
    place.write("other.toml", bachdist_test_support::harness::TINY.replace("units = 18", "units = 20"));
    let copy = place.path("bachdist");
    fs::copy(bachdist(), &copy).unwrap();
    // Bytes after its end change nothing but its hash.
    fs::OpenOptions::new().append(true).open(&copy).unwrap().write_all(b"other").unwrap();
    let mut said = Transcript::default();
    for (program, config, wrong, code) in [
        (copy.as_path(), "tiny.toml", "program", 2),
        (bachdist(), "other.toml", "config", 3),
        (bachdist(), "", "config", 3),
    ] {
        let Some(mut launch) = place.launch(1, "doctor tiny.toml --json") else { return };
        launch.args([":", "-n", "1"]).arg(program).args(["doctor", "--json"]).args(config.split_whitespace());
        let report = assert_wrong(ended(&mut launch), code, &[wrong]);
        assert!(check(&report, wrong).1.starts_with("rank 1 on "), "{report}");
        say(&mut said, &format!("rank 1: {wrong} {config}"), &report, wrong);
    }
    said.check("doctor-ranks");
}

#[test]
#[ignore = "needs s3"]
fn a_bucket_that_works_and_what_breaks_it() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    let proxy = Proxy::before(server.endpoint());
    let doctor = |url: &str, name: &str, value: &str| {
        let mut command = place.alone(&format!("doctor tiny.toml --set checkpoint.url={url} --json"));
        command.envs(server.variables(&proxy.endpoint()));
        if !name.is_empty() {
            command.env(name, value);
        }
        ended(&mut command)
    };
    let url = "s3://bachdist/doctor/run";
    assert_wrong(doctor(url, "", ""), 0, &[]);
    let left = ended(
        place
            .alone("checkpoint list s3://bachdist/doctor/run --json")
            .envs(server.variables(server.endpoint())),
    );
    assert_eq!(left.ok().json(), serde_json::json!([]));
    let variables = server.variables(server.endpoint());
    let store = bachdist_portable::store::Store::open_with(url, Default::default(), variables).unwrap();
    assert_eq!(store.list("doctor-").unwrap(), []);

    let secret = assert_wrong(doctor(url, "AWS_SECRET_ACCESS_KEY", "wrong"), 4, &["storage"]);
    assert!(check(&secret, "storage").2.contains("AWS_SECRET_ACCESS_KEY"), "{secret}");
    let bucket = assert_wrong(doctor("s3://nobuckethere/run", "", ""), 4, &["storage"]);
    assert!(check(&bucket, "storage").1.contains("nobuckethere"), "{bucket}");
    let variable = assert_wrong(doctor(url, "AWS_ENDPOINT_URL", "http://127.0.0.1:99999"), 2, &["storage"]);
    assert!(check(&variable, "storage").1.contains("AWS_ENDPOINT_URL"), "{variable}");
    let disabled = assert_wrong(doctor(url, "AWS_CONDITIONAL_PUT", "disabled"), 0, &["conditions"]);
    assert_eq!(check(&disabled, "conditions").0, "warning");
    proxy.without_conditions("501 Not Implemented");
    let unconditional = assert_wrong(doctor(url, "", ""), 0, &["conditions"]);
    proxy.outage(true);
    let outage = assert_wrong(doctor(url, "", ""), 4, &["storage"]);
    assert!(check(&outage, "storage").1.contains("tried "), "{outage}");
    let mut said = Transcript::default();
    for (call, report, name) in [
        ("a wrong secret", &secret, "storage"),
        ("no such bucket", &bucket, "storage"),
        ("an impossible address", &variable, "storage"),
        ("AWS_CONDITIONAL_PUT=disabled", &disabled, "conditions"),
        ("a server without conditional writes", &unconditional, "conditions"),
    ] {
        say(&mut said, call, report, name);
    }
    said.check("doctor-storage");
}

/// As in a container without `--shm-size`, and on a full disk.
#[test]
#[ignore = "needs tmpfs"]
fn file_systems_that_are_too_small() {
    let place = Place::with_tiny();
    let mounts = Path::new("/usr/bin/unshare").exists();
    if need("tmpfs", mounts.then_some(())).is_none() {
        return;
    }
    let script = format!(
        "mount -t tmpfs -o size=1m none /dev/shm && mkdir small && mount -t tmpfs -o size=4m none small && exec {} doctor \
         tiny.toml --set checkpoint.url=small/run --json",
        bachdist().display()
    );
    let mut command = place.command("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let report = assert_wrong(ended(&mut command), 4, &["/dev/shm", "storage"]);
    assert!(check(&report, "storage").1.contains("no space left"), "{report}");
}
