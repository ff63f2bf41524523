//! `bachdist bench`: what this machine could do at most, and what a step of training makes of it.
//!
//! Ceilings first (`ceilings`, `peak`, `exchange`), then rounds in which the products of a step alone (`products`)
//! and whole steps by phase (`phases`) take turns, so that a machine that is slower for a while is so for both.
//! `music` times reading and composing, `report` has the figures, `table` prints them. All ranks do everything
//! together, on the parts that training is made of, and nothing is written anywhere.

mod ceilings;
mod exchange;
mod fit;
mod music;
mod peak;
mod phases;
mod products;
pub mod report;
mod statistics;
mod table;
mod together;

use anyhow::Result;
use bachdist_core::config::LossPositions;
use tch::Device;

use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::phase::Phase;
use crate::train::plan::Plan;
use phases::{Setup, Stepper, Times};
use products::{Library, Operands, step_products};
use report::{Ceilings, Exchange, Machine, Phases, Products, Report, Run, Step};
use statistics::{median, middle_mean};
use together::{barrier, slowest};

/// How often everything is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Turns of ceilings and steps, beside a first that does not count.
    pub rounds: u64,
    /// Steps of a turn.
    pub steps: u64,
}

/// What one turn came to, the slowest rank's seconds.
struct Round {
    /// By the faster of ours and libtorch's.
    products: f64,
    by_libtorch: f64,
    steps: Vec<Slowest>,
}

/// A step, the same on every rank.
struct Slowest {
    together: f64,
    /// Without the other ranks, where there are some.
    alone: Option<f64>,
}

/// Measures all of it; the report is rank 0's view.
pub fn measure(comm: &dyn Communicator, plan: &Plan, effort: Effort) -> Result<Report> {
    Phase::Start.enter();
    let length = plan.architecture.len();
    let (multiply_add, memory_copy) = (peak::measure(comm), ceilings::memory_copy(comm, 4 * length));
    // A core's, which has no part in a GPU's step.
    let multiply_add = (plan.device == Device::Cpu).then_some(multiply_add);
    let line = (comm.size() > 1).then(|| exchange::measure(comm, length));
    let setup = Setup::new(comm, plan);
    let mut stepper = Stepper::new(comm, plan, &setup)?;
    let list = products_of(comm, plan);
    // On a CPU a step is made of our own products.
    let mut own_products =
        (plan.device == Device::Cpu).then(|| Operands::new(&list, Library::Own, plan.device)).transpose()?;
    let mut libtorchs = Operands::new(&list, Library::Libtorch, plan.device)?;

    let (mut rounds, mut own, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..=effort.rounds {
        barrier(comm);
        let by_libtorch = libtorchs.multiply_all()?;
        let own_products = own_products.as_mut().map_or(Ok(by_libtorch), Operands::multiply_all)?;
        let [by_libtorch, own_products] = slowest(comm, &[by_libtorch, own_products])[..] else {
            unreachable!("as many as were given")
        };
        let (steps, times) = turn(comm, &mut stepper, effort.steps)?;
        // The first wakes libtorch, fills caches and finds memory.
        if number > 0 {
            rounds.push(Round { products: own_products.min(by_libtorch), by_libtorch, steps });
            own.extend(times);
            copies.push(stepper.copy()?);
        }
    }
    let step = step_of(plan, &rounds, own, median(copies));
    Ok(Report {
        bachdist: report::Version::default(),
        machine: Machine::here(comm),
        run: Run::of(comm, plan, effort),
        exchange: line.map(|line| exchange_of(&rounds, line)),
        ceilings: Ceilings { multiply_add, products: ceiling_of(comm, plan, &rounds), memory_copy },
        step,
        reading: music::reading(plan),
        composing: music::composing(plan)?,
        config: plan.config.clone(),
    })
}

/// Some steps with the other ranks and, where there are some, without, in turns. Own times of the steps with them too.
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

fn products_of(comm: &dyn Communicator, plan: &Plan) -> Vec<products::Product> {
    let batches = plan.batches();
    let lanes: Vec<usize> =
        plan.assignment.lanes_of(comm.rank()).map(|lane| batches.rows(lane).len()).collect();
    let notes = plan.config.training_length();
    let predictions = match plan.config.train.loss_positions {
        LossPositions::Last => 1,
        LossPositions::All => notes,
    };
    step_products(plan.architecture, &lanes, notes, predictions)
}

fn ceiling_of(comm: &dyn Communicator, plan: &Plan, rounds: &[Round]) -> Products {
    let list = products_of(comm, plan);
    let flops = list.iter().map(products::Product::flops).sum();
    let seconds = median(rounds.iter().map(|round| round.products).collect());
    let windows_per_second = plan.config.train.batch_size as f64 / seconds;
    let libtorch_seconds = median(rounds.iter().map(|round| round.by_libtorch).collect());
    Products {
        flops,
        seconds,
        flops_per_second: flops / seconds,
        windows_per_second,
        libtorch_flops_per_second: flops / libtorch_seconds,
        list,
    }
}

fn step_of(plan: &Plan, rounds: &[Round], own: Vec<Times>, checkpoint_copy: f64) -> Step {
    let Times { weights, data, forward, gradient, exchange, update, step: seconds } = middle_mean(own);
    let of_ceiling = |round: &Round| {
        let steps = round.steps.iter().map(|step| step.together).collect();
        100.0 * round.products / median(steps)
    };
    let windows = plan.config.train.batch_size;
    Step {
        windows,
        seconds,
        windows_per_second: windows as f64 / seconds,
        // cuDNN's layers multiply in TF32, and the products that are measured in f32: a GPU's step may be faster.
        percent_of_ceiling: (plan.device == Device::Cpu)
            .then(|| median(rounds.iter().map(of_ceiling).collect())),
        phases: Phases { weights, data, forward, backward: gradient - forward, exchange, update },
        checkpoint_copy,
    }
}

fn exchange_of(rounds: &[Round], line: exchange::Measured) -> Exchange {
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
