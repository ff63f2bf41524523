//! Lanes, which rank owns which of them, and the one order in which their numbers are summed.
//!
//! A batch is cut into a power of two of *lanes* by a rule that knows batch size and number of lanes alone. Lanes are
//! the leaves of a perfect binary tree, and the sum of a node is always left child plus right child.
//!
//! **Invariant.** A rank owns the leaves of one subtree. The sum over a subtree depends on its leaves only, and the rest
//! of the tree is summed in the same order whoever sums it. Therefore the sum over all lanes, and with it every weight,
//! has the same bits for any number of ranks and threads.
//!
//! Three places sum along this tree, and all of them use this module: a rank over its lanes ([`TreeSum`]), all ranks over
//! their parts ([`LaneAssignment::sum_ranks`]), and a device over its lanes ([`sum_along_tree`]).

use std::ops::Range;

use crate::parallel::add;

/// Sums leaves that come one by one along the tree, keeping one partial sum per level: as in adding one to a binary
/// number, two sums of a level become one of the next.
#[derive(Debug, Default)]
pub struct TreeSum {
    levels: Vec<(u32, Vec<f32>)>,
}

impl TreeSum {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Vec<f32>) {
        let mut level = 0;
        let mut right = leaf;
        while let Some((_, mut left)) = self.levels.pop_if(|(top, _)| *top == level) {
            add(&mut left, &right);
            (level, right) = (level + 1, left);
        }
        self.levels.push((level, right));
    }

    /// The sum over all leaves.
    ///
    /// # Panics
    /// Unless a power of two of leaves was pushed.
    pub fn finish(mut self) -> Vec<f32> {
        let (_, sum) = self.levels.pop().expect("at least one leaf");
        assert!(self.levels.is_empty(), "the number of leaves is not a power of two");
        sum
    }
}

/// The sum over `leaves`, a power of two of them, where both making a leaf and adding two sums can fail: the same tree
/// as [`TreeSum`]'s, for numbers that are not in the host's memory. Leaves are made in order.
pub fn sum_along_tree<L, S, E>(
    leaves: &[L],
    leaf: &mut impl FnMut(&L) -> Result<S, E>,
    add: &impl Fn(S, S) -> Result<S, E>,
) -> Result<S, E> {
    if let [only] = leaves {
        return leaf(only);
    }
    let (left, right) = leaves.split_at(leaves.len() / 2);
    let left = sum_along_tree(left, leaf, add)?;
    let right = sum_along_tree(right, leaf, add)?;
    add(left, right)
}

/// The lanes of every rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneAssignment {
    /// For each rank its lanes, the leaves of one subtree.
    ranks: Vec<Range<usize>>,
}

impl LaneAssignment {
    /// Assigns `lanes` (a power of two) to ranks by repeatedly splitting the largest node, the last one on ties, so that
    /// 3 ranks own 4, 2 and 2 of 8 lanes. `None` if there are more ranks than lanes.
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
        Some(LaneAssignment { ranks: nodes })
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.ranks.len()
    }

    /// The lanes of a rank.
    pub fn lanes_of(&self, rank: usize) -> Range<usize> {
        self.ranks[rank].clone()
    }

    /// The largest number of lanes that a rank owns.
    pub fn max_lanes(&self) -> usize {
        self.ranks.iter().map(Range::len).max().unwrap_or(0)
    }

    /// Sums the parts of all ranks, which lie one after another in `parts`, along the tree. The sum is left in the first.
    pub fn sum_ranks(&self, parts: &mut [f32]) {
        let length = parts.len() / self.ranks.len();
        self.sum_node(parts, length, 0..self.ranks.len());
    }

    /// The ranks of a node with more than one rank split at its middle lane.
    fn sum_node(&self, parts: &mut [f32], length: usize, ranks: Range<usize>) {
        if ranks.len() <= 1 {
            return;
        }
        let (first, last) = (self.ranks[ranks.start].start, self.ranks[ranks.end - 1].end);
        let middle = first + (last - first) / 2;
        let split = ranks.start + self.ranks[ranks.clone()].partition_point(|lanes| lanes.start < middle);
        self.sum_node(parts, length, ranks.start..split);
        self.sum_node(parts, length, split..ranks.end);
        let (left, right) = parts.split_at_mut(split * length);
        add(&mut left[ranks.start * length..][..length], &right[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(lanes: usize, ranks: usize) -> Vec<usize> {
        let assignment = LaneAssignment::new(lanes, ranks).unwrap();
        (0..ranks).map(|rank| assignment.lanes_of(rank).len()).collect()
    }

    #[test]
    fn ranks_own_aligned_nodes() {
        assert_eq!(sizes(8, 3), [4, 2, 2]);
        assert_eq!(sizes(8, 5), [2, 2, 2, 1, 1]);
        assert_eq!(LaneAssignment::new(8, 9), None);
        for ranks in 1..=16 {
            let assignment = LaneAssignment::new(16, ranks).unwrap();
            for rank in 0..ranks {
                let lanes = assignment.lanes_of(rank);
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
            let assignment = LaneAssignment::new(16, ranks).unwrap();
            let mut parts: Vec<f32> = (0..ranks).map(|rank| node(assignment.lanes_of(rank))).collect();
            assignment.sum_ranks(&mut parts);
            assert_eq!(parts[0].to_bits(), alone.to_bits(), "{ranks} ranks");
        }
        let by_recursion = sum_along_tree(&leaves, &mut |&leaf| Ok::<_, ()>(leaf), &|a, b| Ok(a + b));
        assert_eq!(by_recursion.unwrap().to_bits(), alone.to_bits());
    }
}
