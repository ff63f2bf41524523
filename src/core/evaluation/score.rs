//! How well the notes of windows were predicted: sums over windows, whatever predicted them and in whatever order.

use std::cmp::Ordering;

use serde::Serialize;

use crate::corpus::Piece;

/// Sums over some windows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// How many windows.
    pub windows: u64,
    /// Of −ln p(the note that followed).
    pub nats: f64,
    /// Windows where that note was the most probable, or the share of them that chance gives.
    pub top1: f64,
    /// Windows where it was among the five most probable.
    pub top5: f64,
}

/// Sums over all windows of some pieces, over those heard before and those not, and over each piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    pieces: Vec<(String, Split)>,
}

/// Windows that their piece had not contained before ([`super::heard`]), and those that it had.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Split {
    novel: Sums,
    repeated: Sums,
}

/// What sums come to. Of no windows, every mean is a NaN, which JSON writes as `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Cross-entropy in nats a note.
    pub nats: f64,
    /// The same in bits.
    pub bits: f64,
    /// e to the nats: as many equally probable notes would be as hard to guess.
    pub perplexity: f64,
    /// Share of windows whose next note was the most probable.
    pub top1: f64,
    /// Share of windows whose next note was among the five most probable.
    pub top5: f64,
    /// How many windows.
    pub windows: u64,
}

/// Figures of one predictor over the same windows three times: all of them, and the two parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Three {
    /// All windows.
    #[serde(flatten)]
    pub overall: Figures,
    /// Those that their piece had not contained before.
    pub novel: Figures,
    /// Those that it had.
    pub repeated: Figures,
}

impl Scores {
    /// No windows of these pieces yet.
    pub fn new(pieces: &[Piece]) -> Self {
        Scores { pieces: pieces.iter().map(|piece| (piece.name.clone(), Split::default())).collect() }
    }

    /// Adds a window of the piece of this index: the natural logarithms of the probabilities of every class, and
    /// the class that followed. `heard` says whether the piece had contained it before.
    pub fn add<T: Copy + Into<f64>>(
        &mut self,
        piece: usize,
        heard: bool,
        log_probabilities: &[T],
        target: u8,
    ) {
        let rank = rank(log_probabilities, target.into());
        let nats = -log_probabilities[usize::from(target)].into();
        let right = |places: usize| f64::from(u8::from(rank < places));
        self.count(piece, heard, nats, right(1), right(5));
    }

    /// Adds a window about which the predictor has no opinion: every one of `classes` is as probable, and a guess is
    /// right by chance alone.
    pub fn add_blind(&mut self, piece: usize, heard: bool, classes: usize) {
        let right = |places: f64| (places / classes as f64).min(1.0);
        self.count(piece, heard, (classes as f64).ln(), right(1.0), right(5.0));
    }

    fn count(&mut self, piece: usize, heard: bool, nats: f64, top1: f64, top5: f64) {
        let Split { novel, repeated } = &mut self.pieces[piece].1;
        let sums = if heard { repeated } else { novel };
        *sums = sums.and(Sums { windows: 1, nats, top1, top5 });
    }

    /// Adds the scores of other pieces.
    pub fn extend(&mut self, others: Scores) {
        self.pieces.extend(others.pieces);
    }

    /// Figures over all pieces together, every window counting alike.
    pub fn all(&self) -> Three {
        self.pieces.iter().fold(Split::default(), |all, (_, split)| all.and(split)).figures()
    }

    /// Figures of each piece, with its name.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, Three)> {
        self.pieces.iter().map(|(name, split)| (name.as_str(), split.figures()))
    }
}

