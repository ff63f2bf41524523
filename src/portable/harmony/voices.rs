//! A piece as its voices on a grid of sixteenths.

use crate::midi::grid::{PitchSet, nearest_step};
use crate::midi::{Note, Song};

/// Sixteenths of a beat, which is a quarter note.
pub const FRAMES_PER_BEAT: usize = 4;

/// Pieces with more tracks are read as sets of pitches: who sings what no longer matters there.
const MAX_VOICES: usize = 8;

/// Longer pieces are not measured: nine hours at a fast tempo, far beyond any music but files that are made to do harm.
const MAX_FRAMES: u64 = 1 << 18;

/// In place of a pitch: the voice rests.
const REST: u8 = u8::MAX;

/// What sounds in each sixteenth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceFrames {
    /// V, at least 2. The first voice is the highest, the last is the bass.
    voices: usize,
    /// Whether voices are tracks. If not, nobody says who sings what, and voices are the pitches of a frame from the top,
    /// with the lowest one as the bass.
    are_tracks: bool,
    /// (frames, V) pitches or [`REST`].
    pitches: Vec<u8>,
    /// What sounds in each frame.
    sets: Vec<PitchSet>,
}

impl VoiceFrames {
    /// The voices of a song without its drums: its tracks if each has one note at a time, ordered by their mean pitch. An
    /// error says why a piece has none, worded to follow its name.
    pub fn of(song: &Song) -> Result<Self, &'static str> {
        if song.resolution == 0 {
            return Err("has seconds and no beats");
        }
        let mut tracks: Vec<Vec<GridNote>> = Vec::new();
        for instrument in song.instruments.iter().filter(|i| !i.is_drum && !i.notes.is_empty()) {
            let mut notes: Vec<_> =
                instrument.notes.iter().map(|note| GridNote::of(note, song.resolution)).collect();
            notes.sort_unstable_by_key(|note| (note.start, note.pitch, note.end));
            tracks.push(notes);
        }
        let frames = tracks.iter().flatten().map(|note| note.end).max().unwrap_or(0);
        if frames > MAX_FRAMES {
            return Err("is too long");
        }
        let sets = sets(&tracks, frames as usize);
        let sounding = sets.iter().filter(|&&set| set != 0).count();
        let is_line = |track: &Vec<GridNote>| track.windows(2).all(|pair| pair[0].end <= pair[1].start);
        let voices = match (2..=MAX_VOICES).contains(&tracks.len()) && tracks.iter().all(is_line) {
            true => VoiceFrames::of_tracks(tracks, sets),
            false => VoiceFrames::of_sets(sets),
        };
        let together = (0..voices.len()).filter(|&frame| voices.sounding(frame) > 1).count();
        if 2 * together <= sounding { Err("has one voice at a time") } else { Ok(voices) }
    }

    fn of_tracks(mut tracks: Vec<Vec<GridNote>>, sets: Vec<PitchSet>) -> Self {
        tracks.sort_by(|a, b| mean_pitch(b).total_cmp(&mean_pitch(a)));
        let voices = tracks.len();
        let mut pitches = vec![REST; sets.len() * voices];
        for (voice, track) in tracks.iter().enumerate() {
            for note in track {
                for frame in note.start..note.end {
                    pitches[frame as usize * voices + voice] = note.pitch;
                }
            }
        }
        VoiceFrames { voices, are_tracks: true, pitches, sets }
    }

    fn of_sets(sets: Vec<PitchSet>) -> Self {
        let most = sets.iter().map(|set| set.count_ones() as usize).max().unwrap_or(0);
        let voices = most.clamp(2, MAX_VOICES);
        let mut pitches = vec![REST; sets.len() * voices];
        for (&set, voices) in sets.iter().zip(pitches.chunks_exact_mut(voices)) {
            let Some((bass, upper)) = voices.split_last_mut() else { continue };
            let mut left = set;
            for voice in upper {
                if left.count_ones() > u32::from(left != set) {
                    *voice = left.ilog2() as u8;
                    left &= !(1 << *voice);
                }
            }
            if left != 0 {
                *bass = left.trailing_zeros() as u8;
            }
        }
        VoiceFrames { voices, are_tracks: false, pitches, sets }
    }

    /// The number of frames.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// The number of voices, V.
    pub fn voices(&self) -> usize {
        self.voices
    }

    /// Whether it is known who sings what, so that voices can cross.
    pub fn are_tracks(&self) -> bool {
        self.are_tracks
    }

    /// The pitches that sound in a frame.
    pub fn set(&self, frame: usize) -> PitchSet {
        self.sets[frame]
    }

    /// The pitch of a voice in a frame; `None` if it rests.
    pub fn pitch(&self, frame: usize, voice: usize) -> Option<u8> {
        Some(self.pitches[frame * self.voices + voice]).filter(|&pitch| pitch != REST)
    }

    /// Whether anything changes between a frame and the one before.
    pub fn changes(&self, frame: usize) -> bool {
        self.frame(frame) != self.frame(frame - 1)
    }

    /// Whether a frame has enough voices for a chord: all of them, or four if there are more. Where it is not known who sings
    /// what, two voices in unison are one pitch, so three are enough.
    pub fn is_full(&self, frame: usize) -> bool {
        self.sounding(frame) >= self.voices.min(if self.are_tracks { 4 } else { 3 })
    }

    fn sounding(&self, frame: usize) -> usize {
        self.frame(frame).iter().filter(|&&pitch| pitch != REST).count()
    }

    fn frame(&self, frame: usize) -> &[u8] {
        &self.pitches[frame * self.voices..][..self.voices]
    }
}

