//! Fault injection: the tests show with it what a run survives, and anyone can try it on their own cluster.
//!
//! The code passes named points by [`at`], which does nothing unless the variable `BACHDIST_FAULT` is set.
//! `BACHDIST_FAULT="exchange@1#3=kill"` kills rank 1 when it passes `exchange` for the third time. Several faults are
//! separated by commas; without `@` rank 0 is meant, without `#` the first time.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{Pid, Signal, getpid, getppid, kill_process};
use signal_hook::flag::register;

use crate::environment;
use crate::print::eprint_line;
use crate::process::has_signal;

/// The environment variable that requests faults.
pub const VARIABLE: &str = "BACHDIST_FAULT";

/// Defines the points once: the enum, the list of all, and their names in [`VARIABLE`].
macro_rules! fault_points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// Points that a run passes, in the order of a step.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FaultPoint { $($(#[$doc])* $point,)* }

        impl FaultPoint {
            /// Every point.
            pub const ALL: &[FaultPoint] = &[$(FaultPoint::$point,)*];

            /// Its name in the variable.
            pub fn name(self) -> &'static str {
                match self { $(FaultPoint::$point => $name,)* }
            }
        }
    };
}

fault_points! {
    /// Before storage is read.
    Start = "start",
    /// On rank 0, before the attempt is claimed.
    Claim = "claim",
    /// Before a step; `fail` is an error of this rank.
    Step = "step",
    /// Before a lane's windows are loaded; `fail` loads one of them twice.
    Load = "load",
    /// Before the gradients are waited for; `fail` is an error of libtorch's.
    Device = "device",
    /// After a lane's loss is known; `fail` makes it NaN.
    Loss = "loss",
    /// Before the gradients are exchanged.
    Exchange = "exchange",
    /// After the exchange, before the update.
    Exchanged = "exchanged",
    /// Before a batch of validation.
    Validate = "validate",
    /// On rank 0, in the middle of the copy for a checkpoint.
    Copy = "copy",
    /// In the saving thread, before `metrics.jsonl` is written.
    Metrics = "metrics",
    /// In the saving thread, before the checkpoint is written.
    Upload = "upload",
    /// In the saving thread, after the checkpoint was written.
    Uploaded = "uploaded",
    /// In the saving thread, before an old checkpoint is deleted.
    Prune = "prune",
    /// In the saving thread, after it was deleted.
    Pruned = "pruned",
    /// After the last step.
    Close = "close",
    /// On rank 0, when everything is saved.
    Closed = "closed",
}

impl FromStr for FaultPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FaultPoint::ALL.iter().copied().find(|point| point.name() == text).ok_or_else(|| {
            let names: Vec<_> = FaultPoint::ALL.iter().map(|point| point.name()).collect();
            format!("there is no point {text:?}; the points are {}", names.join(", "))
        })
    }
}

/// What is to happen at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    /// As the variable has it.
    text: String,
    point: FaultPoint,
    rank: usize,
    /// Which passing of the point is meant, counted from 1.
    count: u64,
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// [`at`] returns true, and the caller fails in its own way.
    Fail,
    Panic,
    /// A signal.
    Send(Signal, Target),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// This rank.
    Rank,
    /// The launcher. A signal that mpirun forwards to the ranks is waited for, so that it arrives at this point of the run.
    Launcher,
    /// The launcher and all ranks that it started on this host, at once.
    All,
}

/// An entry of `BACHDIST_FAULT` that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}: {0:?} is not POINT[@RANK][#COUNT]=ACTION: {1}")]
pub struct FaultError(String, String);

