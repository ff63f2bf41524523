//! The LSTM cell, forward and backward, on rows of one moment: what libtorch would make of a dozen small
//! operations and as many passes over memory.
//!
//! Gates come in the order i, f, g, o, each of H units. σ(x) = ½ + ½·tanh(x/2), because the tangent is the one
//! function here whose result does not depend on where in a buffer a value lies. Derivatives are those of
//! Graves 2012, section 4.6, without peepholes.

/// Sums up what flows into the gates, halved where a σ follows: the argument of the tangent.
/// `sums` holds the recurrent part, and takes the result.
pub fn gate_arguments(sums: &mut [f32], inputs: &[f32], bias: &[f32]) {
    let units = sums.len() / 4;
    let gates = sums.chunks_exact_mut(units).zip(inputs.chunks_exact(units)).zip(bias.chunks_exact(units));
    for (gate, ((sums, inputs), bias)) in gates.enumerate() {
        let scale = if gate == G { 1.0 } else { 0.5 };
        for ((sum, input), bias) in sums.iter_mut().zip(inputs).zip(bias) {
            *sum = scale * (*sum + input + bias);
        }
    }
}

/// Which of the four is g, the candidate.
const G: usize = 2;

/// From the tangents to gates and the new cell, c ← f·c + i·g. `before` is the cell a moment ago; without it 0.
pub fn gates_and_cell(tangents: &[f32], before: Option<&[f32]>, gates: &mut [f32], cell: &mut [f32]) {
    let units = cell.len();
    for (gate, (gates, tangents)) in
        gates.chunks_exact_mut(units).zip(tangents.chunks_exact(units)).enumerate()
    {
        if gate == G {
            gates.copy_from_slice(tangents);
        } else {
            gates.iter_mut().zip(tangents).for_each(|(gate, tangent)| *gate = 0.5 + 0.5 * tangent);
        }
    }
    let [i, f, g, _] = quarters(gates);
    for (((cell, i), g), unit) in cell.iter_mut().zip(i).zip(g).zip(0..) {
        *cell = i * g + before.map_or(0.0, |before: &[f32]| f[unit] * before[unit]);
    }
}

/// h = o·tanh(c).
pub fn output(gates: &[f32], tanh_cell: &[f32], output: &mut [f32]) {
    let [_, _, _, o] = quarters(gates);
    for ((output, o), tanh) in output.iter_mut().zip(o).zip(tanh_cell) {
        *output = o * tanh;
    }
}

/// What one row of one moment kept from the way forward, and gets on the way back.
pub struct Backward<'a> {
    /// ∂L/∂h from the layer above.
    pub from_above: &'a [f32],
    /// ∂L/∂h from the next moment.
    pub from_later: &'a [f32],
    /// tanh(c).
    pub tanh_cell: &'a [f32],
    /// The cell a moment ago; without it 0.
    pub before: Option<&'a [f32]>,
}

impl Backward<'_> {
    /// Turns the gates into ∂L/∂(what flowed into them), and ∂L/∂c into that of the moment before.
    pub fn run(&self, gates: &mut [f32], d_cell: &mut [f32]) {
        let units = d_cell.len();
        let (i, rest) = gates.split_at_mut(units);
        let (f, rest) = rest.split_at_mut(units);
        let (g, o) = rest.split_at_mut(units);
        // Equal lengths, so that the loop below needs no checks and becomes vector instructions.
        let [above, later, tanh] = [self.from_above, self.from_later, self.tanh_cell].map(|x| &x[..units]);
        let (i, f, g, o) = (&mut i[..units], &mut f[..units], &mut g[..units], &mut o[..units]);
        for unit in 0..units {
            let d_output = above[unit] + later[unit];
            let d = d_cell[unit] + d_output * o[unit] * (1.0 - tanh[unit] * tanh[unit]);
            let (i_now, f_now, g_now, o_now) = (i[unit], f[unit], g[unit], o[unit]);
            i[unit] = d * g_now * i_now * (1.0 - i_now);
            g[unit] = d * i_now * (1.0 - g_now * g_now);
            o[unit] = d_output * tanh[unit] * o_now * (1.0 - o_now);
            // The derivative of σ; the cell before comes in below.
            f[unit] = d * f_now * (1.0 - f_now);
            d_cell[unit] = d * f_now;
        }
        match self.before {
            Some(before) => f.iter_mut().zip(before).for_each(|(f, before)| *f *= before),
            None => f.fill(0.0),
        }
    }
}

fn quarters(gates: &[f32]) -> [&[f32]; 4] {
    let units = gates.len() / 4;
    [0, 1, 2, 3].map(|gate| &gates[gate * units..][..units])
}
