//! The `sample` command: a checkpoint composes.
//!
//! `prompt` finds the tokens to begin from, `rules` what no voice may do, `decode` composes, `harmonize` around a given voice, `output` writes MIDI, sound
//! and pictures. Threads compose different pieces. The same checkpoint, seed and options give the same bytes for any number of
//! pieces and threads.

mod decode;
mod harmonize;
mod output;
mod preview;
mod prompt;
mod rules;

use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::certificate::{Certificate, NGramIndex, TrainingMusic, Verdict};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::read::{LoadedCheckpoint, open_one};
use crate::corpus::Piece;
use crate::failure::{ExitCode, Failure};
use crate::network::inference::InferenceNetwork;
use crate::parallel::in_parallel;
use crate::print::{Listing, eprint_line, print_line};
use crate::process::cores;
use crate::random::{Purpose, RandomStream};
use crate::representation::{Representation, Token, VoiceRules, pitches};
use decode::{Composition, CopyLimit, CopyLimitReport};
pub use decode::{Decoding, Length, Reading, compose};
use harmonize::{Melody, VoiceChoice, harmonize};
pub use output::Kind;
use output::{Files, Output};
pub use preview::Preview;
use prompt::{Primer, Prompt, PromptSource, StartWindow};
use rules::{RuleOptions, RulesText};

/// Small networks trained on the Prelude and on the chorales, so that there is something to compose from at once.
const PRELUDE: &[u8] = include_bytes!("../data/prelude.safetensors");
const VOICES: &[u8] = include_bytes!("../data/voices.safetensors");

/// `sample`, and `bachdist sample`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  sample                                   compose from the built-in checkpoint
  sample --voices                          in four voices, also built in
  sample runs/cello -n 3 --seed 7          three pieces from a run's newest checkpoint
  sample s3://bucket/cello --primer mine.mid --temperature 0.8 --top-p 0.95
  sample runs/cello --max-copy 12 --only midi,certificate
  sample --melody tune.mid                 harmonize a tune
  sample step-00000500-0123456789abcdef.safetensors --greedy --json")]
pub struct Arguments {
    /// A checkpoint, or a run's folder or URL, of which the newest valid checkpoint is taken [default: a small built-in one]
    pub checkpoint: Option<String>,
    /// Compose in four voices, from the built-in checkpoint that has learned six chorales of Bach
    #[arg(long, conflicts_with = "checkpoint")]
    pub voices: bool,
    /// Use the run's best-validation checkpoint instead of its newest
    #[arg(long, requires = "checkpoint")]
    pub best: bool,
    /// Number of pieces
    #[arg(short = 'n', long = "count", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Notes in each piece, a few more where voices must end together [default: 200, or where pieces have an end, until then]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub notes: Option<u32>,
    /// Quarter notes in each piece, a bar more or less: of 16 endings, the one that the network most expects
    #[arg(long, value_name = "N", conflicts_with = "notes", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub beats: Option<u32>,
    /// Begin from a window of the training music: a random one, or its number
    #[arg(long, default_value = "random", value_name = "random|WINDOW", value_parser = prompt::parse_start)]
    pub start: StartWindow,
    /// Begin with a MIDI file or score instead: from its last notes where notes are only pitches, or else with all of it
    #[arg(long, value_name = "FILE.mid", conflicts_with = "start", value_parser = crate::location::file)]
    pub primer: Option<PathBuf>,
    /// Begin with only so many quarter notes of the primer, from its beginning
    #[arg(long, value_name = "N", requires = "primer", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub primer_beats: Option<u32>,
    /// Compose the other voices around the melody of this file, the notes of its first track, which are kept as they are.
    /// Needs a checkpoint of the representation `voices`, such as the built-in one of `--voices`
    #[arg(long, value_name = "FILE.mid", conflicts_with_all = ["start", "primer", "primer_beats", "notes", "beats", "max_copy", "greedy"], value_parser = crate::location::file)]
    pub melody: Option<PathBuf>,
    /// Which voice the melody is: soprano, alto, tenor, bass, or its number from the highest
    #[arg(long, value_name = "VOICE", requires = "melody", default_value = "soprano", value_parser = harmonize::parse_voice)]
    pub voice: VoiceChoice,
    /// Candidates that are composed side by side around a melody, of which the most probable one is the piece
    #[arg(long, value_name = "P", requires = "melody", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub particles: u32,
    /// Always take the most probable note, as the article does
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    pub greedy: bool,
    /// Below 1, probable notes become more probable; above 1, less [default: 1, around a melody 0.7]
    #[arg(long, value_parser = decode::parse_temperature)]
    pub temperature: Option<f64>,
    /// Sample only from the K most probable notes
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: Option<u32>,
    /// Sample only from the most probable notes that reach this probability together; 1 means all notes
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = decode::parse_top_p)]
    pub top_p: f64,
    /// What no voice may do.
    #[command(flatten)]
    pub rules: RuleOptions,
    /// Compose up to N candidates for each piece and keep the first that is novel, or else the one that copies least [default: 8
    /// where pieces are composed whole, otherwise 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub candidates: Option<u32>,
    /// Share no run of more than N notes with the training music, exactly or transposed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_copy: Option<u32>,
    /// The same seed gives the same pieces [default: a new one]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Play with a SoundFont's instrument (the cello, or that of the voices) instead of a synthesized sound
    #[arg(long, value_name = "FILE.sf2", value_parser = crate::location::file)]
    pub soundfont: Option<PathBuf>,
    /// Which files to write
    #[arg(long, value_enum, value_delimiter = ',', default_value = "midi,wav,png")]
    pub only: Vec<Kind>,
    /// Print notes, probabilities and certificates as JSON
    #[arg(long)]
    pub json: bool,
    /// Output folder. Existing files of other pieces are kept: a new piece then has one more number in its name
    #[arg(short, long, default_value = "composed", value_name = "FOLDER", value_parser = crate::location::folder)]
    pub output: PathBuf,
}

