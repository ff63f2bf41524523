//! What a bench found: fields for programs, and a table of 80 columns for people. Seconds, bytes, operations in f32.

use std::fmt;

use bachdist_portable::config::Config;
use bachdist_portable::print::count;
use indicatif::HumanCount;
use serde::Serialize;

use super::ceilings::{Collectives, Copy, Gemm, Line, MemoryCopy, Peak};
use super::music::{Composing, Reading};
use super::timing::BenchOptions;
use crate::comm::Communicator;
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
    /// Steps of a round.
    pub steps: u64,
    /// Trainable ones.
    pub parameters: usize,
}

impl Run {
    /// Of a plan.
    pub fn of(comm: &dyn Communicator, plan: &Plan, options: BenchOptions) -> Self {
        let device = plan.target.device.to_string();
        let (ranks, threads, parameters) = (comm.size(), plan.threads, plan.architecture.len());
        Run { ranks, threads, device, rounds: options.rounds, steps: options.steps, parameters }
    }
}

/// What the machine could do, with all ranks at work at once.
#[derive(Debug, Clone, Serialize)]
pub struct Ceilings {
    /// Of one core; `None` where a GPU trains.
    pub multiply_add: Option<Peak>,
    /// The GEMMs of a step and nothing else.
    #[serde(rename = "products")]
    pub gemms: GemmCeiling,
    /// Copies.
    pub memory_copy: MemoryCopy,
}

/// The GEMMs of a step by themselves.
#[derive(Debug, Clone, Serialize)]
pub struct GemmCeiling {
    /// Operations of rank 0.
    pub flops: f64,
    /// The slowest rank's.
    pub seconds: f64,
    /// Of one rank, with its threads.
    pub flops_per_second: f64,
    /// libtorch's speed alone, where ours may be faster; `None` in a build without it.
    pub libtorch_flops_per_second: Option<f64>,
    /// Windows of all ranks, if a step were its GEMMs.
    pub windows_per_second: f64,
    /// Each of them, on rank 0.
    pub list: Vec<Gemm>,
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
    /// What the GEMMs alone take of it; `None` where a GPU trains, whose layers do not compute in f32.
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
    /// A pass of its own, without dropout.
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
    pub collectives: Collectives,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.ceilings(f)?;
        self.step(f)?;
        let Reading { files, bytes_per_second, notes_per_second, .. } = &self.reading;
        let (bytes, notes) = (rate(*bytes_per_second, "B"), HumanCount(*notes_per_second as u64).to_string());
        let files = count(*files as u64, "file");
        row(f, "reading", &format!("{bytes}, {notes} notes/s a core, of {files} of MIDI"))?;
        let notes = HumanCount(self.composing.notes_per_second as u64).to_string();
        write!(f, "{:<13}{notes} notes/s, one piece", "composing")
    }
}

