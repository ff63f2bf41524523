//! What every lane tells all ranks before the update, so that all take the same branch.

use bachdist_core::checkpoint::EpochSums;
use bachdist_core::corpus::audit::Seen;

use super::Trainer;

/// What a lane tells all ranks before the update, as 64-bit words.
#[derive(Default)]
pub struct LaneReport {
    /// Loss and right predictions.
    pub sums: EpochSums,
    /// The windows that were loaded.
    pub seen: Seen,
    /// What its rank asks of all.
    pub asked: u64,
}

impl Trainer<'_> {
    /// The reports of all lanes, in lane order, on every rank.
    pub fn gather(&self, own: impl Iterator<Item = LaneReport>) -> Vec<LaneReport> {
        const WORDS: usize = 6;
        let words: Vec<u64> = own
            .flat_map(|LaneReport { sums, seen, asked }| {
                [sums.loss.to_bits(), sums.correct, sums.predictions, seen.windows, seen.digest, asked]
            })
            .collect();
        let all = self.share.gather_lanes(self.comm, &words, WORDS);
        all.as_chunks::<WORDS>()
            .0
            .iter()
            .map(|&[loss, correct, predictions, windows, digest, asked]| LaneReport {
                sums: EpochSums { loss: f64::from_bits(loss), correct, predictions },
                seen: Seen { windows, digest },
                asked,
            })
            .collect()
    }
}

/// All lanes together, in lane order.
pub fn fold(reports: Vec<LaneReport>) -> LaneReport {
    let mut all = LaneReport::default();
    for report in reports {
        all.sums.add(report.sums);
        all.seen.add(report.seen);
        all.asked |= report.asked;
    }
    all
}
