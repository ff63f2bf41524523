//! The files of a piece: MIDI with its certificate, sound, and pictures of what the network thought and of what
//! is shared with the training music.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::compose::Composition;
use super::{Arguments, Kind};
use crate::certificate::{Certificate, Run};
use crate::corpus::FIRST_PITCH;
use crate::failure::{Code, Failure};
use crate::midi::{self, Instrument, Note, first_voice};
use crate::print::eprint_line;
use crate::render::{self, Novelty, Picture, SharedRun, Sound, SoundFont, WavError};
use crate::write::{TempFile, unwritable};

/// General MIDI's cello.
const CELLO: u8 = 42;
const VELOCITY: u8 = 100;
/// Seconds from one note to the next, the article's.
const SECONDS_A_NOTE: f64 = 0.3;
/// Samples a second.
const RATE: u32 = 44_100;

/// A SoundFont is read up to here, which is more than its format can hold.
const MAX_SOUNDFONT_BYTES: u64 = (4 << 30) + 1024;

/// Where and how files are written.
pub struct Output {
    folder: PathBuf,
    kinds: Vec<Kind>,
    soundfont: Option<(PathBuf, SoundFont)>,
    /// Whether it was said that the folder has other pieces of these names.
    has_told: AtomicBool,
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

    fn of(&mut self, kind: Kind) -> &mut Option<PathBuf> {
        match kind {
            Kind::Midi => &mut self.midi,
            Kind::Wav => &mut self.wav,
            Kind::Png => &mut self.png,
            Kind::Certificate => &mut self.certificate,
        }
    }
}

