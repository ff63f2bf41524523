//! Words on a canvas, in the embedded font (Inter, see `fonts/README.md`).
//!
//! Letters are placed at fractions of a pixel and blended by coverage. Characters the font lacks show as its
//! empty box; control characters as spaces.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, OutlinedGlyph, PxScaleFont, ScaleFont, point};

use super::canvas::{Canvas, Colour};

/// How a text looks, and which of its points the given position is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Height of an em in pixels.
    pub size: f32,
    pub weight: Weight,
    pub colour: Colour,
    pub align: Align,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Weight {
    Regular,
    SemiBold,
}

/// Where the given position lies along the text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

/// The height of a capital letter or a digit, in ems: what has to be centred on a tick.
pub(super) const CAPITAL: f32 = 0.727;

static REGULAR: LazyLock<FontRef<'_>> = LazyLock::new(|| embedded(include_bytes!("fonts/Inter-Regular.otf")));
static SEMI_BOLD: LazyLock<FontRef<'_>> =
    LazyLock::new(|| embedded(include_bytes!("fonts/Inter-SemiBold.otf")));

fn embedded(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the embedded font is a font")
}

/// Writes from left to right; `y` is the baseline.
pub(super) fn write(canvas: &mut Canvas, (x, y): (f32, f32), text: &str, style: Style) {
    let start = x - style.offset(text);
    for glyph in style.glyphs(text, start, y) {
        let corner = glyph.px_bounds().min;
        glyph.draw(|dx, dy, coverage| {
            canvas.blend(corner.x as i32 + dx as i32, corner.y as i32 + dy as i32, style.colour, coverage);
        });
    }
}

/// Writes from bottom to top; `x` is the baseline, to the right of the letters.
pub(super) fn write_upwards(canvas: &mut Canvas, (x, y): (i32, i32), text: &str, style: Style) {
    for glyph in style.glyphs(text, -style.offset(text), 0.0) {
        let corner = glyph.px_bounds().min;
        glyph.draw(|dx, dy, coverage| {
            let (along, down) = (corner.x as i32 + dx as i32, corner.y as i32 + dy as i32);
            canvas.blend(x + down, y - 1 - along, style.colour, coverage);
        });
    }
}

/// The text if it is at most `width` pixels long, else as much of its beginning as fits, and an ellipsis.
pub(super) fn shorten(text: &str, style: Style, width: f32) -> String {
    if style.width(text) <= width {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    loop {
        kept.pop();
        let shortened = format!("{}…", kept.iter().collect::<String>().trim_end());
        if kept.is_empty() || style.width(&shortened) <= width {
            return shortened;
        }
    }
}

impl Style {
    /// The length of a text in pixels.
    pub(super) fn width(self, text: &str) -> f32 {
        let font = self.font();
        text.chars().map(|letter| font.h_advance(font.glyph_id(printable(letter)))).sum()
    }

    fn offset(self, text: &str) -> f32 {
        match self.align {
            Align::Start => 0.0,
            Align::Middle => self.width(text) / 2.0,
            Align::End => self.width(text),
        }
    }

    fn glyphs(self, text: &str, mut x: f32, y: f32) -> impl Iterator<Item = OutlinedGlyph> {
        let font = self.font();
        text.chars().filter_map(move |letter| {
            let mut glyph: Glyph = font.scaled_glyph(printable(letter));
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
        // ab_glyph scales by ascent + descent, designers and everyone else by the em.
        let ems = font.height_unscaled() / font.units_per_em().expect("the embedded font has an em");
        font.as_scaled(self.size * ems)
    }
}

fn printable(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style =
        Style { size: 20.0, weight: Weight::Regular, colour: Colour(0, 0, 0), align: Align::Start };

    #[test]
    fn both_fonts_have_every_letter_of_a_european_title() {
        for weight in [Weight::Regular, Weight::SemiBold] {
            let font = Style { weight, ..STYLE }.font();
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

    #[test]
    fn long_titles_are_shortened_to_fit() {
        let title = "a title ".repeat(50);
        let short = shorten(&title, STYLE, 200.0);
        assert!(
            short.ends_with('…') && STYLE.width(&short) <= 200.0 && STYLE.width(&short) > 150.0,
            "{short}"
        );
        assert_eq!(shorten("a title", STYLE, 200.0), "a title");
        assert_eq!(shorten("a title", STYLE, 1.0), "…");
    }

    #[test]
    fn control_characters_are_as_wide_as_spaces() {
        assert_eq!(STYLE.width("a\nb\tc"), STYLE.width("a b c"));
    }
}
