//! Kill anywhere: a short training is killed at points and at moments, goes on on another number of ranks, and ends with
//! the name that it would have had.
//!
//! `BACHDIST_KILLS=300 cargo test --test main crash -- --nocapture` makes 300 kills and prints a tally; `launch/prove`
//! does it. What is killed, where, and on how many ranks is drawn from `BACHDIST_SEED`, and printed.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::store::{RetryPolicy, Store};

use bachdist_test_support::harness::{Ended, Place, Running, open_mpi};
use bachdist_test_support::s3::{Variables, server};

/// Twelve steps, four saves, three of which retire an older checkpoint, and three validations.
const RUN: &str = "train tiny.toml --set checkpoint.every_steps=3 --set checkpoint.keep=1";

/// Points that every rank passes, and the most times that it does.
const EVERYWHERE: [(&str, u64); 7] = [
    ("start", 1),
    ("step", 12),
    ("loss", 12),
    ("exchange", 12),
    ("exchanged", 12),
    ("validate", 6),
    ("close", 1),
];

/// Points that only rank 0 passes.
const ON_RANK_0: [(&str, u64); 7] =
    [("claim", 1), ("copy", 4), ("upload", 4), ("uploaded", 4), ("prune", 3), ("pruned", 3), ("closed", 1)];

const RANKS: [usize; 6] = [1, 2, 3, 4, 5, 8];