impl Arguments {
    fn decoding(&self) -> Decoding {
        match self.greedy {
            true => Decoding::Greedy,
            false => Decoding::Sampling {
                temperature: self.temperature.unwrap_or(match self.melody {
                    // Less is left to chance where so much is given: the harmony is nearer to that of the training music.
                    Some(_) => 0.7,
                    None => 1.0,
                }),
                top_k: self.top_k.map(|k| k as usize),
                top_p: (self.top_p < 1.0).then_some(self.top_p),
            },
        }
    }

    /// How long pieces become. One that does not end itself has twice as many tokens as the longest that the network knows.
    fn length(&self, representation: &dyn Representation, pieces: &[Piece]) -> Result<Length, Failure> {
        match (self.notes, self.beats) {
            (Some(notes), _) => Ok(Length::Notes(notes as usize)),
            (None, Some(_)) if representation.end().is_none() => {
                let message = format!("--beats: {} has no beats; use --notes", representation.id());
                Err(Failure::new(ExitCode::Usage, message))
            }
            (None, Some(beats)) => Ok(Length::Beats(beats)),
            (None, None) if representation.end().is_none() => Ok(Length::Notes(USUAL_NOTES)),
            (None, None) => {
                let longest = pieces.iter().map(|piece| piece.tokens.len()).max().unwrap_or(0);
                Ok(Length::Free { max_tokens: 2 * longest.max(USUAL_NOTES) })
            }
        }
    }
}

