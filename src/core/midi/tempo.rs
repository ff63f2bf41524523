//! From ticks to seconds, in the very operations, in the very order, that pretty_midi 0.2.11 computes
//! them (`_load_tempo_changes`, `_update_tick_to_time`), so that times agree to the last bit.

/// When the tempo changes, and to what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TempoChange {
    /// Seconds from the beginning of the file.
    pub time: f64,
    /// Quarter notes a minute.
    pub quarters_per_minute: f64,
}

/// A stretch of one tempo, up to the next stretch.
#[derive(Debug)]
struct Stretch {
    tick: u32,
    time: f64,
    seconds_per_tick: f64,
}

impl Stretch {
    #[inline]
    fn time_of(&self, tick: u32) -> f64 {
        self.time + self.seconds_per_tick * f64::from(tick - self.tick)
    }
}

/// The tempo of a piece over its ticks, and a place in it: within a track ticks never go down, so that a time is
/// found without a search. The first stretch begins at tick 0.
#[derive(Debug)]
pub(super) struct TempoMap {
    resolution: f64,
    stretches: Vec<Stretch>,
    /// The stretch of the last tick that was asked for.
    current: usize,
}

impl TempoMap {
    /// 120 quarter notes a minute, of `resolution` ticks each.
    pub fn new(resolution: u16) -> Self {
        let resolution = f64::from(resolution);
        let seconds_per_tick = 60.0 / (120.0 * resolution);
        Self { resolution, stretches: vec![Stretch { tick: 0, time: 0.0, seconds_per_tick }], current: 0 }
    }

    /// From `tick` on, a quarter note lasts `microseconds`. At tick 0 this replaces the default; the
    /// tempo that already holds is no change. Ticks come in order.
    pub fn change(&mut self, tick: u32, microseconds: u32) {
        let seconds_per_tick = 60.0 / ((6e7 / f64::from(microseconds)) * self.resolution);
        let last = self.last_mut();
        if tick == 0 {
            last.seconds_per_tick = seconds_per_tick;
        } else if last.seconds_per_tick != seconds_per_tick {
            let time = last.time_of(tick);
            self.stretches.push(Stretch { tick, time, seconds_per_tick });
        }
    }

    /// Back to the beginning, for another track.
    pub fn rewind(&mut self) {
        self.current = 0;
    }

    /// Seconds from the beginning of the file to `tick`, which is not before the last one asked for. A tempo that
    /// changes at `tick` or later, and is not known yet, will not change them.
    #[inline]
    pub fn time(&mut self, tick: u32) -> f64 {
        while self.stretches.get(self.current + 1).is_some_and(|next| next.tick <= tick) {
            self.current += 1;
        }
        self.stretches[self.current].time_of(tick)
    }

    /// The tick of the last change.
    pub fn last_change(&self) -> u32 {
        self.stretches.last().map_or(0, |stretch| stretch.tick)
    }

    /// All changes, the first at 0 seconds.
    pub fn changes(&self) -> Vec<TempoChange> {
        let quarters_per_minute = |stretch: &Stretch| 60.0 / (stretch.seconds_per_tick * self.resolution);
        let change = |s: &Stretch| TempoChange { time: s.time, quarters_per_minute: quarters_per_minute(s) };
        self.stretches.iter().map(change).collect()
    }

    fn last_mut(&mut self) -> &mut Stretch {
        self.stretches.last_mut().expect("the first stretch is never removed")
    }
}
