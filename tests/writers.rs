//! Two writers: a launch that is halted, replaced by another, and goes on. It stops at its next save, having
//! damaged and deleted nothing; the later launch ends as if it had been alone.
//!
//! Where exactly the first is halted is a fault of `BACHDIST_FAULT`: SIGSTOP to all its processes, also between
//! its look for a later launch and the write that follows.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bachdist_portable::checkpoint::CheckpointName;
use bachdist_portable::store::{RetryPolicy, Store};

use bachdist_test_support::harness::{Ended, Place, Running, bachdist, json, trained};
use bachdist_test_support::s3::{Variables, server};
use bachdist_test_support::snapshot::Transcript;

/// Where a run is kept.
struct Storage {
    url: String,
    variables: Variables,
}

impl Storage {
    fn folder(place: &Place) -> Self {
        Storage { url: place.path("run").display().to_string(), variables: Variables::new() }
    }

    fn bucket(prefix: &str) -> Option<Self> {
        let server = server()?;
        let url = format!("s3://bachdist/writers/{prefix}");
        Some(Storage { url, variables: server.variables(server.endpoint()) })
    }

    fn open(&self) -> Store {
        Store::open_with(&self.url, RetryPolicy::default(), self.variables.clone()).unwrap()
    }

    /// Everything but the attempts.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let store = self.open();
        let names = store.list("").unwrap().into_iter().map(|entry| entry.name);
        let names = names.filter(|name| !name.starts_with("attempt-"));
        names.map(|name| (name.clone(), store.get(&name).unwrap())).collect()
    }

    /// The run that ends after 12 steps, saving after each and keeping the newest.
    fn command(&self, place: &Place, ranks: usize, fault: &str) -> Option<Command> {
        let run = "train tiny.toml --set checkpoint.every_steps=1 --set checkpoint.keep=1";
        let run = format!("{run} --set checkpoint.url={}", self.url);
        let mut command = match ranks {
            1 => {
                let mut command = place.command(bachdist());
                command.args(run.split_whitespace());
                command
            }
            _ => place.launch(ranks, &run)?,
        };
        command.envs(&self.variables).env("BACHDIST_FAULT", fault);
        Some(command)
    }
}

/// A launch all of whose processes are halted.
struct Halted {
    running: Option<Running>,
    pids: Vec<u32>,
}

impl Halted {
    /// Waits until a launch has met its fault.
    fn wait(mut running: Running) -> Self {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let pids: Vec<u32> = std::iter::once(running.pid()).chain(children(running.pid())).collect();
            if pids.iter().all(|&pid| is_halted(pid)) {
                return Halted { running: Some(running), pids };
            }
            assert!(!running.has_ended(), "the launch ended before it was halted");
            assert!(Instant::now() < deadline, "not halted in two minutes");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets it go on, to its end.
    fn go_on(mut self) -> Ended {
        signal("CONT", &self.pids);
        self.running.take().expect("it goes on once").end()
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // Of a test that failed: halted processes would stay for ever.
        if self.running.is_some() {
            signal("KILL", &self.pids);
        }
    }
}

fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let status = Command::new("kill").args(["-s", name]).args(pids).status().expect("kill is everywhere");
    assert!(status.success(), "cannot send {name}");
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().expect("a number")).collect()
}

