//! The colors of pictures.

/// Red, green, blue, as sRGB bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Color(pub u8, pub u8, pub u8);

pub(super) const PAPER: Color = Color(255, 255, 255);
/// Titles and important labels.
pub(super) const INK: Color = Color(28, 32, 44);
/// Less important labels.
pub(super) const MUTED: Color = Color(98, 107, 124);
/// Frames and ticks.
pub(super) const RULE: Color = Color(150, 158, 172);
/// Lines behind the data.
pub(super) const GRID: Color = Color(214, 220, 228);
/// Rows of the black keys, behind the data.
pub(super) const BLACK_KEY: Color = Color(243, 245, 248);
/// Generated notes on a background in the ramp's colors: far from every shade of it.
pub(super) const CHOSEN: Color = Color(255, 102, 26);

/// Notes that are in no shared run.
pub(super) const NEUTRAL: Color = Color(166, 174, 188);
/// Notes that the training music has, exactly and transposed: distinguishable also for color-blind people.
pub(super) const EXACT: Color = Color(226, 84, 10);
pub(super) const TRANSPOSED: Color = Color(112, 72, 190);

/// The ramp at nine equidistant points, computed in OKLCH: lightness falls evenly from 0.99 to 0.30, so that more always
/// looks like more, also in grayscale and to color-blind people; the hue turns from 200° (sky) to 278° (night).
const RAMP: [Color; 9] = [
    Color(249, 253, 253),
    Color(185, 233, 243),
    Color(128, 209, 237),
    Color(79, 180, 229),
    Color(47, 150, 215),
    Color(39, 119, 195),
    Color(43, 88, 165),
    Color(43, 61, 129),
    Color(37, 39, 89),
];

/// The color from 0 (nearly white) to 1 (dark blue); other positions are clamped.
pub(super) fn ramp(position: f32) -> Color {
    let place = position.clamp(0.0, 1.0) * (RAMP.len() - 1) as f32;
    let below = (place as usize).min(RAMP.len() - 2);
    let (Color(r0, g0, b0), Color(r1, g1, b1)) = (RAMP[below], RAMP[below + 1]);
    let mix = |from: u8, to: u8| {
        let (from, to) = (f32::from(from), f32::from(to));
        (from + (to - from) * (place - below as f32)).round() as u8
    };
    Color(mix(r0, r1), mix(g0, g1), mix(b0, b1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance (WCAG 2).
    fn luminance(Color(r, g, b): Color) -> f32 {
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
