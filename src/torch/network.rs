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

use super::lane::{DeviceLane, Segment};

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

/// Outputs and cells, (1, R, H) each, of every LSTM layer: what a lane of streams carries from one window to the next. Empty of
/// windows.
pub type LaneStates = Vec<[Tensor; 2]>;

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

    /// Enqueues forward and backward of a lane, of streams from these states; and what the states are after it.
    pub fn gradient(&self, lane: &DeviceLane, states: &LaneStates) -> Result<(LaneResult, LaneStates)> {
        let (log_probs, states) = self.log_probs(lane, states)?;
        let loss = lane.loss(&log_probs)?;
        let correct = lane.correct(&log_probs.f_detach()?)?;
        let mut flat = Vec::new();
        for gradient in Tensor::f_run_backward(&[&loss], &self.leaves(), false, false)? {
            flat.push(gradient.f_reshape([-1])?);
        }
        Ok((LaneResult { gradient: Tensor::f_cat(&flat, 0)?, loss: loss.f_detach()?, correct }, states))
    }

    /// Enqueues forward: (windows, C) log-probs after each window of a lane, or of streams those of all that is to be
    /// predicted; and the states after them.
    pub fn predict(&self, lane: &DeviceLane, states: &LaneStates) -> Result<(Tensor, LaneStates)> {
        let (log_probs, states) = tch::no_grad(|| self.log_probs(lane, states))?;
        let predicted = match &lane.streams {
            Some(streams) => log_probs.f_index_select(0, &streams.predicted)?,
            None => log_probs.f_narrow(0, (lane.predictions - 1) * lane.rows, lane.windows)?,
        };
        Ok((predicted, states))
    }

    /// The states before the first window.
    pub fn zero_states(&self, lane: &DeviceLane) -> Result<LaneStates> {
        let zero = |layer: &Lstm| Ok([layer.zero_state(lane.rows)?, layer.zero_state(lane.rows)?]);
        let layers = if lane.streams.is_some() { &self.layers[..] } else { &[] };
        layers.iter().map(zero).collect()
    }

    /// (Q·R, C) log-probs, and the states after the window, which no gradient flows back into.
    pub fn log_probs(&self, lane: &DeviceLane, states: &LaneStates) -> Result<(Tensor, LaneStates)> {
        let [t, r, q] = [lane.sequence_length, lane.rows, lane.predictions];
        let masked = |x: Tensor, layer: usize| match lane.masks.get(layer) {
            Some(mask) => x.f_mul(mask),
            None => Ok(x),
        };
        let mut after = LaneStates::new();
        let mut hidden = lane.one_hot(&self.features)?;
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                hidden = masked(hidden, index - 1)?;
            }
            hidden = match &lane.streams {
                None => layer.run(&hidden)?,
                Some(streams) => {
                    let (outputs, states) = layer.run_on(&hidden, &states[index], &streams.segments)?;
                    after.push(states);
                    outputs
                }
            };
        }
        let seen = hidden.f_narrow(0, t - q, q)?.f_reshape([q * r, -1])?;
        let dense = masked(self.dense1.run(&seen)?, self.layers.len() - 1)?;
        let mut logits = self.logits(self.dense2.run(&dense)?, lane)?;
        if let Some(streams) = &lane.streams {
            logits = logits.f_masked_fill(&streams.forbidden, f64::NEG_INFINITY)?;
        }
        Ok((logits.f_log_softmax(1, Kind::Float)?, after))
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
        let zero = self.zero_state(x.size()[1])?;
        Ok(self.call(x, [&zero, &zero])?.0)
    }

    /// The same from a state, which some rows give up where segments begin; and the state after the last timestep.
    fn run_on(&self, x: &Tensor, state: &[Tensor; 2], segments: &[Segment]) -> Result<(Tensor, [Tensor; 2])> {
        let [mut outputs, mut cells] = state.each_ref().map(Tensor::shallow_clone);
        let (mut from, mut all) = (0, Vec::with_capacity(segments.len()));
        for Segment { length, kept } in segments {
            let before = [&outputs.f_mul(kept)?, &cells.f_mul(kept)?];
            let of_segment;
            (of_segment, outputs, cells) = self.call(&x.f_narrow(0, from, *length)?, before)?;
            all.push(of_segment);
            from += length;
        }
        Ok((Tensor::f_cat(&all, 0)?, [outputs.f_detach()?, cells.f_detach()?]))
    }

    fn call(&self, x: &Tensor, state: [&Tensor; 2]) -> Result<(Tensor, Tensor, Tensor)> {
        let weights = [&self.input, &self.recurrent, &self.bias, &self.zero];
        Ok(x.f_lstm(&state, &weights, true, 1, 0.0, true, false, false)?)
    }

    fn zero_state(&self, rows: i64) -> Result<Tensor> {
        let units = self.recurrent.size()[1];
        Ok(Tensor::f_zeros([1, rows, units], (Kind::Float, self.recurrent.device()))?)
    }
}

impl Linear {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, Some(&self.bias))?)
    }
}
