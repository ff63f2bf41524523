//! Signals that ask a run to stop: they only set a flag, which the loop reads once a step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

/// Whether a signal came. Any of USR1, USR2, INT and TERM means: finish the step, save, end with exit code 75;
/// INT or TERM after that ends at once.
#[derive(Debug, Clone)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Catches the signals from here on.
    pub fn install() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGUSR1, SIGUSR2, SIGINT, SIGTERM] {
            // Where it was asked before, a second INT or TERM is meant: it ends the process as it would any
            // other. This must come first, so that the first of them still finds the flag clear.
            if signal == SIGINT || signal == SIGTERM {
                signal_hook::flag::register_conditional_default(signal, flag.clone())?;
            }
            signal_hook::flag::register(signal, flag.clone())?;
        }
        Ok(StopFlag(flag))
    }

    /// Whether one came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
