//! A file of `data/`: a network, its windows, and what PyTorch and Keras make of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bachdist::model::Member;
use bachdist::torch;
use bachdist_core::corpus::CLASSES;
use bachdist_core::network::Architecture;
use bachdist_core::network::dropout::Dropout;
use bachdist_core::network::training::TrainingNetwork;
use tch::{Device, Tensor};

use super::floats;

/// Tensors by name.
pub struct Case(pub BTreeMap<String, Tensor>);

/// Where `make.py` and `data/` lie.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The file of a case.
pub fn path(name: &str) -> PathBuf {
    folder().join("data").join(name).with_extension("safetensors")
}

impl Case {
    pub fn read(path: &Path) -> Self {
        let tensors = Tensor::read_safetensors(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Case(tensors.into_iter().collect())
    }

    pub fn open(name: &str) -> Self {
        Case::read(&path(name))
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        floats(self.tensor(name))
    }

    /// Rows of a matrix.
    pub fn rows(&self, name: &str) -> Vec<Vec<f32>> {
        let columns = self.tensor(name).size()[1] as usize;
        self.floats(name).chunks_exact(columns).map(<[f32]>::to_vec).collect()
    }

    fn size(&self, name: &str, dimension: usize) -> usize {
        self.tensor(name).size()[dimension] as usize
    }

    pub fn architecture(&self) -> Architecture {
        // With intervals the last layer scores 3·C − 1 features.
        let (outputs, intervals) = (self.size("dense2.weight", 0), self.size("dense2.weight", 0) > CLASSES);
        Architecture {
            classes: if intervals { outputs.div_ceil(3) } else { outputs },
            intervals,
            layers: self.0.keys().filter(|name| name.starts_with("lstm.weight_ih")).count(),
            units: self.size("lstm.weight_hh_l0", 1),
            dense: self.size("dense1.weight", 0),
            members: 1,
        }
    }

    /// The tensors named `prefix` and a parameter's name, as one flat buffer.
    pub fn flat(&self, prefix: &str) -> Vec<f32> {
        let parameters = self.architecture().parameters();
        parameters.iter().flat_map(|parameter| self.floats(&format!("{prefix}{}", parameter.name))).collect()
    }

    /// The case's network by libtorch's graph.
    pub fn network(&self) -> torch::network::Network {
        let mut network = torch::network::Network::new(self.architecture(), Device::Cpu).unwrap();
        network.load(&self.flat("")).unwrap();
        network
    }

    /// The case's network in both ways.
    pub fn models(&self) -> [(&'static str, Member); 2] {
        let mut written = TrainingNetwork::new(self.architecture(), 1);
        written.load(&self.flat(""));
        [("written out", Member::Cpu(Box::new(written))), ("by graph", Member::Autograd(self.network()))]
    }

    /// The case's windows: (T, B) inputs and (B) targets, as a window each.
    pub fn windows(&self) -> Vec<(Vec<u8>, u8)> {
        let (times, count) = (self.size("inputs", 0), self.size("inputs", 1));
        let class = |tensor: &Tensor, at: &[i64]| u8::try_from(tensor.int64_value(at)).unwrap();
        let input =
            |row: usize| (0..times).map(|t| class(self.tensor("inputs"), &[t as i64, row as i64])).collect();
        // (B) targets, or (T, B) of which the last is the one after the window.
        let target = |row: usize| match self.tensor("targets").size().len() {
            1 => class(self.tensor("targets"), &[row as i64]),
            _ => class(self.tensor("targets"), &[times as i64 - 1, row as i64]),
        };
        (0..count).map(|row| (input(row), target(row))).collect()
    }

    /// Dropout and the row of the global batch that the first window is; without, nothing is dropped.
    pub fn dropout(&self) -> (Dropout, usize) {
        let number = |name: &str| self.tensor(name).int64_value(&[]) as u64;
        if !self.0.contains_key("dropout.rate") {
            return (Dropout { rate: 0.0, input_rate: 0.0, seed: 0, step: 0, member: 0 }, 0);
        }
        let rate = self.tensor("dropout.rate").double_value(&[]);
        let dropout = Dropout {
            rate,
            input_rate: 0.0,
            seed: number("dropout.seed"),
            step: number("dropout.step"),
            member: 0,
        };
        (dropout, number("dropout.first_row") as usize)
    }
}
