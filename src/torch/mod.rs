//! The backend by libtorch, on a CUDA GPU or on CPUs (feature `torch`).
//!
//! On a GPU weights, optimizer state and gradients stay there, and a step waits for it once, in [`cuda::fetch`]. What
//! crosses: a few numbers per row of the batch, brought while the step before is computed; two numbers per lane back, and
//! whether the gradient is finite. Between ranks the gradient takes the way over the host, through pinned memory.
//!
//! On CPUs a rank's threads take whole lanes, and libtorch itself uses one thread in each of them: how it would split a call
//! among several depends on how many there are, which depends on the number of ranks.

pub mod cuda;
mod lane;
mod network;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use anyhow::Result;
use bachdist_portable::backend::{
    Backend, BatchSource, RankSum, StepBatch, TrainingState, average_log_probs, is_finite,
};
use bachdist_portable::config::OptimizerConfig;
use bachdist_portable::lanes::sum_along_tree;
use bachdist_portable::network::batch::{EpochSums, LaneBatch, NO_TARGET};
use bachdist_portable::network::dropout::{Dropout, WeightDrop};
use bachdist_portable::network::{Architecture, Parameter};
use bachdist_portable::optimizer::learning_rate;
use bachdist_portable::parallel::in_parallel;
use bachdist_portable::schedule::WindowAudit;
use tch::{Device, Kind, Tensor};

use cuda::{HostBuffer, fetch, upload_floats};
pub use lane::DeviceLane;
use lane::weight_masks;
pub use network::TorchNetwork;
use network::{LaneResult, LaneStates};

/// See the module.
pub struct TorchBackend {
    architecture: Architecture,
    device: Device,
    /// Threads that take lanes; a GPU has one queue, so one.
    threads: usize,
    /// The ensemble.
    members: Vec<NetworkPool>,
    /// The weights of all members, with the same bits on every rank.
    parameters: Tensor,
    /// RMSprop's running mean of squared gradients, likewise.
    mean_square: Tensor,
    /// Masks on some of the weights in the network; their gradient gets the same.
    weight_masks: Vec<(Parameter, Tensor)>,
    /// The loaded batch, and its lanes on the device for each member.
    batch: Option<(StepBatch, Vec<Vec<DeviceLane>>)>,
    /// Of each member, where rows are streams: what each lane carries from the window that was trained on last.
    carried: Vec<Vec<LaneStates>>,
    /// The same of the window that was evaluated last.
    carried_in_evaluation: Vec<Vec<LaneStates>>,
    /// This rank's gradient, then the mean gradient; and whether that is finite.
    gradient: Option<(Tensor, bool)>,
}

/// One ensemble member's network, once for each thread: tensors can go to another thread, and cannot be shared.
struct NetworkPool(Mutex<Vec<TorchNetwork>>);

impl NetworkPool {
    fn new(architecture: Architecture, device: Device, threads: usize) -> Result<Self> {
        let networks: Result<Vec<_>> =
            (0..threads).map(|_| TorchNetwork::new(architecture, device)).collect();
        Ok(NetworkPool(Mutex::new(networks?)))
    }

    fn load(&mut self, parameters: &Tensor) -> Result<()> {
        let networks = self.0.get_mut().expect("nothing panics while it is held");
        networks.iter_mut().try_for_each(|network| network.load(parameters))
    }

    /// What `work` makes of each lane and of the states that it carries, which are then those after it, in order.
    fn run<R: Send>(
        &self,
        lanes: Vec<DeviceLane>,
        carried: &mut Vec<LaneStates>,
        work: impl Fn(&TorchNetwork, &DeviceLane, &LaneStates) -> Result<(R, LaneStates)> + Sync,
    ) -> Result<Vec<R>> {
        let networks = || self.0.lock().expect("nothing panics while it is held");
        let threads = networks().len();
        let mut before = std::mem::take(carried);
        if before.len() != lanes.len() {
            before = lanes.iter().map(|lane| networks()[0].zero_states(lane)).collect::<Result<_>>()?;
        }
        let results = in_parallel(threads, lanes.into_iter().zip(before), |(lane, before)| {
            use_one_thread();
            let network = networks().pop().expect("as many networks as threads");
            let result = work(&network, &lane, &before);
            networks().push(network);
            // As in the native backend, a lane that had nothing left to read keeps its states.
            result.map(|(result, after)| (result, if lane.windows == 0 { before } else { after }))
        });
        let results: Vec<(R, LaneStates)> = results.into_iter().collect::<Result<_>>()?;
        let (results, after) = results.into_iter().unzip();
        *carried = after;
        Ok(results)
    }
}

