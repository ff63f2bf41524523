//! Streams: rows of a batch that read whole pieces one after another, a window in each step. The network's state goes from
//! one window of a row to the next, so that it has read every piece from its beginning.
//!
//! A piece of n tokens has n + 1 predictions where the representation has a token that ends pieces: that token is read
//! before the first one, and predicted after the last one. Without it there are n − 1.

use super::Piece;

/// Predictions of a piece, numbered from 0: from `from` up to, but without, `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Index of the piece.
    pub piece: usize,
    /// The first prediction.
    pub from: usize,
    /// After the last one.
    pub to: usize,
    /// Whether the network's state is zero before the first one.
    pub resets: bool,
}

/// What each row of a batch reads in an epoch: its pieces in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRows {
    rows: Vec<Vec<Span>>,
    /// T.
    length: usize,
    /// Of every row, also of those that have nothing left to read in the last ones.
    windows: u64,
}

/// How many predictions a piece of this many tokens has.
pub fn predictions_of(tokens: usize, has_end: bool) -> usize {
    if has_end { tokens + 1 } else { tokens.saturating_sub(1) }
}

/// Windows of each row, where pieces have this many predictions together: a number that does not depend on their order.
pub fn windows_per_row(predictions: u64, rows: usize, length: usize) -> u64 {
    predictions.div_ceil(rows as u64).div_ceil(length as u64)
}

impl StreamRows {
    /// The pieces in this order, cut into `rows` parts that are equally long to within one prediction. A part that begins
    /// inside a piece begins with a state of zero there.
    pub fn cut(
        pieces: &[Piece],
        order: impl Iterator<Item = usize>,
        has_end: bool,
        rows: usize,
        length: usize,
    ) -> Self {
        let all: u64 = pieces.iter().map(|piece| predictions_of(piece.tokens.len(), has_end) as u64).sum();
        let end_of_row = |row: usize| (u128::from(all) * (row as u128 + 1) / rows as u128) as u64;
        let mut cut: Vec<Vec<Span>> = vec![Vec::new(); rows];
        let (mut row, mut position) = (0, 0);
        for piece in order {
            let predictions = predictions_of(pieces[piece].tokens.len(), has_end);
            let mut from = 0;
            while from < predictions {
                let left = (end_of_row(row) - position) as usize;
                if left == 0 {
                    row += 1;
                    continue;
                }
                let to = predictions.min(from + left);
                let resets = from == 0 || cut[row].is_empty();
                cut[row].push(Span { piece, from, to, resets });
                position += (to - from) as u64;
                from = to;
            }
        }
        StreamRows { rows: cut, length, windows: windows_per_row(all, rows, length) }
    }

    /// Whole pieces in rows of about the same length: the longest piece first, each in the row that is shortest so far.
    pub fn whole(pieces: &[Piece], has_end: bool, rows: usize, length: usize) -> Self {
        let predictions = |piece: usize| predictions_of(pieces[piece].tokens.len(), has_end);
        let mut order: Vec<usize> = (0..pieces.len()).filter(|&piece| predictions(piece) > 0).collect();
        order.sort_by_key(|&piece| std::cmp::Reverse(predictions(piece)));
        let mut whole = vec![Vec::new(); rows];
        let mut lengths = vec![0; rows];
        for piece in order {
            let shortest = (0..rows).min_by_key(|&row| lengths[row]).expect("at least one row");
            whole[shortest].push(Span { piece, from: 0, to: predictions(piece), resets: true });
            lengths[shortest] += predictions(piece);
        }
        let longest = lengths.into_iter().max().unwrap_or(0);
        StreamRows { rows: whole, length, windows: longest.div_ceil(length) as u64 }
    }

    /// Windows of each row.
    pub fn windows_per_row(&self) -> u64 {
        self.windows
    }

    /// What a row reads in its window of this number: at most T predictions, none where it has come to its end.
    pub fn window(&self, row: usize, window: u64) -> Vec<Span> {
        let first = window as usize * self.length;
        let (mut position, mut spans) = (0, Vec::new());
        for span in &self.rows[row] {
            let length = span.to - span.from;
            let (begin, end) = (first.max(position), (first + self.length).min(position + length));
            if begin < end {
                let from = span.from + begin - position;
                let to = span.from + end - position;
                spans.push(Span { from, to, resets: span.resets && from == span.from, ..*span });
            }
            position += length;
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(lengths: &[usize]) -> Vec<Piece> {
        let piece = |(index, &length)| Piece { name: format!("{index}"), tokens: vec![0; length] };
        lengths.iter().enumerate().map(piece).collect()
    }

    fn span(piece: usize, from: usize, to: usize, resets: bool) -> Span {
        Span { piece, from, to, resets }
    }

    #[test]
    fn pieces_are_cut_into_equal_rows() {
        // Six, three and two predictions in two rows of five and six.
        let rows = StreamRows::cut(&pieces(&[5, 2, 1]), [0, 2, 1].into_iter(), true, 2, 4);
        assert_eq!(rows.windows_per_row(), 2);
        assert_eq!(rows.window(0, 0), [span(0, 0, 4, true)]);
        assert_eq!(rows.window(0, 1), [span(0, 4, 5, false)]);
        // The second row begins inside a piece, without the state that came before.
        assert_eq!(rows.window(1, 0), [span(0, 5, 6, true), span(2, 0, 2, true), span(1, 0, 1, true)]);
        assert_eq!(rows.window(1, 1), [span(1, 1, 3, false)]);
    }

    #[test]
    fn whole_pieces_fill_rows_evenly() {
        let rows = StreamRows::whole(&pieces(&[3, 8, 1, 4]), false, 2, 5);
        // Two, seven, none and three predictions.
        assert_eq!(rows.windows_per_row(), 2);
        assert_eq!(rows.window(0, 0), [span(1, 0, 5, true)]);
        assert_eq!(rows.window(0, 1), [span(1, 5, 7, false)]);
        assert_eq!(rows.window(1, 0), [span(3, 0, 3, true), span(0, 0, 2, true)]);
        assert_eq!(rows.window(1, 1), []);
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn every_prediction_is_read_once(
            lengths in prop::collection::vec(0usize..40, 1..12),
            has_end: bool,
            rows in 1usize..9,
            length in 1usize..20,
        ) {
            let pieces = pieces(&lengths);
            let order = (0..pieces.len()).rev();
            for (rows_read, streams) in [
                (rows, StreamRows::cut(&pieces, order, has_end, rows, length)),
                (rows, StreamRows::whole(&pieces, has_end, rows, length)),
            ] {
                let mut read: Vec<Vec<u32>> =
                    lengths.iter().map(|&length| vec![0; predictions_of(length, has_end)]).collect();
                for row in 0..rows_read {
                    let mut last: Option<Span> = None;
                    for window in 0..streams.windows_per_row() {
                        let spans = streams.window(row, window);
                        prop_assert!(spans.iter().map(|span| span.to - span.from).sum::<usize>() <= length);
                        for span in spans {
                            // A span goes on where the row was, or begins with a state of zero.
                            let goes_on = last.is_some_and(|last| last.piece == span.piece && last.to == span.from);
                            prop_assert_eq!(span.resets, !goes_on);
                            read[span.piece][span.from..span.to].iter_mut().for_each(|count| *count += 1);
                            last = Some(span);
                        }
                    }
                }
                prop_assert!(read.iter().flatten().all(|&count| count == 1), "{:?}", read);
            }
        }
    }
}
