//! Random MIDI files for [`super::peer`] and [`super::hostile`]: few channels, pitches and ticks, so that
//! notes overlap, repeat and end where others begin; every kind of event; every odd way of writing them
//! that pretty_midi reads.

use proptest::prelude::*;
use proptest::sample::Index;

use super::bytes::{file_with, header, meta, tempo, variable_length};

/// One event with its delta time, and how to write it.
#[derive(Debug, Clone)]
struct Event {
    delta: u32,
    bytes: Vec<u8>,
    /// Bytes of 0x80 before the delta time: zeros that change nothing.
    padding: usize,
    /// Leave out the status where it is the same as before.
    running: bool,
}

/// A file that pretty_midi reads, most of the time.
pub fn file() -> impl Strategy<Value = Vec<u8>> {
    let tracks = prop::collection::vec(prop::collection::vec(event(), 1..120), 1..5);
    let division = prop_oneof![4 => 1u16..1000, 1 => 1u16..0x8000];
    let extra_header = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(any::<u8>(), 1..5)];
    let garbage = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(any::<u8>(), 1..30)];
    (tracks, 0u16..3, division, extra_header, garbage).prop_map(
        |(tracks, format, division, extra_header, garbage)| {
            let mut header = header(format, tracks.len() as u16, division);
            header[7] += extra_header.len() as u8;
            header.extend(extra_header);
            let tracks: Vec<_> = tracks.iter().map(|events| written(events)).collect();
            [file_with(&header, &tracks), garbage].concat()
        },
    )
}

/// A file with a few bytes changed, cut out, doubled or cut off.
pub fn damaged<S: Strategy<Value = Vec<u8>>>(file: S) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((0u8..8, any::<Index>(), any::<u8>()), 1..4);
    (file, damage).prop_map(|(mut bytes, damage)| {
        for (kind, place, byte) in damage {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match kind {
                0..=2 => bytes[place] = byte,
                3 => bytes[place] ^= 1 << (byte & 7),
                4 => bytes.insert(place, byte),
                5 => drop(bytes.remove(place)),
                6 => bytes.extend_from_within(place..),
                _ => bytes.truncate(place.max(usize::from(byte) * 4)),
            }
        }
        bytes
    })
}

fn written(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut running_status = None;
    for event in events {
        bytes.extend(std::iter::repeat_n(0x80, event.padding));
        bytes.extend(variable_length(event.delta));
        let status = event.bytes[0];
        // A system exclusive event keeps a byte in the place of its status.
        let skipped = if matches!(status, 0xf0 | 0xf7) { 0 } else { 1 };
        let has_data = event.bytes.len() > 1;
        if event.running && has_data && running_status == Some(status) {
            bytes.extend(&event.bytes[skipped..]);
            if skipped == 0 {
                let length = event.bytes.len();
                let begin = bytes.len() - length;
                bytes[begin] = 0x55;
            }
        } else {
            bytes.extend(&event.bytes);
        }
        if status != 0xff {
            running_status = Some(status);
        }
    }
    bytes
}

fn event() -> impl Strategy<Value = Event> {
    let delta = prop_oneof![10 => Just(0u32), 10 => 1u32..4, 3 => 1u32..1000, 1 => 1u32..20_000];
    let padding = prop_oneof![20 => Just(0usize), 1 => 1usize..6];
    (delta, event_bytes(), padding, any::<bool>()).prop_map(|(delta, bytes, padding, running)| Event {
        delta,
        bytes,
        padding,
        running,
    })
}

fn event_bytes() -> impl Strategy<Value = Vec<u8>> {
    let channel = || prop_oneof![Just(0u8), Just(1), Just(9)];
    let note = (channel(), 60u8..64, prop_oneof![1 => Just(0u8), 3 => 1u8..128]);
    let program = (channel(), prop_oneof![Just(0u8), Just(42), Just(127)]);
    let controller = (channel(), prop_oneof![Just(64u8), Just(123), 0u8..128], 0u8..128);
    let on_channel = prop_oneof![
        20 => note.clone().prop_map(|(c, pitch, velocity)| vec![0x90 | c, pitch, velocity]),
        12 => note.prop_map(|(c, pitch, velocity)| vec![0x80 | c, pitch, velocity]),
        2 => program.prop_map(|(c, program)| vec![0xc0 | c, program]),
        2 => controller.clone().prop_map(|(c, number, value)| vec![0xb0 | c, number, value]),
        1 => controller.clone().prop_map(|(c, low, high)| vec![0xe0 | c, low, high]),
        1 => controller.prop_map(|(c, pitch, value)| vec![0xa0 | c, pitch, value]),
        1 => (channel(), 0u8..128).prop_map(|(c, value)| vec![0xd0 | c, value]),
    ];
    prop_oneof![12 => on_channel, 3 => meta_event(), 1 => system_event()]
}

fn meta_event() -> impl Strategy<Value = Vec<u8>> {
    let text = || prop::collection::vec(any::<u8>(), 0..12);
    let microseconds = prop_oneof![Just(500_000u32), Just(600_000), Just(1), 1u32..0x100_0000];
    let text_kinds = prop_oneof![Just(1u8), Just(3), Just(3), Just(5), Just(7), Just(0x7f)];
    let unknown_kinds = prop_oneof![Just(8u8), Just(0x0a), Just(0x22), Just(0x60)];
    prop_oneof![
        4 => microseconds.prop_map(tempo),
        4 => (text_kinds, text()).prop_map(|(kind, text)| meta(kind, &text)),
        2 => (unknown_kinds, text()).prop_map(|(kind, text)| meta(kind, &text)),
        1 => (1u8..13, 0u8..6).prop_map(|(over, under)| meta(0x58, &[over, under, 24, 8])),
        1 => (-7i8..8, 0u8..2).prop_map(|(sharps, mode)| meta(0x59, &[sharps as u8, mode])),
        1 => (0u8..128, 0u8..60, 0u8..255).prop_map(|(h, m, f)| meta(0x54, &[h, m, m, f, 99])),
        1 => Just(meta(0x2f, b"")),
        1 => Just(meta(0x21, b"")),
        1 => Just(meta(0x00, b"")),
    ]
}

fn system_event() -> impl Strategy<Value = Vec<u8>> {
    let exclusive = (prop_oneof![Just(0xf0u8), Just(0xf7)], prop::collection::vec(0u8..128, 0..6));
    prop_oneof![
        4 => exclusive.prop_map(|(status, data)| [&[status, data.len() as u8], &data[..]].concat()),
        1 => (0u8..128).prop_map(|value| vec![0xf1, value]),
        1 => (0u8..128).prop_map(|value| vec![0xf2, value, 1]),
        1 => (0u8..128).prop_map(|value| vec![0xf3, value]),
        1 => prop_oneof![Just(0xf6u8), Just(0xf8), Just(0xfa), Just(0xfb), Just(0xfc), Just(0xfe)]
            .prop_map(|status| vec![status]),
    ]
}
