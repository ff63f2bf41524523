//! What is measured of one piece.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chords::{Chord, PitchClasses, Quality};
use super::voices::{FRAMES_PER_BEAT, VoiceFrames};
use crate::key::Key;
use crate::midi::Song;

/// The figures of a piece, as names in the JSON and as people read them.
pub const FIGURES: [(&str, &str); 12] = [
    ("parallel_fifths", "parallel fifths per 100 chord changes"),
    ("parallel_octaves", "parallel octaves per 100 chord changes"),
    ("named_chords", "triads and sevenths on beats, %"),
    ("unnamed_chords", "other chords on beats, %"),
    ("semitone_clashes", "semitone clashes on beats, %"),
    ("authentic_cadences", "V-I in root position per 16 beats"),
    ("ends_on_tonic", "ends on its key's triad, %"),
    ("crossed_voices", "voices crossed, % of frames"),
    ("wide_spacing", "upper voices over an octave apart, %"),
    ("bass_steps", "steps in the bass, %"),
    ("soprano_steps", "steps in the highest voice, %"),
    ("changes_on_beat", "chord changes on the beat, %"),
];

/// Where [`FIGURES`] has parallels.
pub const PARALLEL_FIFTHS: usize = 0;
pub const PARALLEL_OCTAVES: usize = 1;

/// Where [`FIGURES`] has the end of a piece, which is 0 or 100.
pub const ENDS_ON_TONIC: usize = 6;

/// Two chords after each other: the quality of each, and how far the root moves up, in semitones below an octave.
pub type Transition = (Quality, u8, Quality);

/// What was measured of a piece.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PieceHarmony {
    /// In the order of `FIGURES`; `None` where a piece has none of what is divided by.
    #[serde(flatten, serialize_with = "by_name")]
    pub figures: [Option<f64>; FIGURES.len()],
    /// How often each transition between chords on consecutive beats occurs.
    #[serde(skip)]
    pub transitions: BTreeMap<Transition, u32>,
}

impl PieceHarmony {
    /// Measures a song. An error says why it has no harmony, worded to follow its name.
    pub fn of(song: &Song) -> Result<Self, &'static str> {
        let voices = VoiceFrames::of(song)?;
        let changes: Vec<usize> = (1..voices.len()).filter(|&frame| voices.changes(frame)).collect();
        let on_beat = changes.iter().filter(|&frame| frame % FRAMES_PER_BEAT == 0).count();
        let [fifths, octaves] = parallels(&voices, &changes);
        let full: Vec<usize> = (0..voices.len()).filter(|&frame| voices.is_full(frame)).collect();
        let beats: Vec<usize> = full.iter().copied().filter(|frame| frame % FRAMES_PER_BEAT == 0).collect();
        let chords = BeatChords::of(&voices, &beats);
        let (crossed, wide) = spacing(&voices, &full);
        let bass = voices.voices() - 1;
        let end = full.last().map(|&frame| ends_on_tonic(&voices, frame));
        let figures = [
            percent(fifths, changes.len()),
            percent(octaves, changes.len()),
            percent(chords.named, beats.len()),
            percent(chords.unnamed, beats.len()),
            percent(chords.clashes, beats.len()),
            percent(chords.cadences, beats.len()).map(|percent| 0.16 * percent),
            end.map(|end| f64::from(u8::from(end)) * 100.0),
            percent(crossed, full.len()).filter(|_| voices.are_tracks()),
            percent(wide, full.len()).filter(|_| voices.voices() > 2),
            steps(&voices, bass),
            steps(&voices, 0),
            percent(on_beat, changes.len()),
        ];
        Ok(PieceHarmony { figures, transitions: chords.transitions })
    }
}

