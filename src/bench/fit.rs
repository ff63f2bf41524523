//! A line through measured times: α + β·x, the model of Hockney (1994) for messages of x bytes.

use serde::Serialize;

/// α + β·x.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Line {
    /// α, seconds.
    pub alpha_seconds: f64,
    /// β.
    pub seconds_per_byte: f64,
    /// Root of the mean square of what it is off by, as a share of each time.
    pub relative_residual: f64,
}

impl Line {
    /// The line with the least relative error through points (x, y), at least two, of different x, y above 0. What is
    /// off by a tenth counts alike at all sizes; otherwise the largest alone would decide. Neither α nor β is below 0.
    pub fn through(points: &[(f64, f64)]) -> Line {
        let sum = |term: fn(f64, f64) -> f64| points.iter().map(|&(x, y)| term(x, y) / (y * y)).sum::<f64>();
        let (one, x, xx) = (sum(|_, _| 1.0), sum(|x, _| x), sum(|x, _| x * x));
        let (y, xy) = (sum(|_, y| y), sum(|x, y| x * y));
        let determinant = one * xx - x * x;
        let (alpha, beta) = ((y * xx - xy * x) / determinant, (one * xy - x * y) / determinant);
        let (alpha, beta) = match (alpha < 0.0, beta < 0.0) {
            (true, _) => (0.0, xy / xx),
            (_, true) => (y / one, 0.0),
            _ => (alpha, beta),
        };
        let squares = points.iter().map(|&(x, y)| ((alpha + beta * x - y) / y).powi(2));
        let relative_residual = (squares.sum::<f64>() / points.len() as f64).sqrt();
        Line { alpha_seconds: alpha, seconds_per_byte: beta, relative_residual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZES: [f64; 6] = [256.0, 2048.0, 16_384.0, 131_072.0, 1_048_576.0, 5_923_132.0];

    #[test]
    fn neither_part_is_below_zero() {
        let through_nothing = Line::through(&[(1.0, 1.0), (10.0, 20.0)]);
        assert_eq!(through_nothing.alpha_seconds, 0.0);
        assert!(through_nothing.seconds_per_byte > 1.0 && through_nothing.seconds_per_byte < 2.0);
        let falling = Line::through(&[(1.0, 2.0), (10.0, 1.0)]);
        assert_eq!(falling.seconds_per_byte, 0.0);
        assert!(falling.alpha_seconds > 1.0 && falling.alpha_seconds < 2.0);
        assert!(falling.relative_residual > 0.1);
    }

    #[test]
    fn a_late_message_does_not_hide_alpha() {
        let mut points = SIZES.map(|bytes| (bytes, 5e-6 + bytes * 1e-9));
        points[5].1 *= 1.5;
        let Line { alpha_seconds, .. } = Line::through(&points);
        assert!((alpha_seconds - 5e-6).abs() < 1e-6, "{alpha_seconds}");
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn exact_points_give_their_line_back(alpha in 1e-7..1e-3_f64, beta in 1e-12..1e-8_f64) {
            let line = Line::through(&SIZES.map(|bytes| (bytes, alpha + beta * bytes)));
            prop_assert!((line.alpha_seconds / alpha - 1.0).abs() < 1e-6);
            prop_assert!((line.seconds_per_byte / beta - 1.0).abs() < 1e-3);
            prop_assert!(line.relative_residual < 1e-6);
        }
    }
}
