//! The LSTM cell (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000) on rows of one timestep.
//!
//! Gates come in the order i, f, g, o, each of H units: c ← σ(f)·c + σ(i)·tanh(g), h ← σ(o)·tanh(c). Derivatives are
//! those of Graves 2012, section 4.6, without peepholes.

use super::functions::{sigmoid, tanh};

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
