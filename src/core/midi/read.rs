//! From the bytes of a MIDI file to its instruments and notes, as pretty_midi 0.2.11 finds them: the same
//! instruments and notes in the same order, with the same times to the last bit, in every file that
//! pretty_midi reads. Its rules, each with a test in `tests/rules.rs`:
//!
//! - Tracks come in file order, events in track order; a note enters its instrument when it *ends*, and
//!   an instrument enters the song with its first note. Nothing is sorted.
//! - An instrument is a program on a channel of a track. The program is the one that holds at the note's
//!   end; the name is the last that the track had when the instrument entered the song.
//! - Tempo comes from the first track alone, whatever the format.
//!
//! Which notes an end closes is told in [`open_notes`](super::open_notes), times in
//! [`tempo`](super::tempo), what bytes make an event in [`events`](super::events).
//!
//! Memory stays within a small multiple of the file: nothing is allocated by a length or a count that the
//! file declares, only by what it holds.

use midly::MidiMessage;

use super::chunks::{Chunks, DIVISION_OFFSET};
use super::cursor::Cursor;
use super::error::{MidiError, Problem};
use super::events::{Event, Events, Timed, meta};
use super::open_notes::{OpenNotes, Started};
use super::tempo::TempoMap;
use super::{Instrument, MAX_TICK, Note, Song};

/// Bytes of names that any file may have in its instruments, and how many more for each of its own bytes.
/// A track's name is copied into each of its instruments, up to 2048: without a limit, a hostile file of
/// a megabyte would take a gigabyte. Beyond it, further instruments have no name.
const NAME_BYTES: usize = 1 << 16;
const NAME_BYTES_PER_BYTE: usize = 4;

/// Reads a MIDI file.
///
/// # Errors
/// Says at which byte the file is cut short or wrong. A file without notes is no error.
pub fn read(bytes: &[u8]) -> Result<Song, MidiError> {
    let mut chunks = Chunks::new(bytes)?;
    // Bit 15 means film frames. pretty_midi then has time run backwards, and refuses the first note.
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
        None => Err(Problem::Smpte.at(DIVISION_OFFSET)),
    }
}

/// A song in the making, and the tables that one track after another uses.
struct Reader {
    instruments: Vec<Instrument>,
    tempo: TempoMap,
    /// The tick of the last event that pretty_midi's `get_end_time` counts.
    end: u32,
    /// The tick of the last event of any kind.
    last_tick: u32,
    name_bytes_left: usize,
    open: OpenNotes,
    /// Of this track, by channel times 128 plus program: index into `instruments`.
    instrument_of: Vec<Option<usize>>,
}

/// What holds in one track, up to the event that is read.
struct Track {
    name: String,
    channels: [Channel; 16],
}

#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    program: u8,
    /// Controllers or bends came while their program had no instrument. pretty_midi keeps them aside for
    /// the channel's next instrument; only then do they, and those still to come, count for the end.
    strays: bool,
    strays_adopted: bool,
}

impl Reader {
    fn new(resolution: u16, file_length: usize) -> Self {
        Self {
            instruments: Vec::new(),
            tempo: TempoMap::new(resolution),
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
        let mut events = Events::new(bytes);
        self.tempo.rewind();
        while let Some(timed) = events.next()? {
            self.last_tick = self.last_tick.max(timed.tick);
            match timed.event {
                Event::Channel { channel, message } => {
                    self.message(&mut track, channel, message, timed.tick);
                }
                Event::Meta { kind: meta::TRACK_NAME, data } => track.name = latin1(data),
                Event::Meta { kind: meta::TEXT | meta::LYRIC, .. } => self.ends_at(timed.tick),
                Event::Meta { kind, data } if is_first => self.conductor(&timed, kind, data)?,
                Event::Meta { .. } | Event::System => {}
            }
        }
        self.open.clear();
        // Most tracks of a hostile file are empty; then there is no table to clear.
        if self.instruments.len() > instruments_before {
            self.instrument_of.fill(None);
        }
        Ok(())
    }

    /// Meta events that mean something in the first track only.
    fn conductor(&mut self, timed: &Timed<'_>, kind: u8, data: &[u8]) -> Result<(), MidiError> {
        match (kind, data) {
            (meta::TEMPO, [0, 0, 0, ..]) => Err(Problem::ZeroTempo.at(timed.offset)),
            (meta::TEMPO, [high, middle, low, ..]) => {
                self.tempo.change(timed.tick, u32::from_be_bytes([0, *high, *middle, *low]));
                Ok(())
            }
            (meta::TEMPO, _) => Err(Problem::ShortTempo(data.len()).at(timed.offset)),
            (meta::TIME_SIGNATURE | meta::KEY_SIGNATURE, _) => {
                self.ends_at(timed.tick);
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
        open.stop(channel, pitch, tick, |Started { time: start, velocity, .. }| {
            is_any = true;
            let index = *slot.get_or_insert_with(|| {
                state.strays_adopted |= state.strays;
                let name = affordable(&track.name, name_bytes_left);
                let (program, is_drum) = (state.program, channel == 9);
                instruments.push(Instrument { program, is_drum, name, notes: Vec::new() });
                instruments.len() - 1
            });
            instruments[index].notes.push(Note { pitch, velocity, start, end });
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
        Song { instruments, resolution, end, tempo_changes, refused_by_pretty_midi: None }
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

/// Text in MIDI files names no encoding; pretty_midi takes it for Latin-1, in which every byte is a character.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
