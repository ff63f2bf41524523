//! `voices`: up to eight lines of notes and rests without holes, as in chorales, quartets and fugues: `[length] note` or
//! `[length] rest` for the voice that ends first.
//!
//! Who speaks next follows from the lengths, so no token says it: the voice whose note or rest ends first, and of those
//! that end together the first in order. The length is said only if it is not that of the voice's last note or rest, at the
//! beginning a beat. All voices end together: those whose last note ends earlier rest till then, and never all of them.
//! Two rests of a voice never follow each other.

mod features;
mod given;
mod moment;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use self::given::GivenLine;
use self::moment::{Ensemble, FIRST_LENGTH, MAX_VOICES, Moment, REST};
use super::rhythm::{self, BeatGrid, PITCHES};
use super::{
    Chance, EncodeProblem, Encoded, FrameRun, GivenVoice, Grammar, LineChance, Representation, SpelledNote,
    State, Symbol, Token, View, VoiceLabel, VoiceRules,
};
use crate::midi::grid::PitchSet;
use crate::midi::{Instrument, Note, Song};
use crate::print::count;

/// The General MIDI program of a choir.
const CHOIR: u8 = 52;

/// Options of `voices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VoicesOptions {
    /// How many voices every piece has, 1 to 8. Pieces with fewer tracks have voices that rest.
    #[serde(deserialize_with = "number_of_voices")]
    pub voices: usize,
    /// The shortest length of time.
    pub grid: VoicesGrid,
    /// What happens to a note that begins while another one of its track sounds.
    pub polyphony: Polyphony,
}

/// The shortest length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VoicesGrid {
    /// A sixteenth.
    #[serde(rename = "16th")]
    Sixteenth,
    /// A 24th of a quarter note, which both 32nds and triplets are whole numbers of.
    #[serde(rename = "24 a beat")]
    Fine,
}

/// What happens to a note that begins while another one of its track sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Polyphony {
    /// It is an error that names the file and the note.
    Refuse,
    /// The track is split into lines of notes, as many as it takes. What finds no voice any more is left out.
    Split,
}

impl Default for VoicesOptions {
    fn default() -> Self {
        VoicesOptions { voices: 4, grid: VoicesGrid::Sixteenth, polyphony: Polyphony::Refuse }
    }
}

impl VoicesOptions {
    pub(super) fn strict(&self) -> Self {
        VoicesOptions { polyphony: Polyphony::Refuse, ..self.clone() }
    }
}

fn number_of_voices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let voices = usize::deserialize(deserializer)?;
    if (1..=MAX_VOICES).contains(&voices) {
        return Ok(voices);
    }
    Err(serde::de::Error::custom(format!("{voices} is not between 1 and {MAX_VOICES}")))
}

/// The representation.
#[derive(Debug, Clone)]
pub struct Voices {
    options: VoicesOptions,
    ensemble: Ensemble,
    vocabulary: Vec<String>,
    rules: VoiceRules,
}

/// A note or rest of a line, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LineNote {
    pitch: u16,
    start: u64,
    end: u64,
}

impl Voices {
    /// With these options.
    pub fn new(options: VoicesOptions) -> Self {
        let grid = match options.grid {
            VoicesGrid::Sixteenth => BeatGrid { steps_per_beat: 4 },
            VoicesGrid::Fine => rhythm::FINEST,
        };
        let mut vocabulary: Vec<String> = (0..PITCHES).map(|pitch| format!("Pitch {pitch}")).collect();
        vocabulary.push("Rest".into());
        vocabulary.extend(grid.texts("Length"));
        vocabulary.push("End".into());
        Voices {
            ensemble: Ensemble { voices: options.voices, grid },
            options,
            vocabulary,
            rules: VoiceRules::default(),
        }
    }

    /// Whether the speaker may go to this pitch by the rules. Any voice always has a pitch to go to: repeating a note is no
    /// parallel, and a voice that comes from outside its range may go to any note of it.
    fn keeps_rules(&self, moment: &Moment, pitch: Token) -> bool {
        let speaker = self.ensemble.speaker(moment);
        let VoiceRules { forbids_parallels, ranges } = &self.rules;
        let range = ranges.get(speaker).and_then(Option::as_ref);
        let is_inside = |pitch: Token| range.is_none_or(|range| range.contains(&(pitch as u8)));
        let comes_from_outside = || {
            let sounding = moment.voices[speaker].sounding;
            sounding < REST && !is_inside(sounding)
        };
        let is_parallel = || self.ensemble.parallels(moment).any(|parallel| parallel.includes(pitch));
        is_inside(pitch) && (!forbids_parallels || comes_from_outside() || !is_parallel())
    }

