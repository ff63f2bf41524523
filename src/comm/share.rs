//! Which lanes a rank owns, and the one order in which the numbers of lanes are summed.
//!
//! Lanes are the leaves of a perfect binary tree, and a sum is made along its nodes: always left plus right.
//! Every rank owns one node's leaves, so it sums that node and sends one buffer; whoever sums the rest of the
//! tree gets the bits that one rank alone would have got.

use std::ops::Range;

use bachdist_core::compute::add;

use super::Comm;

/// The lanes of every rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    lanes: Vec<Range<usize>>,
}

impl Share {
    /// Shares lanes (a power of two) among ranks, the last of the largest nodes split first, so that 3 ranks
    /// own 4, 2 and 2 of 8 lanes. `None` if there are more ranks than lanes.
    pub fn new(lanes: usize, ranks: usize) -> Option<Self> {
        assert!(lanes.is_power_of_two());
        if ranks > lanes {
            return None;
        }
        let mut nodes = Vec::new();
        nodes.push(0..lanes);
        while nodes.len() < ranks {
            // `max_by_key` takes the last of equals.
            let (index, node) = nodes.iter().cloned().enumerate().max_by_key(|(_, node)| node.len())?;
            let middle = node.start + node.len() / 2;
            nodes.splice(index..=index, [node.start..middle, middle..node.end]);
        }
        Some(Share { lanes: nodes })
    }

    /// The lanes of a rank.
    pub fn of(&self, rank: usize) -> Range<usize> {
        self.lanes[rank].clone()
    }

    /// The most lanes that a rank owns.
    pub fn largest(&self) -> usize {
        self.lanes.iter().map(Range::len).max().unwrap_or(0)
    }

    /// Sums the parts of all ranks, which lie one after another, along the tree. The sum is left in the first.
    pub fn sum_ranks(&self, parts: &mut [f32]) {
        let length = parts.len() / self.lanes.len();
        self.sum_node(parts, length, 0..self.lanes.len());
    }

    /// The ranks of a node that has more than one split at the lane in its middle.
    fn sum_node(&self, parts: &mut [f32], length: usize, ranks: Range<usize>) {
        if ranks.len() <= 1 {
            return;
        }
        let (first, last) = (self.lanes[ranks.start].start, self.lanes[ranks.end - 1].end);
        let middle = first + (last - first) / 2;
        let split = ranks.start + self.lanes[ranks.clone()].partition_point(|lanes| lanes.start < middle);
        self.sum_node(parts, length, ranks.start..split);
        self.sum_node(parts, length, split..ranks.end);
        let (left, right) = parts.split_at_mut(split * length);
        add(&mut left[ranks.start * length..][..length], &right[..length]);
    }

    /// Gathers `words` numbers of every lane to all ranks, in lane order.
    pub fn gather_lanes(&self, comm: &dyn Comm, own: &[u64], words: usize) -> Vec<u64> {
        // Ranks own different numbers of lanes, and a gather wants equal parts.
        let part = self.largest() * words;
        let mut send = own.to_vec();
        send.resize(part, 0);
        let mut receive = vec![0; part * self.lanes.len()];
        comm.all_gather_words(&send, &mut receive);
        let parts = receive.chunks_exact(part).zip(&self.lanes);
        parts.flat_map(|(part, lanes)| &part[..lanes.len() * words]).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use bachdist_core::compute::lanes::TreeSum;

    use super::*;

    fn sizes(lanes: usize, ranks: usize) -> Vec<usize> {
        let share = Share::new(lanes, ranks).unwrap();
        (0..ranks).map(|rank| share.of(rank).len()).collect()
    }

    #[test]
    fn ranks_own_aligned_nodes() {
        assert_eq!(sizes(8, 3), [4, 2, 2]);
        assert_eq!(sizes(8, 5), [2, 2, 2, 1, 1]);
        assert_eq!(Share::new(8, 9), None);
        for ranks in 1..=16 {
            let share = Share::new(16, ranks).unwrap();
            for rank in 0..ranks {
                let lanes = share.of(rank);
                assert!(lanes.len().is_power_of_two() && lanes.start.is_multiple_of(lanes.len()));
            }
        }
    }

    #[test]
    fn the_sum_has_the_same_bits_for_any_number_of_ranks() {
        // Numbers of very different sizes, so that another order would give other bits.
        let leaves: Vec<f32> = (0..16).map(|i| (i as f32 * 1.7).sin() * 10f32.powi(i % 7)).collect();
        let node = |lanes: Range<usize>| {
            let mut sum = TreeSum::default();
            lanes.for_each(|lane| sum.push(vec![leaves[lane]]));
            sum.finish()[0]
        };
        let alone = node(0..16);
        assert_ne!(alone, leaves.iter().sum::<f32>(), "the example does not tell orders apart");
        for ranks in 1..=16 {
            let share = Share::new(16, ranks).unwrap();
            let mut parts: Vec<f32> = (0..ranks).map(|rank| node(share.of(rank))).collect();
            share.sum_ranks(&mut parts);
            assert_eq!(parts[0].to_bits(), alone.to_bits(), "{ranks} ranks");
        }
    }
}
