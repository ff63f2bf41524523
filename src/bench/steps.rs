//! A step by phase: what training runs, with a clock that it is observed by.
//!
//! Forward is timed by a pass of its own, without dropout; backward is the gradient less that. On a GPU the clock waits
//! at every phase, which training does not, so the phases take longer than the step; and the next batch is loaded within
//! the gradient.

use std::time::Instant;

use anyhow::Result;
use bachdist_portable::backend::{Backend, BatchSource, TrainingState};
use bachdist_portable::config::Config;
use bachdist_portable::corpus::Piece;
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::lanes::LaneAssignment;
use bachdist_portable::network::initial_parameters;

use super::timing::barrier;
use crate::comm::{Communicator, SingleProcess};
use crate::phase::Phase;
use crate::stop::StopRequest;
use crate::train::plan::Plan;
use crate::train::step::{Outcome, StepObserver, StepPhase, Trainer};

/// Seconds of a step and of its parts on one rank.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Times {
    /// Giving the model the weights.
    pub weights: f64,
    /// Loading the windows.
    pub data: f64,
    /// Forward, timed alone; part of `gradient`.
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

/// The configuration and lanes of steps with the other ranks, and of this rank's steps alone.
pub struct Setup {
    /// The training music, repeated until it fills a batch.
    pieces: Vec<Piece>,
    together: (Config, LaneAssignment),
    /// The same lanes and rows as a whole batch; where there are other ranks.
    alone: Option<(Config, LaneAssignment)>,
}

impl Setup {
    /// The setup of this rank.
    pub fn new(comm: &dyn Communicator, plan: &Plan) -> Self {
        let times = (plan.config.train.batch_size as u64).div_ceil(plan.batches().windows);
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
        let part = |comm, (config, assignment): &'a (Config, LaneAssignment)| -> Result<Part<'a>> {
            let parameters = initial_parameters(plan.architecture, config.train.seed);
            let mean_square = vec![0.0; parameters.len()];
            let mut backend = plan.target.backend(plan.architecture, plan.threads)?;
            backend.set_state(TrainingState { parameters, mean_square })?;
            let trainer = Trainer::new(comm, config, &setup.pieces, assignment.clone(), backend);
            Ok(Part { trainer, next: 0 })
        };
        let alone = setup.alone.as_ref().map(|setup| part(&SingleProcess, setup)).transpose()?;
        Ok(Stepper { comm, together: part(comm, &setup.together)?, alone })
    }

    /// A step of all ranks, and a forward pass on the same windows.
    pub fn together(&mut self) -> Result<Times> {
        barrier(self.comm);
        let times = self.together.step()?;
        barrier(self.comm);
        Ok(Times { forward: self.together.forward()?, ..times })
    }

    /// The seconds of a step of this rank's part of a batch without the others, who make theirs at the same time.
    pub fn alone(&mut self) -> Result<Option<f64>> {
        barrier(self.comm);
        self.alone.as_mut().map(|part| Ok(part.step()?.step)).transpose()
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

/// Times the phases of a step.
struct Stopwatch {
    times: Times,
    begin: Instant,
    phase: Option<(StepPhase, Instant)>,
}

impl Stopwatch {
    fn start() -> Self {
        Stopwatch { times: Times::default(), begin: Instant::now(), phase: None }
    }

    fn end_phase(&mut self) {
        let now = Instant::now();
        if let Some((phase, begin)) = self.phase.take() {
            let part = match phase {
                StepPhase::Weights => &mut self.times.weights,
                StepPhase::Data => &mut self.times.data,
                StepPhase::Gradient => &mut self.times.gradient,
                StepPhase::Exchange => &mut self.times.exchange,
                StepPhase::Update => &mut self.times.update,
            };
            *part = (now - begin).as_secs_f64();
        }
    }

    fn stop(mut self, backend: &dyn Backend) -> Result<Times> {
        backend.synchronize()?;
        self.end_phase();
        Ok(Times { step: self.begin.elapsed().as_secs_f64(), ..self.times })
    }
}

impl StepObserver for Stopwatch {
    fn phase(&mut self, phase: StepPhase, backend: &dyn Backend) -> Result<()> {
        backend.synchronize()?;
        self.end_phase();
        self.phase = Some((phase, Instant::now()));
        Ok(())
    }
}

impl Part<'_> {
    /// The next step with a full batch.
    fn step(&mut self) -> Result<Times> {
        let batches = self.trainer.batches();
        while batches.batch(self.next).windows < batches.batch_size {
            self.next += 1;
        }
        let step = self.next;
        self.next += 1;
        Phase::Step(step + 1).enter();
        let mut stopwatch = Stopwatch::start();
        let outcome = self.trainer.step(step, StopRequest::empty(), &mut stopwatch)?;
        let times = stopwatch.stop(self.trainer.backend())?;
        if let Outcome::NonFinite { .. } = outcome {
            let message = format!("{}: the loss or gradient is NaN or infinite", Phase::now());
            return Err(Failure::new(ExitCode::NonFinite, message).into());
        }
        Ok(times)
    }

    /// The seconds of a forward pass on the windows of the last step.
    fn forward(&mut self) -> Result<f64> {
        let batch = self.trainer.loader().batch(self.next - 1);
        let backend = self.trainer.backend();
        backend.synchronize()?;
        let begin = Instant::now();
        backend.predict(&batch.lanes[0])?;
        backend.synchronize()?;
        Ok(begin.elapsed().as_secs_f64())
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
            plain.step(step, StopRequest::empty(), &mut ()).unwrap();
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
        assert!(plan.batches().windows < 2000);
        let setup = Setup::new(&SingleProcess, &plan);
        let batches = Stepper::new(&SingleProcess, &plan, &setup).unwrap().together.trainer.batches();
        assert_eq!(batches.batch(0).windows, 2000);
    }
}
