//! Probability densities of distances, and the divergence of two densities (Yang and Lerch 2018).
//!
//! A density is a Gaussian kernel estimate with Scott's bandwidth, σ·n^(−1/5) with σ over n − 1. Both figures are
//! integrals over the real line: the Kullback-Leibler divergence ∫ p ln(p/q) in nats, and the overlapping area
//! ∫ min(p, q). Both integrands vanish where p does, so that a grid over p's support suffices for any q.

/// Enough for errors below 1e-6 (a test compares with an independent program).
const GRID_POINTS: usize = 2048;

/// The grid extends this many bandwidths beyond the outermost distances, which leaves out 10⁻⁹ of the mass.
const MARGIN_BANDWIDTHS: f64 = 6.0;

/// The minimum bandwidth, as a fraction of the largest distance within the corpus: equal distances, which are common for
/// features that count notes, would make it 0.
const MIN_BANDWIDTH: f64 = 0.02;

/// The density p of the distances within the corpus, on a grid.
#[derive(Debug, Clone)]
pub struct ReferenceDensity {
    from: f64,
    step: f64,
    min_bandwidth: f64,
    density: Vec<f64>,
}

/// How far another set's distances are from the corpus's own distances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// Kullback-Leibler divergence in nats: 0 for equal densities, and about 700 (the logarithm of the smallest positive
    /// number) for densities that do not overlap.
    pub kl: f64,
    /// Overlapping area, 1 for equal densities.
    pub overlap: f64,
}

impl ReferenceDensity {
    /// From the distances within the corpus, at least one.
    pub fn new(distances: &[f64]) -> Self {
        let (lowest, highest) =
            distances.iter().fold((f64::INFINITY, 0f64), |(l, h), &d| (l.min(d), h.max(d)));
        // If all distances are 0 any width will do: everything else is infinitely far.
        let min_bandwidth = if highest > 0.0 { MIN_BANDWIDTH * highest } else { MIN_BANDWIDTH };
        let bandwidth = bandwidth(distances).max(min_bandwidth);
        let (from, to) = (lowest - MARGIN_BANDWIDTHS * bandwidth, highest + MARGIN_BANDWIDTHS * bandwidth);
        let step = (to - from) / (GRID_POINTS - 1) as f64;
        let mut reference = ReferenceDensity { from, step, min_bandwidth, density: Vec::new() };
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
        // Trapezoidal rule: since the integrand vanishes at both ends, it is as accurate as any.
        let kl: f64 = self.density.iter().zip(&other).map(|(&p, &q)| surprise(p, q)).sum();
        let overlap: f64 = (0..GRID_POINTS - 1).map(|cell| mean_minimum(&self.density, &other, cell)).sum();
        Divergence { kl: kl * self.step, overlap: overlap * self.step }
    }

    fn density_of(&self, distances: &[f64]) -> Vec<f64> {
        let bandwidth = bandwidth(distances).max(self.min_bandwidth);
        let mut density = vec![0.0; GRID_POINTS];
        for &distance in distances {
            self.add_kernel(&mut density, distance, bandwidth);
        }
        let scale = distances.len() as f64 * bandwidth * std::f64::consts::TAU.sqrt();
        for value in &mut density {
            *value /= scale;
        }
        density
    }

    /// Adds exp(−(x − center)²/2h²) at every x of the grid, outwards from the point nearest to the center: from one
    /// point to the next it is multiplied by a factor that is itself multiplied by a constant.
    fn add_kernel(&self, density: &mut [f64], center: f64, bandwidth: f64) {
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
        let nearest = ((center - self.from) / self.step).round().clamp(0.0, (GRID_POINTS - 1) as f64);
        let u = (self.from + nearest * self.step - center) / bandwidth;
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

/// The mean of min(p, q) between a grid point and the next one.
fn mean_minimum(p: &[f64], q: &[f64], cell: usize) -> f64 {
    let next = cell + 1;
    let (before, after) = (p[cell] - q[cell], p[next] - q[next]);
    if before * after < 0.0 {
        // The densities cross: straight lines to the crossing and on from there.
        let at = before / (before - after);
        let crossing = p[cell] + at * (p[next] - p[cell]);
        return (at * p[cell].min(q[cell]) + crossing + (1.0 - at) * p[next].min(q[next])) / 2.0;
    }
    // The cubic through four points: where the minimum changes, trapezoids are not accurate enough.
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
        let Divergence { kl, overlap } = ReferenceDensity::new(&distances).divergence(&distances);
        close(kl, 0.0, 1e-12);
        close(overlap, 1.0, 1e-8);
    }

    #[test]
    fn two_normal_densities_have_the_known_figures() {
        // One distance each, so that the estimate is one kernel, of width 0.02 · 2.
        let Divergence { kl, overlap } = ReferenceDensity::new(&[2.0]).divergence(&[2.06]);
        close(kl, 1.5f64.powi(2) / 2.0, 1e-6);
        // 2Φ(−0.75).
        close(overlap, 0.453_254_7, 1e-6);
    }

    #[test]
    fn sets_that_do_not_touch() {
        let Divergence { kl, overlap } = ReferenceDensity::new(&[1.0, 2.0, 3.0]).divergence(&[1e6]);
        assert!(kl > 600.0 && kl < 800.0, "{kl}");
        assert_eq!(overlap, 0.0);
        let Divergence { kl, overlap } = ReferenceDensity::new(&[0.0, 0.0]).divergence(&[0.0, 0.0]);
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
        let reference = ReferenceDensity::new(&distances);
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
