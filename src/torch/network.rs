//! One ensemble member in libtorch's graph, one lane at a time. On CUDA the layers are cuDNN's; on a CPU the same calls
//! are a second implementation of [`bachdist_portable::network::training`], against which tests compare it.
//!
//! A lane is computed on its own, in calls whose shapes depend on the batch size and the number of lanes alone, so its
//! bits do not depend on which other lanes its rank owns. Calls only enqueue work: a GPU runs behind, and the caller
//! fetches results.
//!
//! Shapes: T timesteps of a window, after the last Q of which the next token is predicted, R rows of a lane, H units, D
//! dense units, C tokens of the vocabulary, F features. Time is the first dimension, so that a timestep of all rows is
//! contiguous.

use anyhow::Result;
use bachdist_portable::network::{Architecture, Role};
use tch::{Device, Kind, Tensor};

use super::lane::DeviceLane;

/// One ensemble member's parameters on a device, as leaves of libtorch's graph.
pub struct TorchNetwork {
    architecture: Architecture,
    layers: Vec<Lstm>,
    dense1: Linear,
    dense2: Linear,
    /// (F): the number of each feature.
    features: Tensor,
    /// (C) all tokens.
    tokens: Tensor,
}

/// One LSTM layer; gates in the order i, f, g, o.
struct Lstm {
    /// (4H, inputs).
    input: Tensor,
    /// (4H, H).
    recurrent: Tensor,
    /// (4H).
    bias: Tensor,
    /// PyTorch's layer has a second bias; ours has one, as Keras'.
    zero: Tensor,
}

struct Linear {
    /// (outputs, inputs).
    weight: Tensor,
    /// (outputs).
    bias: Tensor,
}

/// What a lane came to, still on the device.
pub struct LaneResult {
    /// Laid out as the parameters.
    pub gradient: Tensor,
    /// Sum of the losses (f64).
    pub loss: Tensor,
    /// Correct predictions (f64).
    pub correct: Tensor,
}

impl TorchNetwork {
    /// A network on a device, with room for its parameters; [`TorchNetwork::load`] fills them in.
    pub fn new(architecture: Architecture, device: Device) -> Result<Self> {
        let zeros = |outputs: usize, inputs: Option<usize>| {
            let shape: Vec<i64> = [outputs].into_iter().chain(inputs).map(|size| size as i64).collect();
            Tensor::f_zeros(shape, (Kind::Float, device))
        };
        let Architecture { units, dense, .. } = architecture;
        let mut layers = Vec::new();
        for layer in 0..architecture.layers {
            let input = zeros(4 * units, Some(architecture.inputs(layer)))?;
            let recurrent = zeros(4 * units, Some(units))?;
            layers.push(Lstm::new(input, recurrent, zeros(4 * units, None)?)?);
        }
        let linear = |outputs: usize, inputs: usize| -> Result<Linear> {
            Ok(Linear { weight: zeros(outputs, Some(inputs))?, bias: zeros(outputs, None)? })
        };
        let dense1 = linear(dense, units)?;
        let dense2 = linear(architecture.shape.scores, dense)?;
        let features = Tensor::f_arange(architecture.shape.inputs as i64, (Kind::Int64, device))?;
        let tokens = Tensor::f_arange(architecture.shape.tokens as i64, (Kind::Int64, device))?;
        let network = TorchNetwork { architecture, layers, dense1, dense2, features, tokens };
        for leaf in network.leaves() {
            let _ = leaf.f_set_requires_grad(true)?;
        }
        Ok(network)
    }

    /// All parameters in the order of [`Architecture::parameters`].
    fn leaves(&self) -> Vec<&Tensor> {
        self.architecture.parameters().iter().map(|parameter| self.leaf(parameter.role)).collect()
    }

    fn leaf(&self, role: Role) -> &Tensor {
        match role {
            Role::InputKernel { layer } => &self.layers[layer].input,
            Role::RecurrentKernel { layer } => &self.layers[layer].recurrent,
            Role::GateBias { layer } => &self.layers[layer].bias,
            Role::DenseKernel => &self.dense1.weight,
            Role::DenseBias => &self.dense1.bias,
            Role::ScoreKernel => &self.dense2.weight,
            Role::ScoreBias => &self.dense2.bias,
        }
    }

