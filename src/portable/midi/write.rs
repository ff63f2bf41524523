//! From notes to the bytes of a MIDI file that [`read`](super::read()), pretty_midi and synthesizers read: format 1, a
//! first track with tempo and texts, then one track per instrument. A tick is one millisecond, so that times are exact to
//! half a millisecond and 0.3 s is exactly 300 ticks; in a file of more than 2.7 hours a tick is 10 or 100 milliseconds,
//! because pretty_midi reads at most 10 million ticks.
//!
//! MIDI cannot express everything: when two notes of one pitch overlap in one instrument, the first note-off closes both.

use midly::num::{u4, u7, u15, u24, u28};
use midly::{Format, Header, MetaMessage, MidiMessage, Smf, Timing, TrackEvent, TrackEventKind};

use super::{Instrument, MAX_TICK, Note, Song};

/// 120 quarter notes per minute, MIDI's default tempo.
const MICROSECONDS_PER_QUARTER: u32 = 500_000;
const QUARTERS_PER_SECOND: u16 = 2;
/// The first one whose ticks stay below [`MAX_TICK`] is used.
const TICKS_PER_SECOND: [u16; 3] = [1000, 100, 10];

/// The bytes of a MIDI file with the song's instruments, and with texts at times in seconds.
///
/// Times are rounded to ticks and clamped between 0 and the longest that a file can hold ([`MAX_TICK`], eleven days);
/// every note lasts at least one tick. Velocities are clamped to 1 to 127, pitches and programs to 0 to 127. Characters
/// that Latin-1 lacks become `?`.
///
/// # Panics
/// With more than 32,766 instruments, as many tracks as fit into a file.
#[must_use]
pub fn write(song: &Song, texts: &[(f64, &str)]) -> Vec<u8> {
    let instruments = &song.instruments;
    assert!(instruments.len() < 32_767, "{} instruments in one MIDI file", instruments.len());
    let ends = instruments.iter().flat_map(|instrument| &instrument.notes).map(|note| note.end);
    let end = ends.chain(texts.iter().map(|&(time, _)| time)).fold(0.0, f64::max);
    let grid = Grid::for_music_until(end);
    let texts: Vec<(u32, Vec<u8>)> =
        texts.iter().map(|&(time, text)| (grid.tick(time), latin1(text))).collect();
    let names: Vec<Vec<u8>> = instruments.iter().map(|instrument| latin1(&instrument.name)).collect();

    let header = Header::new(
        Format::Parallel,
        Timing::Metrical(u15::from(grid.ticks_per_second / QUARTERS_PER_SECOND)),
    );
    let mut file = Smf::new(header);
    file.tracks.push(first_track(&texts));
    for (index, (instrument, name)) in instruments.iter().zip(&names).enumerate() {
        file.tracks.push(instrument_track(instrument, name, channel(index, instrument.is_drum), grid));
    }
    let mut bytes = Vec::new();
    file.write_std(&mut bytes)
        .expect("a vector takes all bytes, and names and texts have a length that fits");
    bytes
}

fn first_track(texts: &[(u32, Vec<u8>)]) -> Vec<TrackEvent<'_>> {
    let tempo = MetaMessage::Tempo(u24::from(MICROSECONDS_PER_QUARTER));
    let mut events = vec![(0, TrackEventKind::Meta(tempo))];
    events.extend(texts.iter().map(|(tick, text)| (*tick, TrackEventKind::Meta(MetaMessage::Text(text)))));
    events.sort_by_key(|&(tick, _)| tick);
    track(&events)
}

fn instrument_track<'a>(
    instrument: &Instrument,
    name: &'a [u8],
    channel: u4,
    grid: Grid,
) -> Vec<TrackEvent<'a>> {
    let midi = |message| TrackEventKind::Midi { channel, message };
    let mut notes = Vec::with_capacity(2 * instrument.notes.len());
    for note in &instrument.notes {
        let key = u7::from(note.pitch.min(127));
        let (start, end) = grid.ticks(note);
        let vel = u7::from(note.velocity.clamp(1, 127));
        notes.push((start, midi(MidiMessage::NoteOn { key, vel })));
        notes.push((end, midi(MidiMessage::NoteOff { key, vel: u7::from(0) })));
    }
    // At the same tick note-offs come first, so that a note that begins where another of its pitch ends stays open.
    // Otherwise the notes keep their order, which is the order in which they will be read.
    let is_on = |kind: &TrackEventKind<'_>| {
        matches!(kind, TrackEventKind::Midi { message: MidiMessage::NoteOn { .. }, .. })
    };
    notes.sort_by_key(|(tick, kind)| (*tick, is_on(kind)));

    let program = u7::from(instrument.program.min(127));
    let mut events = Vec::with_capacity(2 + notes.len());
    events.push((0, TrackEventKind::Meta(MetaMessage::TrackName(name))));
    events.push((0, midi(MidiMessage::ProgramChange { program })));
    events.append(&mut notes);
    track(&events)
}

/// A track from events in order of their ticks.
fn track<'a>(events: &[(u32, TrackEventKind<'a>)]) -> Vec<TrackEvent<'a>> {
    let mut track = Vec::with_capacity(events.len() + 1);
    let mut last = 0;
    for &(tick, kind) in events {
        track.push(TrackEvent { delta: u28::from(tick - last), kind });
        last = tick;
    }
    track.push(TrackEvent { delta: u28::from(0), kind: TrackEventKind::Meta(MetaMessage::EndOfTrack) });
    track
}

/// Drums have channel 10 (9 when counted from 0); the others take turns on the rest, because synthesizers have one
/// program per channel, whatever the track.
fn channel(index: usize, is_drum: bool) -> u4 {
    const OTHERS: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15];
    u4::from(if is_drum { 9 } else { OTHERS[index % OTHERS.len()] })
}

/// Converts seconds to ticks.
#[derive(Clone, Copy)]
struct Grid {
    ticks_per_second: u16,
}

impl Grid {
    /// The finest grid for music that ends after `end` seconds.
    fn for_music_until(end: f64) -> Self {
        let [.., coarsest] = TICKS_PER_SECOND;
        let fits = |&ticks: &u16| end * f64::from(ticks) < f64::from(MAX_TICK - 1);
        Grid { ticks_per_second: TICKS_PER_SECOND.into_iter().find(fits).unwrap_or(coarsest) }
    }

    /// Start and end, at least one tick apart.
    fn ticks(self, note: &Note) -> (u32, u32) {
        let start = self.tick(note.start).min(MAX_TICK - 2);
        (start, self.tick(note.end).max(start + 1))
    }

    /// The nearest tick; NaN is 0.
    fn tick(self, time: f64) -> u32 {
        let last = f64::from(MAX_TICK - 1);
        (time * f64::from(self.ticks_per_second)).round().clamp(0.0, last) as u32
    }
}

/// Latin-1, at most as long as a variable-length quantity of four bytes can say.
fn latin1(text: &str) -> Vec<u8> {
    const MAX_BYTES: usize = (1 << 28) - 1;
    text.chars().take(MAX_BYTES).map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
