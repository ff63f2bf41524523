//! From events to instruments and notes, as pretty_midi 0.2.11 finds them: the same instruments and notes in the same
//! order, with times equal to the last bit, in every file that pretty_midi reads. Its rules, each with a test in
//! `tests/rules.rs`:
//!
//! - Tracks come in file order, events in track order; a note enters its instrument when it *ends*, and
//!   an instrument enters the song with its first note. Nothing is sorted.
//! - An instrument is a program on a channel of a track. The program is the one in effect at the note's end; the name is
//!   the track's latest one when the instrument entered the song.
//! - Tempo comes from the first track only, whatever the format.
//!
//! [`OpenNotes`] decides which notes a note-off closes, [`TempoMap`] turns ticks into seconds, and
//! [`events`](super::events) decides which bytes make an event.
//!
//! Memory stays within a small multiple of the file's size: allocations follow what the file holds, never a length or
//! count that it declares.

use midly::MidiMessage;

use super::error::{MidiError, MidiProblem};
use super::events::{Cursor, DIVISION_OFFSET, MidiChunks, MidiEvent, TimedEvent, TrackEvents, meta};
use super::tempo::TempoMap;
use super::{Instrument, MAX_TICK, Meter, Note, Song};

/// Limit on the bytes of all instruments' names: a constant, plus a multiple of the file's size. A track's name is copied
/// into each of its instruments, up to 2048 of them, so that without a limit a hostile file of a megabyte would take a
/// gigabyte. Instruments beyond the limit have no name.
const NAME_BYTES: usize = 1 << 16;
const NAME_BYTES_PER_BYTE: usize = 4;

/// Reads a MIDI file.
///
/// # Errors
/// Says at which byte the file is cut short or wrong. A file without notes is no error.
pub fn read(bytes: &[u8]) -> Result<Song, MidiError> {
    let mut chunks = MidiChunks::new(bytes)?;
    // Bit 15 means SMPTE frames. In pretty_midi time then runs backwards, and it rejects the first note.
    let resolution = Some(chunks.division).filter(|division| division & 0x8000 == 0);
    let mut reader = Reader::new(resolution.unwrap_or(1), bytes.len());
    let mut is_first = true;
    while let Some(track) = chunks.next_track()? {
        reader.track(track, is_first)?;
        is_first = false;
    }
    match resolution {
        Some(resolution) => {
            let refused_by_pretty_midi = if chunks.is_riff {
                Some("it is wrapped in RIFF")
            } else if reader.last_tick >= MAX_TICK {
                Some("it has events after 10,000,000 ticks")
            } else {
                None
            };
            Ok(Song { refused_by_pretty_midi, ..reader.song(resolution) })
        }
        None if reader.instruments.is_empty() => Ok(Song::default()),
        None => Err(MidiProblem::Smpte.at(DIVISION_OFFSET)),
    }
}

/// The song so far, and the tables that each track uses in turn.
struct Reader {
    instruments: Vec<Instrument>,
    tempo: TempoMap,
    meters: Vec<Meter>,
    /// The last tick that pretty_midi's `get_end_time` counts.
    end: u32,
    /// The last tick of any event.
    last_tick: u32,
    name_bytes_left: usize,
    open: OpenNotes,
    /// This track's indices into `instruments`, by 128 · channel + program.
    instrument_of: Vec<Option<usize>>,
}

/// The state of a track up to the current event.
struct Track {
    name: String,
    channels: [Channel; 16],
}

#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    program: u8,
    /// Controllers or pitch bends arrived while their program had no instrument. pretty_midi holds them for the
    /// channel's next instrument; only from then on do they, and later ones, count for the song's end.
    strays: bool,
    strays_adopted: bool,
}

impl Reader {
    fn new(resolution: u16, file_length: usize) -> Self {
        Self {
            instruments: Vec::new(),
            tempo: TempoMap::new(resolution),
            meters: Vec::new(),
            end: 0,
            last_tick: 0,
            name_bytes_left: file_length.saturating_mul(NAME_BYTES_PER_BYTE).saturating_add(NAME_BYTES),
            open: OpenNotes::new(),
            instrument_of: vec![None; 16 * 128],
        }
    }

    fn track(&mut self, bytes: Cursor<'_>, is_first: bool) -> Result<(), MidiError> {
        let instruments_before = self.instruments.len();
        let mut track = Track { name: String::new(), channels: Default::default() };
        let mut events = TrackEvents::new(bytes);
        self.tempo.rewind();
        while let Some(timed) = events.next()? {
            self.last_tick = self.last_tick.max(timed.tick);
            match timed.event {
                MidiEvent::Channel { channel, message } => {
                    self.message(&mut track, channel, message, timed.tick);
                }
                MidiEvent::Meta { kind: meta::TRACK_NAME, data } => track.name = latin1(data),
                MidiEvent::Meta { kind: meta::TEXT | meta::LYRIC, .. } => self.ends_at(timed.tick),
                MidiEvent::Meta { kind, data } if is_first => self.conductor(&timed, kind, data)?,
                MidiEvent::Meta { .. } | MidiEvent::System => {}
            }
        }
        self.open.clear();
        // A hostile file may have many empty tracks; they leave no table to clear.
        if self.instruments.len() > instruments_before {
            self.instrument_of.fill(None);
        }
        Ok(())
    }

