use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use bachdist_test_support::tools::peer_python;

/// All samples, scaled as in a file.
fn synthesize(notes: &[Note], rate: u32) -> Vec<f32> {
    let sound = Sound::sines(notes, rate);
    let (peak, mut all) = (sound.peak(), Vec::new());
    let Ok(()) = sound.blocks(|block| -> Result<(), Infallible> {
        all.extend(block.iter().map(|sample| if peak > 0.0 { sample / peak } else { 0.0 }));
        Ok(())
    });
    assert_eq!(all.len(), sound.samples());
    all
}

fn note(pitch: u8, velocity: u8, start: f64, end: f64) -> Note {
    Note::in_seconds(pitch, velocity, start, end)
}

/// Note sets that reach every branch: overlaps, notes shorter than the fade, of one sample, the lowest and
/// the highest pitch, a long note, times that fall between samples, and the program's own output.
fn note_sets() -> Vec<(u32, Vec<Note>)> {
    let composed =
        (0..200).map(|i| note(36 + (i * 7 % 31) as u8, 100, f64::from(i) * 0.3, f64::from(i + 1) * 0.3));
    let chord = vec![note(48, 100, 0.1, 1.7), note(52, 64, 0.1, 2.0), note(55, 1, 0.5, 0.9)];
    let short = vec![
        note(60, 90, 0.0, 0.05),
        note(62, 90, 0.05, 0.150001),
        note(64, 127, 0.2, 0.2 + 1.5 / 44100.0),
        note(65, 80, 0.3, 0.3 + 2.5 / 44100.0),
        note(67, 80, 0.3333333, 0.7777777),
    ];
    let extremes = vec![note(0, 127, 0.0, 2.0), note(127, 127, 0.25, 40.0), note(45, 3, 1.0, 35.3)];
    vec![
        (44100, composed.collect()),
        (44100, chord.clone()),
        (44100, short),
        (44100, extremes),
        (22050, chord),
    ]
}

#[test]
#[ignore = "needs pretty_midi"]
fn equals_pretty_midi_at_every_sample() {
    let Some(python) = peer_python() else { return };
    for (rate, notes) in note_sets() {
        let theirs = pretty_midi_synthesize(&python, &notes, rate);
        let ours = synthesize(&notes, rate);
        assert_eq!(ours.len(), theirs.len(), "length at rate {rate}, {} notes", notes.len());
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        println!(
            "{} notes, {} samples at {rate} Hz: largest difference {worst:.1e}",
            notes.len(),
            ours.len()
        );
        assert!(worst < 1e-6, "largest difference {worst}");
    }
}

#[test]
fn silence_where_pretty_midi_divides_by_zero() {
    assert_eq!(synthesize(&[], 44100), vec![0.0; 44100]);
    // One sample of a sine that begins at phase 0.
    let inaudible = synthesize(&[note(60, 100, 0.0, 1.5 / 44100.0)], 44100);
    assert!(inaudible.iter().all(|sample| *sample == 0.0));
}

#[test]
fn a_long_note_keeps_its_phase() {
    let (rate, seconds, pitch) = (44100, 600.0, 69);
    let samples = synthesize(&[note(pitch, 100, 0.0, seconds)], rate);
    // Undo the decay and compare with the sine itself in the last second that is above the smallest f32.
    let scale = f64::from(samples[25]) / ((-25.0 / 44100.0f64).exp() * (TAU * 440.0 * 25.0 / 44100.0).sin());
    for (n, sample) in samples.iter().enumerate().skip(40 * 44100).take(44100) {
        let t = n as f64 / f64::from(rate);
        let expected = scale * (-t).exp() * (TAU * 440.0 * t).sin();
        assert!((f64::from(*sample) - expected).abs() < 1e-6 * (-t).exp(), "sample {n}");
    }
}

