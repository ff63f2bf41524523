//! Products, sums and functions against their definitions, and against themselves in other vectors.

use proptest::prelude::*;
use pulp::{Scalar, Simd, WithSimd};

use super::functions::{Backward, Forward, exp, log_softmax, sigmoid, softmax, tanh};
use super::gemm::{Packed, Product};
use super::matrix::Matrix;
use super::one_hot::lookup_gradient;
use super::weight_gradient::{LaneRows, Weight, bias_gradient, weight_gradients};
use crate::lanes::TreeSum;
use crate::parallel::vectorized;
use crate::random::{Purpose, RandomStream};
use crate::representation::NO_FEATURE;

fn random(length: usize, seed: u64) -> Vec<f32> {
    let stream = RandomStream::new(seed, Purpose::Initialization, &[]);
    (0..length as u64).map(|index| stream.normal(index) as f32).collect()
}

fn matrix(rows: usize, columns: usize, seed: u64) -> Matrix {
    let values = random(rows * columns, seed);
    let mut matrix = Matrix::zeros(rows, columns);
    (0..rows).for_each(|row| matrix.row_mut(row).copy_from_slice(&values[row * columns..][..columns]));
    matrix
}

fn bits<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Vec<u32> {
    rows.flatten().map(|x| x.to_bits()).collect()
}

