//! The network through libtorch's graph, one lane after another: the path for CUDA, where layers are cuDNN's,
//! and on a CPU the oracle of [`super::cpu`].
//!
//! Shapes: T notes of a window, after the last Q of which the next is predicted, R rows of a lane, H units, D dense
//! units, C classes, F features. Time comes first, so that a note of all rows lies together. On a CPU only operations are used whose rows do not depend on their
//! neighbours, so that a row's numbers have the same bits in whatever lane and rank it is computed.

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::compute::lanes::TreeSum;
use bachdist_core::network::Architecture;
use tch::{Device, Kind, Tensor};

use super::LaneBatch;
use super::dropout::Dropout;

/// The network's parameters on a device, as leaves of libtorch's graph.
pub struct Network {
    architecture: Architecture,
    device: Device,
    layers: Vec<Lstm>,
    dense1: Linear,
    dense2: Linear,
}

/// One LSTM layer; gates in the order i, f, g, o.
struct Lstm {
    /// (4H, inputs).
    input: Tensor,
    /// (4H, H).
    recurrent: Tensor,
    /// (4H).
    bias: Tensor,
}

struct Linear {
    /// (outputs, inputs).
    weight: Tensor,
    /// (outputs).
    bias: Tensor,
}

impl Network {
    /// A network on a device, with room for its parameters; [`Network::load`] fills them in.
    pub fn new(architecture: Architecture, device: Device) -> Self {
        let mut leaves = architecture.parameters().into_iter().map(|parameter| {
            let shape: Vec<i64> = parameter.shape.iter().map(|&size| size as i64).collect();
            Tensor::zeros(shape, (Kind::Float, device)).set_requires_grad(true)
        });
        let mut next = || leaves.next().expect("one tensor for each parameter");
        let layers = (0..architecture.layers)
            .map(|_| Lstm { input: next(), recurrent: next(), bias: next() })
            .collect();
        let dense1 = Linear { weight: next(), bias: next() };
        let dense2 = Linear { weight: next(), bias: next() };
        Network { architecture, device, layers, dense1, dense2 }
    }

    /// All parameters in the order of [`Architecture::parameters`].
    fn leaves(&self) -> Vec<&Tensor> {
        let lstm = self.layers.iter().flat_map(|layer| [&layer.input, &layer.recurrent, &layer.bias]);
        let dense = [&self.dense1, &self.dense2].into_iter().flat_map(|layer| [&layer.weight, &layer.bias]);
        lstm.chain(dense).collect()
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) {
        tch::no_grad(|| {
            let flat = Tensor::from_slice(parameters).to_device(self.device);
            for (parameter, leaf) in self.architecture.parameters().iter().zip(self.leaves()) {
                let values = flat.narrow(0, parameter.offset as i64, parameter.len() as i64);
                leaf.shallow_clone().copy_(&values.view_as(leaf));
            }
        });
    }

    /// Loss of a rank's lanes in training, with dropout; the sum of their gradients goes into `gradient`.
    pub fn gradient(
        &self,
        lanes: &[LaneBatch],
        dropout: &Dropout,
        gradient: &mut [f32],
    ) -> Result<Vec<EpochSums>> {
        let mut tree = TreeSum::default();
        let mut sums = Vec::new();
        for lane in lanes {
            let (of_lane, gradient) = self.lane_gradient(lane, dropout)?;
            sums.push(of_lane);
            tree.push(gradient);
        }
        gradient.copy_from_slice(&tree.finish());
        Ok(sums)
    }

