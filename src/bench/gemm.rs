//! The GEMMs of a step: which ones, how much work they are, and how long they take by themselves.
//!
//! Looking up one-hot inputs is no GEMM, nor is what comes from the zero initial state.

use std::time::Instant;

use anyhow::Result;
use bachdist_portable::compute::gemm::Packed;
use bachdist_portable::compute::matrix::Matrix;
use bachdist_portable::compute::weight_gradient::{LaneRows, Weight, weight_gradients};
use bachdist_portable::network::Architecture;
use serde::Serialize;
#[cfg(feature = "torch")]
use tch::{Kind, Tensor};

#[cfg(feature = "torch")]
use crate::torch::cuda::{tch_device, wait};
use bachdist_portable::backend::Device;

/// What a GEMM is for, which decides how its operands lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// Inputs · weightᵀ.
    Forward,
    /// ∂L/∂outputs · weight.
    Backward,
    /// (∂L/∂outputs)ᵀ · inputs, for each lane.
    Weights,
}

/// (rows, inner) · (inner, columns).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gemm {
    /// The weight.
    pub weight: &'static str,
    /// What for.
    #[serde(rename = "way")]
    pub pass: Pass,
    /// Rows of the first operand.
    pub rows: usize,
    /// Its columns, and the other's rows.
    pub inner: usize,
    /// Columns of the second.
    pub columns: usize,
    /// How often in a step.
    pub count: usize,
}

impl Gemm {
    /// All of them: two operations for each multiply-add.
    pub fn flops(&self) -> f64 {
        2.0 * self.count as f64 * self.rows as f64 * self.inner as f64 * self.columns as f64
    }
}

/// The products of a step on a rank whose lanes have these numbers of windows: the least that the network needs, without
/// padding.
pub fn step_gemms(
    architecture: Architecture,
    lanes: &[usize],
    notes: usize,
    predictions: usize,
) -> Vec<Gemm> {
    let Architecture { layers, units, dense, members, .. } = architecture;
    let mut all: Vec<Gemm> = Vec::new();
    // A weight (outputs, inputs) that `times` products forward each use on so many rows of every window. Its gradient
    // is one product for all of them.
    let mut weight = |weight, outputs, inputs, times: usize, per_window: usize, count: usize| {
        let rows = lanes.iter().sum::<usize>() * per_window;
        let mut add = |pass, rows, inner, columns, count: usize| {
            let gemm = Gemm { weight, pass, rows, inner, columns, count: members * count };
            let same = |other: &&mut Gemm| {
                Gemm { count: 0, ..(*other).clone() } == Gemm { count: 0, ..gemm.clone() }
            };
            match all.iter_mut().find(same) {
                Some(same) => same.count += gemm.count,
                None if gemm.flops() > 0.0 => all.push(gemm),
                None => {}
            }
        };
        add(Pass::Forward, rows, inputs, outputs, count * times);
        add(Pass::Backward, rows, outputs, inputs, count * times);
        for windows in lanes {
            add(Pass::Weights, outputs, windows * per_window * times, inputs, count);
        }
    };
    weight("recurrent", 4 * units, units, notes - 1, 1, layers);
    weight("input", 4 * units, units, 1, notes, layers - 1);
    weight("dense1", dense, units, 1, predictions, 1);
    weight("dense2", architecture.shape.scores, dense, 1, predictions, 1);
    all
}

/// Who multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// What a step on a CPU is made of.
    Own,
    #[cfg(feature = "torch")]
    /// libtorch, which uses a library of the processor's maker or the GPU's.
    Libtorch,
}

/// Operands of the products of a step, ready to be multiplied.
pub struct Operands {
    #[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "only a GPU is waited for"))]
    device: Device,
    gemms: Vec<(Operand, usize)>,
}

enum Operand {
    /// Two matrices, and memory for their product.
    #[cfg(feature = "torch")]
    Tensors(Tensor, Tensor, Tensor),
    /// Rows times a packed weight.
    Rows(Matrix, Packed, Matrix),
    /// The gradient of a weight from what came out and went in.
    Gradient(Matrix, Matrix, Vec<f32>),
}

impl Operand {
    fn own(gemm: &Gemm) -> Self {
        let Gemm { pass, rows, inner, columns, .. } = *gemm;
        let matrix = |rows: usize, columns: usize| {
            let mut matrix = Matrix::zeros(rows, columns);
            matrix.all_mut().iter_mut().for_each(|row| row.fill(0.5));
            matrix
        };
        if pass == Pass::Weights {
            return Operand::Gradient(matrix(inner, rows), matrix(inner, columns), vec![0.0; rows * columns]);
        }
        let mut weight = Packed::zeros(inner, columns);
        weight.set(&vec![0.5; inner * columns]);
        Operand::Rows(matrix(rows, inner), weight, matrix(rows, columns))
    }

    #[cfg(feature = "torch")]
    fn of_libtorch(gemm: &Gemm, device: Device) -> Result<Self> {
        let random = |rows: usize, columns: usize| {
            Tensor::f_rand([rows as i64, columns as i64], (Kind::Float, tch_device(device)))
        };
        let Gemm { pass, rows, inner, columns, .. } = *gemm;
        let (a, b) = match pass {
            Pass::Forward => (random(rows, inner)?, random(columns, inner)?.f_tr()?),
            Pass::Backward => (random(rows, inner)?, random(inner, columns)?),
            Pass::Weights => (random(inner, rows)?.f_tr()?, random(inner, columns)?),
        };
        Ok(Operand::Tensors(a, b, random(rows, columns)?))
    }

