//! The files of a piece: MIDI with its certificate, sound, pictures of the network's predictions and of the runs that are shared
//! with the training music, and a page that has all of it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::decode::Composition;
use crate::certificate::{Certificate, LineCertificate, Run};
use crate::failure::{ExitCode, Failure};
use crate::midi::{self, Song, all_voices};
use crate::print::{count, eprint_line};
use crate::render::{
    self, Novelty, PageCertificate, PageNote, PageRun, Picture, PiecePage, ScoreNote, SharedRun, Sound,
    SoundFont, WavError,
};
use crate::representation::{Representation, Token, pitches};
use crate::write::{TempFile, unwritable};

/// In samples per second: the compact disc's, which every player takes.
const SAMPLE_RATE: u32 = 44_100;

/// No more of a SoundFont is read; its format cannot hold more.
const MAX_SOUNDFONT_BYTES: u64 = (4 << 30) + 1024;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Notes
    Midi,
    /// Sound
    Wav,
    /// A picture of the probabilities
    Png,
    /// A picture of the runs shared with the training music
    Certificate,
    /// A page for a browser, which shows and plays the piece
    Page,
}

/// Where and how files are written.
pub struct Output<'a> {
    representation: &'a dyn Representation,
    /// Music in whose tempo and meter pieces are.
    timing: Option<&'a Song>,
    /// The voice that was given and not composed.
    given: Option<usize>,
    folder: PathBuf,
    kinds: Vec<Kind>,
    soundfont: Option<(PathBuf, SoundFont)>,
    /// Whether people were told that the folder has files of these names already.
    has_noted: AtomicBool,
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
    /// The page.
    pub page: Option<PathBuf>,
}

impl Files {
    /// All that were written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.midi, &self.wav, &self.png, &self.certificate, &self.page]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    fn of(&mut self, kind: Kind) -> &mut Option<PathBuf> {
        match kind {
            Kind::Midi => &mut self.midi,
            Kind::Wav => &mut self.wav,
            Kind::Png => &mut self.png,
            Kind::Certificate => &mut self.certificate,
            Kind::Page => &mut self.page,
        }
    }
}

impl<'a> Output<'a> {
    /// Reads what is needed, before anything is composed.
    pub fn new(
        representation: &'a dyn Representation,
        timing: Option<&'a Song>,
        given: Option<usize>,
        soundfont: Option<&Path>,
        folder: PathBuf,
        kinds: Vec<Kind>,
    ) -> Result<Self> {
        let soundfont = match soundfont {
            Some(path) => Some((path.to_owned(), read_soundfont(path, representation)?)),
            None => None,
        };
        Ok(Output {
            representation,
            timing,
            given,
            folder,
            kinds,
            soundfont,
            has_noted: AtomicBool::new(false),
        })
    }

    /// Writes the files of a piece, the prompt that it begins with included, named by seed and number. Existing files stay: if
    /// they belong to another piece, this one gets one more number in its name.
    pub fn write(
        &self,
        seed: u64,
        number: u64,
        prompt: &[Token],
        composition: &Composition,
        certificate: &Certificate,
    ) -> Result<Files> {
        fs::create_dir_all(&self.folder).map_err(|error| self.unwritable(&self.folder, &error))?;
        let mut made = Vec::new();
        let bytes = midi_file(self.representation, self.timing, prompt, &composition.tokens, certificate);
        for &kind in &self.kinds {
            let aside = match kind {
                Kind::Midi => self.aside(|out| out.write_all(&bytes)),
                Kind::Wav => self.sound(&bytes)?,
                Kind::Png => {
                    let title =
                        format!("Predicted probabilities and chosen notes, seed {seed}, piece {number}");
                    let picture = match &self.representation.voices()[..] {
                        [] => picture_of_probabilities(self.representation, composition, &title),
                        voices => {
                            let notes = score_notes(self.representation, prompt, composition, certificate);
                            let names: Vec<&str> = voices.iter().map(|voice| voice.name.as_str()).collect();
                            let composed = notes.iter().filter(|note| !note.probabilities.is_empty());
                            let begins = composed.map(|note| note.start).min_by(f64::total_cmp);
                            render::score(&notes, &names, begins.filter(|_| !prompt.is_empty()), &title)
                        }
                    };
                    self.aside(|out| out.write_all(&picture.png))
                }
                Kind::Certificate => {
                    let title = format!("Seed {seed}, piece {number} — {}", certificate.lines()[0]);
                    let pitches = pitches(self.representation, &composition.tokens);
                    let picture = picture_of_certificate(&pitches, certificate, &title);
                    if let Some(note) = &picture.note {
                        eprint_line(format_args!("note: {note}"));
                    }
                    self.aside(|out| out.write_all(&picture.png))
                }
                Kind::Page => {
                    let page = self.page(seed, number, prompt, composition, certificate, &bytes);
                    self.aside(|out| out.write_all(render::pieces_page(&[page]).as_bytes()))
                }
            };
            let aside = aside.map_err(|error| self.unwritable(&self.path(seed, number, 1, kind), &error))?;
            made.push((kind, aside));
        }
        self.name(seed, number, made)
    }

