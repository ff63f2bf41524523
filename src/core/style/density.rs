//! Densities of distances, and how far apart two are (Yang and Lerch 2018).
//!
//! A density is a Gaussian kernel estimate with Scott's bandwidth, σ·n^(−1/5) with σ over n − 1. Both figures are
//! integrals over the real line: the Kullback-Leibler divergence ∫ p ln(p/q) in nats, and the overlapping area
//! ∫ min(p, q). Where p vanishes both integrands do, so a grid over p's support serves any q.

/// Points of the grid.
const POINTS: usize = 2048;

/// The grid reaches so many bandwidths beyond the outermost distances: 10⁻⁹ of the mass is left out.
const BEYOND: f64 = 6.0;

/// No bandwidth is smaller than this share of the largest distance within the corpus: equal distances, which
/// features that count notes have, would make it 0.
const NARROWEST: f64 = 0.02;

/// The distances within the corpus, as a density p on a grid.
#[derive(Debug, Clone)]
pub struct Reference {
    from: f64,
    step: f64,
    narrowest: f64,
    density: Vec<f64>,
}

/// How far another set's distances are from the corpus's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// Kullback-Leibler divergence in nats, 0 for equal densities; where the densities do not touch it ends at
    /// about 700, the logarithm of the smallest number.
    pub kl: f64,
    /// Overlapping area, 1 for equal densities.
    pub overlap: f64,
}

impl Reference {
    /// Of the distances within the corpus, at least one.
    pub fn new(distances: &[f64]) -> Self {
        let (lowest, highest) =
            distances.iter().fold((f64::INFINITY, 0f64), |(l, h), &d| (l.min(d), h.max(d)));
        // Where all are 0 any width will do: everything else is infinitely far.
        let narrowest = if highest > 0.0 { NARROWEST * highest } else { NARROWEST };
        let bandwidth = bandwidth(distances).max(narrowest);
        let (from, to) = (lowest - BEYOND * bandwidth, highest + BEYOND * bandwidth);
        let step = (to - from) / (POINTS - 1) as f64;
        let mut reference = Reference { from, step, narrowest, density: Vec::new() };
        reference.density = reference.density_of(distances);
        reference
    }

    /// How far these distances, at least one, are from the corpus's own.
    pub fn divergence(&self, distances: &[f64]) -> Divergence {
        let other = self.density_of(distances);
        let surprise = |p: f64, q: f64| match p > 0.0 {
            true => p * (p.ln() - q.max(f64::MIN_POSITIVE).ln()),
            false => 0.0,
        };
        // Trapezoids: at both ends there is nothing, so that they are as exact as any rule.
        let kl: f64 = self.density.iter().zip(&other).map(|(&p, &q)| surprise(p, q)).sum();
        let overlap: f64 = (0..POINTS - 1).map(|cell| smaller(&self.density, &other, cell)).sum();
        Divergence { kl: kl * self.step, overlap: overlap * self.step }
    }

    fn density_of(&self, distances: &[f64]) -> Vec<f64> {
        let bandwidth = bandwidth(distances).max(self.narrowest);
        let mut density = vec![0.0; POINTS];
        for &distance in distances {
            self.add_kernel(&mut density, distance, bandwidth);
        }
        let scale = distances.len() as f64 * bandwidth * std::f64::consts::TAU.sqrt();
        density.iter_mut().for_each(|value| *value /= scale);
        density
    }

    /// Adds exp(−(x − centre)²/2h²) at every x of the grid, outwards from the point nearest to the centre: from one
    /// point to the next it is multiplied by a factor that is itself multiplied by a constant.
    fn add_kernel(&self, density: &mut [f64], centre: f64, bandwidth: f64) {
        let du = self.step / bandwidth;
        let constant = (-du * du).exp();
        let walk = |points: &mut dyn Iterator<Item = &mut f64>, u: f64, du: f64| {
            let mut value = (-u * u / 2.0).exp();
            let mut factor = (-u * du - du * du / 2.0).exp();
            for point in points {
                *point += value;
                value *= factor;
                factor *= constant;
                if value == 0.0 {
                    break;
                }
            }
        };
        let nearest = ((centre - self.from) / self.step).round().clamp(0.0, (POINTS - 1) as f64);
        let u = (self.from + nearest * self.step - centre) / bandwidth;
        let (below, above) = density.split_at_mut(nearest as usize);
        walk(&mut above.iter_mut(), u, du);
        walk(&mut below.iter_mut().rev(), u - du, -du);
    }
}