    fn lane_gradient(&self, lane: &LaneBatch, dropout: &Dropout) -> Result<(EpochSums, Vec<f32>)> {
        let log_probabilities = self.forward(lane, Some(dropout))?;
        let targets = Tensor::from_slice(&lane.targets).to_device(self.device).unsqueeze(1);
        let weight = |row: usize| if row % lane.rows < lane.windows { 1.0 } else { 0.0 };
        let weights: Vec<f32> = (0..lane.targets.len()).map(weight).collect();
        let weights = Tensor::from_slice(&weights).to_device(self.device).unsqueeze(1);
        let loss = -(log_probabilities.f_gather(1, &targets, false)? * weights).sum(Kind::Float);
        let gradients = Tensor::f_run_backward(&[loss], &self.leaves(), false, false)?;
        // In windows of one note the recurrent kernels take no part, and libtorch has no gradient of them.
        let part = |(gradient, leaf): (&Tensor, &Tensor)| match gradient.defined() {
            true => gradient.reshape([-1]),
            false => leaf.zeros_like().reshape([-1]),
        };
        let parts: Vec<Tensor> = gradients.iter().zip(self.leaves()).map(part).collect();
        let mut gradient = vec![0.0; self.architecture.len()];
        Tensor::cat(&parts, 0).f_copy_data(&mut gradient, self.architecture.len())?;
        Ok((score(&log_probabilities, lane)?, gradient))
    }

    /// Logarithmic probabilities after each window of a lane, without dropout: (windows, C).
    pub fn predict(&self, lane: &LaneBatch) -> Result<Vec<f32>> {
        let mut rows = tch::no_grad(|| rows(&self.forward(lane, None)?))?;
        rows.truncate(lane.windows * self.architecture.classes);
        Ok(rows)
    }

    /// (Q·R, C) logarithms of the probabilities.
    pub fn forward(&self, lane: &LaneBatch, dropout: Option<&Dropout>) -> Result<Tensor> {
        let [t, r, q] = [lane.sequence_length, lane.rows, lane.predictions].map(|size| size as i64);
        let masked = |x: Tensor, layer: usize| -> Result<Tensor> {
            match dropout {
                Some(dropout) => {
                    let shape = x.size();
                    let mask = Tensor::from_slice(&dropout.mask(lane, layer, &shape));
                    Ok(x * mask.to_device(self.device).f_view(&shape[..])?)
                }
                None => Ok(x),
            }
        };
        let mut hidden = self.first(&lane.features(self.architecture, dropout), t, r)?;
        for (index, layer) in self.layers.iter().enumerate().skip(1) {
            hidden = masked(hidden, index - 1)?;
            hidden = match self.device {
                Device::Cuda(_) => layer.cudnn(&hidden)?,
                _ => layer.run(hidden.f_reshape([t * r, -1])?.f_matmul(&layer.input.tr())?, t, r)?,
            };
        }
        let seen = hidden.f_narrow(0, t - q, q)?.f_reshape([q * r, -1])?;
        let dense = masked(self.dense1.run(&seen)?, self.layers.len() - 1)?;
        Ok(self.logits(self.dense2.run(&dense)?, lane)?.f_log_softmax(1, Kind::Float)?)
    }

    /// (Q·R, C) from the scores of all features (Q·R, F): a class's own and that of the interval to it.
    fn logits(&self, scores: Tensor, lane: &LaneBatch) -> Result<Tensor> {
        if !self.architecture.intervals {
            return Ok(scores);
        }
        let classes = self.architecture.classes;
        let interval = |last: i64, class: usize| self.architecture.interval(last as u8, class as u8) as i64;
        let indices: Vec<i64> =
            lane.last_notes().iter().flat_map(|&last| (0..classes).map(move |c| interval(last, c))).collect();
        let indices = Tensor::from_slice(&indices).to_device(self.device).f_view([-1, classes as i64])?;
        Ok(scores.f_narrow(1, 0, classes as i64)? + scores.f_gather(1, &indices, false)?)
    }

    /// (T, R, H) outputs of the first layer from what it is shown of every note.
    fn first(&self, features: &[[Option<usize>; 2]], t: i64, r: i64) -> Result<Tensor> {
        let layer = &self.layers[0];
        let [classes, intervals] =
            [0, 1].map(|which| -> Vec<_> { features.iter().map(|f| f[which]).collect() });
        let mut found = self.look_up(&classes)?;
        if self.architecture.intervals {
            found += self.look_up(&intervals)?;
        }
        match self.device {
            Device::Cuda(_) => layer.cudnn(&found.f_view([t, r, -1])?),
            _ => layer.run(found, t, r),
        }
    }

