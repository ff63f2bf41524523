//! Work dealt out to ranks like cards, and its results gathered: of n ranks, rank r makes the items r, r + n,
//! r + 2n and so on.

use super::Comm;

/// Those of all items that this rank makes.
pub fn dealt<'a, T>(comm: &dyn Comm, items: &'a [T]) -> Vec<&'a T> {
    items.iter().skip(comm.rank()).step_by(comm.size()).collect()
}

/// What all ranks made of so many items, in their order: `own` is what this one made of those dealt to it. All ranks
/// call it together.
pub fn gather_dealt(comm: &dyn Comm, own: Vec<Vec<u8>>, items: usize) -> Vec<Vec<u8>> {
    let ranks = comm.size();
    if ranks == 1 {
        return own;
    }
    let own_lengths = lengths_of(&own, items, ranks);
    let mut lengths = vec![0; own_lengths.len() * ranks];
    comm.all_gather_words(&own_lengths, &mut lengths);
    let own_words = words_of(own, longest(&lengths, ranks));
    let mut words = vec![0; own_words.len() * ranks];
    comm.all_gather_words(&own_words, &mut words);
    in_order(&lengths, &words, items, ranks)
}

/// The bytes of each item of a rank; with zeros at the end, so that every rank has equally many.
fn lengths_of(own: &[Vec<u8>], items: usize, ranks: usize) -> Vec<u64> {
    let mut lengths: Vec<u64> = own.iter().map(|item| item.len() as u64).collect();
    lengths.resize(items.div_ceil(ranks), 0);
    lengths
}

/// Words that the items of any one rank take at most.
fn longest(lengths: &[u64], ranks: usize) -> usize {
    let hand = lengths.len() / ranks;
    let bytes = (0..ranks).map(|rank| lengths[rank * hand..][..hand].iter().sum::<u64>());
    bytes.max().unwrap_or(0).div_ceil(8) as usize
}

/// A rank's items one after another, in so many words.
fn words_of(own: Vec<Vec<u8>>, length: usize) -> Vec<u64> {
    let mut bytes = own.concat();
    bytes.resize(8 * length, 0);
    bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect()
}

/// The items of all ranks, dealt back.
fn in_order(lengths: &[u64], words: &[u64], items: usize, ranks: usize) -> Vec<Vec<u8>> {
    let (hand, length) = (lengths.len() / ranks, words.len() / ranks);
    let mut all = vec![Vec::new(); items];
    for rank in 0..ranks {
        let mut bytes = words[rank * length..][..length].iter().flat_map(|word| word.to_le_bytes());
        for (item, &length) in all.iter_mut().skip(rank).step_by(ranks).zip(&lengths[rank * hand..]) {
            *item = bytes.by_ref().take(length as usize).collect();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_dealt_out_comes_back_in_order(
            items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..40),
            ranks in 1usize..9,
        ) {
            let count = items.len();
            let own = |rank: usize| -> Vec<Vec<u8>> { items.iter().skip(rank).step_by(ranks).cloned().collect() };
            let lengths: Vec<u64> = (0..ranks).flat_map(|rank| lengths_of(&own(rank), count, ranks)).collect();
            let length = longest(&lengths, ranks);
            let words: Vec<u64> = (0..ranks).flat_map(|rank| words_of(own(rank), length)).collect();
            prop_assert_eq!(words.len(), ranks * length);
            prop_assert_eq!(in_order(&lengths, &words, count, ranks), items);
        }
    }
}
