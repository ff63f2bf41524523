//! The network's shape and where its parameters lie in one flat buffer.
//!
//! Training, checkpoints and inference all read the buffer by [`Architecture::parameters`], whose names and
//! shapes are PyTorch's. Each LSTM gate has one bias (Keras); PyTorch's second is zero and not stored here.

pub mod batch;
pub mod dropout;
mod gradient;
mod head;
pub mod inference;
pub mod init;
mod lstm;
mod member;
pub mod score;
mod shape;
pub mod training;
pub mod weight_drop;

use crate::config::ModelConfig;
use crate::representation::{FeatureShape, Token};

/// Stacked LSTM layers of equal width on one-hot classes, a linear dense layer, a softmax layer.
///
/// With intervals there is a one-hot of the interval from the note before beside that of the class (for the first
/// note of a window all zeros), and the probability of a class is the softmax of two scores' sum: its own, and
/// that of the interval to it from the last note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Size of the alphabet, C.
    pub classes: usize,
    /// Whether intervals are seen and predicted too.
    pub intervals: bool,
    /// LSTM layers.
    pub layers: usize,
    /// Units of each LSTM layer, H.
    pub units: usize,
    /// Units of the dense layer, D.
    pub dense: usize,
    /// Networks of this shape side by side; their probabilities are averaged.
    pub members: usize,
}

/// One tensor in the flat buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// PyTorch's name, like `lstm.weight_ih_l0`.
    pub name: String,
    /// PyTorch's shape: outputs before inputs.
    pub shape: Vec<usize>,
    /// Index of its first number in the flat buffer.
    pub offset: usize,
}

impl Parameter {
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
        let (classes, intervals) = (shape.tokens, shape.relations > 0);
        Architecture { classes, intervals, layers, units, dense, members }
    }

    /// One of its members alone.
    pub fn member(&self) -> Architecture {
        Architecture { members: 1, ..*self }
    }

    /// F: what one note can be to the first layer, and what the last layer scores. The classes, then the intervals
    /// from C − 1 semitones down to as many up, where there are intervals.
    pub fn features(&self) -> usize {
        if self.intervals { 3 * self.classes - 1 } else { self.classes }
    }

    /// The feature that an interval is, from one class to another.
    pub fn interval(&self, from: Token, to: Token) -> usize {
        2 * self.classes - 1 + usize::from(to) - usize::from(from)
    }

    /// Inputs of an LSTM layer: the features for the first, the units of the one below for the others.
    pub fn inputs(&self, layer: usize) -> usize {
        if layer == 0 { self.features() } else { self.units }
    }

    /// All parameters in their order in the flat buffer: for each LSTM layer `weight_ih` (4H, inputs),
    /// `weight_hh` (4H, H) and `bias_ih` (4H), gates in the order i, f, g, o; then `dense1` (D, H) and `dense2`
    /// (F, D) with their biases. Then the same for each further member, whose names begin with `member1.` and so on.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (f, h, d) = (self.features(), self.units, self.dense);
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut add = |name: String, shape: &[usize]| {
            let offset = parameters.last().map_or(0, |last| last.range().end);
            parameters.push(Parameter { name, shape: shape.to_vec(), offset });
        };
        for member in 0..self.members {
            let of_member = if member == 0 { String::new() } else { format!("member{member}.") };
            for layer in 0..self.layers {
                add(format!("{of_member}lstm.weight_ih_l{layer}"), &[4 * h, self.inputs(layer)]);
                add(format!("{of_member}lstm.weight_hh_l{layer}"), &[4 * h, h]);
                add(format!("{of_member}lstm.bias_ih_l{layer}"), &[4 * h]);
            }
            add(format!("{of_member}dense1.weight"), &[d, h]);
            add(format!("{of_member}dense1.bias"), &[d]);
            add(format!("{of_member}dense2.weight"), &[f, d]);
            add(format!("{of_member}dense2.bias"), &[f]);
        }
        parameters
    }

    /// Length of the flat buffer: the trainable parameters.
    pub fn len(&self) -> usize {
        let (f, h, d) = (self.features(), self.units, self.dense);
        let lstm: usize = (0..self.layers).map(|layer| 4 * h * (self.inputs(layer) + h + 1)).sum();
        self.members * (lstm + d * (h + 1) + f * (d + 1))
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representation::RepresentationConfig;

    #[test]
    fn the_articles_network_has_its_published_size() {
        let article =
            Architecture::new(&ModelConfig::default(), RepresentationConfig::default().build().shape());
        assert_eq!(article.len(), 1_480_783);
        let last = article.parameters().pop().unwrap();
        assert_eq!(last.range().end, 1_480_783);
    }

    #[test]
    fn intervals_lie_after_the_classes() {
        let architecture =
            Architecture { classes: 79, intervals: true, layers: 2, units: 16, dense: 17, members: 3 };
        assert_eq!(architecture.features(), 79 + 157);
        let intervals = [(78, 0), (40, 40), (0, 78)].map(|(from, to)| architecture.interval(from, to));
        assert_eq!(intervals, [79, 157, 235]);
        assert_eq!(architecture.parameters().pop().unwrap().range().end, architecture.len());
    }
}
