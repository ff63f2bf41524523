//! Tunes that training knows: pieces whose melody, in any key, is for more than half of its length also that of a training
//! piece. Chorales set the same tunes again and again, and a split by piece does not keep them apart: 44% of the test pieces
//! of the usual split of Bach's chorales have such a tune, so figures are also reported on the other pieces alone.
//!
//! The melody is the highest pitch that sounds at the beginning of each quarter note, as in the published sets of quarter
//! frames; finer grids and other representations then find the same tunes.

use std::collections::HashSet;

use crate::midi::Song;

/// Intervals in a run that makes a tune known: four bars of common time and a note.
const RUN: usize = 16;

/// The runs of intervals in the melodies of training pieces.
#[derive(Debug, Clone, Default)]
pub struct KnownTunes {
    runs: HashSet<[i8; RUN]>,
}

impl KnownTunes {
    /// Adds those of a piece.
    pub fn add(&mut self, song: &Song) {
        self.runs.extend(runs(&intervals(song)).map(|(_, run)| run));
    }

    /// Whether more than half of the intervals of a piece's melody are in known runs.
    pub fn knows(&self, song: &Song) -> bool {
        let intervals = intervals(song);
        let mut is_known = vec![false; intervals.len()];
        for (at, run) in runs(&intervals) {
            if self.runs.contains(&run) {
                is_known[at..at + RUN].fill(true);
            }
        }
        2 * is_known.iter().filter(|&&is_known| is_known).count() > intervals.len()
    }
}

/// Whether one of two pieces makes the tune of the other known.
pub fn set_same_tune(a: &Song, b: &Song) -> bool {
    let knows = |a: &Song, b: &Song| {
        let mut known = KnownTunes::default();
        known.add(a);
        known.knows(b)
    };
    knows(a, b) || knows(b, a)
}

/// Every run without a rest, and where it begins.
fn runs(intervals: &[Option<i8>]) -> impl Iterator<Item = (usize, [i8; RUN])> {
    intervals.windows(RUN).enumerate().filter_map(|(at, window)| {
        let mut run = [0; RUN];
        for (interval, &found) in run.iter_mut().zip(window) {
            *interval = found?;
        }
        Some((at, run))
    })
}

/// The intervals of the melody, `None` into and out of a rest. The song is one that tokens were decoded to: its length is in
/// proportion to theirs.
fn intervals(song: &Song) -> Vec<Option<i8>> {
    // Music without beats has milliseconds, of which these are a quarter note at 120 a minute.
    let quarter = if song.resolution == 0 { 500 } else { u32::from(song.resolution) };
    let notes = || song.instruments.iter().filter(|instrument| !instrument.is_drum).flat_map(|i| &i.notes);
    let end = notes().map(|note| note.end_tick.div_ceil(quarter)).max().unwrap_or(0);
    let mut melody: Vec<Option<u8>> = vec![None; end as usize];
    for note in notes() {
        let quarters = note.start_tick.div_ceil(quarter)..note.end_tick.div_ceil(quarter);
        for highest in &mut melody[quarters.start as usize..quarters.end as usize] {
            *highest = Some(note.pitch).max(*highest);
        }
    }
    let pairs = melody.windows(2);
    pairs.map(|pair| Some(pair[1]?.cast_signed() - pair[0]?.cast_signed())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::midi::Instrument;
    use crate::midi::grid::{NoteValue, held_notes, song};

    /// A melody in quarter notes above a pedal point.
    fn melody(pitches: &[u8]) -> Song {
        let frames = pitches.iter().map(|&pitch| 1 << 30 | 1 << pitch);
        let notes = held_notes(frames, NoteValue::Quarter);
        let instrument = Instrument { program: 0, is_drum: false, name: String::new(), notes };
        song(vec![instrument], pitches.len(), NoteValue::Quarter)
    }

    fn tune(from: u8, length: u8) -> Vec<u8> {
        (0..length).map(|number| from + (number % 5) * (number % 7)).collect()
    }

    #[test]
    fn a_tune_is_known_in_any_key_if_most_of_it_is() {
        let mut known = KnownTunes::default();
        known.add(&melody(&tune(60, 17)));
        assert!(known.knows(&melody(&tune(60, 17))) && known.knows(&melody(&tune(67, 17))));
        // A note less is no run.
        assert!(!known.knows(&melody(&tune(60, 16))));
        // 16 of 31 intervals, and 16 of 32.
        let longer = |more: usize| [tune(60, 17), vec![50; more]].concat();
        assert!(known.knows(&melody(&longer(15))) && !known.knows(&melody(&longer(16))));
        // A piece that is much longer makes the tune of the shorter one known.
        let [short, long] = [melody(&tune(67, 17)), melody(&longer(40))];
        assert!(set_same_tune(&short, &long) && set_same_tune(&long, &short));
        assert!(!set_same_tune(&short, &melody(&tune(60, 16))));
        let mut altered = tune(60, 17);
        altered[8] += 1;
        assert!(!known.knows(&melody(&altered)));
        assert!(!KnownTunes::default().knows(&melody(&tune(60, 17))));
        assert!(!known.knows(&melody(&[])));
    }
}
