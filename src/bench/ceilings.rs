//! What the machine could do at most: multiply-adds of one core, copies in memory, the collectives of a step at several
//! sizes, without the sums between them, and the GEMMs of a step by themselves. All ranks measure at once.
//!
//! The loop of multiply-adds works on numbers that stay in registers. Like our GEMMs it is compiled for each kind of vector
//! and chosen at run time. Looking up one-hot inputs is no GEMM, nor is what comes from the zero initial state.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use bachdist_portable::backend::Device;
use bachdist_portable::compute::gemm::Packed;
use bachdist_portable::compute::matrix::Matrix;
use bachdist_portable::compute::weight_gradient::{LaneRows, Weight, weight_gradients};
use bachdist_portable::network::Architecture;
use pulp::{Arch, Simd, WithSimd};
use serde::Serialize;
#[cfg(feature = "torch")]
use tch::{Kind, Tensor};

use super::timing::{barrier, median, seconds_of, slowest};
use crate::comm::Communicator;
#[cfg(feature = "torch")]
use crate::torch::cuda::{tch_device, wait};

/// The peak of one core, f32.
#[derive(Debug, Clone, Serialize)]
pub struct Peak {
    /// What the loop was compiled for.
    pub instructions: &'static str,
    /// Two for each multiply-add.
    pub flops_per_second: f64,
}

/// Accumulators: with two multiply-adds begun in every cycle and each done four or five later, eight to ten are under
/// way.
const VECTORS: usize = 12;

/// Times the loop in the widest vectors that this processor has, on all ranks at once.
pub fn peak(comm: &dyn Communicator) -> Peak {
    const ROUNDS: usize = 10_000;
    let loops = || Arch::new().dispatch(Loop { rounds: black_box(ROUNDS) });
    let (width, _) = loops();
    let instructions = match width {
        16 => "AVX-512",
        8 => "AVX2",
        4 => "NEON",
        _ => "no vectors",
    };
    barrier(comm);
    let seconds = slowest(comm, &[seconds_of(loops)])[0];
    Peak { instructions, flops_per_second: (2 * width * VECTORS * ROUNDS) as f64 / seconds }
}

/// x ← 0.999·x + 0.001, over and over: x goes to 1.
struct Loop {
    rounds: usize,
}

impl WithSimd for Loop {
    /// Numbers in a vector, and one of them.
    type Output = (usize, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (usize, f32) {
        let [factor, term] = black_box([0.999, 0.001]).map(
            #[inline(always)]
            |x| simd.splat_f32s(x),
        );
        let mut vectors = [simd.splat_f32s(black_box(0.5)); VECTORS];
        for _ in 0..self.rounds {
            for x in &mut vectors {
                *x = simd.mul_add_f32s(*x, factor, term);
            }
        }
        (S::F32_LANES, simd.reduce_max_f32s(black_box(vectors)[0]))
    }
}

/// A copy, on all ranks at once, the slowest rank's.
#[derive(Debug, Clone, Serialize)]
pub struct Copy {
    /// Bytes copied: read once, written once.
    pub bytes: usize,
    /// Seconds.
    pub seconds: f64,
    /// Bytes copied a second.
    pub bytes_per_second: f64,
}

/// Both kinds of copy.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryCopy {
    /// Far larger than caches.
    pub large: Copy,
    /// The parameters.
    pub parameters: Copy,
}

/// Larger than any cache that a rank has for itself.
const LARGE: usize = 128 << 20;

/// Times both.
pub fn memory_copy(comm: &dyn Communicator, parameters: usize) -> MemoryCopy {
    MemoryCopy { large: copy(comm, LARGE), parameters: copy(comm, parameters) }
}

fn copy(comm: &dyn Communicator, bytes: usize) -> Copy {
    // Ones: pages of zeros may be one and the same.
    let (from, mut to) = (vec![1_u8; bytes], vec![1_u8; bytes]);
    barrier(comm);
    let seconds = slowest(comm, &[seconds_of(|| to.copy_from_slice(std::hint::black_box(&from)))])[0];
    Copy { bytes, seconds, bytes_per_second: bytes as f64 / seconds }
}
/// All-to-all and all-gather of a buffer, as in a step.
#[derive(Debug, Clone, Serialize)]
pub struct Collectives {
    /// Seconds by bytes of the buffer; 2·(n − 1)/n of them leave each of n ranks.
    #[serde(flatten)]
    pub line: Line,
    /// Bytes of the gradient.
    pub bytes: usize,
    /// What the gradient takes, measured.
    pub gradient_seconds: f64,
    /// Bytes and seconds.
    pub points: Vec<(f64, f64)>,
}

/// Times exchanges from 64 numbers on, each size eight times the one before, up to the gradient.
pub fn collectives(comm: &dyn Communicator, gradient: usize) -> Collectives {
    let smaller = (0..).map(|power| 64 << (3 * power)).take_while(|&length| length < gradient);
    let lengths = smaller.chain([gradient]);
    let points: Vec<_> =
        lengths.map(|length| ((4 * length) as f64, exchange_seconds(comm, length))).collect();
    let gradient_seconds = points[points.len() - 1].1;
    Collectives { line: Line::through(&points), bytes: 4 * gradient, gradient_seconds, points }
}

/// The median over some exchanges of the slowest rank's time.
fn exchange_seconds(comm: &dyn Communicator, length: usize) -> f64 {
    const WARM_UP: usize = 3;
    const TIMES: usize = 31;
    let (slice, ranks) = (length.div_ceil(comm.size()), comm.size());
    let (mut send, mut parts) = (vec![1.0; slice * ranks], vec![0.0; slice * ranks]);
    let mut own = Vec::new();
    for _ in 0..WARM_UP + TIMES {
        barrier(comm);
        let begin = Instant::now();
        comm.all_to_all(&send, &mut parts);
        comm.all_gather(&parts[..slice], &mut send);
        own.push(begin.elapsed().as_secs_f64());
    }
    median(slowest(comm, &own[WARM_UP..]))
}