/// Does the same in every kind of vector that this processor has, the plain one first.
fn in_every_kind<O>(mut make: impl FnMut(&dyn Fn(Box<dyn Kind + '_>)) -> O) -> Vec<O> {
    let mut all = vec![make(&|work| work.run(Which::Scalar))];
    #[cfg(target_arch = "x86_64")]
    {
        if pulp::x86::V3::try_new().is_some() {
            all.push(make(&|work| work.run(Which::V3)));
        }
        if pulp::x86::V4::try_new().is_some() {
            all.push(make(&|work| work.run(Which::V4)));
        }
    }
    all
}

#[derive(Clone, Copy)]
enum Which {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    V3,
    #[cfg(target_arch = "x86_64")]
    V4,
}

trait Kind {
    fn run(self: Box<Self>, which: Which);
}

impl<W: WithSimd<Output = ()>> Kind for W {
    fn run(self: Box<Self>, which: Which) {
        match which {
            Which::Scalar => Scalar::new().vectorize(*self),
            #[cfg(target_arch = "x86_64")]
            Which::V3 => Simd::vectorize(pulp::x86::V3::try_new().expect("asked before"), *self),
            #[cfg(target_arch = "x86_64")]
            Which::V4 => Simd::vectorize(pulp::x86::V4::try_new().expect("asked before"), *self),
        }
    }
}

proptest! {
    #![proptest_config(bachdist_test_support::properties(64))]

    #[test]
    fn a_product_is_a_chain_of_fused_multiply_adds_in_every_kind_of_vector(
        rows in 1usize..120, inputs in 1usize..70, outputs in 1usize..70, seed in 0u64..1000,
    ) {
        let weights = random(outputs * inputs, seed);
        let (x, begin) = (matrix(rows, inputs, seed + 1), matrix(rows, outputs, seed + 2));
        let mut packed = Packed::zeros(inputs, outputs);
        packed.set_transposed(&weights);
        let results = in_every_kind(|run| {
            let mut out = begin.clone();
            run(Box::new(Product { packed: &packed, x: x.all(), begin: None, out: out.all_mut() }));
            bits(out.all().iter())
        });
        let expected: Vec<u32> = (0..rows * outputs).map(|index| {
            let (row, output) = (index / outputs, index % outputs);
            let terms = x.row(row).iter().zip(&weights[output * inputs..][..inputs]);
            terms.fold(begin.row(row)[output], |sum, (x, w)| x.mul_add(*w, sum)).to_bits()
        }).collect();
        for result in results {
            prop_assert!(result == expected);
        }
        // The other way to pack is the same matrix.
        let mut transposed = vec![0.0; weights.len()];
        for (index, weight) in weights.iter().enumerate() {
            transposed[index % inputs * outputs + index / inputs] = *weight;
        }
        packed.set(&transposed);
        let mut out = begin.clone();
        packed.add_matmul(x.all(), out.all_mut());
        prop_assert!(bits(out.all().iter()) == expected);
        // And so it is to begin with one row everywhere.
        let mut from_row = begin.clone();
        packed.set_matmul(x.all(), begin.rows(0..1), from_row.all_mut());
        let mut copied = begin.clone();
        copied.all_mut().iter_mut().for_each(|row| row.copy_from_slice(begin.row(0)));
        packed.add_matmul(x.all(), copied.all_mut());
        prop_assert!(bits(from_row.all().iter()) == bits(copied.all().iter()));
    }

    #[test]
    fn a_weights_gradient_is_the_sum_of_its_lanes_along_the_tree(
        log_lanes in 0u32..4, timesteps in 0usize..5, rows in 1usize..10, outputs in 1usize..150, inputs in 1usize..70,
        seed in 0u64..1000,
    ) {
        let lanes = 1 << log_lanes;
        let (out, input) = (matrix((timesteps + 1) * lanes * rows, outputs, seed), matrix((timesteps + 1) * lanes * rows, inputs, seed + 1));
        // The outputs of each timestep with the inputs of the same, and of the one before, where there is one.
        let row_stride = lanes * rows;
        let lanes_of = |matrix, timesteps: usize| -> Vec<_> {
            (0..lanes).map(|lane| LaneRows { matrix, first: lane * rows, timesteps, row_stride, rows }).collect()
        };
        let outs = lanes_of(&out, timesteps + 1);
        let (now, before) = (lanes_of(&input, timesteps + 1), lanes_of(&input, timesteps));
        let mut gradients = [(); 2].map(|()| vec![0.0; outputs * inputs]);
        let [of_now, of_before] = &mut gradients;
        weight_gradients(&outs, &mut [
            Weight { inputs: now.clone(), gradient: of_now },
            Weight { inputs: before.clone(), gradient: of_before },
        ]);
        for (ins, gradient, skipped) in [(now, &gradients[0], 0), (before, &gradients[1], rows)] {
            let mut tree = TreeSum::default();
            for (of_out, of_input) in outs.iter().zip(&ins) {
                let mut sums = vec![0.0f32; outputs * inputs];
                for (a, b) in of_out.row_indices().skip(skipped).zip(of_input.row_indices()) {
                    for (index, sum) in sums.iter_mut().enumerate() {
                        *sum = out.row(a)[index / inputs].mul_add(input.row(b)[index % inputs], *sum);
                    }
                }
                tree.push(sums);
            }
            prop_assert!(bits(std::iter::once(&gradient[..])) == bits(std::iter::once(&tree.finish()[..])));
        }
    }
}

#[test]
fn biases_and_looked_up_kernels() {
    let (lanes, timesteps, rows, outputs, features) = (4, 3, 2, 5, 7);
    let out = matrix(lanes * timesteps * rows, outputs, 1);
    let lane = |lane: usize| LaneRows {
        matrix: &out,
        first: lane * rows,
        timesteps,
        row_stride: lanes * rows,
        rows,
    };
    let all: Vec<_> = (0..lanes).map(lane).collect();
    let mut bias = vec![0.0; outputs];
    bias_gradient(&all, &mut bias);
    let of_row = |lane: usize, row: usize| {
        [((lane + row) % features) as u32, if row.is_multiple_of(2) { 6 } else { NO_FEATURE }]
    };
    let active: Vec<Vec<u32>> =
        (0..lanes).map(|lane| (0..timesteps * rows).flat_map(|row| of_row(lane, row)).collect()).collect();
    let both: Vec<_> = all.iter().zip(&active).map(|(lane, active)| (*lane, &active[..])).collect();
    let mut kernel = vec![0.0; outputs * features];
    lookup_gradient(&both, 2, features, &mut kernel);
    for output in 0..outputs {
        let sum: f32 = (0..lanes * timesteps * rows).map(|row| out.row(row)[output]).sum();
        assert!((bias[output] - sum).abs() < 1e-5);
        for feature in 0..features {
            let rows = both.iter().flat_map(|(lane, active)| lane.row_indices().zip(active.chunks_exact(2)));
            let times = |active: &[u32]| active.iter().filter(|&&f| f as usize == feature).count() as f32;
            let sum: f32 = rows.map(|(row, active)| times(active) * out.row(row)[output]).sum();
            assert!((kernel[output * features + feature] - sum).abs() < 1e-5);
        }
    }
}

/// The largest error of a function in units of the last place of the exact value.
fn error_in_places(function: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, within: f32) -> f64 {
    let numbers = (0..200_001).map(|i| within * (i as f32 / 100_000.0 - 1.0));
    let small = (1..60).flat_map(|power| [2f32.powi(-power), -2f32.powi(-power) * 1.37]);
    let errors = numbers.chain(small).map(|x| {
        let exact = exact(f64::from(x));
        let place =
            f64::from((exact.abs() as f32).max(f32::MIN_POSITIVE).next_up()) - f64::from(exact.abs() as f32);
        (f64::from(function(x)) - exact).abs() / place.max(f64::MIN_POSITIVE)
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn functions_are_right_to_the_last_places() {
    let exp_error = error_in_places(exp, f64::exp, 80.0);
    let tanh_error = error_in_places(tanh, f64::tanh, 12.0);
    let sigmoid_error = error_in_places(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 8.0);
    assert!(exp_error < 2.0, "exp {exp_error}");
    assert!(tanh_error < 3.0, "tanh {tanh_error}");
    // ½ + ½·tanh is exact near ½ and 1, not near 0, where a gate is closed.
    assert!(sigmoid_error < 4000.0, "sigmoid {sigmoid_error}");
    assert_eq!((tanh(0.0), tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (0.0, 1.0, -1.0));
    assert!(tanh(f32::NAN).is_nan() && exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
}

#[test]
fn functions_have_the_same_bits_in_a_loop_and_alone() {
    let x = random(1000, 3);
    let mut together = x.clone();
    vectorized(
        #[inline(always)]
        || {
            together.iter_mut().for_each(
                #[inline(always)]
                |x| *x = tanh(5.0 * *x),
            )
        },
    );
    assert!(x.iter().zip(&together).all(|(x, y)| tanh(5.0 * x).to_bits() == y.to_bits()));
}

#[test]
fn a_softmax_adds_up_to_one_and_shows_what_is_not_a_number() {
    let mut row = random(79, 4);
    let mut logs = row.clone();
    softmax(&mut row);
    log_softmax(&mut logs);
    assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert!(row.iter().zip(&logs).all(|(p, log)| (p.ln() - log).abs() < 1e-5));
    let mut broken = [0.0, f32::NAN, 1.0];
    log_softmax(&mut broken);
    assert!(broken.iter().all(|x| x.is_nan()));
}

#[test]
fn a_cells_way_back_is_the_derivative_of_its_way_forward() {
    // Loss: the sum of weighted outputs and cells. Each derivative against a difference in f32.
    let units = 3;
    let (flow, before) = (random(4 * units, 5), random(units, 6));
    let (of_output, of_cell) = (random(units, 7), random(units, 8));
    let forward = |flow: &[f32], before: &[f32]| {
        let mut gates = flow.to_vec();
        let [mut cell, mut tanh_cell, mut output] = [0, 1, 2].map(|_| vec![0.0; units]);
        let (c, t, o) = (&mut cell[..], &mut tanh_cell[..], &mut output[..]);
        Forward { gates: &mut gates, before: Some(before), cell: c, tanh_cell: t, output: o }.run();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        (dot(&output, &of_output) + dot(&cell, &of_cell), gates, tanh_cell)
    };
    let (_, mut gates, tanh_cell) = forward(&flow, &before);
    let mut d_cell = of_cell.clone();
    let (d_output, tanh_cell) = (&of_output[..], &tanh_cell[..]);
    Backward { gates: &mut gates, before: Some(&before), tanh_cell, d_output, d_cell: &mut d_cell }.run();
    let step = 1e-3;
    let change = |values: &[f32], index: usize, by: f32| {
        let mut changed = values.to_vec();
        changed[index] += by;
        changed
    };
    for (index, found) in gates.iter().enumerate() {
        let [up, down] = [step, -step].map(|by| forward(&change(&flow, index, by), &before).0);
        let slope = (up - down) / f64::from(2.0 * step);
        assert!((slope - f64::from(*found)).abs() < 1e-3, "gate {index}: {slope} {found}");
    }
    for (unit, found) in d_cell.iter().enumerate() {
        let [up, down] = [step, -step].map(|by| forward(&flow, &change(&before, unit, by)).0);
        let slope = (up - down) / f64::from(2.0 * step);
        assert!((slope - f64::from(*found)).abs() < 1e-3, "cell {unit}: {slope} {found}");
    }
}
