//! Ranks that begin at once, and the slowest of them.

use crate::comm::Communicator;

/// Returns when every rank has come.
pub fn barrier(comm: &dyn Communicator) {
    comm.all_gather_words(&[0], &mut vec![0; comm.size()]);
}

/// Of several times the slowest rank's, on every rank. All ranks call it with as many.
pub fn slowest(comm: &dyn Communicator, own: &[f64]) -> Vec<f64> {
    let words: Vec<u64> = own.iter().map(|seconds| seconds.to_bits()).collect();
    let mut all = vec![0; words.len() * comm.size()];
    comm.all_gather_words(&words, &mut all);
    let of_index = |index: usize| all[index..].iter().step_by(words.len()).map(|&word| f64::from_bits(word));
    (0..words.len()).map(|index| of_index(index).fold(0.0, f64::max)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::SingleProcess;

    #[test]
    fn alone_everybody_is_the_slowest() {
        assert_eq!(slowest(&SingleProcess, &[0.5, 2.0, 1.0]), [0.5, 2.0, 1.0]);
    }
}
