//! A certificate in words: what `sample` prints, and what its MIDI files say of themselves.

use std::fmt::{self, Display, Formatter};

use super::{Certificate, Run, Verdict};

impl Certificate {
    /// The verdict, the longest runs and the novelty curve, a line each.
    pub fn lines(&self) -> Vec<String> {
        let percent = (100.0 * self.share).round();
        let verdict = match self.verdict {
            Verdict::Novel => "shares no run longer than chance with the training music".into(),
            _ => format!("{percent}% of its notes lie in runs longer than chance"),
        };
        let mut lines = vec![format!("{}: {verdict}", self.verdict)];
        lines.push(format!("longest exact run: {}", self.longest_exact));
        lines.push(match self.longest_transposed == self.longest_exact {
            true => "longest transposed: the same".into(),
            false => format!("longest transposed: {}", self.longest_transposed),
        });
        lines.extend(self.curve());
        lines
    }

    /// Some points of the novelty curve.
    fn curve(&self) -> Option<String> {
        let points: Vec<usize> = [2, 5, 10, 20].into_iter().filter(|&n| n <= self.novelty.len()).collect();
        let list = |numbers: Vec<String>| numbers.join(", ");
        let lengths = list(points.iter().map(usize::to_string).collect());
        let shares = list(points.iter().map(|&n| format!("{:.0}%", 100.0 * self.novelty[n - 1])).collect());
        (!points.is_empty()).then(|| format!("new stretches of {lengths} notes: {shares}"))
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Copy => "copy",
            Verdict::NearCopy => "near copy",
            Verdict::Novel => "novel",
        })
    }
}

/// How long, where from, and how far transposed.
impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let s = if self.length == 1 { "" } else { "s" };
        write!(f, "{} note{s}", self.length)?;
        if let (Some(piece), Some(at)) = (&self.piece, self.at) {
            write!(f, ", {piece} note {at}")?;
        }
        match self.semitones {
            0 => Ok(()),
            by @ (1 | -1) => write!(f, ", {by:+} semitone"),
            by => write!(f, ", {by:+} semitones"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chance;
    use super::*;
    use crate::corpus::Piece;

    #[test]
    fn it_fits_a_terminal_and_says_where() {
        let run = |length, piece: &str, at, semitones| Run {
            length,
            sample_at: 12,
            piece: Some(piece.into()),
            at: Some(at),
            semitones,
        };
        let mut certificate = Certificate {
            verdict: Verdict::NearCopy,
            longest_exact: run(9, "bwv1007-prelude.txt", 103, 0),
            longest_transposed: run(118, "cs6-3cou.mid", 1000, -11),
            share: 0.4321,
            share_exact: 0.0,
            share_transposed: 0.4321,
            novelty: (1..=50).map(|n| f64::from(n) / 50.0).collect(),
            novelty_transposed: vec![0.0; 50],
            chance: Chance { exact: 14, transposed: 17 },
            runs: Vec::new(),
        };
        let expected = [
            "near copy: 43% of its notes lie in runs longer than chance",
            "longest exact run: 9 notes, bwv1007-prelude.txt note 103",
            "longest transposed: 118 notes, cs6-3cou.mid note 1000, -11 semitones",
            "new stretches of 2, 5, 10, 20 notes: 4%, 10%, 20%, 40%",
        ];
        assert_eq!(certificate.lines(), expected);
        // Beside the name of what they are, which takes 12.
        assert!(expected.iter().all(|line| line.len() <= 68));

        certificate.verdict = Verdict::Novel;
        certificate.longest_transposed = certificate.longest_exact.clone();
        certificate.novelty.truncate(7);
        let expected = [
            "novel: shares no run longer than chance with the training music",
            "longest exact run: 9 notes, bwv1007-prelude.txt note 103",
            "longest transposed: the same",
            "new stretches of 2, 5 notes: 4%, 10%",
        ];
        assert_eq!(certificate.lines(), expected);
    }

    #[test]
    fn it_can_say_that_nothing_is_shared() {
        let pieces = [Piece { name: "a".into(), classes: vec![3, 4] }];
        let certificate = Certificate::new(&pieces, &[9]);
        let expected = [
            "novel: shares no run longer than chance with the training music",
            "longest exact run: 0 notes",
            "longest transposed: 1 note, a note 0, +6 semitones",
        ];
        assert_eq!(certificate.lines(), expected);
    }
}