/// α + β·x: the model of Hockney (1994) for messages of x bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Line {
    /// α, seconds.
    pub alpha_seconds: f64,
    /// β.
    pub seconds_per_byte: f64,
    /// Root of the mean square of what it is off by, as a share of each time.
    pub relative_residual: f64,
}

impl Line {
    /// The line with the least relative error through points (x, y), at least two, of different x, y above 0. What is
    /// off by a tenth counts alike at all sizes; otherwise the largest alone would decide. Neither α nor β is below 0.
    pub fn through(points: &[(f64, f64)]) -> Line {
        let sum = |term: fn(f64, f64) -> f64| points.iter().map(|&(x, y)| term(x, y) / (y * y)).sum::<f64>();
        let (one, x, xx) = (sum(|_, _| 1.0), sum(|x, _| x), sum(|x, _| x * x));
        let (y, xy) = (sum(|_, y| y), sum(|x, y| x * y));
        let determinant = one * xx - x * x;
        let (alpha, beta) = ((y * xx - xy * x) / determinant, (one * xy - x * y) / determinant);
        let (alpha, beta) = match (alpha < 0.0, beta < 0.0) {
            (true, _) => (0.0, xy / xx),
            (_, true) => (y / one, 0.0),
            _ => (alpha, beta),
        };
        let squares = points.iter().map(|&(x, y)| ((alpha + beta * x - y) / y).powi(2));
        let relative_residual = (squares.sum::<f64>() / points.len() as f64).sqrt();
        Line { alpha_seconds: alpha, seconds_per_byte: beta, relative_residual }
    }
}

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

/// The GEMMs of a step on a rank whose lanes have these numbers of windows: the minimum that the network needs, without
/// padding.
pub fn step_gemms(
    architecture: Architecture,
    lanes: &[usize],
    notes: usize,
    predictions: usize,
) -> Vec<Gemm> {
    let Architecture { layers, units, dense, members, .. } = architecture;
    let mut all: Vec<Gemm> = Vec::new();
    // A weight (outputs, inputs) that `times` forward GEMMs each use on `per_window` rows of every window. Its gradient
    // is one GEMM for all of them.
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

/// What computes the GEMMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// What a step on a CPU is made of.
    Own,
    #[cfg(feature = "torch")]
    /// libtorch, which uses a library of the processor's maker or the GPU's.
    Libtorch,
}

/// Operands of the GEMMs of a step, ready to be multiplied.
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
            for row in matrix.all_mut().iter_mut() {
                row.fill(0.5);
            }
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
        let mut operands = Vec::new();
        for gemm in gemms {
            let operand = match library {
                Library::Own => Operand::own(gemm),
                #[cfg(feature = "torch")]
                Library::Libtorch => Operand::of_libtorch(gemm, device)?,
            };
            operands.push((operand, gemm.count));
        }
        Ok(Operands { device, gemms: operands })
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
    use bachdist_portable::config::ModelConfig;
    use bachdist_portable::representation::RepresentationConfig;
    use bachdist_portable::representation::pitch::Pitch;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_loop_does_what_it_is_to() {
        let after = |rounds| Arch::new().dispatch(Loop { rounds }).1;
        assert!((after(1) - (0.999 * 0.5 + 0.001)).abs() < 1e-6);
        assert!((after(20_000) - 1.0).abs() < 1e-3);
    }

    const SIZES: [f64; 6] = [256.0, 2048.0, 16_384.0, 131_072.0, 1_048_576.0, 5_923_132.0];

    #[test]
    fn neither_part_is_below_zero() {
        let through_nothing = Line::through(&[(1.0, 1.0), (10.0, 20.0)]);
        assert_eq!(through_nothing.alpha_seconds, 0.0);
        assert!(through_nothing.seconds_per_byte > 1.0 && through_nothing.seconds_per_byte < 2.0);
        let falling = Line::through(&[(1.0, 2.0), (10.0, 1.0)]);
        assert_eq!(falling.seconds_per_byte, 0.0);
        assert!(falling.alpha_seconds > 1.0 && falling.alpha_seconds < 2.0);
        assert!(falling.relative_residual > 0.1);
    }

    #[test]
    fn a_late_message_does_not_hide_alpha() {
        let mut points = SIZES.map(|bytes| (bytes, 5e-6 + bytes * 1e-9));
        points[5].1 *= 1.5;
        let Line { alpha_seconds, .. } = Line::through(&points);
        assert!((alpha_seconds - 5e-6).abs() < 1e-6, "{alpha_seconds}");
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn exact_points_give_their_line_back(alpha in 1e-7..1e-3_f64, beta in 1e-12..1e-8_f64) {
            let line = Line::through(&SIZES.map(|bytes| (bytes, alpha + beta * bytes)));
            prop_assert!((line.alpha_seconds / alpha - 1.0).abs() < 1e-6);
            prop_assert!((line.seconds_per_byte / beta - 1.0).abs() < 1e-3);
            prop_assert!(line.relative_residual < 1e-6);
        }
    }

    fn flops(gemms: &[Gemm]) -> f64 {
        gemms.iter().map(Gemm::flops).sum()
    }

    #[test]
    fn the_articles_step_by_hand() {
        let article =
            Architecture::new(&ModelConfig::default(), RepresentationConfig::default().build().shape());
        let products = step_gemms(article, &[8; 8], 20, 1);
        // A window's multiply-adds forward: three layers of 19 recurrent GEMMs, two of 20 input GEMMs, two dense ones.
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
