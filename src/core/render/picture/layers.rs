//! Which of many things that lie over each other can be seen, without painting the others.

/// The pixels of a row, to be covered from the uppermost thing down. Each takes so many layers, and costs nothing
/// once it has them: all things together cost what can be seen of them.
pub(super) struct Layers {
    /// For each pixel how many layers it still takes.
    left: Vec<u8>,
    /// For each pixel and the end a pixel not before it, towards the next that is not full.
    next: Vec<usize>,
}

impl Layers {
    pub(super) fn new(width: usize, layers: u8) -> Self {
        Layers { left: vec![layers; width], next: (0..=width).collect() }
    }

    /// Covers the pixels from `from` up to `to`, which are clipped, and names those of them that show it.
    pub(super) fn cover(&mut self, from: usize, to: usize, mut shows: impl FnMut(usize)) {
        let width = self.left.len();
        let mut pixel = self.open(from.min(width));
        while pixel < to.min(width) {
            shows(pixel);
            self.left[pixel] -= 1;
            if self.left[pixel] == 0 {
                self.next[pixel] = pixel + 1;
            }
            pixel = self.open(pixel + 1);
        }
    }

    /// The first pixel from this one on that is not full.
    fn open(&mut self, from: usize) -> usize {
        let mut open = from;
        while self.next[open] != open {
            // Every other pixel on the way is led past the one after it, so that ways get short.
            self.next[open] = self.next[self.next[open]];
            open = self.next[open];
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn as_if_all_were_painted(
            things in prop::collection::vec((0..50usize, 0..60usize), 0..60),
            layers in 1..4u8,
        ) {
            let (mut seen, mut all) = (vec![Vec::new(); 40], vec![Vec::new(); 40]);
            let mut pixels = Layers::new(40, layers);
            for (number, &(from, to)) in things.iter().enumerate() {
                pixels.cover(from, to, |pixel| seen[pixel].push(number));
                (from..to.min(40)).for_each(|pixel| all[pixel].push(number));
            }
            all.iter_mut().for_each(|things| things.truncate(usize::from(layers)));
            prop_assert_eq!(seen, all);
        }
    }
}
