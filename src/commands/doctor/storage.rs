//! Whether storage does what a run asks of it, tried out with an object of its own that is deleted again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bachdist_portable::config::Config;
use bachdist_portable::environment;
use bachdist_portable::failure::{ExitCode, HasExitCode};
use bachdist_portable::network::Architecture;
use bachdist_portable::print::count;
use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::store::{Creation, RetryPolicy, Store, StoreError, StoreErrorKind};

use super::check::Check;
use super::rank::free_bytes;
use crate::train::prepare::human_bytes;

/// The checkpoint of the article's network.
const PROBE_BYTES: usize = 12_000_000;

/// A tenth of it is what the timeouts of storage allow for.
const SLOW_BYTES_PER_SECOND: f64 = 10.0 * 100_000.0;

/// S3 refuses requests that are 15 minutes off.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// A call is retried for this long at most: who asks a doctor waits for the answer.
const RETRY_WINDOW: Duration = Duration::from_secs(5);

/// The checks of a run's storage and of its fallback.
pub fn examine(config: &Config, url: &str, fallback: &str) -> Vec<Check> {
    let policy = config.checkpoint.retry_policy();
    let policy = RetryPolicy { retry_window: policy.retry_window.min(RETRY_WINDOW), ..policy };
    let mut checks = Vec::new();
    if let Err(error) = probe(url, policy, config, &mut checks) {
        checks.push(of_store("storage", &error));
    }
    checks.push(try_fallback(config, fallback));
    checks
}

fn of_store(name: &str, error: &StoreError) -> Check {
    let remedy = match error.kind {
        StoreErrorKind::BadUrl => "correct it",
        _ => "choose another folder or URL",
    };
    Check::of_error(name, error.exit_code(), &error.to_string(), remedy)
}

/// An object of this process, which is deleted with the folders that were made for it.
struct Probe {
    store: Store,
    name: String,
    /// From the innermost.
    new_folders: Vec<PathBuf>,
}

