//! The `sample` command: a checkpoint composes.
//!
//! `start` finds the notes to begin from, `compose` runs the network, `choose` picks each note from its
//! probabilities, `limit` keeps it from copying, `output` writes MIDI, sound and pictures. Threads share the pieces
//! out. The same checkpoint, seed and options give the same bytes, whatever the number of pieces and threads.

mod choose;
mod compose;
mod limit;
mod output;
mod start;

use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::certificate::{Certificate, Stretches};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::read::{LoadedCheckpoint, open_one};
use crate::network::inference::InferenceNetwork;
use crate::parallel::in_parallel;
use crate::print::{Listing, eprint_line, print_line};
use crate::process::cores;
use crate::random::{Purpose, Stream};
pub use choose::Choice;
pub use compose::{Composition, compose};
use limit::Limit;
use output::{Files, Output};
use start::{Begin, Start};

/// A small network trained on the Prelude, so that there is something to compose from at once.
const EMBEDDED: &[u8] = include_bytes!("../data/prelude.safetensors");

/// `sample`, and `bachdist sample`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  sample                                   compose from the built-in checkpoint
  sample runs/cello -n 3 --seed 7          three pieces from a run's newest checkpoint
  sample s3://bucket/cello --primer mine.mid --temperature 0.8 --top-p 0.95
  sample runs/cello --max-copy 12 --only midi,certificate
  sample step-00000500-0123456789abcdef.safetensors --greedy --json")]
pub struct Arguments {
    /// A file, a folder or a URL; the newest good checkpoint there. Without it a small built-in one
    pub checkpoint: Option<String>,
    /// Of a run: the checkpoint that did best in its validations, not the newest
    #[arg(long, requires = "checkpoint")]
    pub best: bool,
    /// How many pieces
    #[arg(short = 'n', long = "count", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Notes of a piece
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub notes: u32,
    /// Begin from a window of the training music: a random one, or its number
    #[arg(long, default_value = "random", value_name = "random|WINDOW", value_parser = start::parse)]
    pub start: Start,
    /// Begin from the last notes of a MIDI file or score instead
    #[arg(long, value_name = "FILE.mid", conflicts_with = "start")]
    pub primer: Option<PathBuf>,
    /// Always take the most probable note, as the article does
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    pub greedy: bool,
    /// Below 1 the probable becomes more probable, above 1 less
    #[arg(long, default_value_t = 1.0, value_parser = choose::parse_temperature)]
    pub temperature: f64,
    /// Choose among the K most probable notes
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: Option<u32>,
    /// Choose among the most probable notes that reach this probability together; 1 is all of them
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = choose::parse_share)]
    pub top_p: f64,
    /// Share no run of more than N notes with the training music, exactly or transposed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_copy: Option<u32>,
    /// The same seed gives the same pieces; without it a new one is drawn
    #[arg(long)]
    pub seed: Option<u64>,
    /// Play by a real instrument: program 42, a cello, of a SoundFont
    #[arg(long, value_name = "FILE.sf2")]
    pub soundfont: Option<PathBuf>,
    /// Which files to write
    #[arg(long, value_enum, value_delimiter = ',', default_value = "midi,wav,png")]
    pub only: Vec<Kind>,
    /// Print notes, probabilities and certificates as JSON
    #[arg(long)]
    pub json: bool,
    /// Where to write. A file of another piece is kept: the new piece then has one more number in its name
    #[arg(short, long, default_value = "composed", value_name = "FOLDER")]
    pub output: PathBuf,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Notes
    Midi,
    /// Sound
    Wav,
    /// A picture of the probabilities
    Png,
    /// A picture of what is shared with the training music
    Certificate,
}

