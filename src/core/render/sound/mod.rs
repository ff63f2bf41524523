//! Notes as sound: sine waves, which is what `pretty_midi.PrettyMIDI.synthesize()` makes of them, or a SoundFont.
//!
//! The sines are those of pretty_midi 0.2.11 with its defaults, to a millionth of full scale at every sample, so that
//! a WAV file of ours can be compared with one of the article's. The invariant: the samples depend on the notes,
//! the rate and the SoundFont alone. They are made a block at a time and never held together, as often as they are
//! asked for: first to find the loudest, then to be written.

use std::convert::Infallible;
use std::f64::consts::TAU;
use std::io::{self, Write};

use super::soundfont::{Player, SoundFont, SoundFontError};
use crate::midi::Note;

/// Length of the fade at a note's end, in seconds; a shorter note fades over its whole length.
const FADE: f64 = 0.1;

/// Silence after the last note, in seconds.
const TAIL: f64 = 1.0;

/// After so many seconds e^−t times any velocity is 0 in 32 bits, so that a longer note costs no more.
const HEARD: f64 = 110.0;

/// Samples that are made at a time.
const BLOCK: usize = 1 << 16;

/// The sound of some notes.
pub struct Sound<'a> {
    notes: &'a [Note],
    rate: u32,
    font: Option<&'a SoundFont>,
}

impl<'a> Sound<'a> {
    /// Notes as sines, at `rate` samples a second.
    ///
    /// Each note is a sine of its pitch (A4, key 69, is 440 Hz) times its velocity, which dies away as e^−t (t in
    /// seconds) and fades to zero over its last 0.1 s; one second of silence follows the last note. Samples of start
    /// and end are cut down to whole numbers, as pretty_midi does, so compare with notes whose times went through
    /// a MIDI file only after reading that file back.
    ///
    /// Source: pretty_midi 0.2.11, `Instrument.synthesize` and `PrettyMIDI.synthesize`.
    pub fn sines(notes: &'a [Note], rate: u32) -> Self {
        Sound { notes, rate, font: None }
    }

    /// Notes on a recorded instrument, at `rate` samples a second: left and right mixed, with the player's reverb,
    /// ending one second after the last note. Notes begin and end at the player's blocks of 64 samples (1.5 ms at
    /// 44.1 kHz).
    ///
    /// # Errors
    /// A rate that the player does not do.
    pub fn recorded(notes: &'a [Note], font: &'a SoundFont, rate: u32) -> Result<Self, SoundFontError> {
        font.check_rate(rate)?;
        Ok(Sound { notes, rate, font: Some(font) })
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// How many samples it has.
    pub fn samples(&self) -> usize {
        let end = self.notes.iter().map(|note| note.end).fold(0.0, f64::max);
        (f64::from(self.rate) * (end + TAIL)) as usize
    }

    /// The loudest sample's distance from 0; 0 where all is silence.
    pub fn peak(&self) -> f32 {
        let mut peak = 0.0f32;
        let Ok(()) = self.blocks(|block| -> Result<(), Infallible> {
            peak = block.iter().fold(peak, |peak, sample| peak.max(sample.abs()));
            Ok(())
        });
        peak
    }

    /// Gives all samples to `take`, some at a time, in any scale, until it fails.
    pub fn blocks<E>(&self, mut take: impl FnMut(&[f32]) -> Result<(), E>) -> Result<(), E> {
        let mut voice = match self.font {
            None => Voice::Sines(Sines::new(self.notes, f64::from(self.rate))),
            Some(font) => Voice::Recorded(Box::new(font.player(self.notes, self.rate))),
        };
        let (mut done, samples) = (0, self.samples());
        let mut block = vec![0.0; BLOCK.min(samples)];
        while done < samples {
            let block = &mut block[..BLOCK.min(samples - done)];
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

/// What makes the samples, from the first on.
enum Voice<'a> {
    Sines(Sines<'a>),
    Recorded(Box<Player>),
}

struct Sines<'a> {
    notes: &'a [Note],
    rate: f64,
    /// Samples made.
    done: usize,
    /// Notes that are still to begin, the first of them last.
    waiting: Vec<usize>,
    /// Notes that have begun, in the order of the notes, in which they are added up.
    sounding: Vec<Sounding>,
}

/// A note under way.
struct Sounding {
    note: usize,
    /// Its next sample.
    at: usize,
    /// Where it fades from, where the fade ends, and where there is nothing more to hear.
    fades: usize,
    end: usize,
    heard: usize,
    wave: DyingSine,
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
            fades: end - (end - start).min((FADE * rate) as usize),
            end,
            heard: end.min(start + (HEARD * rate) as usize),
            wave: DyingSine::new(frequency, f64::from(note.velocity), rate),
        }
    }

    /// Adds its part of a block that begins with the sample `from`.
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
/// It is the imaginary part of a · qⁿ with q = exp((−1 + 2πif) / rate): one complex product a sample instead
/// of a sine and an exponential. In 64 bits the error after n samples is below n · 2⁻⁵¹ of the amplitude,
/// 10⁻⁸ after ten minutes.
struct DyingSine {
    re: f64,
    im: f64,
    q_re: f64,
    q_im: f64,
}

impl DyingSine {
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
mod tests;
