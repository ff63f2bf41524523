use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::render::sound::Sound;
use bachdist_test_support::tools;

const RATE: u32 = 44100;

fn note(pitch: u8, start: f64, end: f64) -> Note {
    Note::in_seconds(pitch, 100, start, end)
}

const INSTRUMENT: u16 = 41;
const KEY_RANGE: u16 = 43;
const COARSE_TUNE: u16 = 51;
const SAMPLE: u16 = 53;
const LOOP: u16 = 54;
const PERIOD: usize = 100;
const PERIODS: usize = 4;
const END: u32 = (PERIOD * PERIODS) as u32;

/// The four numbers of a sample's place, its kind, and its name.
#[derive(Clone, Copy)]
struct Sample(&'static str, [u32; 4], u16);

const SINE: Sample = Sample("sine", [0, END, PERIOD as u32, END], 1);
const IN_ROM: Sample = Sample("rom", [430_271, 430_410, 430_340, 430_406], 0x8001);

/// A name, a program, and the generators of each of its instruments.
type Preset<'a> = (&'a str, u16, Vec<Vec<(u16, u16)>>);

/// A whole SoundFont. Each preset has a name, a program and as many instruments as lists of generators; each of these
/// is an instrument's only zone. The wave is a sine of 441 Hz (100 samples) recorded at key 69.
/// Layout: SoundFont 2.04 specification, chapter 4 to 7.
fn soundfont(presets: &[Preset<'_>], samples: &[Sample]) -> Vec<u8> {
    let wave: Vec<u8> = (0..PERIOD * PERIODS + 46)
        .map(|n| if n < PERIOD * PERIODS { n } else { 0 })
        .flat_map(|n| {
            let phase = std::f64::consts::TAU * n as f64 / PERIOD as f64;
            ((phase.sin() * 30000.0) as i16).to_le_bytes()
        })
        .collect();
    let info = list(b"INFO", &[chunk(b"ifil", &shorts(&[2, 4])), chunk(b"INAM", b"sine\0\0")]);
    let data = list(b"sdta", &[chunk(b"smpl", &wave)]);
    let (mut phdr, mut pbag, mut pgen) = (vec![], vec![], vec![]);
    let (mut inst, mut ibag, mut igen) = (vec![], vec![], vec![]);
    let mut instruments = 0u16;
    for (name, program, parts) in presets {
        phdr.push([name_of_20(name), shorts(&[*program, 0, pbag.len() as u16]), vec![0; 12]].concat());
        for part in parts {
            pbag.push(shorts(&[pgen.len() as u16, 0]));
            pgen.push(shorts(&[INSTRUMENT, instruments]));
            inst.push([name_of_20(name), shorts(&[ibag.len() as u16])].concat());
            ibag.push(shorts(&[igen.len() as u16, 0]));
            igen.extend(part.iter().map(|&(generator, value)| shorts(&[generator, value])));
            instruments += 1;
        }
    }
    phdr.push([name_of_20("EOP"), shorts(&[0, 0, pbag.len() as u16]), vec![0; 12]].concat());
    inst.push([name_of_20("EOI"), shorts(&[ibag.len() as u16])].concat());
    pbag.push(shorts(&[pgen.len() as u16, 0]));
    ibag.push(shorts(&[igen.len() as u16, 0]));
    pgen.push(shorts(&[0, 0]));
    igen.push(shorts(&[0, 0]));
    let header = |Sample(name, places, kind): &Sample| {
        let longs = places.iter().chain([&RATE]).flat_map(|value| value.to_le_bytes()).collect();
        [name_of_20(name), longs, vec![69, 0], shorts(&[0, *kind])].concat()
    };
    let samples: Vec<_> = samples.iter().chain([&Sample("EOS", [0; 4], 0)]).map(header).collect();
    let parameters = [
        chunk(b"phdr", &phdr.concat()),
        chunk(b"pbag", &pbag.concat()),
        chunk(b"pmod", &[0; 10]),
        chunk(b"pgen", &pgen.concat()),
        chunk(b"inst", &inst.concat()),
        chunk(b"ibag", &ibag.concat()),
        chunk(b"imod", &[0; 10]),
        chunk(b"igen", &igen.concat()),
        chunk(b"shdr", &samples.concat()),
    ];
    let body = [b"sfbk".to_vec(), info, data, list(b"pdta", &parameters)].concat();
    chunk(b"RIFF", &body)
}

/// A zone that plays a sample in a loop, on these keys.
fn zone(sample: u16, keys: (u8, u8)) -> Vec<(u16, u16)> {
    vec![(KEY_RANGE, u16::from_le_bytes([keys.0, keys.1])), (LOOP, 1), (SAMPLE, sample)]
}

const ALL: (u8, u8) = (0, 127);

/// One program, on these keys.
fn sine_soundfont(program: u16, keys: (u8, u8)) -> Vec<u8> {
    soundfont(&[("sine", program, vec![zone(0, keys)])], &[SINE])
}

/// All samples, scaled as in a file.
fn synthesize_soundfont(
    notes: &[Note],
    program: u8,
    bytes: &[u8],
    rate: u32,
) -> Result<Vec<f32>, SoundFontError> {
    let font = SoundFont::read(bytes, program)?;
    let sound = Sound::recorded(notes, &font, rate)?;
    let (peak, mut all) = (sound.peak(), Vec::new());
    let Ok(()) = sound.blocks(|block| -> Result<(), Infallible> {
        all.extend(block.iter().map(|sample| if peak > 0.0 { sample / peak } else { 0.0 }));
        Ok(())
    });
    Ok(all)
}

fn notes_of(bytes: &[u8]) -> Vec<String> {
    SoundFont::read(bytes, 42).unwrap().notes().to_vec()
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

/// Two voices meet in a unison, and one leaves it.
#[test]
fn a_note_sounds_on_when_another_of_its_pitch_ends() {
    let soundfont = sine_soundfont(42, (0, 127));
    let notes = [note(69, 0.0, 1.0), note(69, 0.2, 0.5)];
    let samples = synthesize_soundfont(&notes, 42, &soundfont, RATE).unwrap();
    let alone = samples[35000..RATE as usize].iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
    // About half of what both are together.
    assert!((0.25..0.9).contains(&alone), "{alone}");
}

#[test]
fn same_input_same_samples() {
    let soundfont = sine_soundfont(42, (0, 127));
    let play = || synthesize_soundfont(&[note(60, 0.0, 0.3)], 42, &soundfont, RATE).unwrap();
    assert_eq!(play(), play());
}

#[test]
fn no_notes_are_silence_and_so_are_notes_out_of_range() {
    let soundfont = sine_soundfont(42, (60, 70));
    assert_eq!(synthesize_soundfont(&[], 42, &soundfont, RATE).unwrap(), vec![0.0; RATE as usize]);
    let unheard = synthesize_soundfont(&[note(40, 0.0, 0.3)], 42, &soundfont, RATE).unwrap();
    assert!(unheard.iter().all(|sample| *sample == 0.0));
}

/// What nobody plays may be anything.
#[test]
fn parts_that_cannot_be_played_are_left_out_and_told() {
    let play = |bytes: &[u8]| synthesize_soundfont(&[note(69, 0.0, 0.5)], 42, bytes, RATE).unwrap();
    let whole = play(&sine_soundfont(42, ALL));
    let bad = [
        IN_ROM,
        Sample("far", [300, 999_999, 310, 320], 1),
        Sample("turned", [300, 200, 0, 0], 1),
        Sample("huge", [u32::MAX - 5, u32::MAX, 0, 0], 1),
        Sample("packed", [0, 300, 0, 0], 0x11),
    ];
    for sample in bad {
        let samples = [SINE, sample];
        let other = soundfont(&[("sine", 42, vec![zone(0, ALL)]), ("bad", 7, vec![zone(1, ALL)])], &samples);
        assert!(play(&other) == whole && notes_of(&other).is_empty(), "{}", sample.0);
        let part = soundfont(&[("sine", 42, vec![zone(1, ALL), zone(0, ALL), zone(9, ALL)])], &samples);
        assert!(play(&part) == whole, "{}", sample.0);
        let told = notes_of(&part).join("\n");
        let expected =
            format!("skipped 2 parts of the SoundFont's preset \"sine\": the sample \"{}\" ", sample.0);
        assert!(told.starts_with(&expected), "{told}");
    }
}

#[test]
fn a_preset_that_cannot_play_is_named() {
    let rom = soundfont(&[("good", 7, vec![zone(0, ALL)]), ("rom", 42, vec![zone(1, ALL)])], &[SINE, IN_ROM]);
    let error = SoundFont::read(&rom, 42).map(drop).unwrap_err().to_string();
    let expected = "the SoundFont's preset \"rom\" (program 42) cannot be played: the sample \"rom\" is in the ROM of a \
                    sound card";
    assert_eq!(error, expected);
    // Where another instrument has to do, it is one that plays.
    assert!(SoundFont::read(&rom, 7).unwrap().notes().is_empty());
    let rom = soundfont(&[("rom", 0, vec![zone(1, ALL)]), ("good", 7, vec![zone(0, ALL)])], &[SINE, IN_ROM]);
    assert_eq!(notes_of(&rom), ["the SoundFont has no program 42; its preset \"good\" plays instead"]);
}

/// A loop of a few samples, played so high that the player would step over it: it sounds as if it were longer.
#[test]
fn a_loop_shorter_than_a_step_is_repeated() {
    let short = Sample("short", [0, 4, 0, 4], 1);
    for (sample, tune) in [(SINE, 60), (short, 24), (short, 100)] {
        let zone = vec![(COARSE_TUNE, tune), (LOOP, 1), (SAMPLE, 0)];
        let font = soundfont(&[("high", 42, vec![zone])], &[sample]);
        let samples = synthesize_soundfont(&[note(127, 0.0, 0.5)], 42, &font, RATE).unwrap();
        let late = samples[20_000..21_000].iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
        assert!(late > 0.0, "it plays once");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let soundfont = sine_soundfont(42, (0, 127));
    let error = |bytes: &[u8], rate| {
        synthesize_soundfont(&[note(60, 0.0, 0.1)], 42, bytes, rate).unwrap_err().to_string()
    };
    for (bytes, kind) in [
        (&b""[..], "an empty file"),
        (b"MThd\0\0\0\x06", "a MIDI file"),
        (b"RIFF\0\0\0\0RMID", "a MIDI file"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a WAV file"),
        (b"\x1f\x8b\x08", "a gzip archive; unpack it first"),
        (b"OggS\0", "an Ogg file"),
        (
            b"// a piano\n<Region> sample=a.wav",
            "an SFZ file, text about other sound files; Polyphone converts it",
        ),
        (b"words", "a text file"),
        (&[0; 99], "a file of another kind"),
    ] {
        assert_eq!(error(bytes, RATE), format!("not a SoundFont (.sf2) but {kind}"));
    }
    let mut sf3 = soundfont.clone();
    let wave = sf3.windows(4).position(|four| four == b"smpl").unwrap() + 8;
    sf3[wave..wave + 4].copy_from_slice(b"OggS");
    assert!(error(&sf3, RATE).contains("an SF3 font"));
    assert!(error(&soundfont, 8000).contains("only at 16,000 to 192,000"));
    assert_eq!(
        error(&soundfont[..500], RATE),
        "the SoundFont is truncated: the chunk 'LIST' at byte 50 should have 904 bytes, 442 are left; copy or download it again"
    );
    assert_eq!(error(&soundfont[..50], RATE), "not a usable SoundFont: it has no samples (the chunk 'smpl')");
    let renamed = |table: &[u8; 4]| {
        let mut bytes = soundfont.clone();
        let at = bytes.windows(4).position(|four| four == table).unwrap();
        bytes[at] = b'x';
        error(&bytes, RATE)
    };
    assert_eq!(renamed(b"igen"), "not a usable SoundFont: its table 'igen' is missing");
}

/// Chunks of odd size, with the byte that fills them up and without.
#[test]
fn odd_chunks_are_read_with_and_without_padding() {
    let soundfont = sine_soundfont(42, ALL);
    let name = soundfont.windows(4).position(|four| four == b"INAM").unwrap();
    for chunk in [&b"INAM\x05\0\0\0sine\0\0"[..], b"INAM\x05\0\0\0sine\0"] {
        let mut odd = [&soundfont[..name], chunk, &soundfont[name + 14..]].concat();
        odd[16] = odd[16] + chunk.len() as u8 - 14;
        assert!(SoundFont::read(&odd, 42).is_ok());
    }
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
#[ignore = "slow"]
fn damaged_bytes_never_panic() {
    let soundfont = sine_soundfont(42, (0, 127));
    let samples = 62..62 + 900;
    let (mut refused, mut played) = (0, 0);
    for at in (0..soundfont.len()).filter(|at| !samples.contains(at)) {
        for value in [0, 0x7F, 0xFF] {
            let mut damaged = soundfont.clone();
            damaged[at] = value;
            match synthesize_soundfont(&[note(60, 0.0, 0.01)], 42, &damaged, RATE) {
                Ok(_) => played += 1,
                Err(_) => refused += 1,
            }
        }
    }
    println!("{refused} damaged files refused, {played} played");
    assert!(refused > 100 && played > 100);
}

proptest! {
    #![proptest_config(bachdist_test_support::properties(400))]

    /// Any generators, of any values, and several changed bytes in the tables.
    #[test]
    #[ignore = "slow"]
    fn no_font_makes_the_player_panic(
        generators in prop::collection::vec((0..61u16, any::<u16>()), 0..8),
        changes in prop::collection::vec((0..800usize, any::<u8>()), 0..6),
        key in 0..128u8,
    ) {
        let zones = [generators, vec![(LOOP, 1), (SAMPLE, 0)]].concat();
        let mut bytes = soundfont(&[("any", 42, vec![zones, zone(0, ALL)])], &[SINE]);
        let tables = bytes.windows(4).position(|four| four == b"pdta").unwrap();
        for (at, value) in changes {
            let at = tables + at % (bytes.len() - tables);
            bytes[at] = value;
        }
        let _ = synthesize_soundfont(&[note(key, 0.0, 0.05), note(60, 0.01, 0.03)], 42, &bytes, RATE);
    }
}

/// A real General MIDI SoundFont, which comes with pretty_midi.
#[test]
#[ignore = "needs pretty_midi"]
fn plays_the_cello_of_a_soundfont() {
    let Some(path) = tools::soundfont() else { return };
    let bytes = std::fs::read(&path).unwrap();
    let notes = [note(36, 0.0, 1.0), note(57, 1.0, 2.0)];
    let cello = synthesize_soundfont(&notes, 42, &bytes, RATE).unwrap();
    let piano = synthesize_soundfont(&notes, 0, &bytes, RATE).unwrap();
    assert_eq!(cello.len(), 3 * RATE as usize);
    assert_ne!(cello, piano);
    let error = synthesize_soundfont(&notes, 42, &bytes[..bytes.len() / 2], RATE).unwrap_err();
    assert!(matches!(error, SoundFontError::Truncated { .. }), "{error}");
}
