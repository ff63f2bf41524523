//! The network as training computes it: loss and gradient of a rank's lanes.
//!
//! On a CPU [`bachdist_core::network::training`] does the work, on CUDA [`crate::torch`]; the latter also runs on a CPU, as
//! the oracle of the former.

pub mod device;

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::compute::functions::{exp, ln};
use bachdist_core::network::Architecture;
use tch::{Device, Tensor};

use bachdist_core::network::batch::{LaneBatch, score};
use bachdist_core::network::dropout::Dropout;
use bachdist_core::network::training::TrainingNetwork;

use crate::torch::network as autograd;

/// The network on the device of its rank: one or more members side by side.
pub struct Model {
    /// C.
    classes: usize,
    members: Vec<Member>,
}

/// One network of those whose probabilities are averaged.
pub enum Member {
    /// Written out, for a CPU.
    Cpu(Box<TrainingNetwork>),
    /// By libtorch's graph, for CUDA.
    Autograd(autograd::Network),
}

/// As many as libtorch may use.
fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
}

impl Member {
    fn new(architecture: Architecture, device: Device) -> Result<Self> {
        Ok(match device {
            Device::Cpu => Member::Cpu(Box::new(TrainingNetwork::new(architecture, threads()))),
            _ => Member::Autograd(autograd::Network::new(architecture, device)?),
        })
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) -> Result<()> {
        match self {
            Member::Cpu(network) => network.load(parameters),
            Member::Autograd(network) => network.load(parameters)?,
        }
        Ok(())
    }

    /// Loss and right predictions of each of a rank's lanes in training; they are a node of the tree of lanes, in
    /// order. `gradient` becomes the sum over all their predictions of the gradient of each one's loss, lanes summed
    /// along the tree; laid out as the parameters.
    pub fn gradient(
        &mut self,
        lanes: &[LaneBatch],
        dropout: &Dropout,
        gradient: &mut [f32],
    ) -> Result<Vec<EpochSums>> {
        match self {
            Member::Cpu(network) => Ok(network.gradient(lanes, dropout, gradient)),
            Member::Autograd(network) => network.gradient(lanes, dropout, gradient),
        }
    }

    /// Logarithmic probabilities of what comes after each window of each lane, without dropout: (windows, C).
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        match self {
            Member::Cpu(network) => Ok(network.predict(lanes)),
            Member::Autograd(network) => {
                let of_lanes: Vec<_> =
                    lanes.iter().map(|lane| network.predict(lane)).collect::<Result<_>>()?;
                Ok(of_lanes.concat())
            }
        }
    }
}

impl Model {
    /// The network on a device, with room for its parameters; [`Model::load`] fills them in.
    pub fn new(architecture: Architecture, device: Device) -> Result<Self> {
        let members = (0..architecture.members).map(|_| Member::new(architecture.member(), device));
        Ok(Model::of(members.collect::<Result<_>>()?, architecture.classes))
    }

    /// Of these members, at least one, over so many classes.
    pub fn of(members: Vec<Member>, classes: usize) -> Self {
        Model { classes, members }
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) -> Result<()> {
        let length = parameters.len() / self.members.len();
        let parts = parameters.chunks_exact(length);
        self.members.iter_mut().zip(parts).try_for_each(|(member, part)| member.load(part))
    }

    /// The same from a flat tensor on the device, where the members are by libtorch's graph.
    pub fn load_tensor(&mut self, parameters: &Tensor) -> Result<()> {
        let length = parameters.size()[0] / self.members.len() as i64;
        let parts = parameters.f_split(length, 0)?;
        let mut networks = self.autograd().into_iter().flatten().zip(parts);
        networks.try_for_each(|(network, part)| network.load_tensor(&part))
    }

    /// The members by libtorch's graph, if that is what they are.
    pub fn autograd(&mut self) -> Option<Vec<&mut autograd::Network>> {
        let network = |member| match member {
            &mut Member::Autograd(ref mut network) => Some(network),
            Member::Cpu(_) => None,
        };
        self.members.iter_mut().map(network).collect()
    }

    /// Loss and right predictions of each of a rank's lanes in training, summed over all members: every one learns by
    /// itself, from lanes of its own. Their gradients, as [`Member::gradient`] has them, come one after another.
    pub fn gradient(
        &mut self,
        lanes: &[Vec<LaneBatch>],
        dropout: &Dropout,
        gradient: &mut [f32],
    ) -> Result<Vec<EpochSums>> {
        let mut all = vec![EpochSums::default(); lanes[0].len()];
        let length = gradient.len() / self.members.len();
        let members = self.members.iter_mut().zip(lanes).zip(gradient.chunks_exact_mut(length));
        for (number, ((member, lanes), gradient)) in members.enumerate() {
            let dropout = Dropout { member: number as u64, ..*dropout };
            let sums = member.gradient(lanes, &dropout, gradient)?;
            all.iter_mut().zip(sums).for_each(|(all, sums)| all.add(sums));
        }
        Ok(all)
    }

    /// Logarithmic probabilities of what comes after each window of each lane, without dropout: (windows, C), of the
    /// mean of the members' probabilities.
    pub fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        let members = self.members.len() as f32;
        let all: Vec<_> =
            self.members.iter_mut().map(|member| member.predict(lanes)).collect::<Result<_>>()?;
        let [alone] = &all[..] else {
            let mean = |index: usize| all.iter().map(|logs| exp(logs[index])).sum::<f32>() / members;
            return Ok((0..all[0].len()).map(|index| ln(mean(index))).collect());
        };
        Ok(alone.clone())
    }

    /// Loss and right predictions after the windows of each lane, without dropout.
    pub fn evaluate(&mut self, lanes: &[LaneBatch]) -> Result<Vec<EpochSums>> {
        let predictions = self.predict(lanes)?;
        let mut rows = predictions.chunks_exact(self.classes);
        let sums_of = |lane: &LaneBatch| {
            let targets = &lane.targets[lane.targets.len() - lane.rows..][..lane.windows];
            let mut sums = EpochSums::default();
            rows.by_ref().zip(targets).for_each(|(row, &target)| sums.add(score(row, target)));
            sums
        };
        Ok(lanes.iter().map(sums_of).collect())
    }
}

#[cfg(test)]
mod tests;