    /// Loads `parameters`, a flat tensor on the device laid out as [`Architecture::parameters`] says.
    pub fn load(&mut self, parameters: &Tensor) -> Result<()> {
        tch::no_grad(|| {
            for parameter in self.architecture.parameters() {
                let leaf = self.leaf(parameter.role);
                let values = parameters.f_narrow(0, parameter.offset as i64, parameter.len() as i64)?;
                leaf.shallow_clone().f_copy_(&values.f_view_as(leaf)?)?;
            }
            Ok(())
        })
    }

    /// Enqueues forward and backward of a lane.
    pub fn gradient(&self, lane: &DeviceLane) -> Result<LaneResult> {
        let log_probs = self.log_probs(lane)?;
        let loss = lane.loss(&log_probs)?;
        let correct = lane.correct(&log_probs.f_detach()?)?;
        let mut flat = Vec::new();
        for gradient in Tensor::f_run_backward(&[&loss], &self.leaves(), false, false)? {
            flat.push(gradient.f_reshape([-1])?);
        }
        Ok(LaneResult { gradient: Tensor::f_cat(&flat, 0)?, loss: loss.f_detach()?, correct })
    }

    /// Enqueues forward: (windows, C) log-probs after each window of a lane.
    pub fn predict(&self, lane: &DeviceLane) -> Result<Tensor> {
        let log_probs = tch::no_grad(|| self.log_probs(lane))?;
        Ok(log_probs.f_narrow(0, (lane.predictions - 1) * lane.rows, lane.windows)?)
    }

    /// (Q·R, C) log-probs.
    pub fn log_probs(&self, lane: &DeviceLane) -> Result<Tensor> {
        let [t, r, q] = [lane.sequence_length, lane.rows, lane.predictions];
        let masked = |x: Tensor, layer: usize| match lane.masks.get(layer) {
            Some(mask) => x.f_mul(mask),
            None => Ok(x),
        };
        let mut hidden = lane.one_hot(&self.features)?;
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                hidden = masked(hidden, index - 1)?;
            }
            hidden = layer.run(&hidden)?;
        }
        let seen = hidden.f_narrow(0, t - q, q)?.f_reshape([q * r, -1])?;
        let dense = masked(self.dense1.run(&seen)?, self.layers.len() - 1)?;
        Ok(self.logits(self.dense2.run(&dense)?, lane)?.f_log_softmax(1, Kind::Float)?)
    }

    /// (Q·R, C) from the scores (Q·R, S): a token's own, and those related to it.
    fn logits(&self, scores: Tensor, lane: &DeviceLane) -> Result<Tensor> {
        let tokens = self.architecture.shape.tokens as i64;
        if lane.first_scores.is_empty() {
            return Ok(scores);
        }
        let mut logits = scores.f_narrow(1, 0, tokens)?;
        // A relation that is absent leads to these zeros.
        let scores = scores.f_constant_pad_nd([0, tokens])?;
        for first in &lane.first_scores {
            let related = self.tokens.f_add(first)?;
            logits = logits.f_add(&scores.f_gather(1, &related, false)?)?;
        }
        Ok(logits)
    }
}

impl Lstm {
    fn new(input: Tensor, recurrent: Tensor, bias: Tensor) -> Result<Self> {
        let zero = bias.f_zeros_like()?;
        if let Device::Cuda(_) = input.device() {
            // Moves all four into one buffer, laid out as cuDNN wants its weights. Otherwise every pass would compact
            // them first, with a warning each time.
            const LSTM: i64 = 2;
            let (inputs, units) = (input.size()[1], recurrent.size()[1]);
            let weights = [&input, &recurrent, &bias, &zero];
            let _buffer = tch::no_grad(|| {
                Tensor::f_internal_cudnn_rnn_flatten_weight(
                    &weights, 4, inputs, LSTM, units, 0, 1, false, false,
                )
            })?;
        }
        Ok(Lstm { input, recurrent, bias, zero })
    }

    /// (T, R, H) outputs from (T, R, inputs), from a zero state.
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let zero = Tensor::f_zeros([1, x.size()[1], self.recurrent.size()[1]], (Kind::Float, x.device()))?;
        let weights = [&self.input, &self.recurrent, &self.bias, &self.zero];
        let (output, _, _) = x.f_lstm(&[&zero, &zero], &weights, true, 1, 0.0, true, false, false)?;
        Ok(output)
    }
}

impl Linear {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, Some(&self.bias))?)
    }
}
