//! The matrix products of a step: which ones, how much work they are, and how long they take by themselves.
//!
//! R rows of a rank, r of a lane, T notes, after the last Q of which the next is predicted, H units, D dense units,
//! F features. Lookups of one-hot inputs are no products, nor is what comes from the zero initial state.

use std::time::Instant;

use bachdist_core::network::Architecture;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::model::device::synchronize;

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

/// Operands of products, ready to be multiplied. This is the one place that decides by which library.
pub struct Operands {
    device: Device,
    products: Vec<(Tensor, Tensor, Tensor, usize)>,
}

impl Operands {
    /// Random operands that lie as in a step.
    pub fn new(products: &[Product], device: Device) -> Self {
        let random =
            |rows: usize, columns: usize| Tensor::rand([rows as i64, columns as i64], (Kind::Float, device));
        let operands = |product: &Product| {
            let Product { way, rows, inner, columns, count, .. } = *product;
            let (a, b) = match way {
                Way::Forward => (random(rows, inner), random(columns, inner).tr()),
                Way::Backward => (random(rows, inner), random(inner, columns)),
                Way::Weights => (random(inner, rows).tr(), random(inner, columns)),
            };
            (a, b, random(rows, columns), count)
        };
        Operands { device, products: products.iter().map(operands).collect() }
    }

    /// Makes all products of a step, and gives back the seconds that they took.
    pub fn multiply_all(&mut self) -> f64 {
        synchronize(self.device);
        let begin = Instant::now();
        for (a, b, out, count) in &self.products {
            for _ in 0..*count {
                let _ = a.mm_out(out, b);
            }
        }
        synchronize(self.device);
        begin.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bachdist_core::config::Model;

    fn flops(products: &[Product]) -> f64 {
        products.iter().map(Product::flops).sum()
    }

    #[test]
    fn the_articles_step_by_hand() {
        let article = Architecture::new(&Model::default(), 79);
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
    fn products_have_their_shapes() {
        let small =
            Architecture { classes: 9, intervals: false, layers: 2, units: 16, dense: 17, members: 1 };
        let mut operands = Operands::new(&step_products(small, &[3, 4], 5, 1), Device::Cpu);
        assert!(operands.multiply_all() > 0.0);
        for (a, b, out, _) in &operands.products {
            assert_eq!(out.size(), [a.size()[0], b.size()[1]]);
            assert!(out.allclose(&a.matmul(b), 1e-5, 1e-6, false));
        }
    }
}