    /// What features put into the first layer, one a row; nothing where there is none. On CUDA one-hot rows (·, F),
    /// because the gradient of a lookup is summed there in any order, and that of a product is not; on a CPU their
    /// product with the input kernel (·, 4H), which is the column of each feature.
    fn look_up(&self, features: &[Option<usize>]) -> Result<Tensor> {
        let indices: Vec<i64> = features.iter().map(|feature| feature.unwrap_or(0) as i64).collect();
        let present: Vec<f32> = features.iter().map(|f| if f.is_some() { 1.0 } else { 0.0 }).collect();
        let indices = Tensor::from_slice(&indices).to_device(self.device);
        let present = Tensor::from_slice(&present).to_device(self.device).f_unsqueeze(1)?;
        let found = match self.device {
            Device::Cuda(_) => {
                indices.f_one_hot(self.architecture.features() as i64)?.f_to_kind(Kind::Float)?
            }
            _ => self.layers[0].input.tr().f_index_select(0, &indices)?,
        };
        Ok(found * present)
    }
}

impl Lstm {
    /// (T, R, H) outputs from (T, R, inputs), from a zero state, by cuDNN's fused layer.
    fn cudnn(&self, x: &Tensor) -> Result<Tensor> {
        let zero = Tensor::zeros([1, x.size()[1], self.recurrent.size()[1]], (Kind::Float, x.device()));
        // PyTorch's layer has a second bias; ours has one, as Keras'.
        let weights = [&self.input, &self.recurrent, &self.bias, &self.bias.zeros_like()];
        let (output, _, _) = x.f_lstm(&[&zero, &zero], &weights, true, 1, 0.0, true, false, false)?;
        Ok(output)
    }

    /// (T, R, H) outputs from the inputs' part of the gates (T·R, 4H), from a zero state.
    fn run(&self, gates: Tensor, t: i64, r: i64) -> Result<Tensor> {
        let gates = (gates + &self.bias).f_view([t, r, -1])?;
        let recurrent = self.recurrent.tr();
        let mut outputs: Vec<Tensor> = Vec::with_capacity(t as usize);
        let mut cell: Option<Tensor> = None;
        for time in 0..t {
            let mut now = gates.f_select(0, time)?;
            if let Some(hidden) = outputs.last() {
                now += hidden.f_matmul(&recurrent)?;
            }
            let [i, f, g, o] = <[Tensor; 4]>::try_from(now.f_chunk(4, 1)?).expect("four gates of H columns");
            let new = sigmoid(&i) * g.tanh();
            let new = match cell {
                Some(old) => sigmoid(&f) * old + new,
                None => new,
            };
            outputs.push(sigmoid(&o) * new.tanh());
            cell = Some(new);
        }
        Ok(Tensor::f_stack(&outputs, 0)?)
    }
}

impl Linear {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_matmul(&self.weight.tr())? + &self.bias)
    }
}

/// ½ + ½·tanh(x/2). libtorch's own sigmoid has other bits in the tail of a vector than in its middle, so its
/// results depend on where a row lies; its tanh has not.
fn sigmoid(x: &Tensor) -> Tensor {
    (x * 0.5).tanh() * 0.5 + 0.5
}

fn score(log_probabilities: &Tensor, lane: &LaneBatch) -> Result<EpochSums> {
    let classes = log_probabilities.size()[1] as usize;
    Ok(super::lane::score_lane(rows(log_probabilities)?.chunks_exact(classes), lane))
}

/// All numbers of a tensor, row by row.
fn rows(tensor: &Tensor) -> Result<Vec<f32>> {
    let mut rows = vec![0.0; tensor.numel()];
    let length = rows.len();
    tensor.f_contiguous()?.f_copy_data(&mut rows, length)?;
    Ok(rows)
}
