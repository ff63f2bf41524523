//! Counter-based random numbers: a number is a function of the seed, its purpose and its index, not of how many were drawn
//! before.
//!
//! Invariant: no random number depends on the number of ranks or threads, because any rank computes any number by itself, in
//! any order. The mixer is SplitMix64's (Steele, Lea, Flood 2014, constants of Stafford's mix 13).

/// What a stream of random numbers is for. Two purposes never share numbers, so a value here must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights, by tensor.
    Initialization = 1,
    /// Order of the windows, by epoch.
    Order = 2,
    /// Dropout masks, by step, row of the global batch, and layer.
    Dropout = 3,
    /// Sampling, by piece.
    Sampling = 4,
    /// Hashes of windows that were read, by epoch and piece.
    Audit = 5,
    /// Transposition, by epoch and window.
    Transposition = 6,
    /// Masks of dropped recurrent weights, by step and layer.
    WeightDrop = 7,
    /// Masks of dropped inputs, by step and row of the global batch.
    InputDropout = 8,
    /// Synthetic music for load tests, by file.
    Synthesis = 9,
    /// Sampling of further candidates, by piece and candidate.
    Candidate = 10,
}

/// A stream of random numbers, addressed by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomStream(u64);

/// SplitMix64's increment of the state.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// The mixer's shifts. A multiplication follows each of them but the last.
pub const SHIFTS: [u32; 3] = [30, 27, 31];
/// The mixer's multipliers.
pub const MULTIPLIERS: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> SHIFTS[0])).wrapping_mul(MULTIPLIERS[0]);
    z = (z ^ (z >> SHIFTS[1])).wrapping_mul(MULTIPLIERS[1]);
    z ^ (z >> SHIFTS[2])
}

impl RandomStream {
    /// The stream of `seed` for a purpose; the coordinates distinguish its uses, like step and layer.
    pub fn new(seed: u64, purpose: Purpose, coordinates: &[u64]) -> Self {
        let start = mix(seed.wrapping_add(GOLDEN)) ^ purpose as u64;
        coordinates.iter().fold(RandomStream(mix(start)), |stream, &coordinate| stream.of(coordinate))
    }

    /// The substream of this one for one more coordinate.
    pub fn of(self, coordinate: u64) -> Self {
        RandomStream(mix(mix(self.0.wrapping_add(GOLDEN)) ^ coordinate))
    }

    /// The key for code that mixes by itself: number `index` is `mix(key + (index + 1) * GOLDEN)`.
    pub fn key(self) -> u64 {
        self.0
    }

    /// 64 random bits.
    pub fn bits(self, index: u64) -> u64 {
        mix(self.0.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn uniform(self, index: u64) -> f64 {
        (self.bits(index) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller from the uniforms 2·index and 2·index + 1. Logarithm and cosine are those of a
    /// library in Rust, with the same bits on every machine.
    pub fn normal(self, index: u64) -> f64 {
        // 1 − u is in (0, 1]: its logarithm is finite.
        let radius = (-2.0 * libm::log(1.0 - self.uniform(2 * index))).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform(2 * index + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        // A change here changes every run: checkpoints of before could not be continued to the same bits.
        let stream = RandomStream::new(1, Purpose::Order, &[0]);
        assert_eq!([stream.bits(0), stream.bits(1)], GOLDEN_BITS);
        assert_eq!(
            RandomStream::new(1, Purpose::Dropout, &[2, 3]),
            RandomStream::new(1, Purpose::Dropout, &[2]).of(3)
        );
    }

    const GOLDEN_BITS: [u64; 2] = [5_094_479_856_869_434_872, 12_088_675_425_696_200_153];

    #[test]
    fn purposes_and_coordinates_part() {
        let base = RandomStream::new(7, Purpose::Order, &[3, 4]);
        for other in [
            RandomStream::new(8, Purpose::Order, &[3, 4]),
            RandomStream::new(7, Purpose::Dropout, &[3, 4]),
            RandomStream::new(7, Purpose::Order, &[4, 3]),
            RandomStream::new(7, Purpose::Order, &[3]),
        ] {
            assert_ne!(base.bits(0), other.bits(0));
        }
    }

    #[test]
    fn moments() {
        let stream = RandomStream::new(5, Purpose::Sampling, &[]);
        let n = 100_000;
        let mean = |f: &dyn Fn(u64) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        // Six standard errors of each mean.
        assert!((mean(&|i| stream.uniform(i)) - 0.5).abs() < 6.0 * (1.0f64 / 12.0 / n as f64).sqrt());
        assert!(mean(&|i| stream.normal(i)).abs() < 6.0 / (n as f64).sqrt());
        assert!((mean(&|i| stream.normal(i).powi(2)) - 1.0).abs() < 6.0 * (2.0 / n as f64).sqrt());
    }
}
