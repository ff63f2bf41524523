//! The palette: inks, and the ramp from nothing to much.

use super::canvas::Colour;

pub(super) const PAPER: Colour = Colour(255, 255, 255);
/// Titles and the labels one looks for.
pub(super) const INK: Colour = Colour(28, 32, 44);
/// Labels that may stay in the background.
pub(super) const MUTED: Colour = Colour(98, 107, 124);
/// Frames and ticks.
pub(super) const RULE: Colour = Colour(150, 158, 172);
/// Lines behind the data.
pub(super) const GRID: Colour = Colour(214, 220, 228);
/// Rows of the black keys, behind the data.
pub(super) const BLACK_KEY: Colour = Colour(243, 245, 248);
/// The notes that were chosen, on the ramp: no shade of it comes near.
pub(super) const CHOSEN: Colour = Colour(255, 102, 26);

/// Notes of which there is nothing to say.
pub(super) const NEUTRAL: Colour = Colour(166, 174, 188);
/// Notes that are another's, note for note, and transposed: told apart also by the colour-blind.
pub(super) const EXACT: Colour = Colour(226, 84, 10);
pub(super) const TRANSPOSED: Colour = Colour(112, 72, 190);

/// The ramp at nine equally distant points. Computed in OKLCH: lightness falls evenly from 0.99 to 0.30, so
/// that more always looks like more, also in grey and to the colour-blind; the hue turns from 200° (sky) to 278° (night).
const RAMP: [Colour; 9] = [
    Colour(249, 253, 253),
    Colour(185, 233, 243),
    Colour(128, 209, 237),
    Colour(79, 180, 229),
    Colour(47, 150, 215),
    Colour(39, 119, 195),
    Colour(43, 88, 165),
    Colour(43, 61, 129),
    Colour(37, 39, 89),
];

/// The ramp's colour at 0 (nothing, nearly white) to 1 (dark blue).
pub(super) fn ramp(position: f32) -> Colour {
    let place = position.clamp(0.0, 1.0) * (RAMP.len() - 1) as f32;
    let below = (place as usize).min(RAMP.len() - 2);
    let (Colour(r0, g0, b0), Colour(r1, g1, b1)) = (RAMP[below], RAMP[below + 1]);
    let mix = |from: u8, to: u8| {
        let (from, to) = (f32::from(from), f32::from(to));
        (from + (to - from) * (place - below as f32)).round() as u8
    };
    Colour(mix(r0, r1), mix(g0, g1), mix(b0, b1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance (WCAG 2).
    fn luminance(Colour(r, g, b): Colour) -> f32 {
        let linear = |byte: u8| (f32::from(byte) / 255.0).powf(2.2);
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    #[test]
    fn more_is_always_darker() {
        let shades: Vec<f32> = (0..=256).map(|i| luminance(ramp(i as f32 / 256.0))).collect();
        assert!(shades.is_sorted_by(|a, b| a > b), "{shades:?}");
    }

    #[test]
    fn the_ends_of_the_ramp_and_beyond() {
        assert_eq!(ramp(0.0), RAMP[0]);
        assert_eq!(ramp(1.0), RAMP[8]);
        assert_eq!(ramp(7.0), RAMP[8]);
        assert_eq!(ramp(-1.0), RAMP[0]);
    }
}
