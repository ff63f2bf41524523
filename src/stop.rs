//! Signals that ask a run to stop: they set a flag, which the loop reads once a step.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bachdist_core::process::has_signal;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag::{register, register_conditional_default};
use signal_hook::iterator::Signals;

/// However many signals arrive within this time of the first, they are one request: a scheduler signals the launcher
/// and its ranks at once, and the launcher signals the ranks again.
const SAME_REQUEST: Duration = Duration::from_secs(2);

/// Whether a signal came. Any of USR1, USR2, INT, TERM and HUP means: finish the step, save, end with exit code 75.
/// An INT or TERM more than two seconds after the first signal ends the process at once.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Catches the signals from here on, those too that were held back until now: `launch/job` starts ranks with them
    /// blocked, so that none arrives before somebody listens.
    pub fn install() -> io::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        let insists = Arc::new(AtomicBool::new(false));
        let mut caught = vec![SIGUSR1, SIGUSR2, SIGINT, SIGTERM];
        // `nohup` wants a run to outlive its terminal.
        if !has_signal("SigIgn", SIGHUP) {
            caught.push(SIGHUP);
        }
        for &signal in &caught {
            if signal == SIGINT || signal == SIGTERM {
                register_conditional_default(signal, insists.clone())?;
            }
            register(signal, requested.clone())?;
        }
        let mut first = Signals::new(&caught)?;
        thread::Builder::new().name("signals".into()).spawn(move || {
            if first.forever().next().is_some() {
                thread::sleep(SAME_REQUEST);
                insists.store(true, Ordering::Relaxed);
            }
        })?;
        let held_back: SigSet =
            [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
                .into_iter()
                .collect();
        held_back.thread_unblock()?;
        Ok(StopFlag(requested))
    }

    /// Whether one came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
