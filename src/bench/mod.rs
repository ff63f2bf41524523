//! `bachdist bench`: what this machine could do at most, and what a step of training makes of it.
//!
//! Ceilings first (`ceilings`), then rounds in which the GEMMs of a step alone and whole steps by phase (`steps`)
//! alternate, so that background load affects both equally. `music` times reading and composing, `timing` is the stopwatch
//! of them all, `report` has the figures and prints them. All ranks measure together, what is timed is what training runs,
//! and nothing is written anywhere.

mod ceilings;
mod music;
pub mod report;
mod steps;
mod timing;

use anyhow::Result;
use bachdist_portable::config::LossPositions;

use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::phase::Phase;
use crate::train::plan::Plan;
use bachdist_portable::backend::Device;
use ceilings::{Gemm, Library, Operands, step_gemms};
use report::{Ceilings, Exchange, GemmCeiling, Machine, Phases, Report, Run, Step};
use steps::{Setup, Stepper, Times};
pub use timing::BenchOptions;
use timing::{barrier, median, slowest};

/// One round, in seconds of the slowest rank.
struct Round {
    /// The GEMMs, by the faster of ours and libtorch's.
    gemms: f64,
    /// By libtorch, if it is there.
    by_libtorch: Option<f64>,
    steps: Vec<Slowest>,
}

/// A step, the same on every rank.
struct Slowest {
    together: f64,
    /// Without the other ranks, where there are some.
    alone: Option<f64>,
}

