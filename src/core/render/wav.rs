//! Samples as a WAV file: 16 bits, one channel.
//!
//! The scale is one for all files: a sample of 1 becomes 32767 and −1 becomes −32767, to the nearest step, so
//! that a reader who divides by 32767 (or by 32768, as most do) finds the samples again to 5e-5. Nothing is
//! ever clipped: samples louder than full scale are first scaled down together.

use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};

/// The samples do not fit into a WAV file, whose sizes have 32 bits.
#[derive(Debug, thiserror::Error)]
#[error("{samples} samples are more than a WAV file can hold ({LONGEST}, 13.5 hours at 44.1 kHz)")]
pub struct TooLong {
    samples: usize,
}

/// Two bytes a sample, and the sizes in the header count the header too.
const LONGEST: usize = (u32::MAX as usize - 44) / 2;

/// The bytes of a 16-bit mono WAV file at `rate` samples a second, of samples in −1 to 1 (where the peak is
/// larger, the whole is divided by it).
///
/// # Errors
/// [`TooLong`] beyond the 4 GiB that the format allows.
pub fn wav(samples: &[f32], rate: u32) -> Result<Vec<u8>, TooLong> {
    if samples.len() > LONGEST {
        return Err(TooLong { samples: samples.len() });
    }
    let peak = samples.iter().fold(1.0, |peak: f32, sample| peak.max(sample.abs()));
    let scale = f32::from(i16::MAX) / peak;

    let spec =
        WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut bytes = Vec::with_capacity(44 + 2 * samples.len());
    let mut writer = WavWriter::new(Cursor::new(&mut bytes), spec).expect("memory takes every write");
    let mut block = writer.get_i16_writer(samples.len() as u32);
    for sample in samples {
        block.write_sample((sample * scale).round() as i16);
    }
    block.flush().expect("as many samples as announced");
    writer.finalize().expect("memory takes every write");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (WavSpec, Vec<i16>) {
        let mut reader = hound::WavReader::new(bytes).unwrap();
        let samples = reader.samples::<i16>().map(Result::unwrap).collect();
        (reader.spec(), samples)
    }

    #[test]
    fn full_scale_is_32767_on_both_sides() {
        let (spec, samples) = read(&wav(&[0.0, 1.0, -1.0, 0.5, -0.25, 1e-6], 44100).unwrap());
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 44100, 16));
        assert_eq!(samples, [0, 32767, -32767, 16384, -8192, 0]);
    }

    #[test]
    fn louder_than_full_scale_is_scaled_not_clipped() {
        let (_, samples) = read(&wav(&[4.0, -2.0, 1.0, 0.0], 8000).unwrap());
        assert_eq!(samples, [32767, -16384, 8192, 0]);
    }

    #[test]
    fn the_header_has_the_44_bytes_that_every_reader_knows() {
        let bytes = wav(&[0.5; 3], 44100).unwrap();
        assert_eq!(bytes.len(), 44 + 6);
        assert_eq!(&bytes[..4], b"RIFF");
        assert_eq!(bytes[4..8], (44u32 - 8 + 6).to_le_bytes());
        assert_eq!(&bytes[36..44], b"data\x06\0\0\0");
    }

    #[test]
    fn no_samples_make_an_empty_file() {
        assert_eq!(read(&wav(&[], 44100).unwrap()).1, Vec::<i16>::new());
    }
}
