//! The network through libtorch's graph, one lane after another: the path for CUDA, where layers are cuDNN's,
//! and on a CPU the oracle of [`super::cpu`], by the same calls.
//!
//! Everything is only begun: a GPU works behind, and nothing here waits for it but [`Network::predict`] and
//! [`Network::gradient`], which give numbers back. `staged` is what a lane brings to the device.
//!
//! Shapes: T notes of a window, after the last Q of which the next is predicted, R rows of a lane, H units, D dense
//! units, C classes, F features. Time comes first, so that a note of all rows lies together.

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::network::Architecture;
use tch::{Device, Kind, Tensor};

pub use super::staged::Staged;
use super::transfer::{fetch, upload_floats};
use bachdist_core::network::batch::LaneBatch;
use bachdist_core::network::dropout::Dropout;

/// The network's parameters on a device, as leaves of libtorch's graph.
pub struct Network {
    architecture: Architecture,
    device: Device,
    layers: Vec<Lstm>,
    dense1: Linear,
    dense2: Linear,
    /// (F): the number of each feature.
    features: Tensor,
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

/// What lanes scored, still on the device: for each its loss and its right predictions (f64).
pub type Scores = Vec<Tensor>;

impl Network {
    /// A network on a device, with room for its parameters; [`Network::load`] fills them in.
    pub fn new(architecture: Architecture, device: Device) -> Result<Self> {
        let mut tensors = architecture.parameters().into_iter().map(|parameter| {
            let shape: Vec<i64> = parameter.shape.iter().map(|&size| size as i64).collect();
            Tensor::f_zeros(shape, (Kind::Float, device))
        });
        let mut next = || tensors.next().expect("one tensor for each parameter");
        let layers = (0..architecture.layers)
            .map(|_| Lstm::new(next()?, next()?, next()?))
            .collect::<Result<Vec<_>>>()?;
        let dense1 = Linear { weight: next()?, bias: next()? };
        let dense2 = Linear { weight: next()?, bias: next()? };
        let features = Tensor::f_arange(architecture.features() as i64, (Kind::Int64, device))?;
        let network = Network { architecture, device, layers, dense1, dense2, features };
        for leaf in network.leaves() {
            let _ = leaf.f_set_requires_grad(true)?;
        }
        Ok(network)
    }

    /// All parameters in the order of [`Architecture::parameters`].
    fn leaves(&self) -> Vec<&Tensor> {
        let lstm = self.layers.iter().flat_map(|layer| [&layer.input, &layer.recurrent, &layer.bias]);
        let dense = [&self.dense1, &self.dense2].into_iter().flat_map(|layer| [&layer.weight, &layer.bias]);
        lstm.chain(dense).collect()
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Takes new values for all parameters.
    pub fn load(&mut self, parameters: &[f32]) -> Result<()> {
        self.load_tensor(&upload_floats(parameters, self.device)?)
    }

    /// The same from a flat tensor on the device.
    pub fn load_tensor(&mut self, flat: &Tensor) -> Result<()> {
        tch::no_grad(|| {
            for (parameter, leaf) in self.architecture.parameters().iter().zip(self.leaves()) {
                let values = flat.f_narrow(0, parameter.offset as i64, parameter.len() as i64)?;
                leaf.shallow_clone().f_copy_(&values.f_view_as(leaf)?)?;
            }
            Ok(())
        })
    }

    /// Brings a lane to the device, without waiting.
    pub fn stage(&self, lane: &LaneBatch, dropout: Option<&Dropout>) -> Result<Staged> {
        Staged::new(lane, self.architecture, dropout, self.device)
    }

    /// Begins the gradients of a node of the tree of lanes, and gives back their sum, laid out as the parameters.
    /// What each lane scored is added to `scores`.
    pub fn begin(&self, lanes: &[Staged], scores: &mut Scores) -> Result<Tensor> {
        if let [lane] = lanes {
            return self.begin_lane(lane, scores);
        }
        let (left, right) = lanes.split_at(lanes.len() / 2);
        let mut sum = self.begin(left, scores)?;
        // Additions alone are rounded alike everywhere.
        let _ = sum.f_add_(&self.begin(right, scores)?)?;
        Ok(sum)
    }

    fn begin_lane(&self, lane: &Staged, scores: &mut Scores) -> Result<Tensor> {
        let log_probabilities = self.run(lane)?;
        let loss = lane.loss(&log_probabilities)?;
        let correct = lane.correct(&log_probabilities.f_detach()?)?;
        let gradients = Tensor::f_run_backward(&[&loss], &self.leaves(), false, false)?;
        let flat = |gradient: &Tensor| gradient.f_reshape([-1]);
        let parts = gradients.iter().map(flat).collect::<Result<Vec<_>, _>>()?;
        scores.extend([loss.f_detach()?, correct]);
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    /// Loss of a rank's lanes in training, with dropout; the sum of their gradients goes into `gradient`.
    pub fn gradient(
        &self,
        lanes: &[LaneBatch],
        dropout: &Dropout,
        gradient: &mut [f32],
    ) -> Result<Vec<EpochSums>> {
        let staged = lanes.iter().map(|lane| self.stage(lane, Some(dropout))).collect::<Result<Vec<_>>>()?;
        let mut scores = Scores::new();
        let sum = self.begin(&staged, &mut scores)?;
        let (scores, host) = fetch(&Tensor::f_stack(&scores, 0)?, Some(&sum))?;
        gradient.copy_from_slice(host.expect("was asked for").as_mut_slice());
        Ok(staged.iter().zip(scores.as_chunks().0).map(|(lane, scores)| lane.sums(scores)).collect())
    }

    /// Logarithmic probabilities after each window of a lane, without dropout: (windows, C).
    pub fn predict(&self, lane: &LaneBatch) -> Result<Vec<f32>> {
        let last = (lane.predictions - 1) * lane.rows;
        let rows = tch::no_grad(|| self.forward(lane, None))?;
        Ok(Vec::try_from(rows.f_narrow(0, last as i64, lane.windows as i64)?.f_reshape([-1])?)?)
    }

    /// (Q·R, C) logarithms of the probabilities.
    pub fn forward(&self, lane: &LaneBatch, dropout: Option<&Dropout>) -> Result<Tensor> {
        self.run(&self.stage(lane, dropout)?)
    }

    fn run(&self, lane: &Staged) -> Result<Tensor> {
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

    /// (Q·R, C) from the scores of all features (Q·R, F): a class's own and that of the interval to it.
    fn logits(&self, scores: Tensor, lane: &Staged) -> Result<Tensor> {
        let classes = self.architecture.classes as i64;
        let Some(last) = &lane.last_notes else { return Ok(scores) };
        let unison = self.architecture.interval(0, 0) as i64;
        let interval =
            self.features.f_narrow(0, 0, classes)?.f_add_scalar(unison)?.f_sub(&last.f_unsqueeze(1)?)?;
        Ok(scores.f_narrow(1, 0, classes)?.f_add(&scores.f_gather(1, &interval, false)?)?)
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
