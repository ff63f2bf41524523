//! The files of a piece: MIDI with its certificate, sound, and pictures of what the network thought and of what
//! is shared with the training music.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::compose::Composition;
use super::{Arguments, Kind};
use crate::certificate::{Certificate, Run};
use crate::corpus::FIRST_PITCH;
use crate::failure::{Code, Failure};
use crate::midi::{self, Instrument, Note, first_voice};
use crate::render::{self, Novelty, SharedRun};

/// General MIDI's cello.
const CELLO: u8 = 42;
const VELOCITY: u8 = 100;
/// Seconds from one note to the next, the article's.
const SECONDS_A_NOTE: f64 = 0.3;
/// Samples a second.
const RATE: u32 = 44_100;

/// Where and how files are written.
pub struct Output {
    folder: PathBuf,
    kinds: Vec<Kind>,
    soundfont: Option<(PathBuf, Vec<u8>)>,
}

/// The files of one piece.
#[derive(Debug, Default)]
pub struct Files {
    /// Notes.
    pub midi: Option<PathBuf>,
    /// Sound.
    pub wav: Option<PathBuf>,
    /// The picture of the probabilities.
    pub png: Option<PathBuf>,
    /// The picture of the certificate.
    pub certificate: Option<PathBuf>,
}

impl Files {
    /// Those that were written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.midi, &self.wav, &self.png, &self.certificate].into_iter().flatten().map(PathBuf::as_path)
    }
}

impl Output {
    /// Reads what is needed before anything is composed.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let read = |path: &PathBuf| match std::fs::read(path) {
            Ok(bytes) => Ok((path.clone(), bytes)),
            Err(error) => Err(Failure::new(Code::Data, format!("{}: {error}", path.display()))),
        };
        let soundfont = arguments.soundfont.as_ref().map(read).transpose()?;
        Ok(Output { folder: arguments.output.clone(), kinds: arguments.only.clone(), soundfont })
    }

    /// Writes the files of a piece, named by seed and number.
    pub fn write(
        &self,
        seed: u64,
        number: u64,
        composition: &Composition,
        certificate: &Certificate,
    ) -> Result<Files> {
        let stem = format!("{seed}-{number}");
        let mut files = Files::default();
        let bytes = midi_file(composition, certificate);
        if self.kinds.contains(&Kind::Midi) {
            files.midi = Some(self.file(&format!("{stem}.mid"), &bytes)?);
        }
        if self.kinds.contains(&Kind::Wav) {
            // The sound of the MIDI file: its times are whole ticks, and sound as others would play it.
            let song = midi::read(&bytes).context("the MIDI file just written")?;
            let notes = first_voice(&song.instruments);
            files.wav = Some(self.file(&format!("{stem}.wav"), &self.sound(notes)?)?);
        }
        if self.kinds.contains(&Kind::Png) {
            let title = format!("Predicted probabilities and chosen notes, seed {seed}, piece {number}");
            let Composition { classes, probabilities, .. } = composition;
            let bytes = render::probabilities(probabilities, classes, FIRST_PITCH, &title);
            files.png = Some(self.file(&format!("{stem}.png"), &bytes)?);
        }
        if self.kinds.contains(&Kind::Certificate) {
            let title = format!("Seed {seed}, piece {number} — {}", certificate.lines()[0]);
            let bytes = picture(composition, certificate, &title);
            files.certificate = Some(self.file(&format!("{stem}-certificate.png"), &bytes)?);
        }
        Ok(files)
    }

    fn sound(&self, notes: &[Note]) -> Result<Vec<u8>> {
        let samples = match &self.soundfont {
            Some((path, font)) => render::synthesize_soundfont(notes, CELLO, font, RATE)
                .map_err(|error| Failure::new(Code::Data, format!("{}: {error}", path.display())))?,
            None => render::synthesize(notes, RATE),
        };
        Ok(render::wav(&samples, RATE).map_err(|error| Failure::new(Code::Usage, error.to_string()))?)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::create_dir_all(&self.folder).and_then(|()| std::fs::write(&path, bytes)).map_err(
            |error| {
                Failure::new(
                    Code::Storage,
                    format!("cannot write {}: {error}; choose another folder with -o", path.display()),
                )
            },
        )?;
        Ok(path)
    }
}

