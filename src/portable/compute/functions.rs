//! The exponential and what is made of it (tanh, the logistic function, softmax), to two units in the last place, and the
//! LSTM cell, in operations that every processor rounds alike. Compilers turn loops over them into vector instructions.
//!
//! The cell is that of Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000, on rows of one timestep. Gates
//! come in the order i, f, g, o, each of H units: c ← σ(f)·c + σ(i)·tanh(g), h ← σ(o)·tanh(c). Derivatives are those of
//! Graves 2012, section 4.6, without peepholes.

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
    for x in row.iter_mut() {
        *x -= log_total;
    }
}

/// Scores to probabilities, in place.
pub fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in row.iter_mut() {
        *x = exp(*x - largest);
    }
    let total: f32 = row.iter().sum();
    for x in row.iter_mut() {
        *x /= total;
    }
}

/// One row's forward pass.
pub struct Forward<'a> {
    /// (4H): what flows in, and then the gates.
    pub gates: &'a mut [f32],
    /// (H): the cell a timestep ago; without it 0.
    pub before: Option<&'a [f32]>,
    /// (H): the new cell.
    pub cell: &'a mut [f32],
    /// (H): tanh(c).
    pub tanh_cell: &'a mut [f32],
    /// (H): h.
    pub output: &'a mut [f32],
}

impl Forward<'_> {
    /// Runs it. Short loops that each write one slice or two become vector instructions; one loop over all would not.
    #[inline(always)]
    pub fn run(self) {
        let Forward { gates, before, cell, tanh_cell, output } = self;
        let [i, f, g, o] = quarters(gates);
        i.iter_mut().for_each(
            #[inline(always)]
            |x| *x = sigmoid(*x),
        );
        f.iter_mut().for_each(
            #[inline(always)]
            |x| *x = sigmoid(*x),
        );
        g.iter_mut().for_each(
            #[inline(always)]
            |x| *x = tanh(*x),
        );
        o.iter_mut().for_each(
            #[inline(always)]
            |x| *x = sigmoid(*x),
        );
        new_cell(cell, [i, f, g], before);
        for (tanh_cell, &cell) in tanh_cell.iter_mut().zip(&*cell) {
            *tanh_cell = tanh(cell);
        }
        for ((output, &o), &tanh_cell) in output.iter_mut().zip(&*o).zip(&*tanh_cell) {
            *output = o * tanh_cell;
        }
    }
}

/// c ← f·c + i·g.
#[inline(always)]
fn new_cell(cell: &mut [f32], [i, f, g]: [&mut [f32]; 3], before: Option<&[f32]>) {
    let new = cell.iter_mut().zip(&*i).zip(&*g);
    match before {
        Some(before) => {
            for ((((cell, &i), &g), &f), &before) in new.zip(&*f).zip(before) {
                *cell = f.mul_add(before, i * g);
            }
        }
        None => new.for_each(
            #[inline(always)]
            |((cell, &i), &g)| *cell = i * g,
        ),
    }
}

/// One row's backward pass.
pub struct Backward<'a> {
    /// (4H): the gates, and then ∂L/∂(what flowed into them).
    pub gates: &'a mut [f32],
    /// (H): the cell a timestep ago; without it 0.
    pub before: Option<&'a [f32]>,
    /// (H): tanh(c).
    pub tanh_cell: &'a [f32],
    /// (H): ∂L/∂h.
    pub d_output: &'a [f32],
    /// (H): ∂L/∂c from the next timestep, and then of the timestep before.
    pub d_cell: &'a mut [f32],
}

impl Backward<'_> {
    /// Runs it.
    #[inline(always)]
    pub fn run(self) {
        let Backward { gates, before, tanh_cell, d_output, d_cell } = self;
        let [i, f, g, o] = quarters(gates);
        for (((d, &d_output), &o), &tanh) in d_cell.iter_mut().zip(d_output).zip(&*o).zip(tanh_cell) {
            *d = (d_output * o).mul_add(1.0 - tanh * tanh, *d);
        }
        for ((o, &d_output), &tanh) in o.iter_mut().zip(d_output).zip(tanh_cell) {
            *o = d_output * tanh * *o * (1.0 - *o);
        }
        for ((i, g), &d) in i.iter_mut().zip(g).zip(&*d_cell) {
            let (i_now, g_now) = (*i, *g);
            *i = d * g_now * i_now * (1.0 - i_now);
            *g = d * i_now * (1.0 - g_now * g_now);
        }
        match before {
            Some(before) => {
                for ((f, d), &before) in f.iter_mut().zip(d_cell).zip(before) {
                    let (f_now, d_now) = (*f, *d);
                    *f = d_now * before * f_now * (1.0 - f_now);
                    *d = d_now * f_now;
                }
            }
            // Nothing is before it, so nothing needs what would flow there.
            None => f.fill(0.0),
        }
    }
}

#[inline(always)]
fn quarters(gates: &mut [f32]) -> [&mut [f32]; 4] {
    let units = gates.len() / 4;
    let (i, rest) = gates.split_at_mut(units);
    let (f, rest) = rest.split_at_mut(units);
    let (g, o) = rest.split_at_mut(units);
    [i, f, g, o]
}
