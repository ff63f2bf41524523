//! Notes as sine waves: what `pretty_midi.PrettyMIDI.synthesize()` makes of them.
//!
//! The sound of pretty_midi 0.2.11 with its defaults, to a millionth of full scale at every sample, so that a
//! WAV file of ours can be compared with one of the article's. The invariant: the samples depend on the notes
//! and the rate alone, and the loudest one is exactly full scale.

use std::f64::consts::TAU;

use crate::midi::Note;

/// Length of the fade at a note's end, in seconds; a shorter note fades over its whole length.
const FADE: f64 = 0.1;

/// Silence after the last note, in seconds.
pub(super) const TAIL: f64 = 1.0;

/// The sound of `notes` as one voice, in −1 to 1, at `rate` samples a second.
///
/// Each note is a sine of its pitch (A4, key 69, is 440 Hz) times its velocity, which dies away as e^−t (t in
/// seconds) and fades to zero over its last 0.1 s; the sum is scaled so that its peak is 1, and one second of
/// silence follows the last note. Samples of start and end are cut down to whole numbers, as pretty_midi does,
/// so compare with notes whose times went through a MIDI file only after reading that file back.
///
/// Where pretty_midi divides by zero (no note at all, or notes too short to be heard) the result is silence.
///
/// Source: pretty_midi 0.2.11, `Instrument.synthesize` and `PrettyMIDI.synthesize`.
pub fn synthesize(notes: &[Note], rate: u32) -> Vec<f32> {
    let rate = f64::from(rate);
    let mut sum = silence(notes, rate);
    for note in notes {
        add_note(&mut sum, note, rate);
    }
    normalize(&mut sum);
    sum
}

/// Zeros from time 0 to [`TAIL`] after the last note.
pub(super) fn silence(notes: &[Note], rate: f64) -> Vec<f32> {
    let end = notes.iter().map(|note| note.end).fold(0.0, f64::max);
    vec![0.0; (rate * (end + TAIL)) as usize]
}

/// Scales samples so that the peak is 1; leaves silence alone. Returns the peak as it was.
pub(super) fn normalize(samples: &mut [f32]) -> f32 {
    let peak = samples.iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
    if peak > 0.0 {
        samples.iter_mut().for_each(|sample| *sample /= peak);
    }
    peak
}

/// Adds velocity · e^−t · sin(2πft), faded at its end.
fn add_note(sum: &mut [f32], note: &Note, rate: f64) {
    let end = ((rate * note.end) as usize).min(sum.len());
    let start = ((rate * note.start) as usize).min(end);
    let samples = &mut sum[start..end];

    let frequency = 440.0 * ((f64::from(note.pitch) - 69.0) / 12.0).exp2();
    let mut wave = DyingSine::new(frequency, f64::from(note.velocity), rate);

    let fading = samples.len().min((FADE * rate) as usize);
    let (steady, faded) = samples.split_at_mut(samples.len() - fading);
    for sample in steady {
        *sample += wave.next_sample() as f32;
    }
    // numpy.linspace(1, 0, fading): the last sample is zero, and a fade of one sample is 1.
    let slope = 1.0 / fading.saturating_sub(1).max(1) as f64;
    for (i, sample) in faded.iter_mut().enumerate() {
        *sample += ((1.0 - i as f64 * slope) * wave.next_sample()) as f32;
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

#[cfg(test)]
mod tests;
