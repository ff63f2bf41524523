//! The pixels of a picture: filled rectangles, blended pixels, text, PNG, and the visibility of overlapping things; the
//! colors, and the embedded font (Inter, see `fonts/README.md`).
//!
//! Coordinates are pixels from the upper left corner, x to the right, y down. Whatever lies outside is clipped, so that
//! callers need not check. Letters are placed at fractions of a pixel and blended by coverage. The caller's words, such as
//! titles and file names, go through [`Words`], which fits them to the font and the space, and records what that changed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, OutlinedGlyph, PxScaleFont, ScaleFont, point};
use icu_normalizer::ComposingNormalizerBorrowed;

/// A rectangle in pixels; `right` and `bottom` are the first ones outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl Area {
    pub(super) fn height(&self) -> i32 {
        self.bottom - self.top
    }
}

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// A PNG file.
    pub png: Vec<u8>,
    /// Which words could not be shown as they are, if any.
    pub note: Option<String>,
}

/// A picture being drawn.
pub(super) struct Canvas {
    width: i32,
    height: i32,
    /// Rows from the top, three bytes per pixel.
    pixels: Vec<u8>,
    /// Which of the caller's words could not be shown as they are.
    pub words: Words,
}

impl Canvas {
    pub(super) fn new(width: i32, height: i32, background: Color) -> Self {
        let Color(r, g, b) = background;
        let pixels = [r, g, b].repeat(width as usize * height as usize);
        Self { width, height, pixels, words: Words::default() }
    }

    pub(super) fn width(&self) -> i32 {
        self.width
    }

    /// `opacity` goes from 0 (no change) to 1 (covers what was there).
    pub(super) fn fill(&mut self, area: Area, color: Color, opacity: f32) {
        let (left, right) = (area.left.max(0), area.right.min(self.width));
        if left >= right {
            return;
        }
        let Color(r, g, b) = color;
        for y in area.top.max(0)..area.bottom.min(self.height) {
            if opacity >= 1.0 {
                let row = 3 * y as usize * self.width as usize;
                let pixels = &mut self.pixels[row + 3 * left as usize..row + 3 * right as usize];
                pixels.as_chunks_mut().0.fill([r, g, b]);
            } else {
                for x in left..right {
                    self.blend(x, y, color, opacity);
                }
            }
        }
    }

    pub(super) fn blend(&mut self, x: i32, y: i32, color: Color, opacity: f32) {
        if !(0..self.width).contains(&x) || !(0..self.height).contains(&y) {
            return;
        }
        let first = 3 * (y as usize * self.width as usize + x as usize);
        let Color(r, g, b) = color;
        for (old, new) in self.pixels[first..first + 3].iter_mut().zip([r, g, b]) {
            let (from, to) = (f32::from(*old), f32::from(new));
            *old = (from + (to - from) * opacity.clamp(0.0, 1.0)).round() as u8;
        }
    }

    /// Writes a text; `y` is the baseline.
    pub(super) fn write(&mut self, (x, y): (f32, f32), text: &str, style: TextStyle) {
        let start = x - style.offset(text);
        for glyph in style.glyphs(text, start, y) {
            let corner = glyph.px_bounds().min;
            glyph.draw(|dx, dy, coverage| {
                self.blend(corner.x as i32 + dx as i32, corner.y as i32 + dy as i32, style.color, coverage);
            });
        }
    }

    /// Writes from bottom to top; `x` is the baseline, to the right of the letters.
    pub(super) fn write_upwards(&mut self, (x, y): (i32, i32), text: &str, style: TextStyle) {
        for glyph in style.glyphs(text, -style.offset(text), 0.0) {
            let corner = glyph.px_bounds().min;
            glyph.draw(|dx, dy, coverage| {
                let (along, down) = (corner.x as i32 + dx as i32, corner.y as i32 + dy as i32);
                self.blend(x + down, y - 1 - along, style.color, coverage);
            });
        }
    }

    /// The PNG has no metadata.
    pub(super) fn done(self) -> Picture {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Best);
        // Most rows repeat the row above; this filter turns them into zeros.
        encoder.set_filter(png::FilterType::Up);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.pixels))
            .expect("writing to memory does not fail, and there are three bytes per pixel");
        Picture { png: bytes, note: self.words.note() }
    }
}

/// A row of pixels that is covered from the topmost thing down. Each pixel accepts a fixed number of layers and costs
/// nothing once it has them, so that drawing takes time in proportion to what is visible.
pub(super) struct Layers {
    /// How many more layers each pixel accepts.
    left: Vec<u8>,
    /// A union-find forest that leads from each pixel to the next one that is not full; the last entry is the end.
    next: Vec<usize>,
}

impl Layers {
    pub(super) fn new(width: usize, layers: u8) -> Self {
        Layers { left: vec![layers; width], next: (0..=width).collect() }
    }

    /// Covers the pixels `from..to`, clipped to the row, and calls `shows` for each one where the thing is visible.
    pub(super) fn cover(&mut self, from: usize, to: usize, mut shows: impl FnMut(usize)) {
        let width = self.left.len();
        let mut pixel = self.open(from.min(width));
        while pixel < to.min(width) {
            shows(pixel);
            self.left[pixel] -= 1;
            if self.left[pixel] == 0 {
                self.next[pixel] = pixel + 1;
            }
            pixel = self.open(pixel + 1);
        }
    }

