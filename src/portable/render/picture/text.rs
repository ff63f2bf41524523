//! Text in the embedded font (Inter, see `fonts/README.md`).
//!
//! Letters are placed at fractions of a pixel and blended by coverage. The caller's words, such as titles and file names,
//! go through [`Words`], which fits them to the font and the space, and records what that changed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, OutlinedGlyph, PxScaleFont, ScaleFont, point};
use icu_normalizer::ComposingNormalizerBorrowed;

use super::palette::Color;

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
        let list = |all: usize, listed: String| match all.checked_sub(MAX_LISTED) {
            None | Some(0) => listed,
            Some(more) => format!("{listed} and {more} more"),
        };
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            let letters: Vec<String> =
                self.missing.iter().take(MAX_LISTED).map(|letter| format!("{letter:?}")).collect();
            let letters = list(self.missing.len(), letters.join(", "));
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
mod tests {
    use super::*;

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