/// A note in frames.
#[derive(Debug, Clone, Copy)]
struct GridNote {
    pitch: u8,
    start: u64,
    end: u64,
}

impl GridNote {
    /// The nearest frames, at least one.
    fn of(note: &Note, resolution: u16) -> Self {
        let [start, end] = [note.start_tick, note.end_tick]
            .map(|tick| nearest_step(tick.into(), FRAMES_PER_BEAT as u16, resolution));
        GridNote { pitch: note.pitch.min(127), start, end: end.max(start + 1) }
    }
}

/// What sounds in each frame. Overlapping notes of a pitch take no more time than one.
fn sets(tracks: &[Vec<GridNote>], frames: usize) -> Vec<PitchSet> {
    let mut sets = vec![0; frames];
    for track in tracks {
        let mut filled_until = [0; 128];
        for note in track {
            let filled = &mut filled_until[usize::from(note.pitch)];
            for frame in note.start.max(*filled)..note.end {
                sets[frame as usize] |= 1 << note.pitch;
            }
            *filled = note.end.max(*filled);
        }
    }
    sets
}

/// By how long its notes are.
fn mean_pitch(track: &[GridNote]) -> f64 {
    let (mut sum, mut frames) = (0.0, 0.0);
    for note in track {
        let length = (note.end - note.start) as f64;
        sum += length * f64::from(note.pitch);
        frames += length;
    }
    sum / frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::midi::grid::tests::song_of_tracks as song;

    fn frames(voices: &VoiceFrames) -> Vec<Vec<Option<u8>>> {
        (0..voices.len())
            .map(|frame| (0..voices.voices()).map(|voice| voices.pitch(frame, voice)).collect())
            .collect()
    }

    #[test]
    fn tracks_are_voices_from_the_highest() {
        let voices =
            VoiceFrames::of(&song(&[&[(50, 0, 3)], &[(70, 0, 1), (40, 2, 3)], &[(60, 0, 3)]])).unwrap();
        let expected =
            [[Some(60), Some(70), Some(50)], [Some(60), None, Some(50)], [Some(60), Some(40), Some(50)]];
        // The second one's mean is 55.
        assert_eq!(frames(&voices), expected);
        assert!(voices.are_tracks() && voices.is_full(0) && !voices.is_full(1));
        assert!(voices.changes(1) && voices.changes(2));
    }

    #[test]
    fn chords_of_one_track_are_voices_by_rank() {
        let chords: &[(u8, u32, u32)] =
            &[(60, 0, 2), (64, 0, 2), (67, 0, 1), (72, 0, 1), (50, 2, 3), (62, 3, 4), (65, 3, 4)];
        let voices = VoiceFrames::of(&song(&[chords])).unwrap();
        let expected = [
            [Some(72), Some(67), Some(64), Some(60)],
            [Some(64), None, None, Some(60)],
            [Some(50), None, None, None],
            [Some(65), None, None, Some(62)],
        ];
        assert_eq!(frames(&voices), expected);
        assert!(!voices.are_tracks() && voices.is_full(0) && !voices.is_full(1));
    }

    #[test]
    fn what_has_no_voices_is_said() {
        assert_eq!(VoiceFrames::of(&Song::in_seconds(Vec::new())), Err("has seconds and no beats"));
        assert_eq!(VoiceFrames::of(&song(&[])), Err("has one voice at a time"));
        let melody: &[(u8, u32, u32)] = &[(60, 0, 4), (62, 4, 8), (64, 6, 8)];
        assert_eq!(VoiceFrames::of(&song(&[melody])), Err("has one voice at a time"));
        let mut drums = song(&[&[(60, 0, 4)], &[(40, 0, 4)]]);
        drums.instruments[1].is_drum = true;
        assert_eq!(VoiceFrames::of(&drums), Err("has one voice at a time"));
        let mut long = song(&[&[(60, 0, u32::MAX)], &[(40, 0, u32::MAX)]]);
        assert_eq!(VoiceFrames::of(&long), Err("is too long"));
        // Many long notes of one pitch, one over the other.
        let notes: Vec<_> = (0..100_000).map(|start| (60, start, 1 << 18)).collect();
        long = song(&[&notes, &[(40, 0, 1 << 18)]]);
        assert_eq!(VoiceFrames::of(&long).unwrap().len(), 1 << 18);
    }
}
