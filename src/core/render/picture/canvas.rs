//! Pixels: filled rectangles, single blended pixels, and the PNG at the end.
//!
//! Coordinates are pixels from the upper left corner, x to the right, y down. What lies outside is cut off, so
//! that callers need not check.

use super::text::Words;

/// Red, green, blue, as sRGB bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub u8, pub u8, pub u8);

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

/// A picture that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// A PNG file.
    pub png: Vec<u8>,
    /// What of its words could not be shown as it is.
    pub note: Option<String>,
}

/// A picture under way.
pub(super) struct Canvas {
    width: i32,
    height: i32,
    /// Rows from the top, three bytes a pixel.
    pixels: Vec<u8>,
    /// What became of the words written so far that are not the program's own.
    pub words: Words,
}

impl Canvas {
    pub(super) fn new(width: i32, height: i32, background: Colour) -> Self {
        let Colour(r, g, b) = background;
        let pixels = [r, g, b].repeat(width as usize * height as usize);
        Self { width, height, pixels, words: Words::default() }
    }

    pub(super) fn width(&self) -> i32 {
        self.width
    }

    /// Fills the area, `opacity` from 0 (nothing) to 1 (covers what was there).
    pub(super) fn fill(&mut self, area: Area, colour: Colour, opacity: f32) {
        let (left, right) = (area.left.max(0), area.right.min(self.width));
        if left >= right {
            return;
        }
        let Colour(r, g, b) = colour;
        for y in area.top.max(0)..area.bottom.min(self.height) {
            if opacity >= 1.0 {
                let row = 3 * y as usize * self.width as usize;
                let pixels = &mut self.pixels[row + 3 * left as usize..row + 3 * right as usize];
                pixels.as_chunks_mut().0.fill([r, g, b]);
            } else {
                (left..right).for_each(|x| self.blend(x, y, colour, opacity));
            }
        }
    }

    /// Mixes one pixel with a colour.
    pub(super) fn blend(&mut self, x: i32, y: i32, colour: Colour, opacity: f32) {
        if !(0..self.width).contains(&x) || !(0..self.height).contains(&y) {
            return;
        }
        let first = 3 * (y as usize * self.width as usize + x as usize);
        let Colour(r, g, b) = colour;
        for (old, new) in self.pixels[first..first + 3].iter_mut().zip([r, g, b]) {
            let (from, to) = (f32::from(*old), f32::from(new));
            *old = (from + (to - from) * opacity.clamp(0.0, 1.0)).round() as u8;
        }
    }

    /// The picture as a PNG file, without any metadata.
    pub(super) fn done(self) -> Picture {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Best);
        // Most rows repeat the row above, which this filter turns into zeros.
        encoder.set_filter(png::FilterType::Up);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.pixels))
            .expect("memory takes every write, and there are as many bytes as pixels");
        Picture { png: bytes, note: self.words.note() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Width, height and the pixels' bytes of a PNG file.
    pub(in super::super) fn decode(png: &[u8]) -> (u32, u32, Vec<u8>) {
        let mut reader = png::Decoder::new(png).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        (info.width, info.height, pixels)
    }

    const WHITE: Colour = Colour(255, 255, 255);
    const BLACK: Colour = Colour(0, 0, 0);

    #[test]
    fn fills_end_before_right_and_bottom_and_are_cut_at_the_border() {
        let mut canvas = Canvas::new(4, 3, WHITE);
        canvas.fill(Area { left: 1, top: 1, right: 3, bottom: 2 }, BLACK, 1.0);
        canvas.fill(Area { left: 3, top: -5, right: 99, bottom: 1 }, Colour(255, 0, 0), 0.5);
        let (width, height, pixels) = decode(&canvas.done().png);
        let reds: Vec<u8> = pixels.iter().skip(1).step_by(3).copied().collect();
        assert_eq!((width, height), (4, 3));
        assert_eq!(reds, [255, 255, 255, 128, 255, 0, 0, 255, 255, 255, 255, 255]);
    }
}
