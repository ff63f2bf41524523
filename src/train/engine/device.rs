//! Training on a GPU: weights, state and gradients stay there, and a step waits for it once.
//!
//! What crosses in a step: a few numbers for each row of the batch on the way there, staged while the step before is
//! computed; two numbers for each lane on the way back, and whether the gradient is finite. Where there are other
//! ranks the sum of the lanes' gradients goes to the host and that of all ranks comes back, through pinned memory.
//! **The one wait of a step is [`fetch`]** in [`Engine::finish`]; all else is put into the GPU's queue.

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::config::OptimizerConfig;
use bachdist_core::network::{Architecture, Parameter};
use tch::{Device, Kind, Tensor};

use super::{State, exchange, is_finite};
use crate::comm::Communicator;
use crate::model::Model;
use crate::torch;
use crate::torch::network::{Scores, Staged};
use crate::torch::random::weight_masks;
use crate::torch::transfer::{HostBuffer, fetch, upload_floats};
use bachdist_core::lanes::LaneAssignment;
use bachdist_core::network::batch::LaneBatch;
use bachdist_core::network::dropout::Dropout;
use bachdist_core::network::weight_drop::WeightDrop;

/// See [`super::Engine`].
pub struct Engine {
    pub(super) model: Model,
    architecture: Architecture,
    device: Device,
    ranks: usize,
    /// The weights of all members, with the same bits on every rank.
    parameters: Tensor,
    /// RMSprop's running mean of squared gradients, likewise.
    mean_square: Tensor,
    /// Masks on some of the weights that the network was given.
    weight_masks: Vec<(Parameter, Tensor)>,
    /// The lanes of a step, for each member.
    staged: Option<(u64, Vec<Vec<Staged>>)>,
    begun: Option<Begun>,
    gradient: Gradient,
    /// Memory for the parts that the ranks send.
    parts: Vec<f32>,
}

/// What the GPU is at.
struct Begun {
    lanes: Vec<Vec<Staged>>,
    /// Lane after lane, member after member.
    scores: Scores,
    /// The sum of the lanes' gradients, with zeros at its end that make it a multiple of the ranks.
    gradient: Tensor,
}

/// The gradient of a step that is done.
enum Gradient {
    None,
    /// This rank's sum, to be exchanged.
    Host(HostBuffer),
    /// That of all ranks, and whether it is finite.
    Device(Tensor, bool),
}

impl Engine {
    pub fn new(
        mut model: Model,
        architecture: Architecture,
        (parameters, mean_square): State,
        ranks: usize,
    ) -> Result<Self> {
        let device = model.autograd().expect("members that can be on a device")[0].device();
        Ok(Engine {
            model,
            architecture,
            device,
            ranks,
            parameters: upload_floats(&parameters, device)?,
            mean_square: upload_floats(&mean_square, device)?,
            weight_masks: Vec::new(),
            staged: None,
            begun: None,
            gradient: Gradient::None,
            parts: Vec::new(),
        })
    }

    pub fn load(&mut self, weight_drop: &WeightDrop) -> Result<()> {
        self.weight_masks = weight_masks(weight_drop, self.architecture, self.device)?;
        if self.weight_masks.is_empty() {
            return self.model.load_tensor(&self.parameters);
        }
        let parameters = self.parameters.f_detach_copy()?;
        self.mask_weights(&parameters)?;
        self.model.load_tensor(&parameters)
    }

    /// Lays the masks of the weights on them, or on their gradient.
    fn mask_weights(&self, values: &Tensor) -> Result<()> {
        for (kernel, mask) in &self.weight_masks {
            let _ = values.f_narrow(0, kernel.offset as i64, kernel.len() as i64)?.f_mul_(mask)?;
        }
        Ok(())
    }

    pub fn stage(&mut self, lanes: &[Vec<LaneBatch>], dropout: &Dropout) -> Result<()> {
        let networks = self.model.autograd().into_iter().flatten();
        let staged = networks.zip(lanes).enumerate().map(|(member, (network, lanes))| {
            let dropout = Dropout { member: member as u64, ..*dropout };
            lanes.iter().map(|lane| network.stage(lane, Some(&dropout))).collect()
        });
        self.staged = Some((dropout.step, staged.collect::<Result<_>>()?));
        Ok(())
    }