/// The real package's samples. Notes go in as text (exact: 17 digits), samples come back as raw f64.
fn pretty_midi_synthesize(python: &Path, notes: &[Note], rate: u32) -> Vec<f64> {
    const SCRIPT: &str = "
import sys, pretty_midi
assert pretty_midi.__version__ == '0.2.11', pretty_midi.__version__
midi, cello = pretty_midi.PrettyMIDI(), pretty_midi.Instrument(42)
for line in sys.stdin:
    pitch, velocity, start, end = line.split()
    cello.notes.append(pretty_midi.Note(int(velocity), int(pitch), float(start), float(end)))
midi.instruments.append(cello)
sys.stdout.buffer.write(midi.synthesize(fs=int(sys.argv[1])).astype('<f8').tobytes())
";
    let mut child = Command::new(python)
        .args(["-c", SCRIPT, &rate.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for note in notes {
        writeln!(stdin, "{} {} {:?} {:?}", note.pitch, note.velocity, note.start, note.end).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the script failed");
    output.stdout.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Where a block ends does not show: the same notes, later by all but a block, give the same samples later.
#[test]
fn blocks_do_not_show() {
    let rate = 44_100;
    let begin = 3 * BLOCK_SAMPLES - 100;
    let at = |sample: usize| sample as f64 / f64::from(rate) + 1e-9;
    let notes = |from: usize| {
        let long = Note::in_seconds(50, 90, at(from), at(from + 5 * BLOCK_SAMPLES));
        let short =
            (0..20).map(move |i| note(60 + i as u8, 10 + i as u8, at(from + 90 + i), at(from + 110 + 3 * i)));
        std::iter::once(long).chain(short).collect::<Vec<_>>()
    };
    let (early, late) = (synthesize(&notes(0), rate), synthesize(&notes(begin), rate));
    assert_eq!(late[begin..], early[..]);
}

/// A note of ten hours makes no sound after two minutes, and costs none.
#[test]
fn a_note_costs_what_is_heard_of_it() {
    let notes = vec![note(69, 127, 0.0, 36_000.0); 2_000];
    let mut sines = Sines::new(&notes, 100.0);
    let mut block = vec![0.0; 12_000];
    sines.render(&mut block);
    assert!(block[10_990] == 0.0 && block[5_001] != 0.0, "{} {}", block[10_990], block[5_001]);
    assert_eq!(sines.sounding.len(), 0);
}

fn bytes_of(notes: &[Note], rate: u32) -> Vec<u8> {
    let (sound, mut bytes) = (Sound::sines(notes, rate), Vec::new());
    wav(&sound, sound.peak(), &mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> (hound::WavSpec, Vec<i16>) {
    let mut reader = hound::WavReader::new(bytes).unwrap();
    let samples = reader.samples::<i16>().map(Result::unwrap).collect();
    (reader.spec(), samples)
}

#[test]
fn the_loudest_sample_is_full_scale_and_the_header_tells_the_truth() {
    // A note and its end, longer than a block.
    let note = note(60, 3, 0.25, 4.0);
    let bytes = bytes_of(&[note], 44_100);
    let (spec, samples) = read(&bytes);
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 44_100, 16));
    assert_eq!((samples.len(), bytes.len()), (5 * 44_100, 44 + 10 * 44_100));
    assert_eq!(samples.iter().map(|sample| sample.unsigned_abs()).max(), Some(32_767));
    assert_eq!(bytes[4..8], (bytes.len() as u32 - 8).to_le_bytes());
    assert_eq!(&bytes[36..40], b"data");
}

#[test]
fn no_notes_are_a_second_of_silence() {
    assert_eq!(read(&bytes_of(&[], 8000)).1, vec![0; 8000]);
}

#[test]
fn what_no_file_can_hold_is_refused_before_it_is_made() {
    for hours in [13.6, 1e300, f64::INFINITY] {
        let notes = [note(60, 100, 0.0, 3600.0 * hours)];
        let (sound, mut bytes) = (Sound::sines(&notes, 44_100), Vec::new());
        assert!(matches!(wav(&sound, 1.0, &mut bytes), Err(WavError::TooLong { .. })));
        assert_eq!(bytes, [0; 0]);
    }
}