fn is_halted(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the program's name, which is in parentheses.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Halts a launch at a point, and a later one there too if it is to be halted, lets the first go on while the
/// later is halted or after it has ended, and compares the end with a run that was alone.
fn replace(storage: &Storage, ranks: usize, first: &str, later: Option<&str>) {
    let place = Place::with_tiny();
    let everyone = if ranks > 1 { "-all" } else { "" };
    let Some(mut command) = storage.command(&place, ranks, &format!("{first}=stop{everyone}")) else {
        return;
    };
    let stale = Halted::wait(Running::start(&mut command));

    let fault = later.map_or(String::new(), |point| format!("{point}=stop"));
    let mut command = storage.command(&place, 1, &fault).expect("no launcher is needed");
    let running = Running::start(&mut command);
    let ended = match later {
        Some(_) => {
            let later = Halted::wait(running);
            stopped_without_harm(stale.go_on(), storage);
            later.go_on()
        }
        None => {
            let ended = running.end();
            let before = storage.contents();
            stopped_without_harm(stale.go_on(), storage);
            let mut after = storage.contents();
            // The write that it was about to make: a checkpoint of the same run, older than the newest.
            after.retain(|name, _| before.contains_key(name) || !is_good_old_checkpoint(storage, name));
            assert!(after == before, "{:?} became {:?}", before.keys(), after.keys());
            ended
        }
    };
    ended.ok();
    ended_as_if_alone(storage);
}

/// What the first launch says at its end.
fn stopped_without_harm(ended: Ended, storage: &Storage) {
    let ended = ended.with_code(4);
    let errors: Vec<_> = ended.errors().into_iter().filter(|line| !line.starts_with("fault: ")).collect();
    assert_eq!(errors.len(), 1, "{}", ended.stderr);
    let parts = ["attempt 2 ", &storage.url, "attempt 1"];
    assert!(parts.iter().all(|part| errors[0].contains(part)), "{}", errors[0]);
    let mut said = Transcript::default();
    // On several ranks it begins with the one that says it.
    let line = errors[0].find("attempt 2 ").map(|at| &errors[0][at..]).expect("it was there");
    said.line("the earlier launch", line.replace(&storage.url, "<url>"));
    said.check("replaced-by-a-later-launch");
}

fn is_good_old_checkpoint(storage: &Storage, name: &str) -> bool {
    let bytes = storage.open().get(name).unwrap();
    name.parse().is_ok_and(|name: CheckpointName| name.step < 12 && name.matches(&bytes))
}

/// The right name is there, and every step was recorded once.
fn ended_as_if_alone(storage: &Storage) {
    let contents = storage.contents();
    let newest = contents.keys().rfind(|name| name.starts_with("step-")).expect("a checkpoint");
    assert_eq!(Some(newest), trained().checkpoints("run").last());
    let metrics = String::from_utf8(contents["metrics.jsonl"].clone()).unwrap();
    let lines: Vec<_> = metrics.lines().map(json).collect();
    let steps: Vec<_> =
        lines.iter().filter(|line| line["kind"] == "step").map(|line| line["step"].clone()).collect();
    assert_eq!(steps, (1..=12).collect::<Vec<u64>>());
    assert_eq!(lines.last().map(|line| line["kind"].clone()), Some("stop".into()));
    assert!(metrics.ends_with('\n'));
}

#[test]
#[ignore = "needs mpi"]
fn a_halted_launch_in_a_folder_stops_after_a_later_one_has_ended() {
    // Between two saves, and between a look for a later launch and the write.
    for point in ["step#6", "upload#3", "prune#2"] {
        println!("{point}");
        let place = Place::new();
        replace(&Storage::folder(&place), 1, point, None);
    }
}

#[test]
#[ignore = "needs mpi"]
fn a_halted_launch_of_two_ranks_in_a_folder_stops() {
    for point in ["step#6", "upload#3"] {
        println!("{point}");
        let place = Place::new();
        replace(&Storage::folder(&place), 2, point, None);
    }
}

#[test]
#[ignore = "needs mpi"]
fn a_halted_launch_in_a_folder_stops_while_a_later_one_runs() {
    for (first, later) in [("upload#3", "upload#5"), ("prune#2", "step#4")] {
        println!("{first}, {later}");
        let place = Place::new();
        replace(&Storage::folder(&place), 1, first, Some(later));
    }
}

#[test]
#[ignore = "needs mpi, s3"]
fn a_halted_launch_in_a_bucket_stops_after_a_later_one_has_ended() {
    for point in ["step#6", "metrics#3", "upload#3", "prune#2"] {
        println!("{point}");
        let Some(storage) = Storage::bucket(&format!("ended/{point}").replace('#', "-")) else { return };
        replace(&storage, 1, point, None);
    }
}

#[test]
#[ignore = "needs mpi, s3"]
fn a_halted_launch_of_two_ranks_in_a_bucket_stops() {
    for point in ["step#6", "metrics#3"] {
        println!("{point}");
        let Some(storage) = Storage::bucket(&format!("ranks/{point}").replace('#', "-")) else { return };
        replace(&storage, 2, point, None);
    }
}

#[test]
#[ignore = "needs mpi, s3"]
fn a_halted_launch_in_a_bucket_stops_while_a_later_one_runs() {
    // The late metrics.jsonl comes before the later launch has written its own, in the middle, and after it.
    for (first, later) in [("metrics#3", "step#1"), ("metrics#3", "metrics#1"), ("metrics#3", "upload#1")] {
        println!("{first}, {later}");
        let prefix = format!("running/{first}-{later}").replace('#', "-");
        let Some(storage) = Storage::bucket(&prefix) else { return };
        replace(&storage, 1, first, Some(later));
    }
}