    /// The first pixel at or after `from` that is not full.
    fn open(&mut self, from: usize) -> usize {
        let mut open = from;
        while self.next[open] != open {
            // Path halving keeps later searches short.
            self.next[open] = self.next[self.next[open]];
            open = self.next[open];
        }
        open
    }
}

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

/// How a text looks, and how it is aligned to its position.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextStyle {
    /// The height of an em in pixels.
    pub size: f32,
    pub weight: Weight,
    pub color: Color,
    pub align: Align,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Weight {
    Regular,
    SemiBold,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

/// The height of a capital letter or a digit in ems, for centering labels on ticks.
pub(super) const CAPITAL: f32 = 0.727;

static REGULAR: LazyLock<FontRef<'_>> = LazyLock::new(|| embedded(include_bytes!("fonts/Inter-Regular.otf")));
static SEMI_BOLD: LazyLock<FontRef<'_>> =
    LazyLock::new(|| embedded(include_bytes!("fonts/Inter-SemiBold.otf")));

fn embedded(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the embedded font is valid")
}

/// Fits the caller's words, and records what could not be shown as it is.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Characters that the font lacks.
    missing: BTreeSet<char>,
    /// Texts that were too long, as shortened.
    shortened: BTreeSet<String>,
}

/// The font shows it as an empty box.
const BOX: char = char::REPLACEMENT_CHARACTER;

impl Words {
    /// A text as it can be shown in `width` pixels: on one line, with boxes for characters that the font lacks, and
    /// shortened with an ellipsis if it is too long.
    pub(super) fn fit(&mut self, text: &str, style: TextStyle, width: f32) -> String {
        let font = style.font();
        let mut shown = String::new();
        // Combining accents are composed with their letter, as the font has them: file names on macOS are decomposed.
        for letter in ComposingNormalizerBorrowed::new_nfc().normalize(text).chars() {
            match letter {
                '\t' | '\n' | '\r' => shown.push(' '),
                _ if is_invisible(letter) => {}
                _ if letter != BOX && font.glyph_id(letter).0 == 0 => {
                    self.missing.insert(letter);
                    shown.push(BOX);
                }
                _ => shown.push(letter),
            }
        }
        if style.width(&shown) <= width {
            return shown;
        }
        let shown = shorten(&shown, style, width);
        self.shortened.insert(shown.clone());
        shown
    }

    pub(super) fn add(&mut self, other: Words) {
        self.missing.extend(other.missing);
        self.shortened.extend(other.shortened);
    }

    /// One line about what was changed, if anything was.
    pub(super) fn note(&self) -> Option<String> {
        const MAX_LISTED: usize = 8;
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            let listed: Vec<String> =
                self.missing.iter().take(MAX_LISTED).map(|letter| format!("{letter:?}")).collect();
            let mut letters = listed.join(", ");
            if self.missing.len() > MAX_LISTED {
                letters += &format!(" and {} more", self.missing.len() - MAX_LISTED);
            }
            parts.push(format!("boxes stand for letters that its font lacks ({letters})"));
        }
        if !self.shortened.is_empty() {
            let texts: Vec<String> = self.shortened.iter().take(2).map(|text| format!("{text:?}")).collect();
            parts.push(format!("names too long for it are shortened ({})", texts.join(", ")));
        }
        (!parts.is_empty()).then(|| format!("in the picture {}", parts.join("; ")))
    }
}

/// Characters that only control how others are joined or in which direction they run.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e01ef}')
}

/// As much of the start of a text as fits into `width` pixels with an ellipsis.
fn shorten(text: &str, style: TextStyle, width: f32) -> String {
    let ellipsis = style.width("…");
    let (mut kept, mut length) = (0, 0.0);
    for (at, letter) in text.char_indices() {
        length += style.width(letter.encode_utf8(&mut [0; 4]));
        if length + ellipsis > width {
            break;
        }
        kept = at + letter.len_utf8();
    }
    format!("{}…", text[..kept].trim_end())
}

impl TextStyle {
    /// In pixels.
    pub(super) fn width(self, text: &str) -> f32 {
        let font = self.font();
        text.chars().map(|letter| font.h_advance(font.glyph_id(letter))).sum()
    }

    /// From the start of a text to the position that it is aligned to, in pixels.
    pub(super) fn offset(self, text: &str) -> f32 {
        match self.align {
            Align::Start => 0.0,
            Align::Middle => self.width(text) / 2.0,
            Align::End => self.width(text),
        }
    }

    /// The letters of a text that starts at `x` on the baseline `y`.
    pub(super) fn glyphs(self, text: &str, mut x: f32, y: f32) -> impl Iterator<Item = OutlinedGlyph> {
        let font = self.font();
        text.chars().filter_map(move |letter| {
            let mut glyph: Glyph = font.scaled_glyph(letter);
            glyph.position = point(x, y);
            x += font.h_advance(glyph.id);
            font.outline_glyph(glyph)
        })
    }