impl Output {
    /// Reads what is needed before anything is composed.
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let soundfont = match &arguments.soundfont {
            Some(path) => Some((path.clone(), soundfont(path)?)),
            None => None,
        };
        let (folder, kinds) = (arguments.output.clone(), arguments.only.clone());
        Ok(Output { folder, kinds, soundfont, has_told: AtomicBool::new(false) })
    }

    /// Writes the files of a piece, named by seed and number. What is there already stays: where it is of another
    /// piece, this one has one more number in its name.
    pub fn write(
        &self,
        seed: u64,
        number: u64,
        composition: &Composition,
        certificate: &Certificate,
    ) -> Result<Files> {
        fs::create_dir_all(&self.folder).map_err(|error| self.unwritable(&self.folder, &error))?;
        let mut made = Vec::new();
        let bytes = midi_file(composition, certificate);
        for &kind in &self.kinds {
            let aside = match kind {
                Kind::Midi => self.aside(|out| out.write_all(&bytes)),
                Kind::Wav => self.sound(&bytes)?,
                Kind::Png => {
                    let title =
                        format!("Predicted probabilities and chosen notes, seed {seed}, piece {number}");
                    let Composition { classes, probabilities, .. } = composition;
                    let picture = render::probabilities(probabilities, classes, FIRST_PITCH, &title);
                    self.aside(|out| out.write_all(&picture.png))
                }
                Kind::Certificate => {
                    let title = format!("Seed {seed}, piece {number} — {}", certificate.lines()[0]);
                    let picture = picture(composition, certificate, &title);
                    picture.note.iter().for_each(|note| eprint_line(format_args!("note: {note}")));
                    self.aside(|out| out.write_all(&picture.png))
                }
            };
            let aside = aside.map_err(|error| self.unwritable(&self.path(seed, number, 1, kind), &error))?;
            made.push((kind, aside));
        }
        self.name(seed, number, made)
    }

    /// Gives the files of a piece the first names that are free, or that the same files have already.
    fn name(&self, seed: u64, number: u64, made: Vec<(Kind, TempFile)>) -> Result<Files> {
        let mut copy = 1;
        while let Some((kind, _)) = made.iter().find(|(kind, aside)| {
            let path = self.path(seed, number, copy, *kind);
            path.symlink_metadata().is_ok() && !aside.equals(&path)
        }) {
            if copy == 1 && !self.has_told.swap(true, Ordering::Relaxed) {
                let path = self.path(seed, number, 1, *kind);
                eprint_line(format_args!(
                    "note: {} is of another piece and stays; new pieces have one more number in their names",
                    path.display()
                ));
            }
            copy += 1;
        }
        let mut files = Files::default();
        for (kind, aside) in made {
            let path = self.path(seed, number, copy, kind);
            if !aside.equals(&path)
                && aside.persist_new(&path).map_err(|error| self.unwritable(&path, &error))?.is_some()
            {
                return Err(self.unwritable(&path, &io::ErrorKind::AlreadyExists.into()).into());
            }
            *files.of(kind) = Some(path);
        }
        Ok(files)
    }

    fn path(&self, seed: u64, number: u64, copy: u64, kind: Kind) -> PathBuf {
        let copy = if copy == 1 { String::new() } else { format!("-{copy}") };
        let ending = match kind {
            Kind::Midi => ".mid",
            Kind::Wav => ".wav",
            Kind::Png => ".png",
            Kind::Certificate => "-certificate.png",
        };
        self.folder.join(format!("{seed}-{number}{copy}{ending}"))
    }

    /// The sound of the MIDI file: its times are whole ticks, and sound as others would play it.
    fn sound(&self, midi: &[u8]) -> Result<io::Result<TempFile>> {
        let song = midi::read(midi).context("the MIDI file just made")?;
        let notes = first_voice(&song.instruments);
        let sound = match &self.soundfont {
            None => Sound::sines(notes, RATE),
            Some((path, font)) => {
                Sound::recorded(notes, font, RATE).map_err(|error| unusable(path, &error))?
            }
        };
        let peak = sound.peak();
        if let Some((path, font)) = self.soundfont.as_ref().filter(|_| peak == 0.0 && !notes.is_empty()) {
            return Err(unusable(path, &render::SoundFontError::Silent { program: font.program() }).into());
        }
        let mut too_long = None;
        let aside = self.aside(|out| match render::wav(&sound, peak, out) {
            Err(WavError::Io(error)) => Err(error),
            Err(error) => {
                too_long = Some(Failure::new(Code::Usage, error.to_string()));
                Ok(())
            }
            Ok(()) => Ok(()),
        });
        match too_long {
            Some(failure) => Err(failure.into()),
            None => Ok(aside),
        }
    }

    fn aside(&self, contents: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<TempFile> {
        TempFile::write(&self.folder, contents)
    }

    fn unwritable(&self, path: &Path, error: &io::Error) -> Failure {
        let Failure { code, message } = unwritable(path, error);
        Failure::new(code, format!("{message}; choose another folder with -o"))
    }
}

/// A SoundFont's cello. Of a file that is none no more is read than its beginning.
fn soundfont(path: &Path) -> Result<SoundFont, Failure> {
    let unreadable = |error: io::Error| unusable(path, &error);
    let mut file = File::open(path).map_err(unreadable)?.take(MAX_SOUNDFONT_BYTES);
    let mut bytes = Vec::new();
    file.by_ref().take(1 << 16).read_to_end(&mut bytes).map_err(unreadable)?;
    SoundFont::recognize(&bytes).map_err(|error| unusable(path, &error))?;
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    let font = SoundFont::read(&bytes, CELLO).map_err(|error| unusable(path, &error))?;
    for note in font.notes() {
        eprint_line(format_args!("note: {}: {note}", path.display()));
    }
    Ok(font)
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Data, format!("{}: {error}", path.display()))
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
fn picture(composition: &Composition, certificate: &Certificate, title: &str) -> Picture {
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
    use crate::corpus::Piece;

    #[test]
    fn the_midi_file_carries_the_certificate_and_names_each_run_where_it_begins() {
        let music: Vec<u8> = (0..60u32).map(|i| (20 + i * i * 7 % 31) as u8).collect();
        let classes = [&[0, 70, 1, 71], &music[10..40], &[0, 70, 1, 71]].concat();
        let pieces = [Piece { name: "a.mid".into(), classes: music }];
        let certificate = Certificate::new(&pieces, &classes);
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
