//! The exponential and what is made of it, to two units in the last place, in operations that every processor rounds
//! alike. Compilers turn loops over them into vector instructions.

use std::f32::consts::LOG2_E;

/// Adding and taking away 1.5·2²³ rounds a number of less than 2²² to the nearest whole one, which the lowest bits of
/// the sum hold.
const ROUND: f32 = 12_582_912.0;

/// ln 2 in two parts, the first of so few bits that its multiples by small whole numbers are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;

/// 2ⁿ and eʳ − 1, where x = n·ln 2 + r and |r| ≤ ½ ln 2, for |x| < 88. eʳ by its Taylor series, whose next term is
/// below 6·10⁻⁹.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
    let tail = series.into_iter().fold(1.0 / 5040.0, |sum: f32, term| sum.mul_add(r, term));
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    (power, (r * r).mul_add(tail, r))
}

/// eˣ, for |x| below 87; beyond that the limit's value.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (power, rest) = split(x.clamp(-87.0, 87.0));
    power.mul_add(rest, power)
}

/// The hyperbolic tangent: t / (t + 2) with t = e²ˣ − 1, which is exact to the last places near 0 too.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // From here on it is ±1 in f32. A clamp, unlike min and max, lets NaN through.
    let (power, rest) = split(2.0 * x.clamp(-9.5, 9.5));
    let t = power.mul_add(rest, power - 1.0);
    t / (t + 2.0)
}

/// The logistic function.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    0.5f32.mul_add(tanh(0.5 * x), 0.5)
}

/// The natural logarithm of a positive number, by a library in Rust.
pub fn ln(x: f32) -> f32 {
    libm::log(f64::from(x)) as f32
}

/// Scores to log-probs, in place.
pub fn log_softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // f32::max passes over NaN; the sum does not.
    let total: f32 = row.iter().map(|x| exp(x - largest)).sum();
    let log_total = largest + ln(total);
    row.iter_mut().for_each(|x| *x -= log_total);
}

/// Scores to probabilities, in place.
pub fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = exp(*x - largest));
    let total: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= total);
}
