//! From notes to the bytes of a MIDI file that [`read`](super::read()), pretty_midi and synthesizers read: format 1, a
//! first track with tempo, meter and texts, then one track per instrument.
//!
//! Music with beats keeps its ticks, tempo and meter. In music without beats, and where a file cannot hold the ticks, a tick
//! is one millisecond, so that times are exact to half a millisecond and 0.3 s is exactly 300 ticks; in a file of more than
//! 2.7 hours a tick is 10 or 100 milliseconds, because pretty_midi reads at most 10 million ticks.
//!
//! MIDI cannot express everything: when two notes of one pitch overlap in one instrument, the first note-off closes both.

use midly::num::{u4, u7, u15, u24, u28};
use midly::{Format, Header, MetaMessage, MidiMessage, Smf, Timing, TrackEvent, TrackEventKind};

use super::{Instrument, MAX_TICK, Meter, Note, Song};

/// 120 quarter notes per minute, MIDI's default tempo.
const MICROSECONDS_PER_QUARTER: u32 = 500_000;
const QUARTERS_PER_SECOND: u16 = 2;
/// The first one whose ticks stay below [`MAX_TICK`] is used.
const TICKS_PER_SECOND: [u16; 3] = [1000, 100, 10];

/// The bytes of a MIDI file with the song's instruments, and with texts at times in seconds.
///
/// Seconds are rounded to ticks and clamped between 0 and the longest that a file can hold ([`MAX_TICK`], eleven days);
/// every note lasts at least one tick. Velocities are clamped to 1 to 127, pitches and programs to 0 to 127. Characters
/// that Latin-1 lacks become `?`.
///
/// # Panics
/// With more than 32,766 instruments, as many tracks as fit into a file.
#[must_use]
pub fn write(song: &Song, texts: &[(f64, &str)]) -> Vec<u8> {
    let instruments = &song.instruments;
    assert!(instruments.len() < 32_767, "{} instruments in one MIDI file", instruments.len());
    let grid = Grid::of_song(song).unwrap_or_else(|| {
        let ends = instruments.iter().flat_map(|instrument| &instrument.notes).map(|note| note.end);
        Grid::for_music_until(ends.chain(texts.iter().map(|&(time, _)| time)).fold(0.0, f64::max))
    });
    let texts: Vec<(u32, Vec<u8>)> =
        texts.iter().map(|&(time, text)| (grid.tick(time), latin1(text))).collect();
    let names: Vec<Vec<u8>> = instruments.iter().map(|instrument| latin1(&instrument.name)).collect();

    let mut file = Smf::new(Header::new(Format::Parallel, Timing::Metrical(grid.ticks_per_quarter())));
    file.tracks.push(first_track(grid, &texts));
    for (index, (instrument, name)) in instruments.iter().zip(&names).enumerate() {
        file.tracks.push(instrument_track(instrument, name, channel(index, instrument.is_drum), grid));
    }
    let mut bytes = Vec::new();
    file.write_std(&mut bytes)
        .expect("a vector takes all bytes, and names and texts have a length that fits");
    bytes
}

fn first_track<'a>(grid: Grid<'_>, texts: &'a [(u32, Vec<u8>)]) -> Vec<TrackEvent<'a>> {
    let tempo = |microseconds| TrackEventKind::Meta(MetaMessage::Tempo(u24::from(microseconds)));
    let mut events = Vec::new();
    match grid {
        Grid::Seconds { .. } => events.push((0, tempo(MICROSECONDS_PER_QUARTER))),
        Grid::Ticks(song) => {
            for meter in &song.meters {
                if let Some(signature) = time_signature(meter) {
                    events.push((meter.tick, TrackEventKind::Meta(signature)));
                }
            }
            let changes = song.tempo_changes.iter();
            events.extend(changes.map(|change| (change.tick, tempo(change.microseconds_per_quarter()))));
        }
    }
    events.extend(texts.iter().map(|(tick, text)| (*tick, TrackEventKind::Meta(MetaMessage::Text(text)))));
    events.sort_by_key(|&(tick, _)| tick);
    track(&events)
}

