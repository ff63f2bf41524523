use super::*;
use crate::render::test_tools::test_tools;

const RATE: u32 = 44100;

fn note(pitch: u8, start: f64, end: f64) -> Note {
    Note { pitch, velocity: 100, start, end }
}

/// A whole SoundFont of one program: a looped sine of 441 Hz (100 samples) recorded at key 69.
/// Layout: SoundFont 2.04 specification, chapter 4 to 7.
fn sine_soundfont(program: u16, keys: (u8, u8)) -> Vec<u8> {
    const PERIOD: usize = 100;
    const PERIODS: usize = 4;
    let samples: Vec<u8> = (0..PERIOD * PERIODS + 46)
        .map(|n| if n < PERIOD * PERIODS { n } else { 0 })
        .flat_map(|n| {
            let phase = std::f64::consts::TAU * n as f64 / PERIOD as f64;
            ((phase.sin() * 30000.0) as i16).to_le_bytes()
        })
        .collect();

    let info = list(b"INFO", &[chunk(b"ifil", &shorts(&[2, 4])), chunk(b"INAM", b"sine\0\0")]);
    let data = list(b"sdta", &[chunk(b"smpl", &samples)]);
    let preset = |name: &str, program: u16, zone: u16| {
        [name_of_20(name), shorts(&[program, 0, zone]), vec![0; 12]].concat()
    };
    let instrument = |name: &str, zone: u16| [name_of_20(name), shorts(&[zone])].concat();
    let header = |name: &str, end: u32, loop_from: u32, loop_to: u32| {
        let longs = [0, end, loop_from, loop_to, RATE];
        let longs = longs.iter().flat_map(|value| value.to_le_bytes()).collect();
        [name_of_20(name), longs, vec![69, 0], shorts(&[0, 1])].concat()
    };
    const INSTRUMENT: u16 = 41;
    const KEY_RANGE: u16 = 43;
    const SAMPLE: u16 = 53;
    const LOOP: u16 = 54;
    let key_range = u16::from_le_bytes([keys.0, keys.1]);
    let end = (PERIOD * PERIODS) as u32;
    let parameters = [
        chunk(b"phdr", &[preset("sine", program, 0), preset("EOP", 0, 1)].concat()),
        chunk(b"pbag", &shorts(&[0, 0, 1, 0])),
        chunk(b"pmod", &[0; 10]),
        chunk(b"pgen", &shorts(&[INSTRUMENT, 0, 0, 0])),
        chunk(b"inst", &[instrument("sine", 0), instrument("EOI", 1)].concat()),
        chunk(b"ibag", &shorts(&[0, 0, 3, 0])),
        chunk(b"imod", &[0; 10]),
        chunk(b"igen", &shorts(&[KEY_RANGE, key_range, LOOP, 1, SAMPLE, 0, 0, 0])),
        chunk(b"shdr", &[header("sine", end, PERIOD as u32, end), header("EOS", 0, 0, 0)].concat()),
    ];
    let body = [b"sfbk".to_vec(), info, data, list(b"pdta", &parameters)].concat();
    chunk(b"RIFF", &body)
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [&name[..], &(data.len() as u32).to_le_bytes(), data].concat()
}

fn list(kind: &[u8; 4], chunks: &[Vec<u8>]) -> Vec<u8> {
    chunk(b"LIST", &[kind.to_vec(), chunks.concat()].concat())
}

fn shorts(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn name_of_20(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(20, 0);
    bytes
}

/// Cycles a second, from rising zero crossings.
fn frequency(samples: &[f32]) -> f64 {
    let crossings: Vec<usize> =
        (1..samples.len()).filter(|&n| samples[n - 1] < 0.0 && samples[n] >= 0.0).collect();
    let (first, last) = (crossings[0], crossings[crossings.len() - 1]);
    f64::from(RATE) * (crossings.len() - 1) as f64 / (last - first) as f64
}

#[test]
fn plays_each_note_at_its_pitch_and_time() {
    let soundfont = sine_soundfont(42, (0, 127));
    let notes = [note(69, 0.5, 1.0), note(57, 1.0, 1.5)];
    let samples = synthesize_soundfont(&notes, 42, &soundfont, RATE).unwrap();

    let at = |seconds: f64| (seconds * f64::from(RATE)) as usize;
    assert_eq!(samples.len(), at(2.5));
    assert_eq!(samples.iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs())), 1.0);
    assert!(samples[..at(0.5)].iter().all(|sample| *sample == 0.0), "sound before the first note");
    for (from, to, expected) in [(0.6, 0.9, 441.0), (1.2, 1.5, 220.5)] {
        let heard = frequency(&samples[at(from)..at(to)]);
        assert!((heard - expected).abs() < 1.0, "{heard} Hz, not {expected}");
    }
    let tail = samples[at(2.4)..].iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
    assert!(tail < 0.01, "the last note did not end: {tail}");
}