    fn font(self) -> PxScaleFont<&'static FontRef<'static>> {
        let font: &'static FontRef<'static> = match self.weight {
            Weight::Regular => &REGULAR,
            Weight::SemiBold => &SEMI_BOLD,
        };
        // ab_glyph scales by ascent + descent instead of by the em.
        let ems = font.height_unscaled() / font.units_per_em().expect("the embedded font has an em");
        font.as_scaled(self.size * ems)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Width, height and the pixels' bytes of a PNG file.
    pub(in super::super) fn decode(png: &[u8]) -> (u32, u32, Vec<u8>) {
        let mut reader = png::Decoder::new(png).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        (info.width, info.height, pixels)
    }

    const WHITE: Color = Color(255, 255, 255);
    const BLACK: Color = Color(0, 0, 0);

    #[test]
    fn fills_end_before_right_and_bottom_and_are_cut_at_the_border() {
        let mut canvas = Canvas::new(4, 3, WHITE);
        canvas.fill(Area { left: 1, top: 1, right: 3, bottom: 2 }, BLACK, 1.0);
        canvas.fill(Area { left: 3, top: -5, right: 99, bottom: 1 }, Color(255, 0, 0), 0.5);
        let (width, height, pixels) = decode(&canvas.done().png);
        let reds: Vec<u8> = pixels.iter().skip(1).step_by(3).copied().collect();
        assert_eq!((width, height), (4, 3));
        assert_eq!(reds, [255, 255, 255, 128, 255, 0, 0, 255, 255, 255, 255, 255]);
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn as_if_all_were_painted(
            things in prop::collection::vec((0..50usize, 0..60usize), 0..60),
            layers in 1..4u8,
        ) {
            let (mut seen, mut all) = (vec![Vec::new(); 40], vec![Vec::new(); 40]);
            let mut pixels = Layers::new(40, layers);
            for (number, &(from, to)) in things.iter().enumerate() {
                pixels.cover(from, to, |pixel| seen[pixel].push(number));
                (from..to.min(40)).for_each(|pixel| all[pixel].push(number));
            }
            all.iter_mut().for_each(|things| things.truncate(usize::from(layers)));
            prop_assert_eq!(seen, all);
        }
    }

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

    const STYLE: TextStyle =
        TextStyle { size: 20.0, weight: Weight::Regular, color: Color(0, 0, 0), align: Align::Start };

    #[test]
    fn both_fonts_have_every_letter_of_a_european_title() {
        for weight in [Weight::Regular, Weight::SemiBold] {
            let font = TextStyle { weight, ..STYLE }.font();
            for letter in "Suite n° 1, BWV 1007 — Prélude… ŁŐß (Сюита) Σουίτα “♪”".chars()
            {
                let known = font.glyph_id(letter).0 != 0;
                assert_eq!(known, letter != '♪', "{letter:?}");
            }
        }
    }

    #[test]
    fn a_capital_is_as_high_as_we_think() {
        let font = STYLE.font();
        let h = font.outline_glyph(font.scaled_glyph('H')).unwrap().px_bounds();
        assert_eq!(-h.min.y, (CAPITAL * STYLE.size).ceil());
        assert_eq!(h.max.y, 0.0);
    }

    fn fitted(text: &str, width: f32) -> (String, Option<String>) {
        let mut words = Words::default();
        (words.fit(text, STYLE, width), words.note())
    }

    #[test]
    fn long_titles_are_shortened_to_fit() {
        let (short, note) = fitted(&"a title ".repeat(50_000), 200.0);
        assert!(
            short.ends_with('…') && STYLE.width(&short) <= 200.0 && STYLE.width(&short) > 150.0,
            "{short}"
        );
        assert_eq!(note, Some(format!("in the picture names too long for it are shortened ({short:?})")));
        assert_eq!(fitted("a title", 200.0), ("a title".into(), None));
        assert_eq!(fitted("a title", 1.0).0, "…");
    }

    #[test]
    fn what_the_font_lacks_is_a_box_and_is_named() {
        let (shown, note) = fitted("音楽 🎵 ab\u{7}c x\u{302}", 500.0);
        assert_eq!(shown, "\u{fffd}\u{fffd} \u{fffd} ab\u{fffd}c x\u{fffd}");
        let listed = "'\\u{7}', '\\u{302}', '楽', '音', '🎵'";
        assert_eq!(
            note,
            Some(format!("in the picture boxes stand for letters that its font lacks ({listed})"))
        );
        let glyphs = |text: &str| STYLE.glyphs(text, 0.0, 0.0).count();
        assert_eq!((glyphs("\u{fffd}"), glyphs(" ")), (1, 0), "the box is drawn");
        let many: String = ('\u{4e00}'..'\u{4e10}').collect();
        assert!(fitted(&many, 500.0).1.unwrap().ends_with("and 8 more)"));
    }

    #[test]
    fn accents_join_their_letters_and_nothing_breaks_a_line() {
        assert_eq!(fitted("Pre\u{301}lude\nin\tG\u{200d}\u{fe0f}", 500.0), ("Prélude in G".into(), None));
    }
}
