//! A file of `data/`: a network, its windows, and what PyTorch and Keras make of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bachdist::torch::{DeviceLane, TorchBackend, TorchNetwork};
use bachdist_portable::backend::native::NativeBackend;
use bachdist_portable::backend::{Backend, BatchSource, RankSum, StepBatch, TrainingState};
use bachdist_portable::network::Architecture;
use bachdist_portable::network::batch::{EpochSums, LaneBatch};
use bachdist_portable::network::dropout::{Dropout, WeightDrop};
use bachdist_portable::representation::pitch::Pitch;
use tch::{Device, Tensor};

use super::floats;

/// The batch of every step.
struct Given(StepBatch);

impl BatchSource for Given {
    fn batch(&self, _step: u64) -> StepBatch {
        self.0.clone()
    }
}

/// The gradient that a backend sends to a second rank.
struct Captured(Vec<f32>);

impl RankSum for Captured {
    fn ranks(&self) -> usize {
        2
    }

    fn sum(&mut self, gradient: &mut [f32], _finish_slice: &mut dyn FnMut(&mut [f32])) {
        self.0 = gradient.to_vec();
    }
}

/// (Q·R, C) log-probs of a lane by libtorch, from parameters of an architecture.
pub fn log_probs(
    architecture: Architecture,
    parameters: &[f32],
    lane: &LaneBatch,
    dropout: Option<&Dropout>,
) -> Tensor {
    let mut network = TorchNetwork::new(architecture, Device::Cpu).unwrap();
    network.load(&Tensor::from_slice(parameters)).unwrap();
    let lane = DeviceLane::new(lane, architecture, dropout, Device::Cpu).unwrap();
    tch::no_grad(|| network.log_probs(&lane, &Vec::new())).unwrap().0
}

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
        let outputs = self.size("dense2.weight", 0);
        let intervals = outputs > 79;
        Architecture {
            shape: Pitch::shape_of(if intervals { outputs.div_ceil(3) } else { outputs }, intervals),
            layers: self.0.keys().filter(|name| name.starts_with("lstm.weight_ih")).count(),
            units: self.size("lstm.weight_hh_l0", 1),
            dense: self.size("dense1.weight", 0),
            members: 1,
        }
    }

    /// The tensors named `prefix` and a parameter's name, as one flat buffer.
    pub fn flat(&self, prefix: &str) -> Vec<f32> {
        let parameters = self.architecture().parameters();
        parameters
            .iter()
            .flat_map(|parameter| self.floats(&format!("{prefix}{}", parameter.name())))
            .collect()
    }

    /// The case's network by both backends.
    pub fn backends(&self) -> [(&'static str, Box<dyn Backend>); 2] {
        let native: Box<dyn Backend> = Box::new(NativeBackend::new(self.architecture(), 1));
        let torch: Box<dyn Backend> =
            Box::new(TorchBackend::new(self.architecture(), Device::Cpu, 1).unwrap());
        [("native", native), ("torch", torch)].map(|(name, mut backend)| {
            let parameters = self.flat("");
            let mean_square = vec![0.0; parameters.len()];
            backend.set_state(TrainingState { parameters, mean_square }).unwrap();
            backend.load_weights(&WeightDrop::default()).unwrap();
            (name, backend)
        })
    }

    /// Gradient, and loss and correct predictions of each lane, by each backend.
    pub fn gradients(
        &self,
        lanes: &[LaneBatch],
        dropout: Dropout,
    ) -> [(&'static str, Vec<f32>, Vec<EpochSums>); 2] {
        let batch = StepBatch { step: 0, lanes: vec![lanes.to_vec()], dropout, audits: Vec::new() };
        self.backends().map(|(name, mut backend)| {
            backend.load_batch(0, &Given(batch.clone())).unwrap();
            let sums = backend.gradient(&Given(batch.clone())).unwrap();
            let mut sum = Captured(Vec::new());
            backend.exchange(1, &mut sum).unwrap();
            sum.0.truncate(self.architecture().len());
            (name, sum.0, sums)
        })
    }

    /// (Q·R, C) log-probs of a lane by libtorch.
    pub fn log_probs(&self, lane: &LaneBatch, dropout: Option<&Dropout>) -> Tensor {
        log_probs(self.architecture(), &self.flat(""), lane, dropout)
    }

    /// The case's windows: (T, B) inputs and (B) targets, as a window each.
    pub fn windows(&self) -> Vec<(Vec<u16>, u16)> {
        let (times, count) = (self.size("inputs", 0), self.size("inputs", 1));
        let class = |tensor: &Tensor, at: &[i64]| u16::try_from(tensor.int64_value(at)).unwrap();
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