    /// Meta events that count in the first track only.
    fn conductor(&mut self, timed: &TimedEvent<'_>, kind: u8, data: &[u8]) -> Result<(), MidiError> {
        match (kind, data) {
            (meta::TEMPO, [0, 0, 0, ..]) => Err(MidiProblem::ZeroTempo.at(timed.offset)),
            (meta::TEMPO, [high, middle, low, ..]) => {
                self.tempo.change(timed.tick, u32::from_be_bytes([0, *high, *middle, *low]));
                Ok(())
            }
            (meta::TEMPO, _) => Err(MidiProblem::ShortTempo(data.len()).at(timed.offset)),
            (meta::TIME_SIGNATURE | meta::KEY_SIGNATURE, _) => {
                self.ends_at(timed.tick);
                // The second byte is a power of two. A signature that means nothing is passed over.
                if let (meta::TIME_SIGNATURE, &[beats_per_bar @ 1..=u8::MAX, power @ 0..=7, ..]) =
                    (kind, data)
                {
                    let beats_per_bar = u16::from(beats_per_bar);
                    self.meters.push(Meter { tick: timed.tick, beats_per_bar, beat_unit: 1 << power });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn message(&mut self, track: &mut Track, channel: u8, message: MidiMessage, tick: u32) {
        match message {
            MidiMessage::ProgramChange { program } => {
                track.channels[usize::from(channel)].program = program.as_int();
            }
            MidiMessage::NoteOn { key, vel } if vel > 0 => {
                let note = Started { tick, time: self.tempo.time(tick), velocity: vel.as_int() };
                self.open.start(channel, key.as_int(), note);
            }
            MidiMessage::NoteOn { key, .. } | MidiMessage::NoteOff { key, .. } => {
                self.note_off(track, channel, key.as_int(), tick);
            }
            MidiMessage::Controller { .. } | MidiMessage::PitchBend { .. } => {
                self.controller(track, channel, tick);
            }
            MidiMessage::Aftertouch { .. } | MidiMessage::ChannelAftertouch { .. } => {}
        }
    }

    fn note_off(&mut self, track: &mut Track, channel: u8, pitch: u8, tick: u32) {
        let Self { open, instruments, instrument_of, tempo, name_bytes_left, .. } = self;
        let state = &mut track.channels[usize::from(channel)];
        let slot = &mut instrument_of[usize::from(channel) << 7 | usize::from(state.program)];
        let mut is_any = false;
        let end = tempo.time(tick);
        open.stop(channel, pitch, tick, |Started { tick: start_tick, time: start, velocity }| {
            is_any = true;
            let index = *slot.get_or_insert_with(|| {
                state.strays_adopted |= state.strays;
                let name = affordable(&track.name, name_bytes_left);
                let (program, is_drum) = (state.program, channel == 9);
                instruments.push(Instrument { program, is_drum, name, notes: Vec::new() });
                instruments.len() - 1
            });
            instruments[index].notes.push(Note { pitch, velocity, start, end, start_tick, end_tick: tick });
        });
        if is_any {
            self.ends_at(tick);
        }
    }

    fn controller(&mut self, track: &mut Track, channel: u8, tick: u32) {
        let state = &mut track.channels[usize::from(channel)];
        let slot = usize::from(channel) << 7 | usize::from(state.program);
        if self.instrument_of[slot].is_some() {
            self.ends_at(tick);
        } else {
            state.strays = true;
            if state.strays_adopted {
                self.ends_at(tick);
            }
        }
    }

    fn ends_at(&mut self, tick: u32) {
        self.end = self.end.max(tick);
    }

    fn song(mut self, resolution: u16) -> Song {
        self.tempo.rewind();
        let end = self.tempo.time(self.end.max(self.tempo.last_change()));
        let (instruments, tempo_changes) = (self.instruments, self.tempo.changes());
        let meters = self.meters;
        Song { instruments, resolution, end, tempo_changes, meters, refused_by_pretty_midi: None }
    }
}

/// A copy of `name` if there are bytes left for it.
fn affordable(name: &str, bytes_left: &mut usize) -> String {
    match bytes_left.checked_sub(name.len()) {
        Some(left) => {
            *bytes_left = left;
            name.to_owned()
        }
        None => String::new(),
    }
}

/// Text in MIDI files has no declared encoding; pretty_midi reads Latin-1, in which every byte is a character.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// A note-on without its note-off.
#[derive(Debug, Clone, Copy)]
struct Started {
    pub tick: u32,
    /// Its tick in seconds.
    pub time: f64,
    pub velocity: u8,
}

/// Notes of one track that await their note-off. Ticks never decrease, so each pitch's notes are in order of onset.
#[derive(Debug)]
struct OpenNotes {
    /// By 128 · channel + pitch.
    started: Vec<Vec<Started>>,
    any: bool,
}

impl OpenNotes {
    pub fn new() -> Self {
        Self { started: vec![Vec::new(); 16 * 128], any: false }
    }

    /// Open notes of the same pitch stay open.
    #[inline]
    pub fn start(&mut self, channel: u8, pitch: u8, note: Started) {
        self.started[index(channel, pitch)].push(note);
        self.any = true;
    }

    /// A note-off: calls `ended` for each note that it closes, in order of onset.
    ///
    /// It closes all notes of the pitch that began before `tick`. One that began at `tick` stays open if an older one
    /// was closed, and is dropped otherwise, so that no note has zero length.
    #[inline]
    pub fn stop(&mut self, channel: u8, pitch: u8, tick: u32, mut ended: impl FnMut(Started)) {
        let started = &mut self.started[index(channel, pitch)];
        // The common case: one open note, as in a melody.
        if let &mut [note] = &mut started[..]
            && note.tick < tick
        {
            started.clear();
            ended(note);
            return;
        }
        let older = started.partition_point(|note| note.tick < tick);
        if older == 0 {
            started.clear();
        }
        for note in started.drain(..older) {
            ended(note);
        }
    }

    /// Open notes do not continue into the next track.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.any) {
            for notes in &mut self.started {
                notes.clear();
            }
        }
    }
}

fn index(channel: u8, pitch: u8) -> usize {
    usize::from(channel & 15) << 7 | usize::from(pitch & 127)
}
