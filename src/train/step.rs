//! One optimizer step: each rank runs the network forward and backward on its lanes, all gather what every lane reports,
//! sum the gradients along the tree of lanes (all-to-all and all-gather), and make the same update. After it every rank
//! has the same weights, with the same bits for any number of ranks.

use anyhow::Result;
use bachdist_portable::backend::{Backend, RankSum, TrainingState};
use bachdist_portable::config::Config;
use bachdist_portable::corpus::Piece;
use bachdist_portable::fault::{self, FaultPoint};
use bachdist_portable::lanes::LaneAssignment;
use bachdist_portable::network::batch::EpochSums;
use bachdist_portable::network::dropout::WeightDrop;
use bachdist_portable::schedule::{Batch, Batches, Sequences, WindowAudit};

use super::loader::BatchLoader;
use crate::comm::Communicator;
use crate::stop::StopRequest;

/// A rank's part in the training: backend, and which windows it takes.
pub struct Trainer<'a> {
    comm: &'a dyn Communicator,
    config: &'a Config,
    loader: BatchLoader<'a>,
    assignment: LaneAssignment,
    backend: Box<dyn Backend>,
    /// Memory for the parts that the ranks send.
    parts: Vec<f32>,
}

/// The parts of a step, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepPhase {
    /// Giving the network the weights.
    Weights,
    /// Loading the windows.
    Data,
    /// Forward and backward.
    Gradient,
    /// Reports and gradients of all ranks.
    Exchange,
    /// The optimizer.
    Update,
}

/// Learns which part of a step begins; training observes nothing, with `()`, which costs nothing.
pub trait StepObserver {
    /// This part begins, and the one before it has ended, as far as a device's queue lets it.
    fn phase(&mut self, _phase: StepPhase, _backend: &dyn Backend) -> Result<()> {
        Ok(())
    }
}

impl StepObserver for () {}

/// The outcome of a step, the same on every rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The weights were updated.
    Updated {
        /// Loss and correct predictions of the batch.
        sums: EpochSums,
        /// The windows that were read for it.
        audit: WindowAudit,
        /// The union of all ranks' requests.
        requested: StopRequest,
    },
    /// A loss or gradient was NaN or infinite, so nothing was updated.
    NonFinite {
        /// The first lane whose loss was; `None` if it was the gradient.
        lane: Option<usize>,
    },
}

impl<'a> Trainer<'a> {
    /// A rank's part, by a backend that has the state to start from.
    pub fn new(
        comm: &'a dyn Communicator,
        config: &'a Config,
        pieces: &'a [Piece],
        assignment: LaneAssignment,
        backend: Box<dyn Backend>,
    ) -> Self {
        let loader = BatchLoader::new(config, pieces, assignment.lanes_of(comm.rank()));
        Trainer { comm, config, loader, assignment, backend, parts: Vec::new() }
    }

    /// Makes one step. `requested` is what this rank asks of all ranks, who learn of it together.
    ///
    /// # Collective
    /// All ranks call this together.
    pub fn step(
        &mut self,
        step: u64,
        requested: StopRequest,
        observer: &mut impl StepObserver,
    ) -> Result<Outcome> {
        let Config { model, train, optimizer, .. } = self.config;
        observer.phase(StepPhase::Weights, &*self.backend)?;
        self.backend.load_weights(&WeightDrop { rate: model.weight_drop, seed: train.seed, step })?;

        observer.phase(StepPhase::Data, &*self.backend)?;
        let audits = self.backend.load_batch(step, &self.loader)?;

        observer.phase(StepPhase::Gradient, &*self.backend)?;
        let mut sums = self.backend.gradient(&self.loader)?;
        inject_faults(&mut sums)?;

        observer.phase(StepPhase::Exchange, &*self.backend)?;
        let own = sums.into_iter().zip(audits).map(|(sums, audit)| LaneReport { sums, audit, requested });
        let reports = self.gather_reports(own);
        // Before the update, so that all ranks take the same branch and a bad step never reaches the weights.
        if let Some(lane) = reports.iter().position(|report| !report.sums.loss.is_finite()) {
            return Ok(Outcome::NonFinite { lane: Some(lane) });
        }
        let LaneReport { sums, audit, requested } = fold(reports);
        fault::at(FaultPoint::Exchange);
        // Each ensemble member has its own.
        let predictions = sums.predictions as usize / model.ensemble_size;
        let Trainer { comm, assignment, parts, backend, .. } = self;
        backend.exchange(predictions, &mut AllRanks { comm: *comm, assignment, parts })?;
        fault::at(FaultPoint::Exchanged);

        observer.phase(StepPhase::Update, &*self.backend)?;
        let updated = self.backend.update(optimizer, step)?;
        Ok(if updated {
            Outcome::Updated { sums, audit, requested }
        } else {
            Outcome::NonFinite { lane: None }
        })
    }

