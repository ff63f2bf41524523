//! The one product of inference, out ← out + x·Wᵀ, with W packed so that the inner loop runs over
//! neighbouring columns in registers.

/// Columns that are summed side by side: what the inner loop keeps in vector registers.
const COLUMNS: usize = 16;
/// Rows that share each load of the weights.
const ROWS: usize = 2;

/// A weight matrix W (outputs, inputs).
#[derive(Debug, Clone)]
pub struct Matrix {
    inputs: usize,
    outputs: usize,
    /// Panels of [`COLUMNS`] outputs, each (inputs, COLUMNS), the last filled up with zeros.
    panels: Vec<[f32; COLUMNS]>,
}

impl Matrix {
    /// Packs a matrix (outputs, inputs).
    pub fn new(weights: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weights.len(), outputs * inputs, "a matrix of {outputs} by {inputs}");
        let weight = |output: usize, input: usize| match output < outputs {
            true => weights[output * inputs + input],
            false => 0.0,
        };
        let panels = (0..outputs.div_ceil(COLUMNS))
            .flat_map(|panel| (0..inputs).map(move |input| (panel * COLUMNS, input)))
            .map(|(first, input)| std::array::from_fn(|column| weight(first + column, input)))
            .collect();
        Matrix { inputs, outputs, panels }
    }

    /// out (R, outputs) += x (R, inputs) · Wᵀ. Every element is summed over ascending inputs.
    pub fn add_product(&self, x: &[f32], out: &mut [f32]) {
        let Matrix { inputs, outputs, .. } = *self;
        assert_eq!(x.len() * outputs, out.len() * inputs, "as many rows in as out");
        for (panel, weights) in self.panels.chunks_exact(inputs).enumerate() {
            let first = panel * COLUMNS;
            let columns = first..outputs.min(first + COLUMNS);
            for (x, out) in x.chunks(ROWS * inputs).zip(out.chunks_mut(ROWS * outputs)) {
                let mut sums = [[0.0; COLUMNS]; ROWS];
                match x.split_at_checked(inputs) {
                    Some((a, b)) if b.len() == inputs => sum_two(weights, a, b, &mut sums),
                    _ => sum_one(weights, x, &mut sums[0]),
                }
                for (out, sums) in out.chunks_exact_mut(outputs).zip(&sums) {
                    out[columns.clone()].iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                }
            }
        }
    }
}

fn sum_two(weights: &[[f32; COLUMNS]], a: &[f32], b: &[f32], sums: &mut [[f32; COLUMNS]; ROWS]) {
    let [sums_a, sums_b] = sums;
    for ((weights, &a), &b) in weights.iter().zip(a).zip(b) {
        for column in 0..COLUMNS {
            sums_a[column] += a * weights[column];
            sums_b[column] += b * weights[column];
        }
    }
}

fn sum_one(weights: &[[f32; COLUMNS]], x: &[f32], sums: &mut [f32; COLUMNS]) {
    for (weights, &x) in weights.iter().zip(x) {
        for column in 0..COLUMNS {
            sums[column] += x * weights[column];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        for (rows, inputs, outputs) in [(1, 1, 1), (2, 3, 16), (3, 5, 17), (5, 7, 33), (4, 2, 15)] {
            // Small whole numbers: every order of summing gives the same bits.
            let weights: Vec<f32> = (0..outputs * inputs).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let x: Vec<f32> = (0..rows * inputs).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let mut out: Vec<f32> = (0..rows * outputs).map(|i| i as f32).collect();
            let expected: Vec<f32> = (0..rows * outputs)
                .map(|i| {
                    let (row, output) = (i / outputs, i % outputs);
                    let terms = (0..inputs).map(|k| x[row * inputs + k] * weights[output * inputs + k]);
                    i as f32 + terms.sum::<f32>()
                })
                .collect();
            Matrix::new(&weights, outputs, inputs).add_product(&x, &mut out);
            assert_eq!(out, expected);
        }
    }
}