/// Random choices, one after another.
struct Draw(RandomStream, u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        (self.0.bits(self.1) % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Where a case keeps its checkpoints.
enum Storage {
    Folder,
    S3(Variables),
}

#[test]
#[ignore = "needs mpi, s3"]
fn killed_anywhere_it_ends_with_the_same_name() {
    if open_mpi().is_none() {
        return;
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    };
    let (kills, seed) = (number("BACHDIST_KILLS", 10), number("BACHDIST_SEED", 1));
    let whole = Place::with_holdout();
    whole.bachdist(RUN).ok();
    let name = whole.checkpoints("run").pop().expect("a checkpoint");

    let mut tally = Tally::default();
    let mut case = 0;
    while tally.kills < kills {
        let draw = Draw(RandomStream::new(seed, Purpose::Sampling, &[case]), 0);
        // Every third on a server.
        let storage = match server().filter(|_| case % 3 == 2) {
            Some(server) => Storage::S3(server.variables(server.endpoint())),
            None => Storage::Folder,
        };
        Case { place: Place::with_holdout(), case, seed, storage, draw }.run(&name, &mut tally);
        case += 1;
    }
    tally.print(case);
}

/// One run, killed a few times.
struct Case {
    place: Place,
    case: u64,
    seed: u64,
    storage: Storage,
    draw: Draw,
}

impl Case {
    fn run(mut self, name: &str, tally: &mut Tally) {
        for _ in 0..=self.draw.below(2) {
            let ranks = self.draw.of(&RANKS);
            if self.draw.below(4) == 0 {
                self.kill_at_a_moment(ranks, tally);
            } else {
                self.kill_at_a_point(ranks, tally);
            }
        }
        let ranks = self.draw.of(&RANKS);
        let ended = Running::start(&mut self.launch(ranks)).end();
        assert_eq!(ended.code, 0, "{}: {}{}", self.what(), ended.stdout, ended.stderr);
        // An older one may be left, where the kill came between the last save and its retirement.
        assert_eq!(self.checkpoints().pop().as_deref(), Some(name), "{}", self.what());
        if matches!(self.storage, Storage::Folder) {
            assert_eq!(self.place.recorded_steps("run"), (1..=12).collect::<Vec<_>>(), "{}", self.what());
        }
    }

    fn what(&self) -> String {
        format!("case {} of BACHDIST_SEED={}", self.case, self.seed)
    }

    fn launch(&self, ranks: usize) -> Command {
        let url = format!("--set checkpoint.url=s3://bachdist/crash/{}-{}", self.seed, self.case);
        match &self.storage {
            Storage::Folder => self.place.launch(ranks, RUN).expect("mpirun"),
            Storage::S3(variables) => {
                let mut launch = self.place.launch(ranks, &format!("{RUN} {url}")).expect("mpirun");
                launch.envs(variables);
                launch
            }
        }
    }

    fn checkpoints(&self) -> Vec<String> {
        match &self.storage {
            Storage::Folder => self.place.checkpoints("run"),
            Storage::S3(variables) => {
                let url = format!("s3://bachdist/crash/{}-{}", self.seed, self.case);
                let store = Store::open_with(&url, RetryPolicy::default(), variables.clone()).unwrap();
                store.list("step-").unwrap().into_iter().map(|entry| entry.name).collect()
            }
        }
    }

    /// One rank, all, or the launcher, where a rank passes a point for the n-th time.
    fn kill_at_a_point(&mut self, ranks: usize, tally: &mut Tally) {
        let (rank, (point, most)) = match self.draw.below(2) {
            0 => (0, self.draw.of(&ON_RANK_0)),
            _ => (self.draw.below(ranks), self.draw.of(&EVERYWHERE)),
        };
        let count = 1 + self.draw.below(most as usize);
        let (victim, action) =
            self.draw.of(&[("one rank", "kill"), ("all ranks", "kill-all"), ("mpirun", "kill-launcher")]);
        let fault = format!("{point}@{rank}#{count}={action}");
        let ended = Running::start(self.launch(ranks).env("BACHDIST_FAULT", &fault)).end();
        self.check(&ended, &format!("{fault} on {ranks} ranks"));
        let happened = ended.code != 0;
        tally.add(victim, point, happened, self.place.wait_until_deserted());
    }

    /// The same at a moment that nobody chose.
    fn kill_at_a_moment(&mut self, ranks: usize, tally: &mut Tally) {
        let victim = self.draw.of(&["one rank", "all ranks", "mpirun"]);
        let running = Running::start(&mut self.launch(ranks));
        // Not to wait for anything: the moment is what is random.
        thread::sleep(Duration::from_millis(self.draw.below(1500) as u64));
        let launcher = running.pid().to_string();
        let mut all: Vec<String> =
            self.place.processes().into_iter().filter(|pid| *pid != launcher).collect();
        match victim {
            "mpirun" => all = vec![launcher],
            "one rank" if !all.is_empty() => all = vec![all.swap_remove(self.draw.below(all.len()))],
            _ => all.push(launcher),
        }
        // Fails for those that have ended.
        let _ = Command::new("kill").arg("-KILL").args(&all).output();
        let ended = running.end();
        self.check(&ended, &format!("{victim} at a moment on {ranks} ranks"));
        tally.add(victim, "a moment", ended.code != 0, self.place.wait_until_deserted());
    }

    /// Killed, or at its end before the fault was reached; nothing else.
    fn check(&self, ended: &Ended, what: &str) {
        let killed = [0, 1, 137, -1].contains(&ended.code) && ended.errors().is_empty();
        assert!(killed, "{}: {what}: exit code {}: {}", self.what(), ended.code, ended.stderr);
    }
}

/// What was killed, and how soon everything was gone.
#[derive(Default)]
struct Tally {
    kills: u64,
    missed: u64,
    by_victim: BTreeMap<&'static str, u64>,
    by_point: BTreeMap<&'static str, u64>,
    gone_after: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, victim: &'static str, point: &'static str, happened: bool, gone_after: Duration) {
        if !happened {
            self.missed += 1;
            return;
        }
        self.kills += 1;
        *self.by_victim.entry(victim).or_default() += 1;
        *self.by_point.entry(point).or_default() += 1;
        self.gone_after.push(gone_after);
    }

    fn print(&mut self, runs: u64) {
        self.gone_after.sort();
        let list = |counts: &BTreeMap<&str, u64>| {
            counts.iter().map(|(what, n)| format!("{what} {n}")).collect::<Vec<_>>().join(", ")
        };
        println!("{} kills in {runs} runs; every run ended with the same name", self.kills);
        println!("  killed: {}", list(&self.by_victim));
        println!("  at: {}", list(&self.by_point));
        println!("  {} launches had ended before their kill", self.missed);
        let last = self.gone_after.last().copied().unwrap_or_default();
        println!("  all processes gone {:.1} s after the launcher's end at the latest", last.as_secs_f64());
    }
}