/// Composes, writes, and prints what was written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let LoadedCheckpoint { checkpoint, location, notes, .. } = match &arguments.checkpoint {
        Some(location) => open_one(location, arguments.best)?,
        None => built_in(if arguments.voices || arguments.melody.is_some() { VOICES } else { PRELUDE })?,
    };
    for note in &notes {
        eprint_line(format_args!("note: {note}"));
    }
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let config = checkpoint.config()?;
    let pieces = &checkpoint.corpus.pieces;
    let representation = config.representation.build();
    let songs: Vec<_> = pieces.iter().map(|piece| representation.decode(&piece.tokens)).collect();
    let rules = arguments.rules.rules(&*representation, &songs)?;
    let representation = representation.with_rules(&rules).unwrap_or(representation);
    let network =
        InferenceNetwork::new(representation.clone(), checkpoint.architecture, &checkpoint.parameters);
    let reading = Reading::of(&config);
    let melody = match &arguments.melody {
        Some(path) => Some((path, Melody::read(path, arguments.voice, &*representation)?)),
        None => None,
    };
    if let Some((path, melody)) = &melody
        && let Some(how_far) = melody.beyond_training(&*representation, &songs)
    {
        eprint_line(format_args!("note: {}: {how_far}", path.display()));
    }
    let primer = arguments.primer.as_deref().map(|path| Primer { path, beats: arguments.primer_beats });
    let prompts = PromptSource::new(primer, arguments.start, &checkpoint.corpus, &config)?;
    let decoding = arguments.decoding();
    let (soundfont, folder) = (arguments.soundfont.as_deref(), arguments.output.clone());
    let timing = melody.as_ref().map(|(_, melody)| &melody.song).or(prompts.primer());
    let given = melody.as_ref().map(|(_, melody)| melody.voice);
    let output = Output::new(&*representation, timing, given, soundfont, folder, arguments.only.clone())?;

    if !arguments.json {
        print_line(format_args!("checkpoint  {location} (step {})\nseed        {seed}", checkpoint.step))?;
        if rules != VoiceRules::default() {
            print_line(format_args!("grammar     {}", RulesText(&rules)))?;
        }
    }
    let length = arguments.length(&*representation, pieces)?;
    let music = TrainingMusic::new(&*representation, pieces);
    let index = arguments.max_copy.map(|notes| NGramIndex::new(&*representation, pieces, notes as usize + 1));
    let candidates = match (arguments.candidates, reading) {
        (Some(candidates), _) => candidates,
        // Always the same.
        (None, _) if arguments.greedy => 1,
        (None, Reading::Piece) => 8,
        (None, Reading::Window) => 1,
    };
    let compose_candidate = |number: u64, candidate: u32| -> Result<Candidate> {
        let first = RandomStream::new(seed, Purpose::Sampling, &[number]);
        let mut prompt = prompts.prompt(first);
        let stream = match candidate {
            0 => first,
            _ => RandomStream::new(seed, Purpose::Candidate, &[number, candidate.into()]),
        };
        let limit = index.as_ref().map(|index| CopyLimit::new(&*representation, index));
        let composition = match &melody {
            Some((path, melody)) => {
                prompt.description = format!("the melody of {}", path.display());
                harmonize(&network, &*melody.given, arguments.particles as usize, &decoding, stream)
            }
            None => compose(&network, reading, &prompt.tokens, length, &decoding, stream, limit)?,
        };
        // A window is no part of the piece.
        let before = if representation.end().is_some() { prompt.tokens.len() } else { 0 };
        let certificate = Certificate::new(&music, &prompt.tokens[..before], &composition.tokens, given);
        Ok(Candidate { prompt, before, composition, certificate })
    };
    let compose_piece = |number: u64| -> Result<ComposedPiece> {
        let mut kept = compose_candidate(number, 0)?;
        let mut composed = 1;
        while composed < candidates && kept.certificate.verdict != Verdict::Novel {
            let candidate = compose_candidate(number, composed)?;
            composed += 1;
            if candidate.certificate.share < kept.certificate.share {
                kept = candidate;
            }
        }
        let Candidate { prompt, before, composition, certificate } = kept;
        let files = output.write(seed, number, &prompt.tokens[..before], &composition, &certificate)?;
        Ok(ComposedPiece { prompt, candidates: composed, composition, certificate, files })
    };
    let threads = cores();
    let numbers: Vec<u64> = (1..=u64::from(arguments.count)).collect();
    let mut listing = None;
    // A few at a time, so that finished pieces are reported and their probabilities dropped.
    let at_once = (TOKENS_PER_THREAD / length.tokens()).clamp(1, PIECES_PER_THREAD) * threads;
    for numbers in numbers.chunks(at_once) {
        for piece in in_parallel(threads, numbers.iter().copied(), compose_piece) {
            let piece = piece?;
            if !arguments.json {
                print_line(piece.lines())?;
                continue;
            }
            // Not before there is a piece, so that an error leaves nothing on stdout until then.
            let listing = match &mut listing {
                Some(listing) => listing,
                None => listing.insert(Listing::begin(&json!({ "checkpoint": location }), "pieces")?),
            };
            listing.add(&piece.describe(&*representation))?;
        }
    }
    if let Some(listing) = listing {
        let VoiceRules { forbids_parallels, ranges } = &rules;
        let rules = json!({ "avoids_parallels": forbids_parallels, "keeps_ranges": !ranges.is_empty(), "seed": seed });
        listing.end(&rules)?;
    }
    Ok(())
}

