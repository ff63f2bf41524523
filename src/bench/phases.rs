//! A step by phase: the trainer's own parts one after another, with a clock between them.
//!
//! Forward is timed by a pass of its own, without dropout; backward is what is left of the gradient. On a GPU the clock
//! waits for every part, which a step does not, and nothing is loaded ahead: the parts are longer than the step.

use std::time::Instant;

use anyhow::Result;
use bachdist_core::config::Config;
use bachdist_core::corpus::Piece;
use bachdist_core::corpus::windows::Windows;
use bachdist_core::failure::{Code, Failure};
use tch::Device;

use super::together::barrier;
use crate::comm::Communicator;
use crate::comm::SingleProcess;
use crate::model::Model;
use crate::model::device::wait;
use crate::phase::Phase;
use crate::train::plan::Plan;
use crate::train::step::{LaneReport, Loaded, Trainer};
use bachdist_core::lanes::LaneAssignment;
use bachdist_core::network::init;

/// Seconds of a step and of its parts on one rank.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Times {
    /// Giving the model the weights.
    pub weights: f64,
    /// Loading the windows.
    pub data: f64,
    /// Forward, timed by itself; part of `gradient`.
    pub forward: f64,
    /// Forward and backward.
    pub gradient: f64,
    /// Reports and gradients of all ranks, with the wait for the slowest.
    pub exchange: f64,
    /// The optimizer.
    pub update: f64,
    /// All of it.
    pub step: f64,
}

/// What steps are made of, together and on each rank alone.
pub struct Setup {
    /// The training music, again and again until it fills a batch.
    pieces: Vec<Piece>,
    together: (Config, LaneAssignment),
    /// The same lanes and rows as a whole batch; where there are other ranks.
    alone: Option<(Config, LaneAssignment)>,
}

impl Setup {
    /// The setup of this rank.
    pub fn new(comm: &dyn Communicator, plan: &Plan) -> Self {
        let times = (plan.config.train.batch_size as u64).div_ceil(plan.windows().len());
        let pieces = (0..times).flat_map(|_| plan.training.pieces.iter().cloned()).collect();
        let alone = (comm.size() > 1).then(|| {
            let (batches, lanes) = (plan.batches(), plan.assignment.lanes_of(comm.rank()));
            let mut config = plan.config.clone();
            config.train.lanes = lanes.len();
            config.train.batch_size = lanes.map(|lane| batches.rows(lane).len()).sum::<usize>().max(1);
            let assignment = LaneAssignment::new(config.train.lanes, 1).expect("one rank can own any lanes");
            (config, assignment)
        });
        Setup { pieces, together: (plan.config.clone(), plan.assignment.clone()), alone }
    }
}

/// Makes steps of a run with the other ranks, and the same without them.
pub struct Stepper<'a> {
    comm: &'a dyn Communicator,
    device: Device,
    together: Part<'a>,
    alone: Option<Part<'a>>,
}

/// A trainer and the next of its steps.
struct Part<'a> {
    trainer: Trainer<'a>,
    next: u64,
}

impl<'a> Stepper<'a> {
    /// From the initial weights on.
    pub fn new(comm: &'a dyn Communicator, plan: &Plan, setup: &'a Setup) -> Result<Self> {
        let device = plan.device;
        let part = |comm, (config, assignment): &'a (Config, LaneAssignment)| -> Result<Part<'a>> {
            let parameters = init::parameters(plan.architecture, config.train.seed);
            let mean_square = vec![0.0; parameters.len()];
            let windows = Windows::new(&setup.pieces, config.training_length());
            let model = Model::new(plan.architecture, device)?;
            let state = (parameters, mean_square);
            let trainer = Trainer::new(comm, config, windows, assignment.clone(), model, state)?;
            Ok(Part { trainer, next: 0 })
        };
        let alone = setup.alone.as_ref().map(|setup| part(&SingleProcess, setup)).transpose()?;
        Ok(Stepper { comm, device, together: part(comm, &setup.together)?, alone })
    }

    /// A step of all ranks, and a pass forward on the same windows.
    pub fn together(&mut self) -> Result<Times> {
        barrier(self.comm);
        let times = self.together.step(self.device)?;
        barrier(self.comm);
        Ok(Times { forward: self.together.forward(self.device)?, ..times })
    }