    pub fn begin(&mut self, lanes: &[Vec<LaneBatch>], dropout: &Dropout) -> Result<()> {
        if self.staged.as_ref().is_none_or(|(step, _)| *step != dropout.step) {
            self.stage(lanes, dropout)?;
        }
        let (_, lanes) = self.staged.take().expect("staged by now");
        let mut scores = Scores::new();
        let networks = self.model.autograd().into_iter().flatten();
        let gradients = networks.zip(&lanes).map(|(network, lanes)| network.begin(lanes, &mut scores));
        let mut gradients = gradients.collect::<Result<Vec<_>>>()?;
        let length = self.architecture.len();
        let padding = length.next_multiple_of(self.ranks) - length;
        if padding > 0 {
            gradients.push(Tensor::f_zeros([padding as i64], (Kind::Float, self.device))?);
        }
        let gradient = match &gradients[..] {
            [gradient] => gradient.shallow_clone(),
            _ => Tensor::f_cat(&gradients, 0)?,
        };
        self.begun = Some(Begun { lanes, scores, gradient });
        Ok(())
    }

    pub fn finish(&mut self) -> Result<Vec<EpochSums>> {
        let Begun { lanes, mut scores, gradient } = self.begun.take().expect("a step that was begun");
        let alone = self.ranks == 1;
        // The largest is no number, or infinite, if any is.
        scores.push(gradient.f_abs()?.f_max()?.f_to_kind(Kind::Double)?);
        let report = Tensor::f_stack(&scores, 0)?;
        let (report, host) = fetch(&report, (!alone).then_some(&gradient))?;
        self.gradient = match host {
            Some(host) => Gradient::Host(host),
            None => Gradient::Device(gradient, report.last().is_some_and(|largest| largest.is_finite())),
        };
        let mut all = vec![EpochSums::default(); lanes[0].len()];
        let mut scores = report.as_chunks().0.iter();
        for of_member in &lanes {
            let sums = of_member.iter().zip(&mut scores).map(|(lane, scores)| lane.sums(scores));
            all.iter_mut().zip(sums).for_each(|(all, sums)| all.add(sums));
        }
        Ok(all)
    }

    pub fn exchange(
        &mut self,
        comm: &dyn Communicator,
        assignment: &LaneAssignment,
        predictions: usize,
    ) -> Result<()> {
        let (mut gradient, is_finite) = match std::mem::replace(&mut self.gradient, Gradient::None) {
            Gradient::Host(mut host) => {
                exchange(comm, assignment, host.as_mut_slice(), &mut self.parts, |_| ());
                let is_finite = is_finite(host.as_mut_slice());
                (host.send(self.device)?, is_finite)
            }
            Gradient::Device(gradient, is_finite) => (gradient, is_finite),
            Gradient::None => unreachable!("exchanged once, after it was computed"),
        };
        // Here for any number of ranks: a GPU may multiply by the reciprocal.
        let _ = gradient.f_div_scalar_(predictions as f64)?;
        self.gradient = Gradient::Device(gradient, is_finite);
        Ok(())
    }

    pub fn update(&mut self, settings: &OptimizerConfig, step: u64) -> Result<bool> {
        let Gradient::Device(gradient, is_finite) = std::mem::replace(&mut self.gradient, Gradient::None)
        else {
            unreachable!("exchanged before the update");
        };
        if is_finite {
            let mut gradient = gradient.f_narrow(0, 0, self.architecture.len() as i64)?;
            self.mask_weights(&gradient)?;
            let member = self.architecture.member().len();
            let state = (&mut self.parameters, &mut self.mean_square);
            torch::optimizer::update(settings, step, member, state, &mut gradient)?;
        }
        Ok(is_finite)
    }

    pub fn state(&self) -> Result<State> {
        Ok((Vec::try_from(&self.parameters)?, Vec::try_from(&self.mean_square)?))
    }
}