impl Probe {
    fn new(store: Store) -> Probe {
        // Other doctors may be here at the same time, on other hosts too.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("doctor-{}-{}", process::id(), now.as_nanos());
        let file = store.local_path(&name);
        let folders = file.iter().flat_map(|file| file.ancestors().skip(1));
        let new_folders = folders.take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        Probe { store, name, new_folders }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // A failure is reported by the checks; what is in use by now stays.
        let _ = self.store.delete(&self.name);
        for folder in &self.new_folders {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn probe(url: &str, policy: RetryPolicy, config: &Config, checks: &mut Vec<Check>) -> Result<(), StoreError> {
    let probe = Probe::new(Store::open_with_policy(url, policy)?);
    let Probe { store, name, .. } = &probe;

    let before = SystemTime::now();
    let creation = store.create(name, "created")?;
    let after = SystemTime::now();
    let modified = store.modified(name)?;
    let creates_once = creation == Creation::Created && store.create(name, "again")? == Creation::Exists;
    let first = store.version(name)?;
    let replaces = store.replace(name, "replaced", first.as_ref())?;
    // A folder has one process at a time, and checks no version.
    let replaces_once = replaces && (store.is_local() || !store.replace(name, "again", first.as_ref())?);

    let contents = noise(PROBE_BYTES);
    let begin = Instant::now();
    store.put(name, contents.clone())?;
    let written = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let is_same = store.get(name)? == contents;
    let read = begin.elapsed().as_secs_f64();
    let is_listed = store.list(name)?.iter().any(|object| object.size as usize == PROBE_BYTES);
    store.delete(name)?;
    let is_gone = store.version(name)?.is_none();

    let what = [(is_same, "reads"), (is_listed, "lists"), (is_gone, "deletes")];
    checks.push(match what.iter().find(|(works, _)| !works) {
        Some((_, verb)) => Check::problem(
            "storage",
            ExitCode::Storage,
            format!("{} {verb} something else than was written", store.url()),
            "choose other storage: a run resumes from what it lists and reads",
        ),
        None => Check::ok("storage", format!("{} writes, lists, reads, deletes", store.url())),
    });
    checks.push(if creates_once && replaces_once {
        Check::ok("conditions", "a write is refused where another came first")
    } else {
        let is_off = environment::variable("AWS_CONDITIONAL_PUT").ok().flatten().is_some();
        Check::warning(
            "conditions",
            "writes replace what another launch has written meanwhile",
            if is_off {
                "unset AWS_CONDITIONAL_PUT, or start one launch of a run at a time"
            } else {
                "start one launch of a run at a time, or use a server with If-None-Match"
            },
        )
    });
    checks.push(clock(before, after, modified));
    let megabytes = PROBE_BYTES / 1_000_000;
    let speeds = format!("{megabytes} MB written in {written:.1} s, read in {read:.1} s");
    checks.push(if PROBE_BYTES as f64 / written.max(read) < SLOW_BYTES_PER_SECOND {
        let remedy = "raise checkpoint.every_steps, or use nearer storage";
        Check::warning("speed", speeds, remedy)
    } else {
        Check::ok("speed", speeds)
    });
    if let Some(path) = store.local_path("") {
        // The newest is written before the oldest is deleted.
        checks.push(room("disk", config, &path, config.checkpoint.keep as f64 + 1.0));
    }
    Ok(())
}

/// Whether the last checkpoint could go to the fallback.
fn try_fallback(config: &Config, url: &str) -> Check {
    let written = Store::open(url).map(Probe::new).and_then(|probe| {
        probe.store.put(&probe.name, "written")?;
        Ok(probe)
    });
    match written {
        Err(error) => of_store("fallback", &error),
        Ok(probe) => match probe.store.local_path("") {
            Some(path) => room("fallback", config, &path, 1.0),
            None => Check::ok("fallback", url),
        },
    }
}

/// Whether so many checkpoints have room in a folder.
fn room(name: &str, config: &Config, folder: &Path, checkpoints: f64) -> Check {
    let architecture = Architecture::new(&config.model, config.representation.build().shape());
    // Weights and mean squares, as f32.
    let needed = checkpoints * 8.0 * architecture.len() as f64;
    let needed_by = format!("{} of {}", human_bytes(needed), count(checkpoints as u64, "checkpoint"));
    // The folder may be gone with the probe.
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    match free_bytes(existing) {
        Ok(free) if free < needed => Check::warning(
            name,
            format!("{} free for {needed_by} in {}", human_bytes(free), folder.display()),
            "free some space, lower checkpoint.keep, or choose another folder",
        ),
        Ok(free) => Check::ok(name, format!("{} free for {needed_by}", human_bytes(free))),
        Err(error) => Check::warning(
            name,
            format!("{}: its free space is not known: {error}", folder.display()),
            "choose another folder",
        ),
    }
}

/// Whether the storage's clock and this one agree, given when an object was written by both.
fn clock(before: SystemTime, after: SystemTime, modified: SystemTime) -> Check {
    let behind = before.duration_since(modified).unwrap_or_default();
    let ahead = modified.duration_since(after).unwrap_or_default();
    let (skew, word) = if behind > ahead { (behind, "behind") } else { (ahead, "ahead of") };
    if skew > MAX_CLOCK_SKEW {
        let found = format!("the storage's is {:.0} s {word} this machine's", skew.as_secs_f64());
        return Check::warning(
            "clock",
            found,
            "set the one that is wrong: servers refuse requests of another time",
        );
    }
    // Servers round to seconds.
    Check::ok(
        "clock",
        format!("the storage's is within {:.0} s of this machine's", skew.as_secs_f64().max(1.0)),
    )
}

/// Bytes that nothing on the way can make smaller.
fn noise(length: usize) -> Vec<u8> {
    let stream = RandomStream::new(0, Purpose::Synthesis, &[]);
    (0..length.div_ceil(8) as u64).flat_map(|index| stream.bits(index).to_le_bytes()).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    #[test]
    fn clocks_that_differ() {
        let now = SystemTime::now();
        let at = |seconds: i64| match seconds {
            0.. => now + Duration::from_secs(seconds as u64),
            _ => now - Duration::from_secs(seconds.unsigned_abs()),
        };
        for (modified, status) in [(-1, Status::Ok), (0, Status::Ok), (5, Status::Ok), (50, Status::Ok)] {
            assert_eq!(clock(now, at(5), at(modified)).status, status, "{modified}");
        }
        assert_eq!(clock(now, at(5), at(-300)).found, "the storage's is 300 s behind this machine's");
        assert_eq!(clock(now, at(5), at(305)).found, "the storage's is 300 s ahead of this machine's");
        assert_eq!(clock(now, at(5), at(305)).status, Status::Warning);
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let temporary = tempfile::tempdir().unwrap();
        let url = temporary.path().join("runs/new").display().to_string();
        let (config, mut checks) = (Config::default(), Vec::new());
        probe(&url, RetryPolicy::default(), &config, &mut checks).unwrap();
        assert!(checks.iter().all(|check| check.status == Status::Ok), "{checks:?}");
        assert!(!temporary.path().join("runs").exists());
    }
}
