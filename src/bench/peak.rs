//! How many multiply-adds a core can make: a loop of independent ones on numbers that stay in registers.
//!
//! Compiled for each kind of vector and chosen at run time, as our products are.

use std::hint::black_box;

use pulp::{Arch, Simd, WithSimd};
use serde::Serialize;

use super::statistics::seconds_of;
use super::together::{barrier, slowest};
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
pub fn measure(comm: &dyn Communicator) -> Peak {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_does_what_it_is_to() {
        let after = |rounds| Arch::new().dispatch(Loop { rounds }).1;
        assert!((after(1) - (0.999 * 0.5 + 0.001)).abs() < 1e-6);
        assert!((after(20_000) - 1.0).abs() < 1e-3);
    }
}
