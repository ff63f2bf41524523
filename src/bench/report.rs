//! What a bench found, as fields for programs; `table` is for people. Seconds, bytes, and operations in f32.

use bachdist_core::config::Config;
use serde::Serialize;

use super::Effort;
use super::ceilings::MemoryCopy;
use super::exchange::Measured;
use super::music::{Composing, Reading};
use super::peak::Peak;
use super::products::Product;
use crate::comm::Communicator;
use crate::model::device;
use crate::train::plan::Plan;

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The program.
    pub bachdist: Version,
    /// Where it ran.
    pub machine: Machine,
    /// What ran.
    pub run: Run,
    /// What the machine could do.
    pub ceilings: Ceilings,
    /// What a step does.
    pub step: Step,
    /// What the other ranks cost; `None` on one rank.
    pub exchange: Option<Exchange>,
    /// MIDI files to notes.
    pub reading: Reading,
    /// Notes from a network.
    pub composing: Composing,
    /// The whole configuration.
    pub config: Config,
}

/// The program.
#[derive(Debug, Clone, Serialize)]
pub struct Version {
    /// As `--version` has it.
    pub version: &'static str,
    /// What was checked out when it was built, if that is known.
    pub commit: Option<&'static str>,
}

impl Default for Version {
    fn default() -> Self {
        Version { version: env!("CARGO_PKG_VERSION"), commit: option_env!("BACHDIST_COMMIT") }
    }
}

/// Rank 0's machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// As the system counts them.
    pub cores: usize,
    /// The host's name.
    pub host: String,
}

impl Machine {
    /// Where this rank runs.
    pub fn here(comm: &dyn Communicator) -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cpu = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned();
        let cores = info.lines().filter(|line| line.starts_with("processor")).count().max(1);
        Machine { cpu, cores, host: comm.host() }
    }
}

/// What ran.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// How many ranks.
    pub ranks: usize,
    /// Threads of a rank.
    pub threads: usize,
    /// Rank 0's.
    pub device: String,
    /// Turns of ceilings and steps.
    pub rounds: u64,
    /// Steps of a turn.
    pub steps: u64,
    /// Trainable ones.
    pub parameters: usize,
}

impl Run {
    /// Of a plan.
    pub fn of(comm: &dyn Communicator, plan: &Plan, effort: Effort) -> Self {
        let device = device::name(plan.device);
        let (ranks, threads, parameters) = (comm.size(), plan.threads, plan.architecture.len());
        Run { ranks, threads, device, rounds: effort.rounds, steps: effort.steps, parameters }
    }
}

/// What the machine could do, with all ranks at work at once.
#[derive(Debug, Clone, Serialize)]
pub struct Ceilings {
    /// Of one core; `None` where a GPU trains.
    pub multiply_add: Option<Peak>,
    /// The products of a step and nothing else.
    pub products: Products,
    /// Copies.
    pub memory_copy: MemoryCopy,
}

/// The products of a step by themselves.
#[derive(Debug, Clone, Serialize)]
pub struct Products {
    /// Operations of rank 0.
    pub flops: f64,
    /// The slowest rank's.
    pub seconds: f64,
    /// Of one rank, with its threads.
    pub flops_per_second: f64,
    /// libtorch's speed alone, where ours may be faster.
    pub libtorch_flops_per_second: f64,
    /// Windows of all ranks, if a step were its products.
    pub windows_per_second: f64,
    /// Each of them, on rank 0.
    pub list: Vec<Product>,
}

/// A step of all ranks.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Of all ranks.
    pub windows: usize,
    /// Rank 0's, the mean over the middle half of the steps.
    pub seconds: f64,
    /// Of all ranks.
    pub windows_per_second: f64,
    /// What the products alone take of it; `None` where a GPU trains, whose layers do not multiply in f32.
    pub percent_of_ceiling: Option<f64>,
    /// Its parts on rank 0, over the same steps.
    pub phases: Phases,
    /// What a checkpoint holds training for, once in `checkpoint.every_steps` steps.
    pub checkpoint_copy: f64,
}

/// Parts of a step.
#[derive(Debug, Clone, Serialize)]
pub struct Phases {
    /// Giving the model the weights.
    pub weights: f64,
    /// Loading the windows.
    pub data: f64,
    /// A pass by itself, without dropout.
    pub forward: f64,
    /// The gradient without that.
    pub backward: f64,
    /// Reports and gradients of all ranks, with the wait for the slowest.
    pub exchange: f64,
    /// The optimizer.
    pub update: f64,
}

/// What the other ranks cost.
#[derive(Debug, Clone, Serialize)]
pub struct Exchange {
    /// The step of all ranks less that of each alone with its own lanes: the median of pairs.
    pub seconds: f64,
    /// Of the step of all ranks.
    pub percent_of_step: f64,
    /// The slowest rank alone.
    pub alone_seconds: f64,
    /// All ranks together.
    pub together_seconds: f64,
    /// The collectives by themselves.
    #[serde(flatten)]
    pub collectives: Measured,
}
