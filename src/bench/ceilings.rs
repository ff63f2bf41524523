//! What the machine could do at most: multiply-adds of one core, copies in memory, and the collectives of a step at
//! several sizes, without the sums between them. All ranks measure at once.
//!
//! The loop of multiply-adds works on numbers that stay in registers. Like our GEMMs it is compiled for each kind of vector
//! and chosen at run time.

use std::hint::black_box;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};
use serde::Serialize;

use super::timing::{barrier, median, seconds_of, slowest};
use crate::comm::Communicator;

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
    let point = |length: usize| ((4 * length) as f64, exchange_seconds(comm, length));
    let points: Vec<_> = smaller.chain([gradient]).map(point).collect();
    let gradient_seconds = points[points.len() - 1].1;
    Collectives { line: Line::through(&points), bytes: 4 * gradient, gradient_seconds, points }
}

/// The median over some exchanges of the slowest rank's time.
fn exchange_seconds(comm: &dyn Communicator, length: usize) -> f64 {
    const WARM_UP: usize = 3;
    const TIMES: usize = 31;
    let (slice, ranks) = (length.div_ceil(comm.size()), comm.size());
    let (mut send, mut parts) = (vec![1.0; slice * ranks], vec![0.0; slice * ranks]);
    let mut exchange = || {
        barrier(comm);
        let begin = Instant::now();
        comm.all_to_all(&send, &mut parts);
        comm.all_gather(&parts[..slice], &mut send);
        begin.elapsed().as_secs_f64()
    };
    let own: Vec<f64> = (0..WARM_UP + TIMES).map(|_| exchange()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
}
