//! The current phase of the process, for the messages of errors, panics and collective timeouts.
//!
//! It is one atomic word for the whole process, because a panic can happen on any thread.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the configuration, the music, and the checkpoint to resume from.
    Start,
    /// In this step, from 1.
    Step(u64),
    /// Validating after this step.
    Validation(u64),
    /// Waiting until everything is saved.
    End,
}

static CURRENT: AtomicU64 = AtomicU64::new(0);

/// Variants of [`Phase`]. A word has the variant in its remainder and the step in its quotient.
const KINDS: u64 = 4;

impl Phase {
    pub fn enter(self) {
        CURRENT.store(self.to_word(), Ordering::Relaxed);
    }

    pub fn now() -> Self {
        Phase::from_word(CURRENT.load(Ordering::Relaxed))
    }

    fn to_word(self) -> u64 {
        match self {
            Phase::Start => 0,
            Phase::Step(step) => 1 + KINDS * step,
            Phase::Validation(step) => 2 + KINDS * step,
            Phase::End => 3,
        }
    }

    fn from_word(word: u64) -> Self {
        match word % KINDS {
            0 => Phase::Start,
            1 => Phase::Step(word / KINDS),
            2 => Phase::Validation(word / KINDS),
            _ => Phase::End,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Start => f.write_str("start"),
            Phase::Step(step) => write!(f, "step {step}"),
            Phase::Validation(step) => write!(f, "validation after step {step}"),
            Phase::End => f.write_str("end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_fits_into_a_word() {
        for phase in [Phase::Start, Phase::Step(7), Phase::Validation(7), Phase::Step(1 << 60), Phase::End] {
            assert_eq!(Phase::from_word(phase.to_word()), phase);
        }
    }
}