/// Makes libtorch compute in this thread alone. It keeps the number for each thread.
fn use_one_thread() {
    tch::set_num_threads(1);
}

impl TorchBackend {
    /// A network of zeros. [`Backend::set_state`] fills it in.
    pub fn new(architecture: Architecture, device: Device, threads: usize) -> Result<Self> {
        use_one_thread();
        let threads = if device == Device::Cpu { threads.max(1) } else { 1 };
        let members =
            (0..architecture.members).map(|_| NetworkPool::new(architecture.member(), device, threads));
        let zeros = || Tensor::f_zeros([architecture.len() as i64], (Kind::Float, device));
        Ok(TorchBackend {
            architecture,
            device,
            threads,
            members: members.collect::<Result<_>>()?,
            parameters: zeros()?,
            mean_square: zeros()?,
            weight_masks: Vec::new(),
            batch: None,
            carried: (0..architecture.members).map(|_| Vec::new()).collect(),
            carried_in_evaluation: (0..architecture.members).map(|_| Vec::new()).collect(),
            gradient: None,
        })
    }

    /// Brings a batch to the device, without waiting.
    fn stage(&self, batch: &StepBatch) -> Result<Vec<Vec<DeviceLane>>> {
        let mut members = Vec::new();
        for (number, lanes) in (0..).zip(&batch.lanes) {
            members.push(self.stage_lanes(lanes, Some(&Dropout { member: number, ..batch.dropout }))?);
        }
        Ok(members)
    }

    fn stage_lanes(&self, lanes: &[LaneBatch], dropout: Option<&Dropout>) -> Result<Vec<DeviceLane>> {
        let (architecture, device) = (self.architecture.member(), self.device);
        let staged = in_parallel(self.threads, lanes, |lane| {
            use_one_thread();
            DeviceLane::new(lane, architecture, dropout, device)
        });
        staged.into_iter().collect()
    }

    /// Lays the masks of the weights on them, or on their gradient.
    fn mask_weights(&self, values: &Tensor) -> Result<()> {
        for (kernel, mask) in &self.weight_masks {
            let _ = values.f_narrow(0, kernel.offset as i64, kernel.len() as i64)?.f_mul_(mask)?;
        }
        Ok(())
    }
}

impl Backend for TorchBackend {
    fn set_state(&mut self, TrainingState { parameters, mean_square }: TrainingState) -> Result<()> {
        self.parameters = upload_floats(&parameters, self.device)?;
        self.mean_square = upload_floats(&mean_square, self.device)?;
        Ok(())
    }

    fn state(&self) -> Result<TrainingState> {
        let [parameters, mean_square] = [&self.parameters, &self.mean_square].map(Vec::try_from);
        Ok(TrainingState { parameters: parameters?, mean_square: mean_square? })
    }

    fn load_weights(&mut self, weight_drop: &WeightDrop) -> Result<()> {
        self.weight_masks = weight_masks(weight_drop, self.architecture, self.device)?;
        let mut parameters = self.parameters.shallow_clone();
        if !self.weight_masks.is_empty() {
            parameters = self.parameters.f_detach_copy()?;
            self.mask_weights(&parameters)?;
        }
        let member = self.architecture.member().len() as i64;
        for (pool, parameters) in self.members.iter_mut().zip(parameters.f_split(member, 0)?) {
            pool.load(&parameters)?;
        }
        Ok(())
    }