    /// Gives the network all weights as they are now, for [`Trainer::evaluate`].
    pub fn load_all_weights(&mut self) -> Result<()> {
        self.backend.load_weights(&WeightDrop::default())
    }

    /// Loss and correct predictions of a batch that is not trained on, and what the ranks ask for.
    ///
    /// # Collective
    /// All ranks call this together.
    pub fn evaluate(
        &mut self,
        held_out: &Sequences<'_>,
        batch: &Batch,
        requested: StopRequest,
    ) -> Result<(EpochSums, StopRequest)> {
        let lanes = self.loader.load_in_order(held_out, batch);
        let sums = self.backend.evaluate(&lanes)?;
        let own = sums.into_iter().map(|sums| LaneReport { sums, requested, ..LaneReport::default() });
        let LaneReport { sums, requested, .. } = fold(self.gather_reports(own));
        Ok((sums, requested))
    }

    /// How windows become batches.
    pub fn batches(&self) -> Batches {
        self.loader.batches
    }

    /// What loads the rank's lanes.
    pub fn loader(&self) -> &BatchLoader<'a> {
        &self.loader
    }

    /// The backend.
    pub fn backend(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    /// A copy of the state, the same bits on every rank.
    pub fn state(&self) -> Result<TrainingState> {
        self.backend.state()
    }

    /// The states of all rows of a batch, (lanes, members, layers, 2, rows, units), the same bits on every rank; empty
    /// unless they are carried from step to step.
    ///
    /// # Collective
    /// All ranks call this together.
    pub fn gather_carried(&self) -> Result<Vec<f32>> {
        if !self.config.train.carry_state {
            return Ok(Vec::new());
        }
        let own = self.backend.carried()?;
        let lanes = self.assignment.lanes_of(self.comm.rank()).len();
        // Ranks own different numbers of lanes, and a gather wants equal parts.
        let of_lane = own.len() / lanes;
        let mut send: Vec<u64> = own
            .as_chunks()
            .0
            .iter()
            .map(|&[low, high]: &[f32; 2]| u64::from(high.to_bits()) << 32 | u64::from(low.to_bits()))
            .collect();
        send.resize(self.assignment.max_lanes() * of_lane / 2, 0);
        let mut receive = vec![0; send.len() * self.comm.size()];
        self.comm.all_gather_words(&send, &mut receive);
        let mut all = Vec::new();
        for (rank, part) in receive.chunks_exact(send.len().max(1)).enumerate() {
            let words = &part[..self.assignment.lanes_of(rank).len() * of_lane / 2];
            for word in words {
                all.extend([*word as u32, (word >> 32) as u32].map(f32::from_bits));
            }
        }
        Ok(all)
    }

    /// Gives this rank's lanes their part of the states that [`Trainer::gather_carried`] returned.
    pub fn set_carried(&mut self, all: &[f32]) -> Result<()> {
        let own = self.assignment.lanes_of(self.comm.rank());
        let of_lane = all.len() / self.config.train.lanes;
        self.backend.set_carried(own.len(), &all[own.start * of_lane..own.end * of_lane])
    }

    /// The reports of all lanes, in lane order.
    ///
    /// # Collective
    /// All ranks call this together, each with the reports of its own lanes.
    fn gather_reports(&self, own: impl Iterator<Item = LaneReport>) -> Vec<LaneReport> {
        // Ranks own different numbers of lanes, and a gather wants equal parts.
        let part = self.assignment.max_lanes();
        let mut send: Vec<u64> = own.flat_map(LaneReport::into_words).collect();
        send.resize(part * LaneReport::WORDS, 0);
        let mut receive = vec![0; send.len() * self.comm.size()];
        self.comm.all_gather_words(&send, &mut receive);
        let mut reports = Vec::new();
        for (rank, part) in receive.chunks_exact(send.len()).enumerate() {
            let (words, _) = part.as_chunks();
            let lanes = self.assignment.lanes_of(rank).len();
            reports.extend(words[..lanes].iter().map(LaneReport::from_words));
        }
        reports
    }
}