    fn multiply(&mut self) -> Result<()> {
        match self {
            #[cfg(feature = "torch")]
            Operand::Tensors(a, b, out) => {
                let _ = a.f_mm_out(out, b)?;
            }
            Operand::Rows(x, weight, out) => {
                out.clear();
                weight.add_matmul(x.all(), out.all_mut());
            }
            Operand::Gradient(out, input, gradient) => {
                let rows = out.all().len();
                let whole = |matrix| LaneRows { matrix, first: 0, timesteps: 1, row_stride: rows, rows };
                weight_gradients(&[whole(&*out)], &mut [Weight { inputs: vec![whole(&*input)], gradient }]);
            }
        }
        Ok(())
    }
}

impl Operands {
    /// Operands that lie as in a step.
    pub fn new(gemms: &[Gemm], library: Library, device: Device) -> Result<Self> {
        let operand = |gemm: &Gemm| match library {
            Library::Own => Ok((Operand::own(gemm), gemm.count)),
            #[cfg(feature = "torch")]
            Library::Libtorch => Ok((Operand::of_libtorch(gemm, device)?, gemm.count)),
        };
        Ok(Operands { device, gemms: gemms.iter().map(operand).collect::<Result<_>>()? })
    }

    /// Blocks until queued work is done.
    fn synchronize(&self) -> Result<()> {
        #[cfg(feature = "torch")]
        wait(tch_device(self.device))?;
        Ok(())
    }

    /// Computes all GEMMs of a step. Returns the seconds that they took.
    pub fn multiply_all(&mut self) -> Result<f64> {
        self.synchronize()?;
        let begin = Instant::now();
        for (operand, count) in &mut self.gemms {
            (0..*count).try_for_each(|_| operand.multiply())?;
        }
        self.synchronize()?;
        Ok(begin.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bachdist_portable::config::ModelConfig;
    use bachdist_portable::representation::RepresentationConfig;
    use bachdist_portable::representation::pitch::Pitch;

    fn flops(gemms: &[Gemm]) -> f64 {
        gemms.iter().map(Gemm::flops).sum()
    }

    #[test]
    fn the_articles_step_by_hand() {
        let article =
            Architecture::new(&ModelConfig::default(), RepresentationConfig::default().build().shape());
        let products = step_gemms(article, &[8; 8], 20, 1);
        // A window's multiply-adds forward: three layers of 19 recurrent products, two of 20 input ones, two dense.
        let forward: u64 = 3 * 19 * 256 * 1024 + 2 * 20 * 256 * 1024 + 256 * 256 + 256 * 79;
        assert_eq!(forward, 25_513_728);
        // Backward takes the same for ∂L/∂inputs and again for the weights.
        assert_eq!(flops(&products), (2 * 3 * 64 * forward) as f64);
        let find = |weight, pass| products.iter().find(|p| p.weight == weight && p.pass == pass).unwrap();
        let shape = |p: &Gemm| [p.rows, p.inner, p.columns, p.count];
        assert_eq!(shape(find("recurrent", Pass::Forward)), [64, 256, 1024, 57]);
        assert_eq!(shape(find("input", Pass::Backward)), [1280, 1024, 256, 2]);
        assert_eq!(shape(find("recurrent", Pass::Weights)), [1024, 152, 256, 24]);
        assert_eq!(shape(find("dense2", Pass::Weights)), [79, 8, 256, 8]);
    }

    #[test]
    fn ranks_share_the_work() {
        let architecture =
            Architecture { shape: Pitch::shape_of(79, true), layers: 2, units: 16, dense: 17, members: 3 };
        let of = |lanes: &[usize]| flops(&step_gemms(architecture, lanes, 6, 6));
        assert_eq!(of(&[4, 5, 4, 5]), of(&[4, 5]) + of(&[4, 5]));
        assert_eq!(of(&[9, 9]), of(&[18]));
        assert_eq!(step_gemms(architecture, &[0, 0], 6, 6), []);
        // One note has no note before it, and one layer none below.
        let one = Architecture { layers: 1, shape: Pitch::shape_of(79, false), members: 1, ..architecture };
        assert!(step_gemms(one, &[4], 1, 1).iter().all(|product| product.weight.starts_with("dense")));
    }

    #[cfg(feature = "torch")]
    #[test]
    fn both_make_all_products() {
        let small =
            Architecture { shape: Pitch::shape_of(9, false), layers: 2, units: 16, dense: 17, members: 1 };
        let list = step_gemms(small, &[3, 4], 5, 1);
        let mut libtorch = Operands::new(&list, Library::Libtorch, Device::Cpu).unwrap();
        let mut own = Operands::new(&list, Library::Own, Device::Cpu).unwrap();
        assert!(libtorch.multiply_all().unwrap() > 0.0 && own.multiply_all().unwrap() > 0.0);
        for (product, ((ours, _), (theirs, _))) in list.iter().zip(own.gemms.iter().zip(&libtorch.gemms)) {
            let Operand::Tensors(a, b, out) = theirs else { panic!("libtorch has tensors") };
            assert_eq!(out.size(), [product.rows as i64, product.columns as i64]);
            assert!(out.allclose(&a.matmul(b), 1e-5, 1e-6, false));
            // Every number of ours is a sum of quarters.
            let expected = 0.25 * product.inner as f32;
            match ours {
                Operand::Rows(_, _, out) => {
                    assert!((0..product.rows).all(|row| out.row(row).iter().all(|&x| x == expected)));
                }
                Operand::Gradient(_, _, gradient) => assert!(gradient.iter().all(|&x| x == expected)),
                Operand::Tensors(..) => panic!("ours has matrices"),
            }
        }
    }
}
