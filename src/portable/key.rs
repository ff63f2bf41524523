//! The key that pitches suggest.

/// How well each pitch class above the tonic fits a major and a minor key, as listeners judged: the probe-tone ratings of
/// Krumhansl and Kessler (1982).
const PROFILES: [[f64; 12]; 2] = [
    [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],
    [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17],
];

/// A major or minor key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Pitch class, 0 for C.
    pub tonic: u8,
    /// Whether it is minor.
    pub is_minor: bool,
}

impl Key {
    /// The key whose profile correlates best with how long each pitch class sounds (Krumhansl and Schmuckler); `None` if all
    /// sound equally long.
    pub fn of(durations: &[f64; 12]) -> Option<Key> {
        let mut best: Option<(f64, Key)> = None;
        for (profile, is_minor) in PROFILES.iter().zip([false, true]) {
            for tonic in 0..12 {
                let mut rotated = *profile;
                rotated.rotate_right(usize::from(tonic));
                let fit = correlation(durations, &rotated);
                if fit.is_finite() && best.is_none_or(|(largest, _)| fit > largest) {
                    best = Some((fit, Key { tonic, is_minor }));
                }
            }
        }
        best.map(|(_, key)| key)
    }

    /// How far a pitch is above the tonic, below an octave, and 12 more in minor.
    pub fn degree(self, pitch: u32) -> u32 {
        (pitch + 12 - u32::from(self.tonic)) % 12 + 12 * u32::from(self.is_minor)
    }
}

/// Pearson's; not a number where one of the two is constant.
fn correlation(a: &[f64; 12], b: &[f64; 12]) -> f64 {
    let [mean_a, mean_b] = [a, b].map(|values| values.iter().sum::<f64>() / 12.0);
    let (mut product, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        product += (a - mean_a) * (b - mean_b);
        square_a += (a - mean_a) * (a - mean_a);
        square_b += (b - mean_b) * (b - mean_b);
    }
    product / (square_a * square_b).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_with_its_tonic_held_has_a_key() {
        let mut durations = [0.0; 12];
        for step in [0, 2, 4, 5, 7, 9, 11] {
            durations[(step + 7) % 12] = 1.0;
        }
        durations[7] = 4.0;
        assert_eq!(Key::of(&durations), Some(Key { tonic: 7, is_minor: false }));
        assert_eq!(Key::of(&[1.0; 12]), None);
    }

    #[test]
    fn degrees_are_counted_from_the_tonic() {
        let a_minor = Key { tonic: 9, is_minor: true };
        assert_eq!([69, 60, 68].map(|pitch| a_minor.degree(pitch)), [12, 15, 23]);
    }
}
