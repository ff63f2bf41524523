//! The notes of one track that sound and wait for their end, by channel and pitch. This is where a note-off
//! finds the note-ons that it closes, and where notes without an end are forgotten.

/// A note-on without its note-off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    pub tick: u32,
    /// Its tick in seconds.
    pub time: f64,
    pub velocity: u8,
}

/// Open notes. Ticks only grow, so that the notes of one pitch lie in the order of their start.
#[derive(Debug)]
pub(super) struct OpenNotes {
    /// By channel times 128 plus pitch.
    started: Vec<Vec<Started>>,
    any: bool,
}

impl OpenNotes {
    pub fn new() -> Self {
        Self { started: vec![Vec::new(); 16 * 128], any: false }
    }

    /// A note begins. Notes of this pitch that sound go on beside it.
    #[inline]
    pub fn start(&mut self, channel: u8, pitch: u8, note: Started) {
        self.started[index(channel, pitch)].push(note);
        self.any = true;
    }

    /// A note-off: calls `ended` for each note that it ends, in start order.
    ///
    /// It ends all notes of the pitch that began before `tick`. One that began at `tick` stays open if
    /// there was an older one to end, and otherwise is dropped, so that no note has zero length.
    #[inline]
    pub fn stop(&mut self, channel: u8, pitch: u8, tick: u32, mut ended: impl FnMut(Started)) {
        let started = &mut self.started[index(channel, pitch)];
        // Nearly always one, as in a melody.
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
        started.drain(..older).for_each(ended);
    }

    /// Forgets all: notes do not sound on into the next track.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.any) {
            self.started.iter_mut().for_each(Vec::clear);
        }
    }
}

fn index(channel: u8, pitch: u8) -> usize {
    usize::from(channel & 15) << 7 | usize::from(pitch & 127)
}
