//! Names of chords, and the key of a piece.

use crate::midi::grid::PitchSet;

/// The pitch classes of a chord, each a bit, C first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PitchClasses(u16);

/// A triad, or a seventh chord, which may lack its fifth if that is perfect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chord {
    /// A pitch class. Augmented triads and diminished sevenths have no root that can be heard; of their pitch classes it is
    /// the lowest above C.
    pub root: u8,
    /// Its intervals above the root.
    pub quality: Quality,
    /// The pitch class of the lowest pitch.
    pub bass: u8,
}

/// The kinds of chords that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    Major,
    Minor,
    Diminished,
    Augmented,
    DominantSeventh,
    MajorSeventh,
    MinorSeventh,
    HalfDiminished,
    DiminishedSeventh,
    MinorMajorSeventh,
}

/// The intervals of each quality above its root in semitones, each a bit; those without a fifth come last.
const INTERVALS: [(Quality, u16); 14] = {
    use Quality::*;
    [
        (Major, bits(&[0, 4, 7])),
        (Minor, bits(&[0, 3, 7])),
        (Diminished, bits(&[0, 3, 6])),
        (Augmented, bits(&[0, 4, 8])),
        (DominantSeventh, bits(&[0, 4, 7, 10])),
        (MajorSeventh, bits(&[0, 4, 7, 11])),
        (MinorSeventh, bits(&[0, 3, 7, 10])),
        (HalfDiminished, bits(&[0, 3, 6, 10])),
        (DiminishedSeventh, bits(&[0, 3, 6, 9])),
        (MinorMajorSeventh, bits(&[0, 3, 7, 11])),
        (DominantSeventh, bits(&[0, 4, 10])),
        (MajorSeventh, bits(&[0, 4, 11])),
        (MinorSeventh, bits(&[0, 3, 10])),
        (MinorMajorSeventh, bits(&[0, 3, 11])),
    ]
};

const fn bits(intervals: &[u8]) -> u16 {
    let (mut set, mut at) = (0, 0);
    while at < intervals.len() {
        set |= 1 << intervals[at];
        at += 1;
    }
    set
}

impl PitchClasses {
    /// Those of these pitches.
    pub fn of(pitches: PitchSet) -> Self {
        const OCTAVE: PitchSet = (1 << 12) - 1;
        let (mut classes, mut left) = (0, pitches);
        while left != 0 {
            classes |= (left & OCTAVE) as u16;
            left >>= 12;
        }
        PitchClasses(classes)
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether two of them are a semitone apart.
    pub fn clash(self) -> bool {
        self.0 & self.below(1) != 0
    }

    /// All of them moved down by an interval of less than an octave.
    fn below(self, semitones: u8) -> u16 {
        (self.0 >> semitones | self.0 << (12 - semitones)) & ((1 << 12) - 1)
    }
}

impl Chord {
    /// The chord that these pitches are, if it has a name.
    pub fn of(pitches: PitchSet) -> Option<Chord> {
        let classes = PitchClasses::of(pitches);
        let bass = pitches.trailing_zeros() as u8 % 12;
        for (quality, intervals) in INTERVALS {
            if let Some(root) = (0..12).find(|&root| classes.below(root) == intervals) {
                return Some(Chord { root, quality, bass });
            }
        }
        None
    }

    /// Whether the lowest pitch is the root.
    pub fn is_in_root_position(self) -> bool {
        self.root == self.bass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chord(pitches: &[u8]) -> Option<(u8, Quality, bool)> {
        let set = pitches.iter().fold(0, |set, &pitch| set | 1 << pitch);
        Chord::of(set).map(|chord| (chord.root, chord.quality, chord.is_in_root_position()))
    }

    #[test]
    fn chords_have_names_in_every_inversion_and_spacing() {
        assert_eq!(chord(&[48, 64, 67, 72]), Some((0, Quality::Major, true)));
        assert_eq!(chord(&[52, 60, 67, 76]), Some((0, Quality::Major, false)));
        assert_eq!(chord(&[57, 60, 64]), Some((9, Quality::Minor, true)));
        // G B F, a dominant seventh without its fifth.
        assert_eq!(chord(&[43, 59, 65]), Some((7, Quality::DominantSeventh, true)));
        assert_eq!(chord(&[59, 62, 65, 68]), Some((2, Quality::DiminishedSeventh, false)));
        // A sixth above a triad is the seventh chord of its relative.
        assert_eq!(chord(&[60, 64, 67, 69]), Some((9, Quality::MinorSeventh, false)));
        // A fourth and a fifth, a third alone, nothing.
        assert_eq!([chord(&[60, 65, 67]), chord(&[60, 64]), chord(&[])], [None; 3]);
    }

    #[test]
    fn a_semitone_clashes_in_any_octave() {
        let clash = |pitches: &[u8]| {
            let set = pitches.iter().fold(0, |set, &pitch| set | 1 << pitch);
            PitchClasses::of(set).clash()
        };
        assert!(clash(&[60, 61]) && clash(&[48, 71]) && clash(&[59, 60]) && clash(&[0, 127, 11]));
        assert!(!clash(&[60, 62]) && !clash(&[60, 72]) && !clash(&[127]) && !clash(&[]));
    }
}
