//! Notes of equal length side by side: which pixels are whose, and the axis that counts them from 1.

use super::chart::{USUAL_WIDTH, WIDEST, tick_step};

/// Notes to columns of pixels.
pub(super) struct Columns {
    pub notes: usize,
    /// All columns together, in pixels.
    pub width: i32,
}

impl Columns {
    pub(super) fn new(notes: usize) -> Self {
        let column = (USUAL_WIDTH as usize / notes.max(1)).clamp(2, 35);
        Self { notes, width: column.saturating_mul(notes).min(WIDEST as usize) as i32 }
    }

    /// The first pixel of a note and the first after it.
    pub(super) fn edges(&self, note: usize) -> (i32, i32) {
        let edge = |note: usize| (note as u128 * self.width as u128 / self.notes as u128) as i32;
        (edge(note), edge(note + 1))
    }

    /// The notes of which a pixel column shows a part: one, or several in a long piece.
    pub(super) fn notes_at(&self, x: i32) -> std::ops::Range<usize> {
        let note = |x: i32| (x as u128 * self.notes as u128 / self.width as u128) as usize;
        note(x)..note(x + 1).max(note(x) + 1)
    }

    /// A tick in the middle of note 1 and of every round number.
    pub(super) fn ticks(&self) -> Vec<(i32, String)> {
        // As many as have room for their labels, which grow with the picture.
        let most = (self.width / 100).clamp(1, 14);
        let step = tick_step(self.notes as f64, most).max(1.0) as usize;
        let round = (step..=self.notes).step_by(step).filter(|number| *number > 1);
        let numbers = (self.notes > 0).then_some(1).into_iter().chain(round);
        numbers
            .map(|number| {
                let (left, right) = self.edges(number - 1);
                ((left + right) / 2, number.to_string())
            })
            .collect()
    }
}