    fn load_batch(&mut self, step: u64, source: &dyn BatchSource) -> Result<Vec<WindowAudit>> {
        if self.batch.as_ref().is_none_or(|(batch, _)| batch.step != step) {
            let batch = source.batch(step);
            let lanes = self.stage(&batch)?;
            self.batch = Some((batch, lanes));
        }
        Ok(self.batch.as_ref().map_or(Vec::new(), |(batch, _)| batch.audits.clone()))
    }

    fn gradient(&mut self, source: &dyn BatchSource) -> Result<Vec<EpochSums>> {
        let (batch, members) = self.batch.take().expect("a loaded batch");
        let lanes = batch.lanes[0].len();
        let mut gradients = Vec::new();
        let mut report = Vec::new();
        for ((pool, lanes), carried) in self.members.iter().zip(members).zip(&mut self.carried) {
            let results = pool.run(lanes, carried, TorchNetwork::gradient)?;
            gradients.push(sum_along_tree(
                &results,
                &mut |result| Ok(result.gradient.shallow_clone()),
                &|mut left: Tensor, right| left.f_add_(&right),
            )?);
            for LaneResult { loss, correct, .. } in results {
                report.extend([loss, correct]);
            }
        }
        let gradient = match &gradients[..] {
            [gradient] => gradient.shallow_clone(),
            _ => Tensor::f_cat(&gradients, 0)?,
        };
        // The largest is NaN or infinite if any is.
        report.push(gradient.f_abs()?.f_max()?.f_to_kind(Kind::Double)?);
        let report = Tensor::f_stack(&report, 0)?;

        // All of the step is in the GPU's queue: meanwhile the next one is loaded. A CPU is at work itself.
        if self.device != Device::Cpu {
            let next = source.batch(batch.step + 1);
            let lanes = self.stage(&next)?;
            self.batch = Some((next, lanes));
        }
        let report = fetch(&report)?;
        self.gradient = Some((gradient, report.last().is_some_and(|largest| largest.is_finite())));
        let mut all = vec![EpochSums::default(); lanes];
        let (scores, _) = report.as_chunks();
        for (index, &[loss, correct]) in scores.iter().enumerate() {
            let targets = batch.lanes[0][index % lanes].targets.iter();
            let predictions = targets.filter(|&&target| target != NO_TARGET).count() as u64;
            // A count that f64 holds exactly.
            all[index % lanes].add(EpochSums { loss, correct: correct as u64, predictions });
        }
        Ok(all)
    }

    fn exchange(&mut self, predictions: usize, ranks: &mut dyn RankSum) -> Result<()> {
        let (mut gradient, mut finite) = self.gradient.take().expect("a gradient that was computed");
        if ranks.ranks() > 1 {
            let length = self.architecture.len();
            let padding = (length.next_multiple_of(ranks.ranks()) - length) as i64;
            let mut host = HostBuffer::fetch(&gradient.f_constant_pad_nd([0, padding])?)?;
            ranks.sum(host.as_mut_slice(), &mut |_| ());
            finite = is_finite(host.as_mut_slice());
            gradient = host.send(self.device)?.f_narrow(0, 0, length as i64)?;
        }
        // Here for any number of ranks: a GPU may multiply by the reciprocal.
        let _ = gradient.f_div_scalar_(predictions as f64)?;
        self.gradient = Some((gradient, finite));
        Ok(())
    }

    fn update(&mut self, settings: &OptimizerConfig, step: u64) -> Result<bool> {
        let (mut gradient, finite) = self.gradient.take().expect("a gradient that was exchanged");
        if finite {
            self.mask_weights(&gradient)?;
            let member = self.architecture.member().len();
            let state = (&mut self.parameters, &mut self.mean_square);
            update(settings, step, member, state, &mut gradient)?;
        }
        Ok(finite)
    }

    fn carried(&self) -> Result<Vec<f32>> {
        let mut states = Vec::new();
        for lane in 0..self.carried[0].len() {
            for member in &self.carried {
                for state in member[lane].iter().flatten() {
                    states.extend(Vec::<f32>::try_from(state.f_reshape([-1])?)?);
                }
            }
        }
        Ok(states)
    }