fn by_name<S: serde::Serializer>(
    figures: &[Option<f64>; FIGURES.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(FIGURES.iter().map(|(name, _)| name).zip(figures))
}

fn percent(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

/// Pairs of voices that both move the same way, from a fifth to a fifth and from an octave or a unison to one, whatever
/// octaves lie between. Intervals are above the voice that should be lower.
pub(super) fn parallels(voices: &VoiceFrames, changes: &[usize]) -> [usize; 2] {
    let (mut fifths, mut octaves) = (0, 0);
    for &frame in changes {
        let motions: Vec<(i16, i16)> = (0..voices.voices())
            .filter_map(|voice| {
                let [from, to] = [frame - 1, frame].map(|frame| voices.pitch(frame, voice).map(i16::from));
                Some((from?, to?)).filter(|(from, to)| from != to)
            })
            .collect();
        for (index, (from, to)) in motions.iter().enumerate() {
            for (lower_from, lower_to) in &motions[index + 1..] {
                if (to > from) != (lower_to > lower_from) {
                    continue;
                }
                let intervals = [from - lower_from, to - lower_to].map(|interval| interval.rem_euclid(12));
                fifths += usize::from(intervals == [7, 7]);
                octaves += usize::from(intervals == [0, 0]);
            }
        }
    }
    [fifths, octaves]
}

/// Chords on beats.
#[derive(Debug, Default)]
struct BeatChords {
    /// Triads and seventh chords.
    named: usize,
    /// Chords of three pitch classes or more that have no name.
    unnamed: usize,
    /// Chords in which two pitch classes are a semitone apart.
    clashes: usize,
    /// Dominants that move to their tonics, both in root position.
    cadences: usize,
    transitions: BTreeMap<Transition, u32>,
}

impl BeatChords {
    fn of(voices: &VoiceFrames, beats: &[usize]) -> Self {
        let mut found = BeatChords::default();
        let mut last: Option<Chord> = None;
        for &frame in beats {
            let classes = PitchClasses::of(voices.set(frame));
            found.clashes += usize::from(classes.clash());
            let chord = Chord::of(voices.set(frame));
            found.named += usize::from(chord.is_some());
            found.unnamed += usize::from(chord.is_none() && classes.count() > 2);
            if let (Some(from), Some(to)) = (last, chord) {
                let motion = (12 + to.root - from.root) % 12;
                *found.transitions.entry((from.quality, motion, to.quality)).or_default() += 1;
                let is_dominant = matches!(from.quality, Quality::Major | Quality::DominantSeventh);
                let is_tonic = matches!(to.quality, Quality::Major | Quality::Minor);
                let in_root_position = from.is_in_root_position() && to.is_in_root_position();
                found.cadences += usize::from(is_dominant && is_tonic && in_root_position && motion == 5);
            }
            last = chord;
        }
        found
    }
}

/// Frames in which a voice is above one that should be above it, and in which two neighbors other than the bass are more
/// than an octave apart.
fn spacing(voices: &VoiceFrames, frames: &[usize]) -> (usize, usize) {
    let (mut crossed, mut wide) = (0, 0);
    for &frame in frames {
        let (mut is_crossed, mut is_wide) = (false, false);
        for voice in 1..voices.voices() {
            let (Some(upper), Some(lower)) = (voices.pitch(frame, voice - 1), voices.pitch(frame, voice))
            else {
                continue;
            };
            is_crossed |= upper < lower;
            is_wide |= voice < voices.voices() - 1 && upper > lower + 12;
        }
        crossed += usize::from(is_crossed);
        wide += usize::from(is_wide);
    }
    (crossed, wide)
}

/// Whether the chord is the major or minor triad of the piece's tonic in root position. Whichever the key is: many minor
/// chorales end in major.
fn ends_on_tonic(voices: &VoiceFrames, last: usize) -> bool {
    let mut durations = [0.0; 12];
    for frame in 0..voices.len() {
        for voice in 0..voices.voices() {
            if let Some(pitch) = voices.pitch(frame, voice) {
                durations[usize::from(pitch % 12)] += 1.0;
            }
        }
    }
    Chord::of(voices.set(last)).is_some_and(|chord| {
        let is_triad = matches!(chord.quality, Quality::Major | Quality::Minor);
        is_triad
            && chord.is_in_root_position()
            && Key::of(&durations).map(|key| key.tonic) == Some(chord.root)
    })
}

/// How many percent of a voice's intervals from note to note are one or two semitones.
fn steps(voices: &VoiceFrames, voice: usize) -> Option<f64> {
    let (mut steps, mut all) = (0, 0);
    for frame in 1..voices.len() {
        if let (Some(from), Some(to)) = (voices.pitch(frame - 1, voice), voices.pitch(frame, voice))
            && from != to
        {
            all += 1;
            steps += usize::from(from.abs_diff(to) <= 2);
        }
    }
    percent(steps, all)
}
