//! The network's shape, where its parameters lie in one flat buffer, and their initial values.
//!
//! Training, checkpoints and inference all read the buffer by [`Architecture::parameters`]: a [`Parameter`] has a role, and
//! PyTorch's shape and name. Each LSTM gate has one bias (Keras); PyTorch's second is zero and not stored here.

mod activations;
pub mod batch;
pub mod dropout;
pub mod inference;
mod layers;
pub mod training;

use crate::config::ModelConfig;
use crate::parallel::in_parallel;
use crate::process::cores;
use crate::random::{Purpose, RandomStream};
use crate::representation::FeatureShape;

/// Stacked LSTM layers of equal width on one-hot features, a linear dense layer, a softmax layer.
///
/// A representation says which inputs are active for a token, and which scores add up to a token's logit
/// ([`Features`](crate::representation::Features)); the network knows their numbers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Inputs of the first layer, and scores of the last.
    pub shape: FeatureShape,
    /// LSTM layers.
    pub layers: usize,
    /// Units of each LSTM layer, H.
    pub units: usize,
    /// Units of the dense layer, D.
    pub dense: usize,
    /// Networks of this shape side by side; their probabilities are averaged.
    pub members: usize,
}

/// What a tensor is in a network. S scores, H units, D dense units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An LSTM layer's kernel for the outputs of the layer below, (4H, inputs); gates in the order i, f, g, o.
    InputKernel {
        /// From 0, the lowest.
        layer: usize,
    },
    /// An LSTM layer's kernel for its own output of a timestep ago, (4H, H).
    RecurrentKernel {
        /// From 0, the lowest.
        layer: usize,
    },
    /// An LSTM layer's biases, (4H).
    GateBias {
        /// From 0, the lowest.
        layer: usize,
    },
    /// The dense layer's kernel, (D, H).
    DenseKernel,
    /// The dense layer's biases, (D).
    DenseBias,
    /// The kernel of the layer that scores tokens and what they are related to, (S, D).
    ScoreKernel,
    /// The biases of the layer that scores tokens and what they are related to, (S).
    ScoreBias,
}

/// One tensor in the flat buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Which ensemble member it belongs to.
    pub member: usize,
    /// What it is in the member's network.
    pub role: Role,
    /// PyTorch's shape: outputs before inputs.
    pub shape: Vec<usize>,
    /// Index of its first number in the flat buffer.
    pub offset: usize,
}

impl Parameter {
    /// PyTorch's name, like `lstm.weight_ih_l0`.
    pub fn name(&self) -> String {
        let [name, _] = self.pytorch_names();
        name.expect("every tensor has a name")
    }

    /// For an LSTM layer's biases, the name of the second biases that PyTorch's layer has, all zero here.
    pub fn second_bias_name(&self) -> Option<String> {
        let [_, second] = self.pytorch_names();
        second
    }