    fn set_carried(&mut self, lanes: usize, states: &[f32]) -> Result<()> {
        let Architecture { layers, units, members, .. } = self.architecture;
        let rows = states.len() / (lanes * members * layers * 2 * units).max(1);
        let mut next = states.chunks_exact((rows * units).max(1));
        self.carried = (0..members).map(|_| Vec::new()).collect();
        for _ in 0..if rows == 0 { 0 } else { lanes } {
            for carried in &mut self.carried {
                let mut state = || -> Result<Tensor> {
                    let values = next.next().expect("as many as there are lanes");
                    Ok(upload_floats(values, self.device)?.f_view([1, rows as i64, units as i64])?)
                };
                let layers = (0..layers).map(|_| Ok([state()?, state()?])).collect::<Result<_>>();
                carried.push(layers?);
            }
        }
        Ok(())
    }

    fn predict(&mut self, lanes: &[LaneBatch]) -> Result<Vec<f32>> {
        let mut members = Vec::new();
        for number in 0..self.members.len() {
            let lanes = self.stage_lanes(lanes, None)?;
            let carried = &mut self.carried_in_evaluation[number];
            let log_probs = self.members[number].run(lanes, carried, TorchNetwork::predict)?;
            members.push(Vec::try_from(Tensor::f_cat(&log_probs, 0)?.f_reshape([-1])?)?);
        }
        Ok(average_log_probs(members))
    }

    fn synchronize(&self) -> Result<()> {
        cuda::wait(self.device)
    }
}

/// The update of [`bachdist_portable::optimizer::update`] on flat tensors: all parameters, by the gradient of a step, from 0.
/// Only elementwise operations, and for clipping a sum in one order, so that equal gradients make equal weights; nothing is
/// waited for. The gradient is used up.
fn update(
    settings: &OptimizerConfig,
    step: u64,
    member_len: usize,
    (parameters, mean_square): (&mut Tensor, &mut Tensor),
    gradient: &mut Tensor,
) -> Result<()> {
    tch::no_grad(|| {
        if let Some(longest) = settings.clip_norm {
            for mut gradient in gradient.f_split(member_len as i64, 0)? {
                clip(&mut gradient, longest)?;
            }
        }
        rmsprop(settings, learning_rate(settings, step), parameters, mean_square, gradient)
    })
}

/// Scales a gradient down to this length, if it is longer. What it is multiplied by is found on the device.
fn clip(gradient: &mut Tensor, longest: f64) -> Result<()> {
    let length = gradient.f_to_kind(Kind::Double)?.f_square()?.f_sum(Kind::Double)?.f_sqrt()?;
    let scale = length.f_reciprocal()?.f_mul_scalar(longest)?.f_clamp_max(1.0)?.f_to_kind(Kind::Float)?;
    let _ = gradient.f_mul_(&scale)?;
    Ok(())
}

/// v ← ρ·v + (1 − ρ)·g², w ← w − η·g / (√v + ε), all in f32.
fn rmsprop(
    settings: &OptimizerConfig,
    learning_rate: f64,
    parameters: &mut Tensor,
    mean_square: &mut Tensor,
    gradient: &mut Tensor,
) -> Result<()> {
    // What multiplies f32 is f32, as on the host.
    let [rate, epsilon, old, new] =
        [learning_rate, settings.epsilon, settings.rho, 1.0 - settings.rho].map(|x| f64::from(x as f32));
    let _ = mean_square.f_mul_scalar_(old)?;
    let _ = mean_square.f_addcmul_(&gradient.f_mul_scalar(new)?, gradient)?;
    let mut divisor = mean_square.f_sqrt()?;
    let _ = divisor.f_add_scalar_(epsilon)?;
    let _ = gradient.f_mul_scalar_(-rate)?;
    let _ = parameters.f_addcdiv_(gradient, &divisor)?;
    Ok(())
}
