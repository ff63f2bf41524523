//! The bytes of MIDI files, written out by hand: events are slices, delta times numbers.

/// A file of format 1 whose quarter note has 480 ticks: at the default tempo, 960 ticks are a second.
pub fn file(tracks: &[Vec<u8>]) -> Vec<u8> {
    file_with(&header(1, tracks.len() as u16, 480), tracks)
}

/// Any header, and a chunk for each track.
pub fn file_with(header: &[u8], tracks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = tracks.iter().flat_map(|track| chunk(b"MTrk", track));
    header.iter().copied().chain(chunks).collect()
}

pub fn header(format: u16, tracks: u16, division: u16) -> Vec<u8> {
    let fields: Vec<u8> = [format, tracks, division].into_iter().flat_map(u16::to_be_bytes).collect();
    chunk(b"MThd", &fields)
}

pub fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [name, &(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// The body of a track, without an end-of-track event unless one is given.
pub fn track(events: &[(u32, &[u8])]) -> Vec<u8> {
    events.iter().flat_map(|&(delta, event)| [variable_length(delta), event.to_vec()].concat()).collect()
}

pub fn variable_length(value: u32) -> Vec<u8> {
    let mut bytes = vec![(value & 0x7f) as u8];
    let mut rest = value >> 7;
    while rest > 0 {
        bytes.insert(0, (rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes
}

pub fn on(channel: u8, pitch: u8, velocity: u8) -> [u8; 3] {
    [0x90 | channel, pitch, velocity]
}

pub fn off(channel: u8, pitch: u8) -> [u8; 3] {
    [0x80 | channel, pitch, 64]
}

pub fn program(channel: u8, program: u8) -> [u8; 2] {
    [0xc0 | channel, program]
}

pub fn meta(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[0xff, kind], &variable_length(data.len() as u32)[..], data].concat()
}

pub fn tempo(microseconds_per_quarter: u32) -> Vec<u8> {
    meta(0x51, &microseconds_per_quarter.to_be_bytes()[1..])
}