fn instrument_track<'a>(
    instrument: &Instrument,
    name: &'a [u8],
    channel: u4,
    grid: Grid<'_>,
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

/// What a tick of the file is.
#[derive(Clone, Copy)]
enum Grid<'a> {
    /// A tick of this song.
    Ticks(&'a Song),
    /// So many are a second.
    Seconds { ticks_per_second: u16 },
}

impl<'a> Grid<'a> {
    /// The song's own ticks, if it has beats and a file can hold them.
    fn of_song(song: &'a Song) -> Option<Self> {
        let notes = song.instruments.iter().flat_map(|instrument| &instrument.notes);
        let ends = notes.map(|note| note.end_tick.max(note.start_tick.saturating_add(1)));
        let changes = song.tempo_changes.iter().map(|change| change.tick);
        let last = ends.chain(changes).chain(song.meters.iter().map(|meter| meter.tick)).max();
        // Bit 15 of a file's resolution means another kind of ticks.
        let is_writable = (1..1 << 15).contains(&song.resolution) && last.unwrap_or(0) < MAX_TICK;
        is_writable.then_some(Grid::Ticks(song))
    }

    /// The finest grid for music that ends after `end` seconds.
    fn for_music_until(end: f64) -> Self {
        let [.., coarsest] = TICKS_PER_SECOND;
        let fits = |&ticks: &u16| end * f64::from(ticks) < f64::from(MAX_TICK - 1);
        Grid::Seconds { ticks_per_second: TICKS_PER_SECOND.into_iter().find(fits).unwrap_or(coarsest) }
    }

    fn ticks_per_quarter(self) -> u15 {
        u15::from(match self {
            Grid::Ticks(song) => song.resolution,
            Grid::Seconds { ticks_per_second } => ticks_per_second / QUARTERS_PER_SECOND,
        })
    }

    /// Start and end, at least one tick apart.
    fn ticks(self, note: &Note) -> (u32, u32) {
        let (start, end) = match self {
            Grid::Ticks(_) => (note.start_tick, note.end_tick),
            Grid::Seconds { .. } => (self.tick(note.start).min(MAX_TICK - 2), self.tick(note.end)),
        };
        (start, end.max(start + 1))
    }

    /// The tick nearest to a time in seconds; NaN is 0.
    fn tick(self, time: f64) -> u32 {
        let (from, since, ticks_per_second) = match self {
            Grid::Seconds { ticks_per_second } => (0, 0.0, f64::from(ticks_per_second)),
            Grid::Ticks(song) => {
                let begun = song.tempo_changes.iter().rfind(|change| change.time <= time);
                let (tick, since, quarters_per_minute) = begun
                    .map_or((0, 0.0, 120.0), |change| (change.tick, change.time, change.quarters_per_minute));
                (tick, since, quarters_per_minute / 60.0 * f64::from(song.resolution))
            }
        };
        let ticks = f64::from(from) + ((time - since) * ticks_per_second).round();
        ticks.clamp(0.0, f64::from(MAX_TICK - 1)) as u32
    }
}

/// `None` if a file cannot say it: the lower number must be a power of two.
fn time_signature(meter: &Meter) -> Option<MetaMessage<'static>> {
    let beats = u8::try_from(meter.beats_per_bar).ok()?;
    let unit = meter.beat_unit.is_power_of_two().then(|| meter.beat_unit.ilog2() as u8)?;
    // MIDI clocks a metronome click, and 32nds a quarter note: the usual ones.
    Some(MetaMessage::TimeSignature(beats, unit, 24, 8))
}

/// Latin-1, at most as long as a variable-length quantity of four bytes can say.
fn latin1(text: &str) -> Vec<u8> {
    const MAX_BYTES: usize = (1 << 28) - 1;
    text.chars().take(MAX_BYTES).map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
