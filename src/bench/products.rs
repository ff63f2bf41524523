//! The matrix products of a step: which ones, how much work they are, and how long they take by themselves.
//!
//! R rows of a rank, r of a lane, T notes, after the last Q of which the next is predicted, H units, D dense units,
//! F features. Lookups of one-hot inputs are no products, nor is what comes from the zero initial state.

use std::time::Instant;

use anyhow::Result;
use bachdist_core::compute::gemm::Packed;
use bachdist_core::compute::matrix::Matrix;
use bachdist_core::compute::weight_gradient::{LaneRows, Weight, weight_gradients};
use bachdist_core::network::Architecture;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::model::device::wait;

/// What a product is for, which decides how its operands lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Inputs · weightᵀ.
    Forward,
    /// ∂L/∂outputs · weight.
    Backward,
    /// (∂L/∂outputs)ᵀ · inputs, for each lane.
    Weights,
}

/// A product (rows, inner) · (inner, columns).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Of which weight.
    pub weight: &'static str,
    /// What for.
    pub way: Way,
    /// Rows of the first operand.
    pub rows: usize,
    /// Its columns, and the other's rows.
    pub inner: usize,
    /// Columns of the second.
    pub columns: usize,
    /// How often in a step.
    pub count: usize,
}

impl Product {
    /// All of them: two operations for each multiply-add.
    pub fn flops(&self) -> f64 {
        2.0 * self.count as f64 * self.rows as f64 * self.inner as f64 * self.columns as f64
    }
}

/// The products of a step on a rank whose lanes have so many windows: the least that the network needs, without
/// padding.
pub fn step_products(
    architecture: Architecture,
    lanes: &[usize],
    notes: usize,
    predictions: usize,
) -> Vec<Product> {
    let Architecture { layers, units, dense, members, .. } = architecture;
    let mut all: Vec<Product> = Vec::new();
    // A weight (outputs, inputs) that `times` products forward each use on so many rows of every window. Its gradient
    // is one product for all of them.
    let mut weight = |weight, outputs, inputs, times: usize, per_window: usize, count: usize| {
        let rows = lanes.iter().sum::<usize>() * per_window;
        let mut add = |way, rows, inner, columns, count: usize| {
            let product = Product { weight, way, rows, inner, columns, count: members * count };
            let same = |other: &&mut Product| {
                Product { count: 0, ..(*other).clone() } == Product { count: 0, ..product.clone() }
            };
            match all.iter_mut().find(same) {
                Some(same) => same.count += product.count,
                None if product.flops() > 0.0 => all.push(product),
                None => {}
            }
        };
        add(Way::Forward, rows, inputs, outputs, count * times);
        add(Way::Backward, rows, outputs, inputs, count * times);
        for windows in lanes {
            add(Way::Weights, outputs, windows * per_window * times, inputs, count);
        }
    };
    weight("recurrent", 4 * units, units, notes - 1, 1, layers);
    weight("input", 4 * units, units, 1, notes, layers - 1);
    weight("dense1", dense, units, 1, predictions, 1);
    weight("dense2", architecture.features(), dense, 1, predictions, 1);
    all
}

/// Who multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// What a step on a CPU is made of.
    Own,
    /// libtorch, which uses a library of the processor's maker or the GPU's.
    Libtorch,
}

/// Operands of the products of a step, ready to be multiplied.
pub struct Operands {
    device: Device,
    products: Vec<(Operand, usize)>,
}

enum Operand {
    /// Two matrices, and memory for their product.
    Tensors(Tensor, Tensor, Tensor),
    /// Rows times a packed weight.
    Rows(Matrix, Packed, Matrix),
    /// The gradient of a weight from what came out and went in.
    Gradient(Matrix, Matrix, Vec<f32>),
}

impl Operand {
    fn own(product: &Product) -> Self {
        let Product { way, rows, inner, columns, .. } = *product;
        let matrix = |rows: usize, columns: usize| {
            let mut matrix = Matrix::zeros(rows, columns);
            matrix.all_mut().iter_mut().for_each(|row| row.fill(0.5));
            matrix
        };
        if way == Way::Weights {
            return Operand::Gradient(matrix(inner, rows), matrix(inner, columns), vec![0.0; rows * columns]);
        }
        let mut weight = Packed::zeros(inner, columns);
        weight.set(&vec![0.5; inner * columns]);
        Operand::Rows(matrix(rows, inner), weight, matrix(rows, columns))
    }