    /// The grid in words.
    fn grid_name(&self) -> &'static str {
        match self.options.grid {
            VoicesGrid::Sixteenth => "16ths",
            VoicesGrid::Fine => "24ths of a quarter note",
        }
    }

    /// The notes of each voice in order of onset, and what cannot be said.
    fn lines(&self, song: &Song, max_notes: usize, encoded: &mut Encoded) -> Vec<Vec<LineNote>> {
        let grid = self.ensemble.grid;
        // Notes with the track and number that problems name, in the order in which they are said.
        let mut notes = Vec::new();
        let (mut number, mut track) = (0, 0);
        for instrument in &song.instruments {
            if instrument.is_drum {
                encoded.changes.left_out += instrument.notes.len();
                encoded.altered += instrument.notes.len();
                number += instrument.notes.len();
                continue;
            }
            for note in &instrument.notes {
                let (start, end) = grid.quantize(note, song.resolution);
                notes.push((start, track, std::cmp::Reverse(note.pitch), end, number, note));
                number += 1;
            }
            track += 1;
        }
        notes.sort_by_key(|&(start, track, pitch, end, number, _)| (start, track, pitch, end, number));
        notes.truncate(max_notes);

        // The lines of each track, and where those of all are put in the end.
        let mut lines: Vec<Vec<Vec<LineNote>>> = vec![Vec::new(); track];
        let mut refused_tracks = vec![false; track];
        for (start, track, _, end, number, note) in notes {
            let is_changed = grid.count_changes(note, (start, end), song, &mut encoded.changes);
            encoded.altered += usize::from(is_changed);
            let mut refuse =
                |reason: String, hint| encoded.problems.push(EncodeProblem { note: number, reason, hint });
            if track >= self.options.voices && self.options.polyphony == Polyphony::Refuse {
                if !std::mem::replace(&mut refused_tracks[track], true) {
                    let name =
                        &song.instruments.iter().filter(|i| !i.is_drum).nth(track).map_or("", |i| &i.name);
                    refuse(
                        format!(
                            "its track, {} {name:?}, is one too many for {} voices",
                            track + 1,
                            self.options.voices
                        ),
                        "representation.voices takes up to 8",
                    );
                }
                continue;
            }
            if end - start > u64::from(grid.longest()) {
                refuse(
                    format!("it lasts {} beats", (end - start) / u64::from(grid.steps_per_beat)),
                    rhythm::TOO_LONG,
                );
                continue;
            }
            let of_track = &mut lines[track];
            let free = of_track.iter().position(|line| line.last().is_none_or(|last| last.end <= start));
            let line = match (free, self.options.polyphony) {
                (Some(free), _) => free,
                (None, Polyphony::Refuse) if !of_track.is_empty() => {
                    refuse(
                        "it begins while another note of its track sounds".into(),
                        "representation.polyphony = \"split\" makes several voices of a track",
                    );
                    continue;
                }
                (None, _) if of_track.len() < self.options.voices => {
                    of_track.push(Vec::new());
                    of_track.len() - 1
                }
                (None, _) => {
                    encoded.changes.left_out += 1;
                    encoded.altered += usize::from(!is_changed);
                    continue;
                }
            };
            let since = of_track[line].last().map_or(0, |last| last.end);
            if start - since > u64::from(grid.longest()) {
                refuse(
                    format!("{} beats of rest before it", (start - since) / u64::from(grid.steps_per_beat)),
                    rhythm::TOO_LONG,
                );
                continue;
            }
            of_track[line].push(LineNote { pitch: note.pitch.min(127).into(), start, end });
        }
        // A track without notes keeps its voice, so that decoded music is encoded as it was.
        for of_track in &mut lines {
            if of_track.is_empty() {
                of_track.push(Vec::new());
            }
        }
        let mut lines: Vec<Vec<LineNote>> = lines.into_iter().flatten().collect();
        for left_out in lines.drain(self.options.voices.min(lines.len())..) {
            encoded.changes.left_out += left_out.len();
            encoded.altered += left_out.len();
        }
        lines.resize(self.options.voices, Vec::new());
        lines
    }

    /// The tokens of a song whose voices rest until this step when they have no more notes. It is that where the last note of
    /// some voice ends, and no note begins there or later.
    fn encode_until(
        &self,
        song: &Song,
        max_notes: usize,
        end: impl Fn(&[Vec<LineNote>]) -> Option<u64>,
    ) -> Encoded {
        let mut encoded = Encoded::default();
        if song.resolution == 0 {
            encoded.problems.extend(EncodeProblem::without_beats(song, max_notes));
            return encoded;
        }
        let lines = self.lines(song, max_notes, &mut encoded);
        let end = end(&lines).unwrap_or(0);
        let mut ahead: Vec<_> = lines.iter().map(|line| line.iter().peekable()).collect();
        let mut now = vec![0; lines.len()];
        let mut moment = self.ensemble.beginning();
        loop {
            let speaker = self.ensemble.speaker(&moment);
            if now[speaker] == end {
                // The first of those that end first ends here, so all have said what there is.
                return encoded;
            }
            let (pitch, until) = match ahead[speaker].next_if(|note| note.start == now[speaker]) {
                Some(note) => (note.pitch, note.end),
                None => (REST, ahead[speaker].peek().map_or(end, |note| note.start)),
            };
            let length = until - now[speaker];
            if length > u64::from(self.ensemble.grid.longest()) {
                encoded.problems.push(EncodeProblem {
                    note: 0,
                    reason: format!("voice {} rests too long at the end", speaker + 1),
                    hint: rhythm::TOO_LONG,
                });
                encoded.tokens.clear();
                return encoded;
            }
            let length = length as u16;
            if length != moment.voices[speaker].length {
                self.ensemble.grid.spell(length, FIRST_LENGTH, &mut encoded.tokens);
                moment.said = length;
            }
            encoded.tokens.push(pitch);
            moment = self.ensemble.read(moment, pitch).0;
            now[speaker] = until;
        }
    }
}