/// The MIDI file: the notes, the certificate at the beginning, and each run longer than chance where it begins.
fn midi_file(composition: &Composition, certificate: &Certificate) -> Vec<u8> {
    let instrument = Instrument {
        program: CELLO,
        is_drum: false,
        name: "bachdist".into(),
        notes: notes(&composition.pitches()),
    };
    let lines = certificate.lines().into_iter().map(|line| (0.0, format!("certificate: {line}")));
    let run = |run: &Run| (SECONDS_A_NOTE * run.sample_at as f64, format!("as the training music: {run}"));
    let texts: Vec<(f64, String)> = lines.chain(certificate.runs.iter().map(run)).collect();
    let texts: Vec<(f64, &str)> = texts.iter().map(|(time, text)| (*time, text.as_str())).collect();
    midi::write(&[instrument], &texts)
}

/// The picture of the certificate: all runs longer than chance, or else the longest.
fn picture(composition: &Composition, certificate: &Certificate, title: &str) -> Vec<u8> {
    let shared = |run: &Run, pale: bool| SharedRun {
        first: run.sample_at,
        notes: run.length,
        // What has the same notes somewhere is in the runs as such.
        transposed: run.semitones != 0,
        pale,
        name: run.to_string(),
    };
    let longest = &certificate.longest_transposed;
    let runs: Vec<SharedRun> = match certificate.runs.is_empty() {
        true if longest.length > 0 => vec![shared(longest, true)],
        _ => certificate.runs.iter().map(|run| shared(run, false)).collect(),
    };
    let novelty = Novelty { exact: &certificate.novelty, transposed: &certificate.novelty_transposed };
    render::shared_runs(&composition.pitches(), &runs, &novelty, title)
}

/// Notes one after another, as the article plays them.
fn notes(pitches: &[u8]) -> Vec<Note> {
    let time = |number: usize| SECONDS_A_NOTE * number as f64;
    pitches
        .iter()
        .enumerate()
        .map(|(i, &pitch)| Note { pitch, velocity: VELOCITY, start: time(i), end: time(i + 1) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Index;
    use crate::corpus::Piece;

    #[test]
    fn the_midi_file_carries_the_certificate_and_names_each_run_where_it_begins() {
        let music: Vec<u8> = (0..60u32).map(|i| (20 + i * i * 7 % 31) as u8).collect();
        let classes = [&[0, 70, 1, 71], &music[10..40], &[0, 70, 1, 71]].concat();
        let pieces = [Piece { name: "a.mid".into(), classes: music }];
        let certificate = Certificate::new(&Index::new(&pieces), &classes);
        let composition = Composition { classes, probabilities: Vec::new(), max_copy: None };
        let bytes = midi_file(&composition, &certificate);

        let file = midly::Smf::parse(&bytes).unwrap();
        let mut tick = 0;
        let mut texts = Vec::new();
        for event in &file.tracks[0] {
            tick += event.delta.as_int();
            if let midly::TrackEventKind::Meta(midly::MetaMessage::Text(text)) = event.kind {
                texts.push((tick, String::from_utf8(text.to_vec()).unwrap()));
            }
        }
        let lines = certificate.lines().into_iter().map(|line| (0, format!("certificate: {line}")));
        let mut expected: Vec<_> = lines.collect();
        // A note is 300 ticks.
        expected.push((4 * 300, "as the training music: 30 notes, a.mid note 10".into()));
        assert_eq!(texts, expected);
        let song = midi::read(&bytes).unwrap();
        let pitches: Vec<u8> = first_voice(&song.instruments).iter().map(|note| note.pitch).collect();
        assert_eq!(pitches, composition.pitches());
    }
}