    fn of_libtorch(product: &Product, device: Device) -> Result<Self> {
        let random = |rows: usize, columns: usize| {
            Tensor::f_rand([rows as i64, columns as i64], (Kind::Float, device))
        };
        let Product { way, rows, inner, columns, .. } = *product;
        let (a, b) = match way {
            Way::Forward => (random(rows, inner)?, random(columns, inner)?.f_tr()?),
            Way::Backward => (random(rows, inner)?, random(inner, columns)?),
            Way::Weights => (random(inner, rows)?.f_tr()?, random(inner, columns)?),
        };
        Ok(Operand::Tensors(a, b, random(rows, columns)?))
    }

    fn multiply(&mut self) -> Result<()> {
        match self {
            Operand::Tensors(a, b, out) => {
                let _ = a.f_mm_out(out, b)?;
            }
            Operand::Rows(x, weight, out) => {
                out.clear();
                weight.add_product(x.all(), out.all_mut());
            }
            Operand::Gradient(out, input, gradient) => {
                let rows = out.all().len();
                let whole = |matrix| LaneRows { matrix, first: 0, moments: 1, step: rows, rows };
                weight_gradients(&[whole(&*out)], &mut [Weight { inputs: vec![whole(&*input)], gradient }]);
            }
        }
        Ok(())
    }
}

impl Operands {
    /// Operands that lie as in a step.
    pub fn new(products: &[Product], library: Library, device: Device) -> Result<Self> {
        let operand = |product: &Product| match library {
            Library::Own => Ok((Operand::own(product), product.count)),
            Library::Libtorch => Ok((Operand::of_libtorch(product, device)?, product.count)),
        };
        Ok(Operands { device, products: products.iter().map(operand).collect::<Result<_>>()? })
    }

    /// Makes all products of a step, and gives back the seconds that they took.
    pub fn multiply_all(&mut self) -> Result<f64> {
        wait(self.device)?;
        let begin = Instant::now();
        for (operand, count) in &mut self.products {
            (0..*count).try_for_each(|_| operand.multiply())?;
        }
        wait(self.device)?;
        Ok(begin.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bachdist_core::config::ModelConfig;

    fn flops(products: &[Product]) -> f64 {
        products.iter().map(Product::flops).sum()
    }

    #[test]
    fn the_articles_step_by_hand() {
        let article = Architecture::new(&ModelConfig::default(), 79);
        let products = step_products(article, &[8; 8], 20, 1);
        // A window's multiply-adds forward: three layers of 19 recurrent products, two of 20 input ones, two dense.
        let forward: u64 = 3 * 19 * 256 * 1024 + 2 * 20 * 256 * 1024 + 256 * 256 + 256 * 79;
        assert_eq!(forward, 25_513_728);
        // Backward takes the same for ∂L/∂inputs and again for the weights.
        assert_eq!(flops(&products), (2 * 3 * 64 * forward) as f64);
        let find = |weight, way| products.iter().find(|p| p.weight == weight && p.way == way).unwrap();
        let shape = |p: &Product| [p.rows, p.inner, p.columns, p.count];
        assert_eq!(shape(find("recurrent", Way::Forward)), [64, 256, 1024, 57]);
        assert_eq!(shape(find("input", Way::Backward)), [1280, 1024, 256, 2]);
        assert_eq!(shape(find("recurrent", Way::Weights)), [1024, 152, 256, 24]);
        assert_eq!(shape(find("dense2", Way::Weights)), [79, 8, 256, 8]);
    }

    #[test]
    fn ranks_share_the_work() {
        let architecture =
            Architecture { classes: 79, intervals: true, layers: 2, units: 16, dense: 17, members: 3 };
        let of = |lanes: &[usize]| flops(&step_products(architecture, lanes, 6, 6));
        assert_eq!(of(&[4, 5, 4, 5]), of(&[4, 5]) + of(&[4, 5]));
        assert_eq!(of(&[9, 9]), of(&[18]));
        assert_eq!(step_products(architecture, &[0, 0], 6, 6), []);
        // One note has no note before it, and one layer none below.
        let one = Architecture { layers: 1, intervals: false, members: 1, ..architecture };
        assert!(step_products(one, &[4], 1, 1).iter().all(|product| product.weight.starts_with("dense")));
    }

    #[test]
    fn both_make_all_products() {
        let small =
            Architecture { classes: 9, intervals: false, layers: 2, units: 16, dense: 17, members: 1 };
        let list = step_products(small, &[3, 4], 5, 1);
        let mut libtorch = Operands::new(&list, Library::Libtorch, Device::Cpu).unwrap();
        let mut own = Operands::new(&list, Library::Own, Device::Cpu).unwrap();
        assert!(libtorch.multiply_all().unwrap() > 0.0 && own.multiply_all().unwrap() > 0.0);
        for (product, ((ours, _), (theirs, _))) in
            list.iter().zip(own.products.iter().zip(&libtorch.products))
        {
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