/// How many classes come before one in the order of probability: of equals the lower class comes first.
fn rank<T: Copy + Into<f64>>(log_probabilities: &[T], class: usize) -> usize {
    let own = log_probabilities[class].into();
    // What cannot be compared comes first, so that a network that says NaN is never right.
    let comes_first = |&other: &usize| match log_probabilities[other].into().partial_cmp(&own) {
        Some(Ordering::Less) => false,
        Some(Ordering::Equal) => other < class,
        Some(Ordering::Greater) | None => other != class,
    };
    (0..log_probabilities.len()).filter(comes_first).count()
}

impl Split {
    fn and(self, other: &Split) -> Split {
        Split { novel: self.novel.and(other.novel), repeated: self.repeated.and(other.repeated) }
    }

    fn figures(&self) -> Three {
        Three {
            overall: self.novel.and(self.repeated).figures(),
            novel: self.novel.figures(),
            repeated: self.repeated.figures(),
        }
    }
}

impl Sums {
    fn and(self, other: Sums) -> Sums {
        Sums {
            windows: self.windows + other.windows,
            nats: self.nats + other.nats,
            top1: self.top1 + other.top1,
            top5: self.top5 + other.top5,
        }
    }

    fn figures(&self) -> Figures {
        let mean = |sum: f64| sum / self.windows as f64;
        let nats = mean(self.nats);
        Figures {
            nats,
            bits: nats / std::f64::consts::LN_2,
            perplexity: nats.exp(),
            top1: mean(self.top1),
            top5: mean(self.top5),
            windows: self.windows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(names: &[&str]) -> Vec<Piece> {
        names.iter().map(|&name| Piece { name: name.into(), classes: Vec::new() }).collect()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }

    #[test]
    fn figures_by_hand() {
        let mut scores = Scores::new(&pieces(&["a", "b"]));
        let even = [0.25f64.ln(); 4];
        scores.add(0, false, &even, 0);
        scores.add(0, true, &[0.5f64.ln(), 0.25f64.ln(), 0.125f64.ln(), 0.125f64.ln()], 0);
        scores.add(1, false, &even, 3);
        let all = scores.all();
        close(all.overall.bits, 5.0 / 3.0);
        close(all.overall.nats, 5.0 / 3.0 * 2f64.ln());
        close(all.overall.perplexity, 2f64.powf(5.0 / 3.0));
        // Of four equals the first is the guess.
        close(all.overall.top1, 2.0 / 3.0);
        close(all.overall.top5, 1.0);
        assert_eq!((all.overall.windows, all.novel.windows, all.repeated.windows), (3, 2, 1));
        close(all.novel.bits, 2.0);
        close(all.repeated.bits, 1.0);
        let pieces: Vec<_> = scores.pieces().collect();
        assert_eq!((pieces[0].0, pieces[1].0), ("a", "b"));
        close(pieces[0].1.overall.bits, 1.5);
        assert!(pieces[1].1.repeated.nats.is_nan());
    }

    #[test]
    fn ranks() {
        let p = [-3f32, -1.0, -2.0, -1.0, -9.0, -0.5, -7.0];
        let ranks: Vec<_> = (0..7).map(|class| rank(&p, class)).collect();
        assert_eq!(ranks, [4, 1, 3, 2, 6, 0, 5]);
    }

    #[test]
    fn blind_guesses_are_right_by_chance() {
        let mut scores = Scores::new(&pieces(&["a"]));
        (0..3).for_each(|_| scores.add_blind(0, true, 8));
        let Figures { bits, top1, top5, windows, .. } = scores.all().repeated;
        close(bits, 3.0);
        assert_eq!((top1, top5, windows), (0.125, 0.625, 3));
    }

    #[test]
    fn a_network_that_says_nan_is_never_right() {
        let p = [f32::NAN; 7];
        assert!((0..7).all(|class| rank(&p, class) == 6));
        assert_eq!(rank(&[f32::NAN, -1.0], 1), 1);
        let mut scores = Scores::new(&pieces(&["a"]));
        scores.add(0, false, &p, 0);
        assert!(scores.all().overall.nats.is_nan() && scores.all().overall.top5 == 0.0);
    }
}