/// Measures all of it; the report is rank 0's view.
pub fn measure(comm: &dyn Communicator, plan: &Plan, options: BenchOptions) -> Result<Report> {
    Phase::Start.enter();
    let length = plan.architecture.len();
    let (multiply_add, memory_copy) = (ceilings::peak(comm), ceilings::memory_copy(comm, 4 * length));
    // A core's, which has no part in a GPU's step.
    let multiply_add = (plan.target.device == Device::Cpu).then_some(multiply_add);
    let line = (comm.size() > 1).then(|| ceilings::collectives(comm, length));
    let setup = Setup::new(comm, plan);
    let mut stepper = Stepper::new(comm, plan, &setup)?;
    let list = gemms_of(comm, plan);
    let mut gemms = GemmTimer::new(&list, plan.target.device)?;

    let (mut rounds, mut own, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..=options.rounds {
        barrier(comm);
        let (gemms, by_libtorch) = gemms.measure(comm)?;
        let (steps, times) = turn(comm, &mut stepper, options.steps)?;
        // The first wakes libtorch, fills caches and finds memory.
        if number > 0 {
            rounds.push(Round { gemms, by_libtorch, steps });
            own.extend(times);
            copies.push(stepper.copy()?);
        }
    }
    let step = step_of(plan, &rounds, own, median(copies));
    Ok(Report {
        bachdist: report::Version::default(),
        machine: Machine::here(comm),
        run: Run::of(comm, plan, options),
        exchange: line.map(|line| exchange_of(&rounds, line)),
        ceilings: Ceilings { multiply_add, gemms: ceiling_of(comm, plan, &rounds), memory_copy },
        step,
        reading: music::reading(plan),
        composing: music::composing(plan)?,
        config: plan.config.clone(),
    })
}

/// Steps with the other ranks and, where there are some, without, alternately; and this rank's times of the steps with them.
fn turn(
    comm: &dyn Communicator,
    stepper: &mut Stepper<'_>,
    steps: u64,
) -> Result<(Vec<Slowest>, Vec<Times>)> {
    let (mut all, mut own) = (Vec::new(), Vec::new());
    for number in 0..steps {
        // Neither is always the first.
        let alone_first = number % 2 == 0;
        let mut alone = if alone_first { collective_result(comm, stepper.alone())? } else { None };
        let times = collective_result(comm, stepper.together())?;
        if !alone_first {
            alone = collective_result(comm, stepper.alone())?;
        }
        let seconds = slowest(comm, &[times.step, alone.unwrap_or(0.0)]);
        all.push(Slowest { together: seconds[0], alone: alone.map(|_| seconds[1]) });
        own.push(times);
    }
    Ok((all, own))
}

/// Times the GEMMs of a step by everything that computes them on a device.
struct GemmTimer {
    /// On a CPU the native backend's.
    own: Option<Operands>,
    #[cfg(feature = "torch")]
    libtorch: Operands,
}

impl GemmTimer {
    fn new(list: &[Gemm], device: Device) -> Result<Self> {
        let own = (device == Device::Cpu).then(|| Operands::new(list, Library::Own, device)).transpose()?;
        Ok(GemmTimer {
            own,
            #[cfg(feature = "torch")]
            libtorch: Operands::new(list, Library::Libtorch, device)?,
        })
    }

    /// Seconds of the slowest rank by the fastest library, and by libtorch.
    fn measure(&mut self, comm: &dyn Communicator) -> Result<(f64, Option<f64>)> {
        #[cfg(feature = "torch")]
        let libtorch = Some(slowest(comm, &[self.libtorch.multiply_all()?])[0]);
        #[cfg(not(feature = "torch"))]
        let libtorch: Option<f64> = None;
        let own = match &mut self.own {
            Some(own) => Some(slowest(comm, &[own.multiply_all()?])[0]),
            None => None,
        };
        let fastest = own.into_iter().chain(libtorch).fold(f64::INFINITY, f64::min);
        Ok((fastest, libtorch))
    }
}

fn gemms_of(comm: &dyn Communicator, plan: &Plan) -> Vec<Gemm> {
    let batches = plan.batches();
    let lanes: Vec<usize> =
        plan.assignment.lanes_of(comm.rank()).map(|lane| batches.rows(lane).len()).collect();
    let timesteps = plan.config.training_length();
    let predictions = match plan.config.train.loss_positions {
        LossPositions::Last => 1,
        LossPositions::All => timesteps,
    };
    step_gemms(plan.architecture, &lanes, timesteps, predictions)
}

fn ceiling_of(comm: &dyn Communicator, plan: &Plan, rounds: &[Round]) -> GemmCeiling {
    let list = gemms_of(comm, plan);
    let flops: f64 = list.iter().map(Gemm::flops).sum();
    let seconds = median(rounds.iter().map(|round| round.gemms).collect());
    let by_libtorch: Option<Vec<f64>> = rounds.iter().map(|round| round.by_libtorch).collect();
    GemmCeiling {
        flops,
        seconds,
        flops_per_second: flops / seconds,
        windows_per_second: plan.config.train.batch_size as f64 / seconds,
        libtorch_flops_per_second: by_libtorch.map(|seconds| flops / median(seconds)),
        list,
    }
}

fn step_of(plan: &Plan, rounds: &[Round], own: Vec<Times>, checkpoint_copy: f64) -> Step {
    let Times { weights, data, forward, gradient, exchange, update, step: seconds } = interquartile_mean(own);
    let percents = rounds
        .iter()
        .map(|round| 100.0 * round.gemms / median(round.steps.iter().map(|step| step.together).collect()));
    let windows = plan.config.train.batch_size;
    Step {
        windows,
        seconds,
        windows_per_second: windows as f64 / seconds,
        // cuDNN's layers compute GEMMs in TF32, and those that are measured are in f32: a GPU's step may be faster.
        percent_of_ceiling: (plan.target.device == Device::Cpu).then(|| median(percents.collect())),
        phases: Phases { weights, data, forward, backward: gradient - forward, exchange, update },
        checkpoint_copy,
    }
}

fn exchange_of(rounds: &[Round], line: ceilings::Collectives) -> Exchange {
    let steps = || rounds.iter().flat_map(|round| &round.steps);
    let alone = |step: &Slowest| step.alone.unwrap_or(step.together);
    let together_seconds = median(steps().map(|step| step.together).collect());
    let seconds = median(steps().map(|step| step.together - alone(step)).collect());
    Exchange {
        seconds,
        percent_of_step: 100.0 * seconds / together_seconds,
        alone_seconds: median(steps().map(alone).collect()),
        together_seconds,
        collectives: line,
    }
}

/// The mean over the middle half of at least one step, in order of their time: it forgets outliers as a median does,
/// but the parts still add up to the whole.
pub fn interquartile_mean(mut samples: Vec<Times>) -> Times {
    samples.sort_by(|a, b| a.step.total_cmp(&b.step));
    let cut = samples.len() / 4;
    let middle = &samples[cut..samples.len() - cut];
    let mean = |part: fn(&Times) -> f64| middle.iter().map(part).sum::<f64>() / middle.len() as f64;
    Times {
        weights: mean(|times| times.weights),
        data: mean(|times| times.data),
        forward: mean(|times| times.forward),
        gradient: mean(|times| times.gradient),
        exchange: mean(|times| times.exchange),
        update: mean(|times| times.update),
        step: mean(|times| times.step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_forgets_outliers_and_adds_up() {
        let times =
            |weights: f64, data: f64| Times { weights, data, step: weights + data, ..Times::default() };
        let middle =
            interquartile_mean(vec![times(1.0, 2.0), times(50.0, 50.0), times(0.1, 0.1), times(3.0, 2.0)]);
        assert_eq!((middle.weights, middle.data, middle.step), (2.0, 2.0, 4.0));
        assert_eq!(interquartile_mean(vec![times(1.0, 2.0)]).step, 3.0);
    }
}
