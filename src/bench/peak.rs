//! How many multiply-adds a core can make: a loop of independent ones on numbers that stay in registers.
//!
//! Compiled for each instruction set and chosen at run time, as the products' libraries choose theirs.

// To call a function compiled for instructions that not every processor has.
#![allow(unsafe_code)]

use std::hint::black_box;

use serde::Serialize;

use super::statistics::seconds_of;
use super::together::{barrier, slowest};
use crate::comm::Comm;

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

/// Times the loop for the widest vectors that this processor has, on all ranks at once.
pub fn measure(comm: &dyn Comm) -> Peak {
    const ROUNDS: usize = 10_000;
    let (instructions, width, multiply_add) = widest();
    barrier(comm);
    let seconds = slowest(comm, &[seconds_of(|| multiply_add(black_box(ROUNDS)))])[0];
    Peak { instructions, flops_per_second: (2 * width * VECTORS * ROUNDS) as f64 / seconds }
}

/// What the numbers are multiplied by and what is added, over and over: they go to 1.
const FACTOR_AND_TERM: [f32; 2] = [0.999, 0.001];

/// A loop of so many rounds, which gives back one of its numbers.
type Loop = fn(usize) -> f32;

#[cfg(target_arch = "x86_64")]
fn widest() -> (&'static str, usize, Loop) {
    use std::arch::x86_64::{
        _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_cvtss_f32, _mm512_fmadd_ps, _mm512_set1_ps,
    };

    #[target_feature(enable = "avx512f")]
    fn avx512(rounds: usize) -> f32 {
        let [factor, term] = black_box(FACTOR_AND_TERM).map(|x| _mm512_set1_ps(x));
        let mut vectors = [_mm512_set1_ps(black_box(0.5)); VECTORS];
        for _ in 0..rounds {
            for x in &mut vectors {
                *x = _mm512_fmadd_ps(*x, factor, term);
            }
        }
        _mm512_cvtss_f32(black_box(vectors)[0])
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2(rounds: usize) -> f32 {
        let [factor, term] = black_box(FACTOR_AND_TERM).map(|x| _mm256_set1_ps(x));
        let mut vectors = [_mm256_set1_ps(black_box(0.5)); VECTORS];
        for _ in 0..rounds {
            for x in &mut vectors {
                *x = _mm256_fmadd_ps(*x, factor, term);
            }
        }
        _mm256_cvtss_f32(black_box(vectors)[0])
    }

    if is_x86_feature_detected!("avx512f") {
        // SAFETY: this processor was just asked for all that `avx512` is compiled for.
        ("AVX-512", 16, |rounds| unsafe { avx512(rounds) })
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: this processor was just asked for all that `avx2` is compiled for.
        ("AVX2", 8, |rounds| unsafe { avx2(rounds) })
    } else {
        ("SSE2", 4, plain)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn widest() -> (&'static str, usize, Loop) {
    (std::env::consts::ARCH, 4, plain)
}

/// Products and sums, which the compiler does not fuse, four at a time.
fn plain(rounds: usize) -> f32 {
    let [factor, term] = black_box(FACTOR_AND_TERM);
    let mut vectors = [[black_box(0.5_f32); 4]; VECTORS];
    for _ in 0..rounds {
        for x in vectors.as_flattened_mut() {
            *x = *x * factor + term;
        }
    }
    black_box(vectors)[0][0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loops_do_what_they_are_to() {
        let (_, _, chosen) = widest();
        for multiply_add in [chosen, plain] {
            assert!((multiply_add(1) - (0.999 * 0.5 + 0.001)).abs() < 1e-6);
            assert!((multiply_add(20_000) - 1.0).abs() < 1e-3);
        }
    }
}
