//! Choosing a note from its probabilities.

use super::Arguments;

/// How a note is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// The most probable; of equals the lowest.
    Greedy,
    /// A random one.
    Random {
        /// Probabilities are raised to the power 1/T.
        temperature: f64,
        /// Of the most probable K.
        top_k: Option<usize>,
        /// Of the most probable that reach P together (nucleus sampling, Holtzman et al. 2020).
        top_p: Option<f64>,
    },
}

impl Choice {
    /// What the command line asks for.
    pub fn new(arguments: &Arguments) -> Self {
        match arguments.greedy {
            true => Choice::Greedy,
            false => Choice::Random {
                temperature: arguments.temperature,
                top_k: arguments.top_k.map(|k| k as usize),
                top_p: (arguments.top_p < 1.0).then_some(arguments.top_p),
            },
        }
    }

    /// The class for a uniform random number in [0, 1).
    pub fn choose(&self, probabilities: &[f32], uniform: f64) -> u8 {
        // Most probable first; of equals the lower class.
        let mut ranked: Vec<(usize, f64)> = probabilities.iter().map(|&p| f64::from(p)).enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let Choice::Random { temperature, top_k, top_p } = *self else { return ranked[0].0 as u8 };

        // Relative to the largest, so that no temperature overflows.
        let largest = ranked[0].1;
        for (_, p) in &mut ranked {
            *p = libm::pow(*p / largest, 1.0 / temperature);
        }
        ranked.truncate(top_k.unwrap_or(ranked.len()).max(1));
        let total: f64 = ranked.iter().map(|(_, p)| p).sum();
        if let Some(share) = top_p {
            let mut reached = 0.0;
            let kept = ranked.iter().position(|(_, p)| {
                reached += p / total;
                reached >= share
            });
            ranked.truncate(kept.map_or(ranked.len(), |last| last + 1));
        }
        let total: f64 = ranked.iter().map(|(_, p)| p).sum();
        let mut left = uniform * total;
        for &(class, p) in &ranked {
            left -= p;
            if left < 0.0 {
                return class as u8;
            }
        }
        // Rounding may leave a crumb at the end; it falls to a note that is possible.
        let last = ranked.iter().rfind(|(_, p)| *p > 0.0).unwrap_or(&ranked[0]);
        last.0 as u8
    }
}

/// `--temperature`: a positive number.
pub fn parse_temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(t) if t > 0.0 && f64::is_finite(t) => Ok(t),
        Ok(0.0) => Err("must be more than 0 (--greedy is what 0 would be)".into()),
        _ => Err("must be a number above 0".into()),
    }
}

/// `--top-p`: a probability above 0.
pub fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(p) if p > 0.0 && p <= 1.0 => Ok(p),
        _ => Err("must be a number above 0 and at most 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    const P: [f32; 4] = [0.1, 0.4, 0.2, 0.3];

    fn shares(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> [f64; 4] {
        let choice = Choice::Random { temperature, top_k, top_p };
        let stream = Stream::new(1, Purpose::Sampling, &[]);
        let mut counts = [0.0; 4];
        let n = 20_000;
        (0..n).for_each(|i| counts[usize::from(choice.choose(&P, stream.uniform(i)))] += 1.0 / n as f64);
        counts
    }

    fn near(found: [f64; 4], expected: [f64; 4]) {
        // Five standard deviations of a share of 20,000.
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.018), "{found:?} {expected:?}");
    }

    #[test]
    fn shares_follow_the_probabilities() {
        near(shares(1.0, None, None), [0.1, 0.4, 0.2, 0.3]);
        // Squares: 0.01, 0.16, 0.04, 0.09 of 0.30.
        near(shares(0.5, None, None), [1.0 / 30.0, 16.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0]);
        near(shares(1.0, Some(2), None), [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
        near(shares(1.0, None, Some(0.71)), [0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
        near(shares(1.0, None, Some(0.1)), [0.0, 1.0, 0.0, 0.0]);
        near(shares(1e-3, None, None), [0.0, 1.0, 0.0, 0.0]);
        near(shares(1e6, None, None), [0.25; 4]);
    }

    #[test]
    fn what_has_no_probability_is_never_chosen() {
        let choice = Choice::Random { temperature: 1.0, top_k: None, top_p: None };
        // The largest number below 1: rounding may leave a crumb of it.
        let largest = 1.0 - f64::EPSILON / 2.0;
        for n in 1..60u8 {
            let probabilities: Vec<f32> = (1..=n).map(|i| 0.1 / f32::from(i)).chain([0.0, 0.0]).collect();
            assert!(choice.choose(&probabilities, largest) < n, "of {n}");
        }
    }

    #[test]
    fn greedy_takes_the_lowest_of_equals() {
        assert_eq!(Choice::Greedy.choose(&[0.2, 0.4, 0.4], 0.9), 1);
    }
}