impl Report {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { version, commit } = self.bachdist;
        let commit = commit.map_or(String::new(), |commit| format!(" ({commit})"));
        let Machine { cpu, cores, host } = &self.machine;
        let Run { ranks, threads, device, rounds, steps, parameters } = &self.run;
        let (ranks, threads) = (count(*ranks as u64, "rank"), count(*threads as u64, "thread"));
        row(f, "bachdist", &format!("{version}{commit}; {ranks} of {threads}, {device}"))?;
        row(f, "machine", &format!("{cpu}, {} of {host}", count(*cores as u64, "core")))?;
        let train = &self.config.train;
        let (lanes, parameters) =
            (count(train.lanes as u64, "lane"), HumanCount(*parameters as u64).to_string());
        let notes = self.config.training_length();
        let batch = train.batch_size;
        let run = format!("batch of {batch} in {lanes}, windows of {notes} notes, {parameters} weights");
        row(f, "run", &run)?;
        let (rounds, steps) = (count(*rounds, "round"), count(*steps, "step"));
        row(f, "measured", &format!("in {rounds} of {steps}, alternating with their GEMMs alone"))
    }

    fn ceilings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ceilings { multiply_add, gemms, memory_copy } = &self.ceilings;
        writeln!(f, "\nceilings, on all ranks at once")?;
        if let Some(Peak { instructions, flops_per_second }) = multiply_add {
            line(f, "multiply-add", &rate(*flops_per_second, "FLOP"), &format!("one core, {instructions}"))?;
        }
        let GemmCeiling { flops, seconds, flops_per_second, windows_per_second, .. } = gemms;
        let windows = HumanCount(windows_per_second.round() as u64).to_string();
        let work = format!("{:.2} GFLOP a step: {}, {windows} windows/s", flops / 1e9, time(*seconds));
        line(f, "GEMMs", &rate(*flops_per_second, "FLOP"), &work)?;
        // On a GPU the line above is libtorch's.
        let note =
            if multiply_add.is_some() { "the same GEMMs" } else { "in f32; the step's layers take TF32" };
        if let Some(libtorch) = gemms.libtorch_flops_per_second {
            line(f, "by libtorch", &rate(libtorch, "FLOP"), note)?;
        }
        for Copy { bytes, seconds, bytes_per_second } in [&memory_copy.large, &memory_copy.parameters] {
            let what = format!("{}: {}", size(*bytes), time(*seconds));
            line(f, "memory copy", &rate(*bytes_per_second, "B"), &what)?;
        }
        if let Some(Exchange { collectives, .. }) = &self.exchange {
            let Collectives { line: fit, bytes, gradient_seconds, .. } = collectives;
            let Line { alpha_seconds, seconds_per_byte, relative_residual } = fit;
            let (alpha, off) = (time(*alpha_seconds), 100.0 * relative_residual);
            let (bytes, seconds) = (size(*bytes), time(*gradient_seconds));
            let what = format!("{alpha} + bytes/speed ±{off:.0}%; {bytes}: {seconds}");
            line(f, "exchange", &rate(1.0 / seconds_per_byte, "B"), &what)?;
        }
        Ok(())
    }

    fn step(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { seconds, windows_per_second, percent_of_ceiling, phases, checkpoint_copy, .. } =
            &self.step;
        let Phases { weights, data, forward, backward, exchange, update } = phases;
        let part = |f: &mut fmt::Formatter<'_>, name: &str, part: f64, note: &str| {
            let line = format!("  {name:<11}{:>9} {:>6.1}%  {note}", time(part), 100.0 * part / seconds);
            writeln!(f, "{}", line.trim_end())
        };
        writeln!(f, "\nstep, on rank 0")?;
        part(f, "weights", *weights, "to where the model has them")?;
        part(f, "data", *data, "")?;
        part(f, "forward", *forward, "by itself, without dropout")?;
        part(f, "backward", *backward, "the gradient less that")?;
        part(f, "exchange", *exchange, "with the wait for the slowest rank")?;
        part(f, "update", *update, "")?;
        let windows = HumanCount(windows_per_second.round() as u64).to_string();
        let of_ceiling = percent_of_ceiling.map(|percent| format!(", {percent:.0}% of the GEMMs' ceiling"));
        let speed = format!("{windows} windows/s{}", of_ceiling.unwrap_or_default());
        part(f, "in all", *seconds, &speed)?;
        writeln!(f)?;
        if let Some(Exchange { seconds, percent_of_step, .. }) = &self.exchange {
            let ranks = self.run.ranks;
            let what = format!("the step on {ranks} ranks less that of each alone");
            row(f, "exchange", &format!("{} ({percent_of_step:.1}%): {what}", time(*seconds)))?;
        }
        let every = count(self.config.checkpoint.every_steps, "step");
        row(f, "checkpoint", &format!("{} for the copy, once in {every}", time(*checkpoint_copy)))
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "{name:<13}{text}")
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, figure: &str, note: &str) -> fmt::Result {
    writeln!(f, "  {name:<13}{figure:>13}  {note}")
}

/// Milliseconds or microseconds.
fn time(seconds: f64) -> String {
    match seconds.abs() {
        1e-3.. => format!("{:.1} ms", 1e3 * seconds),
        _ => format!("{:.1} µs", 1e6 * seconds),
    }
}

fn rate(per_second: f64, unit: &str) -> String {
    match per_second {
        // The times of a few small messages did not grow with their sizes.
        f64::INFINITY => "—".into(),
        1e9.. => format!("{:.1} G{unit}/s", per_second / 1e9),
        _ => format!("{:.1} M{unit}/s", per_second / 1e6),
    }
}

fn size(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