#[test]
fn a_repeated_note_sounds_again() {
    let soundfont = sine_soundfont(42, (0, 127));
    let notes = [note(69, 0.0, 0.5), note(69, 0.5, 1.0)];
    let samples = synthesize_soundfont(&notes, 42, &soundfont, RATE).unwrap();
    let peak = samples[30000..40000].iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
    assert!(peak > 0.5, "{peak}");
}

#[test]
fn same_input_same_samples() {
    let soundfont = sine_soundfont(42, (0, 127));
    let play = || synthesize_soundfont(&[note(60, 0.0, 0.3)], 42, &soundfont, RATE).unwrap();
    assert_eq!(play(), play());
}

#[test]
fn no_notes_are_silence_and_notes_out_of_range_an_error() {
    let soundfont = sine_soundfont(42, (60, 70));
    assert_eq!(synthesize_soundfont(&[], 42, &soundfont, RATE).unwrap(), vec![0.0; RATE as usize]);
    let error = synthesize_soundfont(&[note(40, 0.0, 0.3)], 42, &soundfont, RATE).unwrap_err();
    assert_eq!(error.to_string(), "the SoundFont has no sound for program 42 in the range of these notes");
}

#[test]
fn errors_say_what_is_wrong() {
    let soundfont = sine_soundfont(42, (0, 127));
    let error = |bytes: &[u8], rate| {
        synthesize_soundfont(&[note(60, 0.0, 0.1)], 42, bytes, rate).unwrap_err().to_string()
    };
    assert_eq!(error(b"MThd\0\0\0\x06", RATE), "not a usable SoundFont: the RIFF chunk was not found");
    assert!(error(b"", RATE).starts_with("not a usable SoundFont: "));
    assert!(error(&soundfont, 8000).contains("between 16000 and 192000"));
    assert_eq!(
        error(&soundfont[..500], RATE),
        "the SoundFont is cut short: the chunk 'LIST' at byte 50 should have 904 bytes, 442 are left"
    );
}

#[test]
fn every_truncation_is_an_error() {
    let soundfont = sine_soundfont(42, (0, 127));
    for length in 0..soundfont.len() {
        let result = synthesize_soundfont(&[note(60, 0.0, 0.01)], 42, &soundfont[..length], RATE);
        assert!(result.is_err(), "the first {length} bytes were played");
    }
}

/// One changed byte anywhere, to each of three values: sound or an error, never a panic, and never the
/// gigabytes a size field may claim.
#[test]
fn damaged_bytes_never_panic() {
    let soundfont = sine_soundfont(42, (0, 127));
    let samples = 62..62 + 900;
    let mut refused = 0;
    for at in (0..soundfont.len()).filter(|at| !samples.contains(at)) {
        for value in [0, 0x7F, 0xFF] {
            let mut damaged = soundfont.clone();
            damaged[at] = value;
            let result = synthesize_soundfont(&[note(60, 0.0, 0.01)], 42, &damaged, RATE);
            refused += usize::from(result.is_err());
        }
    }
    println!("{refused} damaged files refused");
    assert!(refused > 300);
}

/// A real General MIDI SoundFont, which comes with pretty_midi.
#[test]
fn plays_the_cello_of_a_real_soundfont() {
    let Some(path) = real_soundfont() else { return };
    let bytes = std::fs::read(&path).unwrap();
    let notes = [note(36, 0.0, 1.0), note(57, 1.0, 2.0)];
    let cello = synthesize_soundfont(&notes, 42, &bytes, RATE).unwrap();
    let piano = synthesize_soundfont(&notes, 0, &bytes, RATE).unwrap();
    assert_eq!(cello.len(), 3 * RATE as usize);
    assert_ne!(cello, piano);
    let error = synthesize_soundfont(&notes, 42, &bytes[..bytes.len() / 2], RATE).unwrap_err();
    assert!(matches!(error, SoundFontError::CutShort { .. }), "{error}");
}

fn real_soundfont() -> Option<std::path::PathBuf> {
    let tools = test_tools("lib")?;
    let pythons = std::fs::read_dir(tools.join("lib")).unwrap().flatten();
    let found = pythons
        .map(|python| python.path().join("site-packages/pretty_midi/TimGM6mb.sf2"))
        .find(|path| path.exists());
    if found.is_none() {
        println!("skipped: no TimGM6mb.sf2 (launch/setup --tests installs it with pretty_midi)");
    }
    found
}