    /// The seconds of a step of this rank's part of a batch without the others, who make theirs at the same time.
    pub fn alone(&mut self) -> Result<Option<f64>> {
        barrier(self.comm);
        self.alone.as_mut().map(|part| Ok(part.step(self.device)?.step)).transpose()
    }

    /// The seconds of the copy that a checkpoint holds training for.
    pub fn copy(&self) -> Result<f64> {
        barrier(self.comm);
        let begin = Instant::now();
        let copy = std::hint::black_box(self.together.trainer.state()?);
        let seconds = begin.elapsed().as_secs_f64();
        drop(copy);
        Ok(seconds)
    }
}

/// Seconds since it was last looked at.
struct Clock {
    device: Device,
    last: Instant,
}

impl Clock {
    fn begin(device: Device) -> Result<Self> {
        wait(device)?;
        Ok(Clock { device, last: Instant::now() })
    }

    fn lap(&mut self) -> Result<f64> {
        wait(self.device)?;
        let now = Instant::now();
        Ok((now - std::mem::replace(&mut self.last, now)).as_secs_f64())
    }
}

impl Part<'_> {
    /// The next step with a full batch: what [`Trainer::step`] does, part by part.
    fn step(&mut self, device: Device) -> Result<Times> {
        let trainer = &mut self.trainer;
        let batches = trainer.batches();
        while batches.batch(self.next).windows < batches.batch_size {
            self.next += 1;
        }
        let (step, batch) = (self.next, batches.batch(self.next));
        self.next += 1;
        Phase::Step(step + 1).enter();

        let begin = Instant::now();
        let mut clock = Clock::begin(device)?;
        trainer.load_weights(step)?;
        let weights = clock.lap()?;
        let Loaded { lanes, seen } = trainer.load(&batch);
        let data = clock.lap()?;
        trainer.begin(step, &lanes)?;
        let sums = trainer.finish()?;
        let of_gradient = clock.lap()?;
        let own =
            sums.into_iter().zip(seen).map(|(sums, seen)| LaneReport { sums, seen, ..LaneReport::default() });
        let reports = trainer.gather(own);
        trainer.exchange(batch.windows * lanes[0][0].predictions)?;
        let exchange = clock.lap()?;
        let updated = trainer.update(step)?;
        let update = clock.lap()?;
        let whole = begin.elapsed().as_secs_f64();

        if !updated || reports.iter().any(|report| !report.sums.loss.is_finite()) {
            let message = format!("{}: the loss or gradient is not finite", Phase::now());
            return Err(Failure::new(Code::NonFinite, message).into());
        }
        Ok(Times { weights, data, forward: 0.0, gradient: of_gradient, exchange, update, step: whole })
    }

    /// The seconds of a pass forward on the windows of the last step.
    fn forward(&mut self, device: Device) -> Result<f64> {
        let Loaded { lanes, .. } = self.trainer.load(&self.trainer.batches().batch(self.next - 1));
        let mut clock = Clock::begin(device)?;
        self.trainer.predict(&lanes[0])?;
        clock.lap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timed_steps_are_the_trainers_own() {
        let mut config = Config::default();
        config.model.units = 16;
        config.model.dense = 16;
        config.train.batch_size = 37;
        config.train.device = "cpu".into();
        let plan = Plan::prepare(&SingleProcess, std::path::Path::new("tiny"), config).unwrap();
        let setup = Setup::new(&SingleProcess, &plan);
        let mut timed = Stepper::new(&SingleProcess, &plan, &setup).unwrap();
        let mut plain = Stepper::new(&SingleProcess, &plan, &setup).unwrap().together.trainer;
        for step in 0..3 {
            let times = timed.together().unwrap();
            plain.step(step, crate::stop::StopRequest::empty()).unwrap();
            let parts = times.weights + times.data + times.gradient + times.exchange + times.update;
            assert!(parts <= times.step, "{times:?}");
        }
        assert_eq!(timed.together.trainer.state().unwrap(), plain.state().unwrap());
    }

    #[test]
    fn every_timed_batch_is_full() {
        let mut config = Config::default();
        config.train.batch_size = 2000;
        let plan = Plan::prepare(&SingleProcess, std::path::Path::new("tiny"), config).unwrap();
        assert!(plan.windows().len() < 2000);
        let setup = Setup::new(&SingleProcess, &plan);
        let batches = Stepper::new(&SingleProcess, &plan, &setup).unwrap().together.trainer.batches();
        assert_eq!(batches.batch(0).windows, 2000);
    }
}
