//! Notes as sound: sine waves as in `pretty_midi.PrettyMIDI.synthesize()`, or a SoundFont; and sound as a WAV file.
//!
//! The sines equal those of pretty_midi 0.2.11 with its defaults to a millionth of full scale at every sample, so that
//! our WAV files can be compared with the article's. The samples are made a block at a time and never held together: once
//! to find the peak, once to be written.
//!
//! Invariant: the samples depend on the notes, the rate and the SoundFont alone.

use std::convert::Infallible;
use std::f64::consts::TAU;
use std::io::{self, Write};

use super::soundfont::{Player, SoundFont, SoundFontError};
use crate::midi::Note;

/// pretty_midi's fade at a note's end; a shorter note fades over its whole length.
const FADE_SECONDS: f64 = 0.1;

/// pretty_midi's silence after the last note.
const TAIL_SECONDS: f64 = 1.0;

/// After this time e^−t times any velocity is 0 in 32 bits, so that longer notes cost nothing more.
const MAX_AUDIBLE_SECONDS: f64 = 110.0;

/// Samples made at a time: 256 kB, small beside the program.
const BLOCK_SAMPLES: usize = 1 << 16;

/// Notes and the way to play them.
pub struct Sound<'a> {
    notes: &'a [Note],
    rate: u32,
    font: Option<&'a SoundFont>,
}

impl<'a> Sound<'a> {
    /// Notes as sines, at `rate` samples per second.
    ///
    /// Each note is a sine of its pitch (A4, key 69, is 440 Hz) times its velocity, which decays as e^−t (t in seconds)
    /// and fades to zero over its last 0.1 s; one second of silence follows the last note. Start and end are truncated
    /// to whole samples, as in pretty_midi, so that even the rounding of times to a MIDI file's ticks can be heard.
    ///
    /// Source: pretty_midi 0.2.11, `Instrument.synthesize` and `PrettyMIDI.synthesize`.
    pub fn sines(notes: &'a [Note], rate: u32) -> Self {
        Sound { notes, rate, font: None }
    }

    /// Notes on a recorded instrument, at `rate` samples per second: left and right mixed, with the player's reverb,
    /// ending one second after the last note. Notes begin and end at the player's blocks of 64 samples (1.5 ms at
    /// 44.1 kHz).
    ///
    /// # Errors
    /// If the player does not support the rate.
    pub fn recorded(notes: &'a [Note], font: &'a SoundFont, rate: u32) -> Result<Self, SoundFontError> {
        font.check_rate(rate)?;
        Ok(Sound { notes, rate, font: Some(font) })
    }

    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        let end = self.notes.iter().map(|note| note.end).fold(0.0, f64::max);
        (f64::from(self.rate) * (end + TAIL_SECONDS)) as usize
    }

    /// The largest absolute sample; 0 for silence.
    pub fn peak(&self) -> f32 {
        let mut peak = 0.0f32;
        let Ok(()) = self.blocks(|block| -> Result<(), Infallible> {
            peak = block.iter().fold(peak, |peak, sample| peak.max(sample.abs()));
            Ok(())
        });
        peak
    }

    /// Calls `take` with all samples, a block at a time, until it fails. Their scale is arbitrary.
    pub fn blocks<E>(&self, mut take: impl FnMut(&[f32]) -> Result<(), E>) -> Result<(), E> {
        let mut voice = match self.font {
            None => Voice::Sines(Sines::new(self.notes, f64::from(self.rate))),
            Some(font) => Voice::Recorded(Box::new(font.player(self.notes, self.rate))),
        };
        let (mut done, samples) = (0, self.samples());
        let mut block = vec![0.0; BLOCK_SAMPLES.min(samples)];
        while done < samples {
            let block = &mut block[..BLOCK_SAMPLES.min(samples - done)];
            match &mut voice {
                Voice::Sines(sines) => sines.render(block),
                Voice::Recorded(player) => player.render(block),
            }
            take(block)?;
            done += block.len();
        }
        Ok(())
    }
}

/// Makes the samples, from the first one on.
enum Voice<'a> {
    Sines(Sines<'a>),
    Recorded(Box<Player>),
}

struct Sines<'a> {
    notes: &'a [Note],
    rate: f64,
    /// Samples made so far.
    done: usize,
    /// Notes that have not begun, in descending order of onset.
    waiting: Vec<usize>,
    /// Notes that have begun, in the order of `notes`: the order of every sum.
    sounding: Vec<Sounding>,
}

/// A note that has begun.
struct Sounding {
    note: usize,
    /// The next sample.
    at: usize,
    /// Where the fade begins, where it ends, and where the note becomes inaudible.
    fades: usize,
    end: usize,
    heard: usize,
    wave: DecayingSine,
}