    /// Gives the files of a piece the first names that are free, or that belong to equal files.
    fn name(&self, seed: u64, number: u64, made: Vec<(Kind, TempFile)>) -> Result<Files> {
        let mut copy = 1;
        while let Some((kind, _)) = made.iter().find(|(kind, aside)| {
            let path = self.path(seed, number, copy, *kind);
            path.symlink_metadata().is_ok() && !aside.equals(&path)
        }) {
            if copy == 1 && !self.has_noted.swap(true, Ordering::Relaxed) {
                let path = self.path(seed, number, 1, *kind);
                eprint_line(format_args!(
                    "note: {} belongs to another piece and stays; new pieces have one more number in their names",
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
            Kind::Page => ".html",
        };
        self.folder.join(format!("{seed}-{number}{copy}{ending}"))
    }

    /// The sound of the MIDI file, read back so that times are whole ticks, as other programs play them.
    fn sound(&self, midi: &[u8]) -> Result<io::Result<TempFile>> {
        let song = midi::read(midi).context("the MIDI file just made")?;
        let notes = all_voices(&song);
        let sound = match &self.soundfont {
            None => Sound::sines(&notes, SAMPLE_RATE),
            Some((path, font)) => {
                Sound::recorded(&notes, font, SAMPLE_RATE).map_err(|error| unusable(path, &error))?
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
                too_long = Some(Failure::new(ExitCode::Usage, error.to_string()));
                Ok(())
            }
            Ok(()) => Ok(()),
        });
        match too_long {
            Some(failure) => Err(failure.into()),
            None => Ok(aside),
        }
    }

    /// The piece as a page shows it.
    fn page(
        &self,
        seed: u64,
        number: u64,
        prompt: &[Token],
        composition: &Composition,
        certificate: &Certificate,
        midi: &[u8],
    ) -> PiecePage {
        /// Choices of a note, and the least probability of one.
        const CHOICES: usize = 12;
        const LEAST: f32 = 0.005;
        let Output { representation, timing, given, .. } = *self;
        let tokens = [prompt, &composition.tokens].concat();
        let song = decoded(representation, timing, &tokens);
        let spelled = representation.spelled_notes(&tokens);
        let mut notes: Vec<PageNote> = Vec::with_capacity(spelled.len());
        // The struck note of each voice and pitch that sounded last.
        let mut struck: HashMap<(usize, u8), usize> = HashMap::new();
        for (note, score) in spelled.iter().zip(score_notes(representation, prompt, composition, certificate))
        {
            let mut choices: Vec<(u8, f32)> =
                (0..).zip(score.probabilities).filter(|(_, p)| *p >= LEAST).collect();
            choices.sort_by(|a, b| b.1.total_cmp(&a.1));
            choices.truncate(CHOICES);
            let end = song.time_at(note.end);
            match struck.get(&(note.voice, note.pitch)) {
                Some(&first) if note.is_held => notes[first].sounds = end,
                _ => {
                    struck.insert((note.voice, note.pitch), notes.len());
                }
            }
            notes.push(PageNote {
                voice: note.voice,
                pitch: note.pitch,
                start: song.time_at(note.start),
                end,
                sounds: end,
                joined: note.is_held,
                given: note.token < prompt.len() || given == Some(note.voice),
                shared: score.is_shared,
                choices,
            });
        }
        let first = spelled.partition_point(|note| note.token < prompt.len());
        let mut runs = Vec::new();
        for run in &certificate.runs {
            let notes = (run.sample_at..run.sample_at + run.length).map(|note| first + note).collect();
            runs.push(PageRun { line: None, says: run.to_string(), notes });
        }
        for LineCertificate { line, with_lengths, runs: of_line, spelled, .. } in &certificate.lines {
            for run in of_line {
                let spelled = &spelled[run.sample_at..run.sample_at + run.length];
                let notes = spelled.iter().flatten().map(|note| first + note).collect();
                let says = if *with_lengths { format!("{run}, with lengths") } else { run.to_string() };
                runs.push(PageRun { line: Some(line.clone()), says, notes });
            }
        }
        let voices: Vec<String> = representation.voices().into_iter().map(|voice| voice.name).collect();
        let mut lines = certificate.lines();
        let verdict = certificate.verdict.to_string();
        let says = lines.remove(0).split_off(verdict.len() + ": ".len());
        PiecePage {
            title: format!("Piece {number} of seed {seed}"),
            file: format!("{seed}-{number}"),
            details: format!("{}, {}", count(notes.len() as u64, "note"), representation.id()),
            voices: if voices.is_empty() { vec!["Melody".into()] } else { voices },
            bars: song.bars().into_iter().map(|tick| song.time_at(tick)).collect(),
            notes,
            certificate: Some(PageCertificate { verdict, says, lines, runs }),
            midi: midi.into(),
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

/// The SoundFont's sound for the representation's instrument. Only the beginning of other files is read.
fn read_soundfont(path: &Path, representation: &dyn Representation) -> Result<SoundFont, Failure> {
    let program = representation.decode(&[]).instruments[0].program;
    let unreadable = |error: io::Error| unusable(path, &error);
    let mut file = File::open(path).map_err(unreadable)?.take(MAX_SOUNDFONT_BYTES);
    let mut bytes = Vec::new();
    file.by_ref().take(1 << 16).read_to_end(&mut bytes).map_err(unreadable)?;
    SoundFont::recognize(&bytes).map_err(|error| unusable(path, &error))?;
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    let font = SoundFont::read(&bytes, program).map_err(|error| unusable(path, &error))?;
    for note in font.notes() {
        eprint_line(format_args!("note: {}: {note}", path.display()));
    }
    Ok(font)
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(ExitCode::Data, format!("{}: {error}", path.display()))
}

/// The MIDI file: the notes, the certificate at the beginning, where what was composed begins after a prompt, and each run
/// longer than chance where it begins.
fn midi_file(
    representation: &dyn Representation,
    timing: Option<&Song>,
    prompt: &[Token],
    composed: &[Token],
    certificate: &Certificate,
) -> Vec<u8> {
    let tokens = [prompt, composed].concat();
    let song = decoded(representation, timing, &tokens);
    let spelled = representation.spelled_notes(&tokens);
    let composed = &spelled[spelled.partition_point(|note| note.token < prompt.len())..];
    let time = |note: usize| composed.get(note).map_or(song.end, |note| song.time_at(note.start));
    let mut texts: Vec<(f64, String)> = Vec::new();
    for line in certificate.lines() {
        texts.push((0.0, format!("certificate: {line}")));
    }
    if !prompt.is_empty() {
        texts.push((time(0), "composed from here".into()));
    }
    for run in &certificate.runs {
        texts.push((time(run.sample_at), format!("as the training music: {run}")));
    }
    for LineCertificate { line, runs, .. } in &certificate.lines {
        for run in runs {
            texts.push((0.0, format!("as the training music: {line} note {}: {run}", run.sample_at)));
        }
    }
    let texts: Vec<(f64, &str)> = texts.iter().map(|(time, text)| (*time, text.as_str())).collect();
    midi::write(&song, &texts)
}

/// The picture of the predictions, by pitch. Tokens that complete no note are skipped.
fn picture_of_probabilities(
    representation: &dyn Representation,
    composition: &Composition,
    title: &str,
) -> Picture {
    let pitch_of_token: Vec<Option<u8>> =
        (0..representation.vocabulary().len()).map(|token| representation.pitch(token as Token)).collect();
    let pitches = pitch_of_token.iter().copied().flatten();
    let (first, last) = (pitches.clone().min().unwrap_or(0), pitches.max().unwrap_or(0));
    let (mut rows, mut chosen) = (Vec::new(), Vec::new());
    for (&token, probabilities) in composition.tokens.iter().zip(&composition.probabilities) {
        let Some(pitch) = pitch_of_token[usize::from(token)] else { continue };
        let mut row = vec![0.0; usize::from(last - first) + 1];
        for (pitch, p) in pitch_of_token.iter().zip(probabilities) {
            if let Some(pitch) = pitch {
                row[usize::from(pitch - first)] += p;
            }
        }
        rows.push(row);
        chosen.push(pitch - first);
    }
    render::probabilities(&rows, &chosen, first, title)
}

/// The notes of a piece with the probabilities of the pitches that each was chosen from, or none for those of the prompt.
fn score_notes(
    representation: &dyn Representation,
    prompt: &[Token],
    composition: &Composition,
    certificate: &Certificate,
) -> Vec<ScoreNote> {
    let tokens = [prompt, &composition.tokens].concat();
    let ticks_per_beat = f64::from(representation.decode(&[]).resolution.max(1));
    let mut copied = certificate.copied.iter();
    let mut notes = Vec::new();
    for note in representation.spelled_notes(&tokens) {
        let mut probabilities = Vec::new();
        let composed = note.token.checked_sub(prompt.len());
        if let Some(composed) = composed {
            probabilities.resize(128, 0.0);
            for (token, p) in (0..).zip(&composition.probabilities[composed]) {
                if let Some(pitch) = representation.pitch(token) {
                    probabilities[usize::from(pitch)] += p;
                }
            }
        }
        notes.push(ScoreNote {
            voice: note.voice,
            pitch: note.pitch,
            start: f64::from(note.start) / ticks_per_beat,
            end: f64::from(note.end) / ticks_per_beat,
            is_held: note.is_held,
            is_shared: composed.is_some() && copied.next() == Some(&true),
            probabilities,
        });
    }
    notes
}

/// The music of tokens, in the tempo and meter of other music if there is some.
fn decoded(representation: &dyn Representation, timing: Option<&Song>, tokens: &[Token]) -> Song {
    let song = representation.decode(tokens);
    match timing {
        Some(timing) => song.in_time_of(timing),
        None => song,
    }
}

/// The picture of the certificate: all runs longer than chance, or else the longest.
fn picture_of_certificate(pitches: &[u8], certificate: &Certificate, title: &str) -> Picture {
    let shared = |run: &Run, pale: bool| SharedRun {
        first: run.sample_at,
        notes: run.length,
        // A run that the music also has untransposed is listed as exact.
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
    render::shared_runs(pitches, &runs, &novelty, title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::TrainingMusic;
    use crate::corpus::Piece;
    use crate::representation::RepresentationConfig;

    #[test]
    fn the_midi_file_carries_the_certificate_and_names_each_run_where_it_begins() {
        let representation = RepresentationConfig::default().build();
        let music: Vec<Token> = (0..60u32).map(|i| (20 + i * i * 7 % 31) as Token).collect();
        let tokens = [&[0, 70, 1, 71], &music[10..40], &[0, 70, 1, 71]].concat();
        let pieces = [Piece { name: "a.mid".into(), tokens: music }];
        let music = TrainingMusic::new(&*representation, &pieces);
        let certificate = Certificate::new(&music, &[], &tokens, None);
        let bytes = midi_file(&*representation, None, &[], &tokens, &certificate);

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
        let read: Vec<u8> = all_voices(&song).iter().map(|note| note.pitch).collect();
        assert_eq!(read, pitches(&*representation, &tokens));
    }
}
