//! What the network sees of `voices`.

use super::super::rhythm::PITCHES;
use super::super::{FeatureShape, Features, NO_FEATURE, State, Token};
use super::Voices;
use super::moment::{Moment, Parallel};

/// Lengths that the network tells apart, in sixteenths; longer ones are alike.
const SHOWN_SIXTEENTHS: u16 = 17;

/// Intervals that the network tells apart, up to this many semitones up or down; larger ones are alike.
const SHOWN_SEMITONES: u16 = 36;
const SHOWN_INTERVALS: u32 = 2 * SHOWN_SEMITONES as u32 + 1;

/// Bars of four beats that the network counts from the beginning; later ones are alike.
const SHOWN_BARS: u32 = 18;

/// Active features before those of each voice, and of each.
const OWN_SLOTS: usize = 10;
const VOICE_SLOTS: usize = 5;

/// Tables of intervals: from the speaker's last two pitches, from the tonic of a major and of a minor key, from parallels, then
/// from each voice.
const LAST_TABLE: usize = 0;
const BEFORE_TABLE: usize = 1;
const MAJOR_TABLE: usize = 2;
const MINOR_TABLE: usize = 3;
const OCTAVE_TABLE: usize = 4;
const FIFTH_TABLE: usize = 5;
const FIRST_VOICE_TABLE: usize = 6;

/// Active features describe the place that a token leads to. After the token itself: the voice that speaks, the position in
/// four beats, this voice's last pitch and the pitch said last, the interval between them, the voice's last interval, the
/// interval from its last pitch to the bass that sounds on, the position in three beats, bars since the beginning. Then for
/// each voice the interval to what it has from this voice's last pitch, and how long it lasts, or for the speaker itself how
/// long its last note or rest was; the degree in the key of its last pitch; and if it has just moved the interval by
/// which, and the one at which it was before.
impl Features for Voices {
    fn shape(&self) -> FeatureShape {
        let tokens = self.vocabulary.len();
        let layout = self.layout();
        let voices = self.ensemble.voices;
        FeatureShape {
            tokens,
            inputs: layout.inputs as usize,
            slots: OWN_SLOTS + VOICE_SLOTS * voices,
            // Tables of intervals, from 127 semitones down on; the tokens after the pitches are beyond the highest.
            scores: tokens + (FIRST_VOICE_TABLE + voices) * (127 + tokens),
            relations: 3 + 2 * voices,
        }
    }

    fn activate(&self, before: State, token: Token, active: &mut [u32]) {
        let layout = self.layout();
        let moment = self.ensemble.read(Moment::of(before), token).0;
        let speaker = self.ensemble.speaker(&moment);
        let voice = &moment.voices[speaker];
        let pitch = |pitch: u16| (pitch < PITCHES).then_some(u32::from(pitch));
        let interval = |from: u16, to: u16| {
            let shown = i64::from(SHOWN_SEMITONES);
            let semitones = i64::from(pitch(to)?) - i64::from(pitch(from)?);
            Some((semitones.clamp(-shown, shown) + shown) as u32)
        };
        let at = |first: u32, number: Option<u32>| number.map_or(NO_FEATURE, |number| first + number);
        active[0] = u32::from(token);
        active[1] = layout.speaker + speaker as u32;
        let beat = u32::from(self.ensemble.grid.steps_per_beat);
        let position = u32::from(moment.position);
        let bars = u32::from(moment.rounds) * 3 + position / (4 * beat);
        active[2] = layout.in_four + position % (4 * beat);
        active[3] = at(layout.pitch, pitch(voice.pitch));
        active[4] = at(layout.last_pitch, pitch(moment.last_pitch));
        active[5] = at(layout.interval, interval(voice.pitch, moment.last_pitch));
        active[6] = at(layout.motion, interval(voice.pitch_before, voice.pitch));
        active[7] = at(layout.bass, self.ensemble.bass(&moment).and_then(|bass| interval(voice.pitch, bass)));
        active[8] = layout.in_three + position % (3 * beat);
        active[9] = layout.bars + bars.min(SHOWN_BARS);
        let key = moment.key();
        let others = active[OWN_SLOTS..].chunks_exact_mut(VOICE_SLOTS);
        for (number, (other, active)) in moment.voices[..self.ensemble.voices].iter().zip(others).enumerate()
        {
            let first = layout.voices + number as u32 * layout.each_voice;
            let is_speaker = number == speaker;
            let has_moved = !is_speaker && other.has_just_moved();
            let above = interval(voice.pitch, other.sounding).filter(|_| !is_speaker);
            let steps = if is_speaker { other.length } else { other.left };
            let sixteenths = self.ensemble.sixteenths(steps).min(SHOWN_SIXTEENTHS);
            let durations =
                first + SHOWN_INTERVALS + u32::from(is_speaker) * (u32::from(SHOWN_SIXTEENTHS) + 1);
            let degrees = first + SHOWN_INTERVALS + 2 * (u32::from(SHOWN_SIXTEENTHS) + 1);
            let (motions, above_before) = (degrees + 24, degrees + 24 + SHOWN_INTERVALS);
            active[0] = at(first, above);
            active[1] = durations + u32::from(sixteenths);
            active[2] = at(degrees, key.zip(pitch(other.pitch)).map(|(key, pitch)| key.degree(pitch)));
            active[3] = at(motions, interval(other.before, other.sounding).filter(|_| has_moved));
            active[4] = at(above_before, interval(voice.pitch, other.before).filter(|_| has_moved));
        }
    }

