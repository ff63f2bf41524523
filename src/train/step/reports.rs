//! What every lane tells all ranks before the update, so that all take the same branch.

use bachdist_core::checkpoint::EpochSums;
use bachdist_core::corpus::audit::Seen;

use bachdist_core::lanes::LaneAssignment;

use super::Trainer;
use crate::comm::Communicator;
use crate::stop::StopRequest;

/// What a lane tells all ranks before the update, as 64-bit words.
#[derive(Default)]
pub struct LaneReport {
    /// Loss and right predictions.
    pub sums: EpochSums,
    /// The windows that were loaded.
    pub seen: Seen,
    /// What its rank asks of all.
    pub requested: StopRequest,
}

impl Trainer<'_> {
    /// The reports of all lanes, in lane order, on every rank.
    pub fn gather(&self, own: impl Iterator<Item = LaneReport>) -> Vec<LaneReport> {
        const WORDS: usize = 6;
        let words: Vec<u64> = own
            .flat_map(|LaneReport { sums, seen, requested }| {
                [
                    sums.loss.to_bits(),
                    sums.correct,
                    sums.predictions,
                    seen.windows,
                    seen.digest,
                    requested.bits(),
                ]
            })
            .collect();
        let all = gather_lanes(self.comm, &self.assignment, &words, WORDS);
        all.as_chunks::<WORDS>()
            .0
            .iter()
            .map(|&[loss, correct, predictions, windows, digest, requested]| LaneReport {
                sums: EpochSums { loss: f64::from_bits(loss), correct, predictions },
                seen: Seen { windows, digest },
                requested: StopRequest::from_bits_retain(requested),
            })
            .collect()
    }
}

/// Gathers `words` numbers of every lane to all ranks, in lane order.
///
/// # Collective
/// All ranks call this together, each with the words of its own lanes.
fn gather_lanes(comm: &dyn Communicator, assignment: &LaneAssignment, own: &[u64], words: usize) -> Vec<u64> {
    // Ranks own different numbers of lanes, and a gather wants equal parts.
    let part = assignment.max_lanes() * words;
    let mut send = own.to_vec();
    send.resize(part, 0);
    let mut receive = vec![0; part * comm.size()];
    comm.all_gather_words(&send, &mut receive);
    let parts = receive.chunks_exact(part).enumerate();
    parts.flat_map(|(rank, part)| &part[..assignment.lanes_of(rank).len() * words]).copied().collect()
}

/// All lanes together, in lane order.
pub fn fold(reports: Vec<LaneReport>) -> LaneReport {
    let mut all = LaneReport::default();
    for report in reports {
        all.sums.add(report.sums);
        all.seen.add(report.seen);
        all.requested |= report.requested;
    }
    all
}