/// Pieces that a thread composes before finished ones are reported: few, so that reports come often.
const PIECES_PER_THREAD: usize = 4;

/// Tokens of each thread's pieces that wait, with their probabilities, to be reported: 33 MB of the article's.
const TOKENS_PER_THREAD: usize = 100_000;

/// Notes of a piece unless it was said how long it becomes.
const USUAL_NOTES: usize = 200;

/// A piece that was composed.
struct Candidate {
    prompt: Prompt,
    /// How many of the prompt's tokens the piece begins with.
    before: usize,
    composition: Composition,
    certificate: Certificate,
}

/// A piece that was composed and written.
struct ComposedPiece {
    prompt: Prompt,
    /// Composed until one was novel.
    candidates: u32,
    composition: Composition,
    certificate: Certificate,
    files: Files,
}

fn built_in(bytes: &[u8]) -> Result<LoadedCheckpoint> {
    let checkpoint = Checkpoint::decode(bytes).context("the built-in checkpoint")?;
    Ok(LoadedCheckpoint { bytes: bytes.into(), checkpoint, location: "built-in".into(), notes: Vec::new() })
}

impl ComposedPiece {
    /// What is printed about it.
    fn lines(&self) -> String {
        let ComposedPiece { prompt, candidates, composition, certificate, files } = self;
        let paths: Vec<String> = files.paths().map(|path| path.display().to_string()).collect();
        let mut parts = vec![("from", vec![prompt.description.clone()])];
        if *candidates > 1 {
            let which = match certificate.verdict {
                Verdict::Novel => "the last of",
                _ => "the one that copies least of",
            };
            parts.push(("candidates", vec![format!("{which} {candidates}")]));
        }
        parts.extend(composition.copy_limit.map(|report| ("max copy", vec![report.to_string()])));
        parts.push(("certificate", certificate.lines()));
        parts.push(("wrote", paths));
        let parts: Vec<String> =
            parts.iter().map(|(name, lines)| format!("{name:<12}{}", lines.join("\n            "))).collect();
        parts.join("\n")
    }

    fn describe(&self, representation: &dyn Representation) -> PieceJson<'_> {
        let ComposedPiece { prompt, candidates, composition, certificate, files } = self;
        PieceJson {
            candidates: *candidates,
            certificate,
            certificate_png: &files.certificate,
            classes: &composition.tokens,
            max_copy: composition.copy_limit,
            midi: &files.midi,
            page: &files.page,
            pitches: pitches(representation, &composition.tokens),
            png: &files.png,
            probabilities: Probabilities(&composition.probabilities),
            start: prompt.window,
            start_classes: &prompt.tokens,
            start_description: &prompt.description,
            wav: &files.wav,
        }
    }
}

/// A piece in the JSON. Programs rely on the names of the fields.
#[derive(Serialize)]
struct PieceJson<'a> {
    candidates: u32,
    certificate: &'a Certificate,
    certificate_png: &'a Option<PathBuf>,
    classes: &'a [Token],
    max_copy: Option<CopyLimitReport>,
    midi: &'a Option<PathBuf>,
    page: &'a Option<PathBuf>,
    pitches: Vec<u8>,
    png: &'a Option<PathBuf>,
    probabilities: Probabilities<'a>,
    start: Option<u64>,
    start_classes: &'a [Token],
    start_description: &'a str,
    wav: &'a Option<PathBuf>,
}

/// Probabilities with all the digits of their 64-bit values, so that programs read back the same numbers.
struct Probabilities<'a>(&'a [Vec<f32>]);

impl Serialize for Probabilities<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = |row: &Vec<f32>| row.iter().copied().map(f64::from).collect::<Vec<_>>();
        serializer.collect_seq(self.0.iter().map(row))
    }
}

/// A seed from the system's randomness, short enough to be typed again.
fn new_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish() >> 44
}