    /// Intervals from the last two pitches of the voice that speaks, from the tonic of the key, from every pitch that sounds
    /// on, and from that to which the voice would move in parallel fifths or octaves with one that has just moved.
    fn relate(&self, state: State, first_scores: &mut [u32]) {
        let moment = Moment::of(state);
        let tokens = self.vocabulary.len() as u32;
        let intervals_from = |pitch: u16, table: usize| match pitch < PITCHES {
            true => tokens + table as u32 * (127 + tokens) + 127 - u32::from(pitch),
            false => NO_FEATURE,
        };
        let speaker = self.ensemble.speaker(&moment);
        let voice = &moment.voices[speaker];
        first_scores.fill(NO_FEATURE);
        first_scores[0] = intervals_from(voice.pitch, LAST_TABLE);
        first_scores[1] = intervals_from(voice.pitch_before, BEFORE_TABLE);
        if let Some(key) = moment.key() {
            let table = if key.is_minor { MINOR_TABLE } else { MAJOR_TABLE };
            first_scores[2] = intervals_from(60 + u16::from(key.tonic), table);
        }
        let (sounding, parallels) = first_scores[3..].split_at_mut(self.ensemble.voices);
        for (number, other) in moment.voices[..self.ensemble.voices].iter().enumerate() {
            if number == speaker || other.left == 0 {
                continue;
            }
            sounding[number] = intervals_from(other.sounding, FIRST_VOICE_TABLE + number);
        }
        for Parallel { other, to, is_fifth, .. } in self.ensemble.parallels(&moment) {
            parallels[other] = intervals_from(to, if is_fifth { FIFTH_TABLE } else { OCTAVE_TABLE });
        }
    }
}

/// Where the kinds of features begin.
struct Layout {
    speaker: u32,
    in_four: u32,
    in_three: u32,
    bars: u32,
    pitch: u32,
    last_pitch: u32,
    interval: u32,
    motion: u32,
    bass: u32,
    voices: u32,
    each_voice: u32,
    inputs: u32,
}

impl Voices {
    fn layout(&self) -> Layout {
        let speaker = self.vocabulary.len() as u32;
        let beat = u32::from(self.ensemble.grid.steps_per_beat);
        let in_four = speaker + self.ensemble.voices as u32;
        let in_three = in_four + 4 * beat;
        let bars = in_three + 3 * beat;
        let pitch = bars + SHOWN_BARS + 1;
        let last_pitch = pitch + u32::from(PITCHES);
        let interval = last_pitch + u32::from(PITCHES);
        let motion = interval + SHOWN_INTERVALS;
        let bass = motion + SHOWN_INTERVALS;
        let voices = bass + SHOWN_INTERVALS;
        let each_voice = 3 * SHOWN_INTERVALS + 2 * (u32::from(SHOWN_SIXTEENTHS) + 1) + 24;
        let inputs = voices + each_voice * self.ensemble.voices as u32;
        Layout {
            speaker,
            in_four,
            in_three,
            bars,
            pitch,
            last_pitch,
            interval,
            motion,
            bass,
            voices,
            each_voice,
            inputs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Grammar;
    use super::super::moment::FIRST_LENGTH;
    use super::super::{Voices, VoicesOptions};
    use super::*;

    /// The pitches, below 128, to which relations point after these tokens of two voices, each with its table.
    fn references(tokens: &[Token]) -> [Option<(usize, u32)>; 7] {
        let two = Voices::new(VoicesOptions { voices: 2, ..VoicesOptions::default() });
        let state = tokens.iter().fold(two.start(), |state, &token| two.next(state, token));
        let mut first_scores = [0; 7];
        two.relate(state, &mut first_scores);
        let own = two.shape().tokens as u32;
        first_scores.map(|first| {
            let table = |first: u32| (first / (127 + own), 127 - first % (127 + own));
            (first != NO_FEATURE).then(|| table(first - own)).map(|(table, pitch)| (table as usize, pitch))
        })
    }

    #[test]
    fn relations_are_intervals_from_what_was_and_what_sounds() {
        assert_eq!(references(&[]), [None; 7]);
        // The upper voice ends first; the lower one sounds on. C major, as far as one can hear.
        let [last, before, key, _, bass, ..] = references(&[67, FIRST_LENGTH + 1, 48]);
        assert_eq!([last, before], [Some((LAST_TABLE, 67)), None]);
        assert_eq!(bass, Some((FIRST_VOICE_TABLE + 1, 48)));
        assert_eq!(key, Some((MAJOR_TABLE, 60)));
    }

    #[test]
    fn parallel_fifths_and_octaves_have_scores_of_their_own() {
        // The upper voice moves up by a step; the lower one is to move now.
        for (lower, table) in
            [(60, Some(FIFTH_TABLE)), (55, Some(OCTAVE_TABLE)), (43, Some(OCTAVE_TABLE)), (62, None)]
        {
            let [.., above, _] = references(&[67, lower, 69]);
            assert_eq!(above, table.map(|table| (table, u32::from(lower) + 2)));
        }
        // A voice that repeats its note does not move.
        assert_eq!(references(&[67, 60, 67])[5], None);
    }

    #[test]
    fn features_are_the_same_whatever_the_transposition_but_for_pitches() {
        let voices = Voices::new(VoicesOptions::default());
        let tokens = [67, 64, 60, 48, 69, 65, 60, 53];
        let mut active = vec![0; voices.shape().slots];
        let mut found = Vec::new();
        for up in [0, 5] {
            let mut state = voices.start();
            for token in tokens {
                voices.activate(state, token + up, &mut active);
                state = voices.next(state, token + up);
            }
            let pitches = [0, 3, 4];
            found.push(
                (0..active.len())
                    .filter(|slot| !pitches.contains(slot))
                    .map(|slot| active[slot])
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(found[0], found[1]);
    }
}