struct Armed {
    /// The faults of this rank, each with how often its point was passed.
    faults: Vec<(Fault, AtomicU64)>,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Reads this rank's faults from the environment. Calls after the first change nothing.
pub fn arm(rank: usize) -> Result<(), FaultError> {
    let text = environment::variable(VARIABLE).map_err(|error| FaultError(String::new(), error.reason))?;
    let Some(text) = text else { return Ok(()) };
    let faults: Vec<Fault> = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let own = faults.into_iter().filter(|fault| fault.rank == rank);
    let _ = ARMED.set(Armed { faults: own.map(|fault| (fault, AtomicU64::new(0))).collect() });
    Ok(())
}

/// Passes a point. Returns true if the caller is to fail now; other faults happen inside.
pub fn at(point: FaultPoint) -> bool {
    let Some(armed) = ARMED.get() else { return false };
    let mut fails = false;
    for (fault, passed) in &armed.faults {
        if fault.point == point && passed.fetch_add(1, Ordering::Relaxed) + 1 == fault.count {
            eprint_line(format_args!("bachdist: fault: {fault}"));
            match fault.action {
                Action::Fail => fails = true,
                Action::Panic => panic!("fault: {fault}"),
                Action::Send(signal, target) => target.send(signal),
            }
        }
    }
    fails
}

impl Target {
    fn send(self, signal: Signal) {
        let launcher = getppid();
        let targets = match self {
            Target::Rank => vec![getpid()],
            Target::Launcher => launcher.into_iter().collect(),
            // This rank last: it may not survive its own signal.
            Target::All => {
                let others =
                    launcher.map(children).unwrap_or_default().into_iter().filter(|&pid| pid != getpid());
                launcher.into_iter().chain(others).chain([getpid()]).collect()
            }
        };
        // mpirun hands these on to all its ranks, when it comes to it.
        let comes_back = self == Target::Launcher && [Signal::USR1, Signal::USR2].contains(&signal);
        let arrived = Arc::new(AtomicBool::new(!comes_back));
        if comes_back {
            register(signal.as_raw(), arrived.clone()).expect("a signal that can be caught");
        }
        for pid in targets {
            // A process that is already gone needs no signal.
            let _ = kill_process(pid, signal);
        }
        while !arrived.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        if signal == Signal::STOP {
            halt();
        }
    }
}

/// Returns when this process, which was sent SIGSTOP, has stopped and been continued. Linux delivers a process's signal to
/// any of its threads; until that thread takes it, this one would run past its point. Linux takes the signal and marks all
/// threads to stop under the lock that /proc reads with, so a thread that sees the signal gone stops at the end of that
/// read.
fn halt() {
    while has_signal("ShdPnd", Signal::STOP.as_raw()) {
        std::thread::yield_now();
    }
}

/// The processes that one has started, from all its threads.
fn children(pid: Pid) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let numbers: Vec<i32> = lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    numbers.into_iter().filter_map(Pid::from_raw).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let whole = text;
        let wrong = |why: String| FaultError(whole.into(), why);
        let (place, action) = text.split_once('=').ok_or_else(|| wrong("there is no =".into()))?;
        let (place, count) = place.split_once('#').unwrap_or((place, "1"));
        let (point, rank) = place.split_once('@').unwrap_or((place, "0"));
        let point = point.parse().map_err(wrong)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong(format!("{text:?} is not a number")));
        let action = action.parse().map_err(wrong)?;
        Ok(Fault { text: whole.into(), point, rank: number(rank)? as usize, count: number(count)?, action })
    }
}

impl FromStr for Action {
    type Err = String;

    /// `fail`, `panic`, or a signal, alone for this rank, or with `-launcher` or `-all` behind it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, target) = match text.split_once('-') {
            None => (text, Target::Rank),
            Some((name, "launcher")) => (name, Target::Launcher),
            Some((name, "all")) => (name, Target::All),
            Some((_, other)) => return Err(format!("{other:?} is neither launcher nor all")),
        };
        let signal = match name {
            "fail" => return Ok(Action::Fail),
            "panic" => return Ok(Action::Panic),
            "kill" => Signal::KILL,
            "stop" => Signal::STOP,
            "int" => Signal::INT,
            "term" => Signal::TERM,
            "usr1" => Signal::USR1,
            "usr2" => Signal::USR2,
            _ => return Err("the actions are fail, panic, kill, stop, int, term, usr1, usr2".into()),
        };
        Ok(Action::Send(signal, target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_described_by_point_rank_count_and_action() {
        let fault: Fault = "exchange@1#3=kill-all".parse().unwrap();
        assert_eq!((fault.point, fault.rank, fault.count), (FaultPoint::Exchange, 1, 3));
        assert_eq!(fault.action, Action::Send(Signal::KILL, Target::All));
        let short: Fault = "upload=fail".parse().unwrap();
        assert_eq!((short.rank, short.count, short.action), (0, 1, Action::Fail));
        for wrong in
            ["upload", "lunch=kill", "upload@x=kill", "upload#=kill", "upload=sing", "upload=kill-them"]
        {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
        let unknown = "lunch=kill".parse::<Fault>().unwrap_err().to_string();
        assert!(unknown.contains("there is no point \"lunch\"; the points are start, claim, "), "{unknown}");
    }
}
