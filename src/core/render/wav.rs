//! Sound as a WAV file: 16 bits, one channel.
//!
//! The scale is one for all files: the loudest sample becomes 32767 or −32767, and all others keep their proportion
//! to it, to the nearest step.

use std::io::{self, Write};

use super::sound::Sound;

/// Why a sound does not become a WAV file.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// Its sizes have 32 bits.
    #[error("{samples} samples are more than a WAV file can hold ({MAX_SAMPLES}, 13.5 hours at 44.1 kHz)")]
    TooLong {
        /// What there are.
        samples: usize,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Two bytes a sample, and the sizes in the header count the header too.
const MAX_SAMPLES: usize = (u32::MAX as usize - 44) / 2;

/// Writes a 16-bit mono WAV file of a sound whose loudest sample is `peak`, a block at a time. A peak of 0 is silence.
///
/// # Errors
/// Beyond the 4 GiB that the format allows, and where `out` fails.
pub fn wav(sound: &Sound<'_>, peak: f32, out: &mut dyn Write) -> Result<(), WavError> {
    let samples = sound.samples();
    if samples > MAX_SAMPLES {
        return Err(WavError::TooLong { samples });
    }
    out.write_all(&header(sound.rate(), 2 * samples as u32))?;
    let mut bytes = Vec::new();
    sound.blocks(|block| {
        bytes.clear();
        for sample in block {
            let sample = if peak > 0.0 { sample / peak } else { 0.0 };
            bytes.extend(((sample * f32::from(i16::MAX)).round() as i16).to_le_bytes());
        }
        out.write_all(&bytes)
    })?;
    Ok(())
}

/// The 44 bytes that every reader knows: one `fmt ` chunk and the head of `data`.
fn header(rate: u32, data_bytes: u32) -> Vec<u8> {
    const BYTES_A_SAMPLE: u16 = 2;
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF");
    header.extend((36 + data_bytes).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16u32.to_le_bytes());
    // PCM, one channel.
    header.extend([1, 0, 1, 0]);
    header.extend(rate.to_le_bytes());
    header.extend((rate * u32::from(BYTES_A_SAMPLE)).to_le_bytes());
    header.extend(BYTES_A_SAMPLE.to_le_bytes());
    header.extend((8 * BYTES_A_SAMPLE).to_le_bytes());
    header.extend(b"data");
    header.extend(data_bytes.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::midi::Note;

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
        let note = Note { pitch: 60, velocity: 3, start: 0.25, end: 4.0 };
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
            let notes = [Note { pitch: 60, velocity: 100, start: 0.0, end: 3600.0 * hours }];
            let (sound, mut bytes) = (Sound::sines(&notes, 44_100), Vec::new());
            assert!(matches!(wav(&sound, 1.0, &mut bytes), Err(WavError::TooLong { .. })));
            assert_eq!(bytes, [0; 0]);
        }
    }
}