/// Scott's rule; 0 for fewer than two distances.
fn bandwidth(distances: &[f64]) -> f64 {
    let n = distances.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = distances.iter().sum::<f64>() / n;
    let variance = distances.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (n - 1.0);
    variance.sqrt() * n.powf(-0.2)
}

/// The mean of the smaller of two densities between a point and the next.
fn smaller(p: &[f64], q: &[f64], cell: usize) -> f64 {
    let next = cell + 1;
    let (before, after) = (p[cell] - q[cell], p[next] - q[next]);
    if before * after < 0.0 {
        // They cross: two straight lines to the crossing and on.
        let at = before / (before - after);
        let crossing = p[cell] + at * (p[next] - p[cell]);
        return (at * p[cell].min(q[cell]) + crossing + (1.0 - at) * p[next].min(q[next])) / 2.0;
    }
    // The third-degree curve through four points: where the smaller one changes, a trapezoid is not exact enough.
    let f = if before + after < 0.0 { p } else { q };
    let inner = f[cell] + f[next];
    let outer = if cell > 0 && next + 1 < f.len() { f[cell - 1] + f[next + 1] } else { inner };
    (13.0 * inner - outer) / 24.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() < within, "{found} for {expected}");
    }

    #[test]
    fn equal_sets_do_not_diverge() {
        let distances = [1.0, 2.0, 2.5, 4.0, 7.0];
        let Divergence { kl, overlap } = Reference::new(&distances).divergence(&distances);
        close(kl, 0.0, 1e-12);
        close(overlap, 1.0, 1e-8);
    }

    #[test]
    fn two_normal_densities_have_the_known_figures() {
        // One distance each, so that the estimate is one kernel, of width 0.02 · 2.
        let Divergence { kl, overlap } = Reference::new(&[2.0]).divergence(&[2.06]);
        close(kl, 1.5f64.powi(2) / 2.0, 1e-6);
        // 2Φ(−0.75).
        close(overlap, 0.453_254_7, 1e-6);
    }

    #[test]
    fn sets_that_do_not_touch() {
        let Divergence { kl, overlap } = Reference::new(&[1.0, 2.0, 3.0]).divergence(&[1e6]);
        assert!(kl > 600.0 && kl < 800.0, "{kl}");
        assert_eq!(overlap, 0.0);
        let Divergence { kl, overlap } = Reference::new(&[0.0, 0.0]).divergence(&[0.0, 0.0]);
        close(kl, 0.0, 1e-12);
        close(overlap, 1.0, 1e-8);
    }

    #[test]
    fn bandwidth_is_scotts() {
        close(bandwidth(&[1.0, 2.0, 3.0, 4.0]), (5f64 / 3.0).sqrt() * 4f64.powf(-0.2), 1e-12);
        assert_eq!(bandwidth(&[3.0]), 0.0);
    }

    #[test]
    fn the_density_is_the_sum_of_kernels() {
        let distances = [0.5, 0.9, 3.2];
        let reference = Reference::new(&distances);
        let h = bandwidth(&distances);
        for (point, &found) in reference.density.iter().enumerate() {
            let x = reference.from + point as f64 * reference.step;
            let kernel = |d: &f64| (-((x - d) / h).powi(2) / 2.0).exp();
            let expected =
                distances.iter().map(kernel).sum::<f64>() / (3.0 * h * std::f64::consts::TAU.sqrt());
            close(found, expected, 1e-9);
        }
        close(reference.density.iter().sum::<f64>() * reference.step, 1.0, 1e-8);
    }
}