/// Composes, writes, and prints what was written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let LoadedCheckpoint { checkpoint, location, notes, .. } = match &arguments.checkpoint {
        Some(location) => open_one(location, arguments.best)?,
        None => embedded()?,
    };
    notes.iter().for_each(|note| eprint_line(format_args!("note: {note}")));
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let network = InferenceNetwork::new(checkpoint.architecture, &checkpoint.parameters);
    let source = start::source(arguments, &checkpoint)?;
    let choice = Choice::new(arguments);
    let output = Output::new(arguments)?;

    if !arguments.json {
        print_line(format_args!("checkpoint  {location} (step {})\nseed        {seed}", checkpoint.step))?;
    }
    let pieces = &checkpoint.corpus.pieces;
    let stretches = arguments.max_copy.map(|notes| Stretches::new(pieces, notes as usize + 1));
    let compose_piece = |number: u64| -> Result<Piece> {
        let stream = Stream::new(seed, Purpose::Sampling, &[number]);
        let begin = source.begin(stream)?;
        let limit = stretches.as_ref().map(Limit::new);
        let composition =
            compose(&network, &begin.classes, arguments.notes as usize, &choice, stream, limit)?;
        let certificate = Certificate::new(pieces, &composition.classes);
        let files = output.write(seed, number, &composition, &certificate)?;
        Ok(Piece { begin, composition, certificate, files })
    };
    let threads = cores();
    let numbers: Vec<u64> = (1..=u64::from(arguments.count)).collect();
    let mut listing = None;
    // Some at a time, so that what is done is said, and its probabilities need not be kept.
    let together = (NOTES_TOGETHER / arguments.notes as usize).clamp(1, PIECES_A_THREAD) * threads;
    for numbers in numbers.chunks(together) {
        for piece in in_parallel(threads, numbers.iter().copied(), compose_piece) {
            let piece = piece?;
            if !arguments.json {
                print_line(piece.lines())?;
                continue;
            }
            // Not before there is a piece: until then an error leaves nothing on stdout.
            let listing = match &mut listing {
                Some(listing) => listing,
                None => listing.insert(Listing::begin(&json!({ "checkpoint": location }), "pieces")?),
            };
            listing.add(&piece.describe())?;
        }
    }
    if let Some(listing) = listing {
        listing.end(&json!({ "seed": seed }))?;
    }
    Ok(())
}

/// Pieces that a thread composes before all that were composed meanwhile are reported.
const PIECES_A_THREAD: usize = 4;

/// So many notes of each thread's pieces, with their probabilities, wait to be reported: 33 MB.
const NOTES_TOGETHER: usize = 100_000;

/// A piece that was composed and written.
struct Piece {
    begin: Begin,
    composition: Composition,
    certificate: Certificate,
    files: Files,
}

fn embedded() -> Result<LoadedCheckpoint> {
    let checkpoint = Checkpoint::decode(EMBEDDED).context("the built-in checkpoint")?;
    Ok(LoadedCheckpoint {
        bytes: EMBEDDED.into(),
        checkpoint,
        location: "built-in".into(),
        notes: Vec::new(),
    })
}

impl Piece {
    /// What is printed of it.
    fn lines(&self) -> String {
        let Piece { begin, composition, certificate, files } = self;
        let paths: Vec<String> = files.paths().map(|path| path.display().to_string()).collect();
        let mut parts = vec![("from", vec![begin.description.clone()])];
        parts.extend(composition.max_copy.map(|report| ("max copy", vec![report.to_string()])));
        parts.push(("certificate", certificate.lines()));
        parts.push(("wrote", paths));
        let parts: Vec<String> =
            parts.iter().map(|(name, lines)| format!("{name:<12}{}", lines.join("\n            "))).collect();
        parts.join("\n")
    }

    fn describe(&self) -> Described<'_> {
        let Piece { begin, composition, certificate, files } = self;
        Described {
            certificate,
            certificate_png: &files.certificate,
            classes: &composition.classes,
            max_copy: composition.max_copy,
            midi: &files.midi,
            pitches: composition.pitches(),
            png: &files.png,
            probabilities: Probabilities(&composition.probabilities),
            start: begin.window,
            start_classes: &begin.classes,
            start_description: &begin.description,
            wav: &files.wav,
        }
    }
}

/// A piece in the JSON.
#[derive(Serialize)]
struct Described<'a> {
    certificate: &'a Certificate,
    certificate_png: &'a Option<PathBuf>,
    classes: &'a [u8],
    max_copy: Option<limit::Report>,
    midi: &'a Option<PathBuf>,
    pitches: Vec<u8>,
    png: &'a Option<PathBuf>,
    probabilities: Probabilities<'a>,
    start: Option<u64>,
    start_classes: &'a [u8],
    start_description: &'a str,
    wav: &'a Option<PathBuf>,
}

/// All figures of the network's numbers, as programs that read them into 64 bits expect.
struct Probabilities<'a>(&'a [Vec<f32>]);

impl Serialize for Probabilities<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = |row: &Vec<f32>| row.iter().copied().map(f64::from).collect::<Vec<_>>();
        serializer.collect_seq(self.0.iter().map(row))
    }
}

/// A seed from the system's randomness, short enough to type again.
fn new_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish() >> 44
}