impl Grammar for Voices {
    fn start(&self) -> State {
        self.ensemble.beginning().state()
    }

    fn next(&self, state: State, token: Token) -> State {
        self.ensemble.read(Moment::of(state), token).0.state()
    }

    fn allows(&self, state: State, token: Token) -> bool {
        let moment = Moment::of(state);
        self.ensemble.allows(&moment, token) && (token >= REST || self.keeps_rules(&moment, token))
    }

    fn end(&self) -> Option<Token> {
        Some(self.ensemble.end_token())
    }
}

impl Representation for Voices {
    fn id(&self) -> &'static str {
        "voices/2"
    }

    fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    fn encode(&self, song: &Song, max_notes: usize) -> Encoded {
        self.encode_until(song, max_notes, |lines| {
            lines.iter().filter_map(|line| line.last()).map(|last| last.end).max()
        })
    }

    /// Voices that have no more notes rest until the first note ends that sounds after the last onset. From there on all may
    /// go on.
    fn encode_prompt(&self, song: &Song, max_notes: usize) -> Encoded {
        self.encode_until(song, max_notes, |lines| {
            let last = || lines.iter().filter_map(|line| line.last());
            let onset = last().map(|note| note.start).max()?;
            last().map(|note| note.end).filter(|&end| end > onset).min()
        })
    }

    fn decode(&self, tokens: &[Token]) -> Song {
        let voices = self.voices().into_iter();
        let mut instruments: Vec<Instrument> = voices
            .map(|VoiceLabel { name, .. }| Instrument {
                program: CHOIR,
                is_drum: false,
                name,
                notes: Vec::new(),
            })
            .collect();
        for spelled in self.spelled_notes(tokens) {
            instruments[spelled.voice].notes.push(rhythm::note(&spelled));
        }
        rhythm::song(instruments)
    }

    fn spelled_notes(&self, tokens: &[Token]) -> Vec<SpelledNote> {
        let (mut moment, mut now) = (self.ensemble.beginning(), 0);
        let mut notes = Vec::with_capacity(tokens.len());
        for (index, &token) in tokens.iter().enumerate() {
            let voice = self.ensemble.speaker(&moment);
            let (after, elapsed) = self.ensemble.read(moment, token);
            if let Some(pitch) = rhythm::pitch(token) {
                let length = u64::from(after.voices[voice].length);
                let [start, end] = self.ensemble.grid.ticks([now, now + length]);
                notes.push(SpelledNote { token: index, voice, pitch, start, end, is_held: false });
            }
            moment = after;
            now += u64::from(elapsed);
        }
        notes
    }

    fn voices(&self) -> Vec<VoiceLabel> {
        match self.options.voices {
            4 => ["Soprano", "Alto", "Tenor", "Bass"].map(VoiceLabel::line).into(),
            voices => (1..=voices).map(|voice| VoiceLabel::line(format!("Voice {voice}"))).collect(),
        }
    }

    fn elapsed(&self, before: State, token: Token) -> u32 {
        let elapsed = self.ensemble.read(Moment::of(before), token).1;
        u32::from(elapsed) * u32::from(rhythm::FINEST.steps_per_beat / self.ensemble.grid.steps_per_beat)
    }

    fn alteration(&self) -> &'static str {
        "notes are moved to the grid, or left out because they are drums or find no voice"
    }

    fn give_voice(
        &self,
        song: &Song,
        notes: Vec<Note>,
        voice: usize,
    ) -> Option<Result<Box<dyn GivenVoice>, String>> {
        if voice >= self.options.voices {
            return None;
        }
        let mut instruments = self.decode(&[]).instruments;
        instruments[voice].notes = notes;
        let song = Song { instruments, ..song.clone() };
        let Encoded { tokens, problems, changes, .. } =
            Voices::new(self.options.strict()).encode(&song, usize::MAX);
        if let [EncodeProblem { note, reason, .. }, ..] = &problems[..] {
            return Some(Err(format!("note {note}: {reason}")));
        }
        let moved = changes.moved_onsets.max(changes.changed_lengths);
        if moved > 0 {
            let (moved, grid) = (count(moved as u64, "note"), self.grid_name());
            return Some(Err(format!(
                "{moved} would be moved to the grid of {grid}, and a given voice is kept as it is"
            )));
        }
        Some(Ok(Box::new(GivenLine::of(self.ensemble, &tokens, voice))))
    }

    fn with_rules(&self, rules: &VoiceRules) -> Option<Arc<dyn Representation>> {
        Some(Arc::new(Voices { rules: rules.clone(), ..self.clone() }))
    }

    fn pitch(&self, token: Token) -> Option<u8> {
        rhythm::pitch(token)
    }

    fn transpose(&self, token: Token, semitones: i8) -> Option<Token> {
        rhythm::transpose(token, semitones)
    }

    fn symbols(&self, view: View) -> usize {
        rhythm::symbols(view)
    }

    fn symbol(&self, view: View, before: State, token: Token) -> Option<Symbol> {
        rhythm::symbol(view, Moment::of(before).last_pitch, token)
    }

    /// Sixteenths, where they are the grid.
    fn frames(&self, tokens: &[Token]) -> Option<Vec<FrameRun>> {
        if self.options.grid != VoicesGrid::Sixteenth {
            return None;
        }
        let (mut moment, mut said, mut before) = (self.ensemble.beginning(), 0, 0);
        let mut runs = Vec::new();
        for (number, &token) in (1..).zip(tokens) {
            let (after, mut elapsed) = self.ensemble.read(moment, token);
            moment = after;
            let voices = &moment.voices[..self.options.voices];
            if number == tokens.len() {
                // All voices end together.
                elapsed += voices.iter().map(|voice| voice.left).max().unwrap_or(0);
            }
            if elapsed > 0 {
                let pitches = voices.iter().filter(|voice| voice.sounding < REST);
                let sounding: PitchSet = pitches.fold(0, |set, voice| set | 1 << voice.sounding);
                let run =
                    FrameRun { tokens: number - said, frames: elapsed.into(), changes: sounding != before };
                runs.push(run);
                (said, before) = (number, sounding);
            }
        }
        Some(runs)
    }

    fn voices_per_frame(&self) -> Option<u64> {
        (self.options.grid == VoicesGrid::Sixteenth).then_some(self.options.voices as u64)
    }

    /// The voice that speaks and what it has said of its length; what it had; the chord that sounds on, as a set of pitch
    /// classes; the length that goes without saying; the time until another voice moves; the place in the beat; and the pitch
    /// before. Found by adding what predicts best, one after another, on the chorales of the usual split.
    fn context(&self, state: State) -> Vec<Symbol> {
        let moment = Moment::of(state);
        let speaker = self.ensemble.speaker(&moment);
        let voice = &moment.voices[speaker];
        let (mut chord, mut until) = (0, 0);
        for other in &moment.voices[..self.options.voices] {
            if other.left > 0 {
                until = if until == 0 { other.left } else { until.min(other.left) };
                if other.sounding < REST {
                    chord |= 1 << (other.sounding % 12);
                }
            }
        }
        let before = if voice.sounding < REST { voice.pitch_before } else { voice.pitch };
        vec![
            (MAX_VOICES as u16).wrapping_mul(moment.said) + speaker as u16,
            voice.sounding,
            chord,
            voice.length,
            until,
            moment.position % self.ensemble.grid.steps_per_beat,
            before,
        ]
    }

    /// Measured on 305 chorales of Bach. Some set the same tune with nearly the same voices; nine of ten share no run of 20
    /// notes, and none of 25 when transposed, with any other.
    fn chance(&self) -> Chance {
        Chance { exact: 20, transposed: 25 }
    }

    /// Measured on the chorales of the usual split's training music whose tune no other one of them sets: nine of ten share
    /// no longer run.
    fn line_chance(&self) -> LineChance {
        LineChance {
            pitches: Chance { exact: 13, transposed: 21 },
            lengths: Chance { exact: 9, transposed: 13 },
            all: Chance { exact: 11, transposed: 14 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws;
    use super::*;
    use crate::harmony::PieceHarmony;
    use std::ops::RangeInclusive;

    use crate::midi::grid::tests::song_of_tracks as song;
    use crate::random::{Purpose, RandomStream};

    fn voices(voices: usize, polyphony: Polyphony) -> Voices {
        Voices::new(VoicesOptions { voices, grid: VoicesGrid::Sixteenth, polyphony })
    }

    fn spelled(voices: &Voices, song: &Song) -> String {
        let encoded = voices.encode(song, usize::MAX);
        assert!(encoded.problems.is_empty(), "{:?}", encoded.problems);
        let texts = encoded.tokens.iter().map(|&token| voices.vocabulary()[usize::from(token)].as_str());
        texts.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn voices_obey_the_laws() {
        for (voices, grid, polyphony) in [
            (1, VoicesGrid::Sixteenth, Polyphony::Refuse),
            (2, VoicesGrid::Fine, Polyphony::Split),
            (4, VoicesGrid::Sixteenth, Polyphony::Split),
            (8, VoicesGrid::Fine, Polyphony::Refuse),
        ] {
            laws::hold(&Voices::new(VoicesOptions { voices, grid, polyphony }));
        }
    }

    #[test]
    fn the_voice_that_ends_first_speaks_and_says_what_changes() {
        let two = voices(2, Polyphony::Refuse);
        let moving_bass = song(&[&[(67, 0, 8), (65, 8, 14)], &[(52, 0, 4), (53, 4, 8), (55, 8, 14)]]);
        let expected = "Length 2, Pitch 67, Pitch 52, Pitch 53, \
                        Length 1, Length 2/4, Pitch 65, Length 1, Length 2/4, Pitch 55";
        assert_eq!(spelled(&two, &moving_bass), expected);
        // The upper voice begins later and ends earlier.
        let rests = song(&[&[(67, 4, 8)], &[(52, 0, 12)]]);
        assert_eq!(spelled(&two, &rests), "Rest, Length 3, Pitch 52, Pitch 67, Rest");
    }

    #[test]
    fn notes_that_are_not_in_lines() {
        let chord: &[(u8, u32, u32)] = &[(60, 0, 4), (64, 0, 4), (62, 6, 8)];
        let refused = voices(2, Polyphony::Refuse).encode(&song(&[chord]), usize::MAX);
        // The chord's upper note is its line's.
        let expected = "note 0: it begins while another note of its track sounds (representation.polyphony = \"split\" \
                        makes several voices of a track)";
        assert_eq!(refused.problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        let split = voices(2, Polyphony::Split);
        assert_eq!(spelled(&split, &song(&[chord])), "Pitch 64, Pitch 60, Length 2/4, Rest, Rest, Pitch 62");
        // A third voice, where there are two.
        let three = song(&[chord, &[(40, 0, 4), (41, 4, 8)]]);
        let encoded = split.encode(&three, usize::MAX);
        assert_eq!((encoded.altered, encoded.changes.left_out, encoded.problems.len()), (2, 2, 0));
        let tracks = voices(1, Polyphony::Refuse).encode(&song(&[&[(60, 0, 4)], &[(40, 0, 4)]]), 10);
        let expected = "note 1: its track, 2 \"organ\", is one too many for 1 voices (representation.voices takes up to 8)";
        assert_eq!(tracks.problems[0].to_string(), expected);
    }

    #[test]
    fn drums_are_left_out_and_music_without_beats_is_refused() {
        let mut song = song(&[&[(36, 0, 4), (36, 4, 8)], &[(60, 0, 4)]]);
        song.instruments[0].is_drum = true;
        let two = voices(2, Polyphony::Refuse);
        assert_eq!(spelled(&two, &song), "Pitch 60, Rest");
        assert_eq!(two.encode(&song, usize::MAX).changes.left_out, 2);
        song.resolution = 0;
        assert_eq!(two.encode(&song, usize::MAX).problems.len(), 1);
    }

    #[test]
    fn lengths_without_a_spelling_are_refused() {
        let too_long = 4 * 2049;
        let two = voices(2, Polyphony::Refuse);
        for tracks in [
            [&[(60, 0, too_long)][..], &[(60, 0, 4)]],
            [&[(60, too_long, too_long + 1)], &[(60, 0, 4)]],
            [&[(60, 0, too_long / 2), (61, too_long / 2, too_long)], &[]],
        ] {
            let encoded = two.encode(&song(&tracks), usize::MAX);
            assert_eq!(encoded.problems.len(), 1, "{:?}", encoded.problems);
        }
    }

    fn notes(notes: &[(u8, u32, u32)]) -> Vec<Note> {
        song(&[notes]).instruments.remove(0).notes
    }

    /// A tune that rests at the beginning and in the middle.
    const TUNE: [(u8, u32, u32); 6] =
        [(67, 2, 4), (65, 4, 8), (64, 8, 9), (62, 9, 12), (60, 20, 60), (60, 60, 61)];

    #[test]
    fn any_voice_is_kept_whatever_the_others_say_and_all_end_with_it() {
        let voices = Voices::new(VoicesOptions::default());
        for voice in 0..4 {
            let given = voices.give_voice(&song(&[]), notes(&TUNE), voice).unwrap().unwrap();
            for seed in 0..50 {
                let stream = RandomStream::new(seed, Purpose::Sampling, &[]);
                let (mut state, mut said, mut tokens) = (voices.start(), 0, Vec::new());
                loop {
                    let allowed: Vec<Token> = (0..voices.vocabulary().len() as Token)
                        .filter(|&token| voices.allows(state, token) && given.allows(state, said, token))
                        .collect();
                    let uniform = stream.uniform(tokens.len() as u64);
                    let token = allowed[(uniform * allowed.len() as f64) as usize];
                    if Some(token) == voices.end() {
                        break;
                    }
                    said += usize::from(given.speaks(state));
                    state = voices.next(state, token);
                    tokens.push(token);
                }
                let decoded = voices.decode(&tokens);
                let found = decoded.instruments[voice].notes.iter();
                // A tick is a 24th there.
                let found: Vec<_> =
                    found.map(|note| (note.pitch, note.start_tick / 6, note.end_tick / 6)).collect();
                assert_eq!(found, TUNE);
                let ends = decoded.instruments.iter().flat_map(|i| &i.notes).map(|note| note.end_tick);
                assert_eq!(ends.max(), Some(6 * 61));
            }
        }
    }

    #[test]
    fn what_cannot_be_kept_is_said() {
        let voices = Voices::new(VoicesOptions::default());
        let refused = |tune: &[(u8, u32, u32)], resolution| {
            let song = Song { resolution, ..song(&[]) };
            voices.give_voice(&song, notes(tune), 0).unwrap().unwrap_err()
        };
        assert_eq!(
            refused(&[(60, 0, 4), (64, 2, 4)], 4),
            "note 1: it begins while another note of its track sounds"
        );
        let grid = "1 note would be moved to the grid of 16ths, and a given voice is kept as it is";
        assert_eq!(refused(&[(60, 0, 4), (64, 5, 8)], 8), grid);
        assert_eq!(refused(&TUNE, 0), "note 0: this music has seconds and no beats");
    }

    /// Parallel fifths and octaves in chorales of quarter notes with random pitches, each voice in an octave of its own.
    fn random_parallels(voices: &dyn Representation) -> f64 {
        let mut parallels = 0.0;
        for seed in 0..20 {
            let stream = RandomStream::new(seed, Purpose::Sampling, &[]);
            let (mut state, mut tokens) = (voices.start(), Vec::new());
            for number in 0..200 {
                let lowest = 72 - 12 * (number % 4) as Token;
                let allowed: Vec<Token> =
                    (lowest..lowest + 12).filter(|&pitch| voices.allows(state, pitch)).collect();
                let token = allowed[(stream.uniform(number) * allowed.len() as f64) as usize];
                state = voices.next(state, token);
                tokens.push(token);
            }
            let harmony = PieceHarmony::of(&voices.decode(&tokens)).unwrap();
            parallels += harmony.figures[0].unwrap() + harmony.figures[1].unwrap();
        }
        parallels
    }

    #[test]
    fn a_grammar_without_parallels_allows_none() {
        let voices = Voices::new(VoicesOptions::default());
        assert!(random_parallels(&voices) > 100.0);
        let rules = VoiceRules { forbids_parallels: true, ranges: Vec::new() };
        assert_eq!(random_parallels(&*voices.with_rules(&rules).unwrap()), 0.0);
    }

    #[test]
    fn voices_stay_in_their_ranges_and_always_have_a_pitch_to_go_to() {
        let two = voices(2, Polyphony::Refuse);
        // Outside the ranges, with a parallel octave to every note of the lower voice's range but one.
        let song = song(&[&[(90, 0, 4), (89, 4, 8)], &[(66, 0, 4), (65, 4, 8)]]);
        let tokens = two.encode(&song, usize::MAX).tokens;
        let allowed = |ranges: &[Option<RangeInclusive<u8>>], forbids_parallels| {
            let rules = VoiceRules { forbids_parallels, ranges: ranges.to_vec() };
            let ruled = two.with_rules(&rules).unwrap();
            let states = (0..=tokens.len()).map(|read| {
                let state =
                    tokens[..read].iter().fold(ruled.start(), |state, &token| ruled.next(state, token));
                (0..PITCHES).filter(|&pitch| ruled.allows(state, pitch)).collect::<Vec<_>>()
            });
            states.collect::<Vec<_>>()
        };
        let upper: Vec<Token> = (60..=72).collect();
        for forbids_parallels in [false, true] {
            let ranges = [Some(60..=72), Some(65..=65)];
            assert_eq!(allowed(&ranges, forbids_parallels), [&upper[..], &[65], &upper, &[65], &upper]);
        }
        // A voice of which nothing is known may go anywhere.
        assert_eq!(allowed(&[Some(60..=72)], false)[1].len(), 128);
        // Coming from inside, a parallel is forbidden.
        let all = allowed(&[], true);
        assert!(!all[3].contains(&65) && all[3].contains(&66));
    }

    #[test]
    fn frames_are_sixteenths_and_change_with_the_pitches_that_sound() {
        // The upper voice repeats its note and then moves, while the lower one holds.
        let song = song(&[&[(67, 0, 2), (67, 2, 4), (69, 4, 8)], &[(52, 0, 8)]]);
        let two = voices(2, Polyphony::Refuse);
        let encoded = two.encode(&song, usize::MAX);
        let run = |tokens, frames, changes| FrameRun { tokens, frames, changes };
        let expected = [run(4, 2, true), run(1, 2, false), run(2, 4, true)];
        assert_eq!(two.frames(&encoded.tokens).unwrap(), expected);
        assert_eq!(two.voices_per_frame(), Some(2));
        // Before the last note: the upper voice has an eighth on a G, above an E that sounds on for a beat.
        let state = encoded.tokens[..5].iter().fold(two.start(), |state, &token| two.next(state, token));
        assert_eq!(two.context(state), [0, 67, 1 << 4, 2, 4, 0, 67]);
    }
}