/// What a lane reports to all ranks before the update.
#[derive(Default)]
struct LaneReport {
    sums: EpochSums,
    audit: WindowAudit,
    requested: StopRequest,
}

impl LaneReport {
    const WORDS: usize = 6;

    fn into_words(self) -> [u64; LaneReport::WORDS] {
        let LaneReport { sums, audit, requested } = self;
        [sums.loss.to_bits(), sums.correct, sums.predictions, audit.windows, audit.digest, requested.bits()]
    }

    fn from_words(
        &[loss, correct, predictions, windows, digest, requested]: &[u64; LaneReport::WORDS],
    ) -> Self {
        let sums = EpochSums { loss: f64::from_bits(loss), correct, predictions };
        LaneReport {
            sums,
            audit: WindowAudit { windows, digest },
            requested: StopRequest::from_bits_retain(requested),
        }
    }
}

/// All lanes together, in lane order.
fn fold(reports: Vec<LaneReport>) -> LaneReport {
    let mut all = LaneReport::default();
    for report in reports {
        all.sums.add(report.sums);
        all.audit.add(report.audit);
        all.requested |= report.requested;
    }
    all
}

/// All ranks, joined by MPI.
struct AllRanks<'a> {
    comm: &'a dyn Communicator,
    assignment: &'a LaneAssignment,
    parts: &'a mut Vec<f32>,
}

impl RankSum for AllRanks<'_> {
    fn ranks(&self) -> usize {
        self.comm.size()
    }

    /// Every rank sums one slice of all ranks' gradients (all-to-all), then all slices go to all (all-gather): the traffic
    /// of a ring all-reduce, in the order of the tree.
    fn sum(&mut self, gradient: &mut [f32], finish_slice: &mut dyn FnMut(&mut [f32])) {
        let slice = gradient.len() / self.comm.size();
        self.parts.resize(gradient.len(), 0.0);
        self.comm.all_to_all(gradient, self.parts);
        self.assignment.sum_ranks(self.parts);
        finish_slice(&mut self.parts[..slice]);
        self.comm.all_gather(&self.parts[..slice], gradient);
    }
}

fn inject_faults(sums: &mut [EpochSums]) -> Result<()> {
    #[cfg(feature = "torch")]
    if fault::at(FaultPoint::Device) {
        crate::torch::cuda::fail()?;
    }
    if fault::at(FaultPoint::Loss) {
        sums[0].loss = f64::NAN;
    }
    Ok(())
}

/// Sums over the steps of a run so far.
#[derive(Debug, Clone, Copy)]
pub struct Totals {
    /// Loss and accuracy of the epoch.
    pub epoch: EpochSums,
    /// The windows read since step 0.
    pub audit: WindowAudit,
}

impl Totals {
    /// Adds a step that took this batch.
    pub fn add(&mut self, batch: &Batch, sums: EpochSums, audit: WindowAudit) {
        if batch.first == 0 {
            self.epoch = EpochSums::default();
        }
        self.epoch.add(sums);
        self.audit.add(audit);
    }
}
