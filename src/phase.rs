//! Where a run stands, for whoever has to say so: an error, a panic, a rank that waits for another.
//!
//! One word for the whole process, because a panic can ask for it from any thread.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a rank is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading configuration, music and the checkpoint to go on from.
    Start,
    /// Making the step of this number, from 1.
    Step(u64),
    /// Validating after a step.
    Validation(u64),
    /// Waiting until everything is saved.
    End,
}

static NOW: AtomicU64 = AtomicU64::new(0);

const KINDS: u64 = 4;

impl Phase {
    /// Enters this phase.
    pub fn enter(self) {
        NOW.store(self.to_word(), Ordering::Relaxed);
    }

    /// The phase of this process.
    pub fn now() -> Self {
        Phase::from_word(NOW.load(Ordering::Relaxed))
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
    fn phases_survive_being_a_word() {
        for phase in [Phase::Start, Phase::Step(7), Phase::Validation(7), Phase::Step(1 << 60), Phase::End] {
            assert_eq!(Phase::from_word(phase.to_word()), phase);
        }
    }
}
