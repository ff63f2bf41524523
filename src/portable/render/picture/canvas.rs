//! The pixels of a picture (filled rectangles, blended pixels, text, PNG), and the visibility of overlapping things.
//!
//! Coordinates are pixels from the upper left corner, x to the right, y down. Whatever lies outside is clipped, so that
//! callers need not check.

use super::palette::Color;
use super::text::{TextStyle, Words};

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
}