    /// PyTorch's names: of this tensor, and of the one beside it that only PyTorch has. Nothing else makes such names.
    fn pytorch_names(&self) -> [Option<String>; 2] {
        let (name, second) = match self.role {
            Role::InputKernel { layer } => (format!("lstm.weight_ih_l{layer}"), None),
            Role::RecurrentKernel { layer } => (format!("lstm.weight_hh_l{layer}"), None),
            Role::GateBias { layer } => {
                (format!("lstm.bias_ih_l{layer}"), Some(format!("lstm.bias_hh_l{layer}")))
            }
            Role::DenseKernel => ("dense1.weight".into(), None),
            Role::DenseBias => ("dense1.bias".into(), None),
            Role::ScoreKernel => ("dense2.weight".into(), None),
            Role::ScoreBias => ("dense2.bias".into(), None),
        };
        let member = if self.member == 0 { String::new() } else { format!("member{}.", self.member) };
        [Some(name), second].map(|name| Some(format!("{member}{}", name?)))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none; no layer of a valid configuration is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it lies in the flat buffer.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

impl Architecture {
    /// The network of a configuration, with these inputs and outputs.
    pub fn new(model: &ModelConfig, shape: FeatureShape) -> Self {
        let ModelConfig { layers, units, dense, ensemble_size: members, .. } = *model;
        Architecture { shape, layers, units, dense, members }
    }

    /// One of its members alone.
    pub fn member(&self) -> Architecture {
        Architecture { members: 1, ..*self }
    }

    /// Inputs of an LSTM layer: the features for the first, the units of the one below for the others.
    pub fn inputs(&self, layer: usize) -> usize {
        if layer == 0 { self.shape.inputs } else { self.units }
    }

    /// All parameters in their order in the flat buffer: each LSTM layer's from the lowest, then the dense layer's and the
    /// scores'; then the same for each further member.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters: Vec<Parameter> = Vec::new();
        for member in 0..self.members {
            for role in self.roles() {
                let offset = parameters.last().map_or(0, |last| last.range().end);
                parameters.push(Parameter { member, role, shape: self.tensor_shape(role), offset });
            }
        }
        parameters
    }

    /// The parameters of a member, in their order.
    fn roles(&self) -> Vec<Role> {
        let mut roles = Vec::new();
        for layer in 0..self.layers {
            roles.extend([
                Role::InputKernel { layer },
                Role::RecurrentKernel { layer },
                Role::GateBias { layer },
            ]);
        }
        roles.extend([Role::DenseKernel, Role::DenseBias, Role::ScoreKernel, Role::ScoreBias]);
        roles
    }

    /// PyTorch's shape: outputs before inputs.
    fn tensor_shape(&self, role: Role) -> Vec<usize> {
        let (s, h, d) = (self.shape.scores, self.units, self.dense);
        match role {
            Role::InputKernel { layer } => vec![4 * h, self.inputs(layer)],
            Role::RecurrentKernel { .. } => vec![4 * h, h],
            Role::GateBias { .. } => vec![4 * h],
            Role::DenseKernel => vec![d, h],
            Role::DenseBias => vec![d],
            Role::ScoreKernel => vec![s, d],
            Role::ScoreBias => vec![s],
        }
    }

    /// Length of the flat buffer: the trainable parameters.
    pub fn len(&self) -> usize {
        let (s, h, d) = (self.shape.scores, self.units, self.dense);
        let lstm: usize = (0..self.layers).map(|layer| 4 * h * (self.inputs(layer) + h + 1)).sum();
        self.members * (lstm + d * (h + 1) + s * (d + 1))
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Initial weights as Keras draws them, as a function of the seed alone, laid out as [`Architecture::parameters`] says.
///
/// Input kernels are Glorot uniform over the fused (inputs, 4H) matrix, recurrent kernels orthogonal over the whole (H, 4H)
/// matrix, forget biases 1, the other biases 0, dense kernels Glorot uniform (Keras' defaults).
///
/// Networks whose first layer has several active features differ in its input kernel: only these few of its many inputs are
/// 1 at once, and Glorot's limit, made for inputs that all take part, lets a token say next to nothing at first
/// (docs/lab-log.md). With one active feature it is the article's network, which keeps Glorot's limit.
pub fn initial_parameters(architecture: Architecture, seed: u64) -> Vec<f32> {
    let parameters: Vec<_> = architecture.parameters().into_iter().enumerate().collect();
    let values = in_parallel(cores(), &parameters, |(index, parameter)| {
        let stream = RandomStream::new(seed, Purpose::Initialization, &[*index as u64]);
        initial(parameter, architecture.shape.slots, stream)
    });
    let mut flat = vec![0.0; architecture.len()];
    for ((_, parameter), values) in parameters.iter().zip(values) {
        flat[parameter.range()].copy_from_slice(&values);
    }
    flat
}

fn initial(parameter: &Parameter, slots: usize, stream: RandomStream) -> Vec<f32> {
    match (parameter.role, &parameter.shape[..]) {
        (Role::InputKernel { layer: 0 }, _) if slots > 1 => uniform(parameter.len(), ONE_HOT_LIMIT, stream),
        (Role::RecurrentKernel { .. }, &[outputs, inputs]) => orthonormal_columns(outputs, inputs, stream),
        (Role::InputKernel { .. } | Role::DenseKernel | Role::ScoreKernel, &[outputs, inputs]) => {
            glorot_uniform(outputs, inputs, stream)
        }
        (Role::GateBias { .. }, &[gates]) => {
            let mut biases = vec![0.0; gates];
            biases[gates / 4..gates / 2].fill(1.0);
            biases
        }
        (Role::DenseBias | Role::ScoreBias, &[outputs]) => vec![0.0; outputs],
        (role, shape) => unreachable!("{role:?} of shape {shape:?}"),
    }
}

/// Of the first input kernel of networks with several active features.
const ONE_HOT_LIMIT: f64 = 1.0;

/// Uniform within ±√(6 / (inputs + outputs)) (Glorot and Bengio 2010).
fn glorot_uniform(outputs: usize, inputs: usize, stream: RandomStream) -> Vec<f32> {
    uniform(outputs * inputs, (6.0 / (inputs + outputs) as f64).sqrt(), stream)
}

fn uniform(count: usize, limit: f64, stream: RandomStream) -> Vec<f32> {
    (0..count).map(|index| (limit * (2.0 * stream.uniform(index as u64) - 1.0)) as f32).collect()
}

/// A random (rows, columns) matrix, rows ≥ columns, whose columns are orthonormal: the Q of a normal matrix's QR
/// factors with a positive diagonal in R (Saxe et al. 2014; Keras' `Orthogonal`, transposed as PyTorch stores it).
fn orthonormal_columns(rows: usize, columns: usize, stream: RandomStream) -> Vec<f32> {
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(columns);
    for column in 0..columns {
        let mut vector: Vec<f64> = (0..rows).map(|row| stream.normal((column * rows + row) as u64)).collect();
        // Gram and Schmidt, twice: once leaves what rounding left.
        for _ in 0..2 {
            for other in &basis {
                let along = dot(&vector, other);
                for (x, y) in vector.iter_mut().zip(other) {
                    *x -= along * y;
                }
            }
        }
        let length = dot(&vector, &vector).sqrt();
        for x in vector.iter_mut() {
            *x /= length;
        }
        basis.push(vector);
    }
    (0..rows).flat_map(|row| basis.iter().map(move |column| column[row] as f32)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representation::RepresentationConfig;
    use crate::representation::pitch::Pitch;

    #[test]
    fn the_articles_network_has_its_published_size() {
        let article =
            Architecture::new(&ModelConfig::default(), RepresentationConfig::default().build().shape());
        assert_eq!(article.len(), 1_480_783);
        let last = article.parameters().pop().unwrap();
        assert_eq!(last.range().end, 1_480_783);
    }

    #[test]
    fn names_are_those_of_pytorch() {
        let architecture =
            Architecture { shape: Pitch::shape_of(79, false), layers: 1, units: 2, dense: 3, members: 2 };
        let names: Vec<String> = architecture.parameters().iter().map(Parameter::name).collect();
        let of_one = [
            "lstm.weight_ih_l0",
            "lstm.weight_hh_l0",
            "lstm.bias_ih_l0",
            "dense1.weight",
            "dense1.bias",
            "dense2.weight",
            "dense2.bias",
        ];
        assert_eq!(names[..7], of_one);
        assert_eq!(names[7..], of_one.map(|name| format!("member1.{name}")));
        let seconds: Vec<_> =
            architecture.parameters().iter().filter_map(Parameter::second_bias_name).collect();
        assert_eq!(seconds, ["lstm.bias_hh_l0", "member1.lstm.bias_hh_l0"]);
    }

    #[test]
    fn parameters_fill_the_buffer() {
        let shape = FeatureShape { tokens: 79, inputs: 90, slots: 3, scores: 110, relations: 1 };
        let architecture = Architecture { shape, layers: 2, units: 16, dense: 17, members: 3 };
        assert_eq!(architecture.parameters().pop().unwrap().range().end, architecture.len());
    }

    const ARCHITECTURE: Architecture =
        Architecture { shape: Pitch::shape_of(79, false), layers: 2, units: 32, dense: 16, members: 1 };

    fn tensor(role: Role) -> Vec<f32> {
        let flat = initial_parameters(ARCHITECTURE, 3);
        let parameter = ARCHITECTURE.parameters().into_iter().find(|p| p.role == role).unwrap();
        flat[parameter.range()].to_vec()
    }

    #[test]
    fn recurrent_kernels_have_orthonormal_columns() {
        let kernel = tensor(Role::RecurrentKernel { layer: 1 });
        let column = |j: usize| (0..128).map(|i| f64::from(kernel[i * 32 + j])).collect::<Vec<_>>();
        for i in 0..32 {
            for j in 0..=i {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot(&column(i), &column(j)) - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn input_kernels_fill_the_glorot_range() {
        let kernel = tensor(Role::InputKernel { layer: 0 });
        let limit = (6.0f32 / (79.0 + 128.0)).sqrt();
        let largest = kernel.iter().fold(0f32, |m, x| m.max(x.abs()));
        assert!(largest <= limit && largest > 0.99 * limit);
    }

    #[test]
    fn only_forget_gates_have_a_bias() {
        let bias = tensor(Role::GateBias { layer: 0 });
        assert!(bias.iter().enumerate().all(|(i, &b)| b == if (32..64).contains(&i) { 1.0 } else { 0.0 }));
        assert!(tensor(Role::ScoreBias).iter().all(|&b| b == 0.0));
    }
}
