//! Validation: loss and accuracy on the pieces that training never sees, by all ranks together, the same bits on any
//! number of them.

use anyhow::Result;
use bachdist_core::checkpoint::EpochSums;
use bachdist_core::corpus::batches::Batches;
use bachdist_core::corpus::windows::Windows;
use bachdist_core::fault;

use super::step::Trainer;

/// How a validation ended, the same on every rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Validated {
    /// Over all windows.
    Whole(EpochSums),
    /// Given up, because a rank asked for something.
    Asked(u64),
}

impl Trainer<'_> {
    /// Validates on these windows, in their order. Before each batch `asked` says what this rank asks of all.
    pub fn validate(&mut self, windows: &Windows<'_>, asked: impl Fn() -> u64) -> Result<Validated> {
        self.load_all_weights()?;
        let batches = Batches { windows: windows.len(), ..self.batches() };
        let mut whole = EpochSums::default();
        for number in 0..batches.steps_per_epoch() {
            fault::at("validate");
            let batch = batches.batch(number);
            let (sums, asked) = self.evaluate(windows, &batch, asked())?;
            if asked != 0 {
                return Ok(Validated::Asked(asked));
            }
            whole.add(sums);
        }
        Ok(Validated::Whole(whole))
    }
}
