//! From ticks to seconds.

use super::{Instrument, Meter, Song, TempoChange};

impl Song {
    /// Music at one tempo, in four-four time: the seconds of all notes are set from their ticks.
    pub fn at_tempo(
        mut instruments: Vec<Instrument>,
        resolution: u16,
        microseconds_per_quarter: u32,
    ) -> Song {
        let mut tempo = TempoMap::new(resolution);
        tempo.change(0, microseconds_per_quarter);
        Song {
            end: tempo.set_seconds(&mut instruments),
            instruments,
            resolution,
            tempo_changes: tempo.changes(),
            meters: vec![Meter { tick: 0, beats_per_bar: 4, beat_unit: 4 }],
            refused_by_pretty_midi: None,
        }
    }

    /// The same notes, by their ticks, in the tempo and meter of other music with beats; music without is as it was.
    #[must_use]
    pub fn in_time_of(mut self, other: &Song) -> Song {
        if self.resolution == 0 || other.resolution == 0 {
            return self;
        }
        let [own, others] = [self.resolution, other.resolution].map(u64::from);
        let tick = |tick: u32| u32::try_from(u64::from(tick) * own / others).unwrap_or(u32::MAX);
        let notes = || self.instruments.iter().flat_map(|instrument| &instrument.notes);
        let last = notes().map(|note| note.end_tick).max().unwrap_or(0);
        let mut tempo = TempoMap::new(self.resolution);
        for change in other.tempo_changes.iter().filter(|change| tick(change.tick) <= last) {
            tempo.change(tick(change.tick), change.microseconds_per_quarter());
        }
        let meters = other.meters.iter().map(|meter| Meter { tick: tick(meter.tick), ..*meter });
        let meters: Vec<Meter> = meters.filter(|meter| meter.tick <= last).collect();
        if !meters.is_empty() {
            self.meters = meters;
        }
        self.tempo_changes = tempo.changes();
        self.end = tempo.set_seconds(&mut self.instruments);
        self
    }
}

impl TempoChange {
    /// As a MIDI file says it: from 1 to 2²⁴ − 1.
    pub fn microseconds_per_quarter(&self) -> u32 {
        (6e7 / self.quarters_per_minute).round().clamp(1.0, f64::from((1 << 24) - 1)) as u32
    }
}

/// From ticks to seconds, in exactly the operations, in exactly the order, of pretty_midi 0.2.11
/// (`_load_tempo_changes`, `_update_tick_to_time`), so that times agree to the last bit. Within a track ticks never
/// decrease, so that a time is found without a search. The first segment begins at tick 0.
#[derive(Debug)]
pub(super) struct TempoMap {
    resolution: f64,
    segments: Vec<TempoSegment>,
    /// The segment of the last tick that was looked up.
    current: usize,
}

impl TempoMap {
    /// The default tempo, 120 quarter notes per minute, of `resolution` ticks each.
    pub fn new(resolution: u16) -> Self {
        let resolution = f64::from(resolution);
        let seconds_per_tick = 60.0 / (120.0 * resolution);
        Self { resolution, segments: vec![TempoSegment { tick: 0, time: 0.0, seconds_per_tick }], current: 0 }
    }

    /// From `tick` on, a quarter note lasts `microseconds`. At tick 0 this replaces the default; repeating the current
    /// tempo is no change. Ticks come in order.
    pub fn change(&mut self, tick: u32, microseconds: u32) {
        let seconds_per_tick = 60.0 / ((6e7 / f64::from(microseconds)) * self.resolution);
        let last = self.last_mut();
        if tick == 0 {
            last.seconds_per_tick = seconds_per_tick;
        } else if last.seconds_per_tick != seconds_per_tick {
            let time = last.time_of(tick);
            self.segments.push(TempoSegment { tick, time, seconds_per_tick });
        }
    }

    /// To be called before each track.
    pub fn rewind(&mut self) {
        self.current = 0;
    }

    /// Seconds from the start of the file to `tick`, which must not precede the last one looked up. Tempo changes at
    /// `tick` or later, even if not read yet, do not affect it.
    #[inline]
    pub fn time(&mut self, tick: u32) -> f64 {
        while self.segments.get(self.current + 1).is_some_and(|next| next.tick <= tick) {
            self.current += 1;
        }
        self.segments[self.current].time_of(tick)
    }

    /// Sets the seconds of notes from their ticks. Returns when the last one ends.
    fn set_seconds(&mut self, instruments: &mut [Instrument]) -> f64 {
        let mut end: f64 = 0.0;
        for note in instruments.iter_mut().flat_map(|instrument| &mut instrument.notes) {
            self.rewind();
            note.start = self.time(note.start_tick);
            note.end = self.time(note.end_tick);
            end = end.max(note.end);
        }
        end
    }

    pub fn last_change(&self) -> u32 {
        self.segments.last().map_or(0, |segment| segment.tick)
    }

    /// The first is at 0 seconds.
    pub fn changes(&self) -> Vec<TempoChange> {
        let quarters_per_minute =
            |segment: &TempoSegment| 60.0 / (segment.seconds_per_tick * self.resolution);
        let change = |s: &TempoSegment| TempoChange {
            tick: s.tick,
            time: s.time,
            quarters_per_minute: quarters_per_minute(s),
        };
        self.segments.iter().map(change).collect()
    }

    fn last_mut(&mut self) -> &mut TempoSegment {
        self.segments.last_mut().expect("the first segment is never removed")
    }
}

/// Ticks of constant tempo, up to the next segment.
#[derive(Debug)]
struct TempoSegment {
    tick: u32,
    time: f64,
    seconds_per_tick: f64,
}

impl TempoSegment {
    #[inline]
    fn time_of(&self, tick: u32) -> f64 {
        self.time + self.seconds_per_tick * f64::from(tick - self.tick)
    }
}
