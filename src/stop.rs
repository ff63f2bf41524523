//! Why a run stops, and with which exit code. A signal sets a flag ([`StopFlag`]); the training loop reads it once per step,
//! and all ranks learn of it in the same step ([`StopRequest`]), save, and end ([`RunOutcome`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bachdist_portable::failure::ExitCode;
use bachdist_portable::metrics::StopReason;
use bachdist_portable::process::has_signal;
use bitflags::bitflags;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag::{register, register_conditional_default};
use signal_hook::iterator::Signals;

bitflags! {
    /// Why the ranks must stop after this step. Each rank adds its reasons, and the union is gathered with the step's
    /// losses, so that all ranks stop after the same step. Whatever it is, a checkpoint is saved first.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct StopRequest: u64 {
        /// A signal came.
        const SIGNAL = 1;
        /// Rank 0 cannot save any more.
        const STORAGE = 2;
    }
}

/// How a run ended, the same on every rank. Its last checkpoint is safe in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    /// All steps were made.
    Completed,
    /// `train.early_stop` validations in a row did not improve on the best one.
    EarlyStopped,
    /// A signal asked for it.
    Interrupted,
    /// The storage was out of reach for `checkpoint.max_unsaved_steps`.
    StorageFailed,
}

impl RunOutcome {
    /// 0, or 75 where the same command would continue the run.
    pub fn exit_code(self) -> u8 {
        match self {
            RunOutcome::Completed | RunOutcome::EarlyStopped => 0,
            RunOutcome::Interrupted | RunOutcome::StorageFailed => ExitCode::Stopped as u8,
        }
    }

    /// The reason that `metrics.jsonl` gives.
    pub fn reason(self) -> StopReason {
        match self {
            RunOutcome::Completed => StopReason::Done,
            RunOutcome::EarlyStopped => StopReason::Early,
            RunOutcome::Interrupted => StopReason::Signal,
            RunOutcome::StorageFailed => StopReason::Storage,
        }
    }
}

/// Signals that arrive within this time of the first belong to the same request: a scheduler signals the launcher and its
/// ranks at once, and the launcher forwards the signal to the ranks again.
const SAME_REQUEST: Duration = Duration::from_secs(2);

/// Whether a signal came. Any of USR1, USR2, INT, TERM and HUP means: finish the step, save, exit with code 75.
/// An INT or TERM more than two seconds after the first signal ends the process at once.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Catches signals from now on, including those that are pending: `launch/job` starts ranks with the signals blocked,
    /// so that none arrives before they are caught.
    pub fn install() -> io::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        let insist = Arc::new(AtomicBool::new(false));
        let mut caught = vec![SIGUSR1, SIGUSR2, SIGINT, SIGTERM];
        // Ignored by `nohup`, which wants the run to outlive its terminal.
        if !has_signal("SigIgn", SIGHUP) {
            caught.push(SIGHUP);
        }
        for &signal in &caught {
            if signal == SIGINT || signal == SIGTERM {
                register_conditional_default(signal, insist.clone())?;
            }
            register(signal, requested.clone())?;
        }
        let mut first = Signals::new(&caught)?;
        thread::Builder::new().name("signals".into()).spawn(move || {
            if first.forever().next().is_some() {
                thread::sleep(SAME_REQUEST);
                insist.store(true, Ordering::Relaxed);
            }
        })?;
        let blocked: SigSet =
            [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
                .into_iter()
                .collect();
        blocked.thread_unblock()?;
        Ok(StopFlag(requested))
    }

    /// What the signals so far ask for.
    pub fn request(&self) -> StopRequest {
        if self.0.load(Ordering::Relaxed) { StopRequest::SIGNAL } else { StopRequest::empty() }
    }
}