impl<'a> Sines<'a> {
    fn new(notes: &'a [Note], rate: f64) -> Self {
        let mut waiting: Vec<usize> = (0..notes.len()).collect();
        waiting.sort_by_key(|&note| std::cmp::Reverse((rate * notes[note].start) as usize));
        Sines { notes, rate, done: 0, waiting, sounding: Vec::new() }
    }

    fn render(&mut self, block: &mut [f32]) {
        block.fill(0.0);
        let (from, to) = (self.done, self.done + block.len());
        while let Some(note) =
            self.waiting.pop_if(|note| ((self.rate * self.notes[*note].start) as usize) < to)
        {
            let place = self.sounding.partition_point(|other| other.note < note);
            self.sounding.insert(place, Sounding::new(note, &self.notes[note], self.rate));
        }
        for sounding in &mut self.sounding {
            sounding.add_to(block, from);
        }
        self.sounding.retain(|sounding| sounding.heard > to);
        self.done = to;
    }
}

impl Sounding {
    fn new(number: usize, note: &Note, rate: f64) -> Self {
        let end = (rate * note.end) as usize;
        let start = ((rate * note.start) as usize).min(end);
        let frequency = 440.0 * ((f64::from(note.pitch) - 69.0) / 12.0).exp2();
        Sounding {
            note: number,
            at: start,
            fades: end - (end - start).min((FADE_SECONDS * rate) as usize),
            end,
            heard: end.min(start + (MAX_AUDIBLE_SECONDS * rate) as usize),
            wave: DecayingSine::new(frequency, f64::from(note.velocity), rate),
        }
    }

    /// Adds the note's part of a block that begins with the sample `from`.
    fn add_to(&mut self, block: &mut [f32], from: usize) {
        // numpy.linspace(1, 0, n): the last sample is zero, and a fade of one sample is 1.
        let slope = 1.0 / (self.end - self.fades).saturating_sub(1).max(1) as f64;
        let to = self.heard.min(from + block.len());
        while self.at < to {
            let mut sample = self.wave.next_sample();
            if self.at >= self.fades {
                sample *= 1.0 - (self.at - self.fades) as f64 * slope;
            }
            block[self.at - from] += sample as f32;
            self.at += 1;
        }
    }
}

/// a · e^−t · sin(2πft) at t = 0, 1/rate, 2/rate …
///
/// The imaginary part of a · qⁿ with q = exp((−1 + 2πif) / rate): one complex multiplication per sample instead of a sine
/// and an exponential. In 64 bits the error after n samples is below n · 2⁻⁵¹ of the amplitude, 10⁻⁸ after ten minutes.
struct DecayingSine {
    re: f64,
    im: f64,
    q_re: f64,
    q_im: f64,
}

impl DecayingSine {
    fn new(frequency: f64, amplitude: f64, rate: f64) -> Self {
        let decay = (-1.0 / rate).exp();
        let (sin, cos) = (TAU * frequency / rate).sin_cos();
        Self { re: amplitude, im: 0.0, q_re: decay * cos, q_im: decay * sin }
    }

    fn next_sample(&mut self) -> f64 {
        let sample = self.im;
        (self.re, self.im) =
            (self.re * self.q_re - self.im * self.q_im, self.re * self.q_im + self.im * self.q_re);
        sample
    }
}

/// Why a sound cannot become a WAV file.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The format's sizes have 32 bits.
    #[error("{samples} samples are more than a WAV file can hold ({MAX_SAMPLES}, 13.5 hours at 44.1 kHz)")]
    TooLong {
        /// Of the sound.
        samples: usize,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Two bytes per sample, and the header's sizes include the header itself.
const MAX_SAMPLES: usize = (u32::MAX as usize - 44) / 2;

/// Writes a 16-bit mono WAV file. A sample of ±`peak` becomes ±32767 and all others keep their proportion to it, rounded
/// to the nearest step; a peak of 0 is silence.
///
/// # Errors
/// If the file would exceed the format's 4 GiB, or `out` fails.
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

/// The 44 bytes that every reader understands: one `fmt ` chunk and the header of `data`.
fn header(rate: u32, data_bytes: u32) -> Vec<u8> {
    const BYTES_PER_SAMPLE: u16 = 2;
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF");
    header.extend((36 + data_bytes).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16u32.to_le_bytes());
    // PCM, one channel.
    header.extend([1, 0, 1, 0]);
    header.extend(rate.to_le_bytes());
    header.extend((rate * u32::from(BYTES_PER_SAMPLE)).to_le_bytes());
    header.extend(BYTES_PER_SAMPLE.to_le_bytes());
    header.extend((8 * BYTES_PER_SAMPLE).to_le_bytes());
    header.extend(b"data");
    header.extend(data_bytes.to_le_bytes());
    header
}

#[cfg(test)]
mod tests;
