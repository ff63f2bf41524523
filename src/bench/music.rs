//! Reading and composing on one core: what `data inspect` and `sample` do, without files and without printing.

use std::path::Path;

use anyhow::Result;
use bachdist_portable::midi;
use bachdist_portable::network::inference::InferenceNetwork;
use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::representation::{Token, pitches};
use bachdist_portable::sample::{self, Decoding, Length, compose};
use serde::Serialize;

use super::timing::seconds_of;
use crate::train::plan::Plan;
use bachdist_portable::network::initial_parameters;

/// MIDI files in memory, read to notes.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    /// Files, each read once per sample.
    pub files: usize,
    /// All together.
    pub bytes: usize,
    /// Notes of all their instruments.
    pub notes: usize,
    /// Speed in files.
    pub files_per_second: f64,
    /// Speed in bytes.
    pub bytes_per_second: f64,
    /// Speed in notes.
    pub notes_per_second: f64,
}

/// A piece, note by note.
#[derive(Debug, Clone, Serialize)]
pub struct Composing {
    /// Notes of the piece.
    pub notes: usize,
    /// On one core.
    pub notes_per_second: f64,
}

/// Enough files for a steady time, few enough for memory.
const MAX_FILES: usize = 256;

/// Reads the MIDI files that are trained on or, where there are none, their music written as MIDI.
pub fn reading(plan: &Plan) -> Reading {
    let mut files: Vec<Vec<u8>> = midi_files(plan);
    if files.is_empty() {
        let representation = plan.config.representation.build();
        let pieces = plan.training.pieces.iter().take(MAX_FILES);
        files = pieces.map(|piece| midi::write(&representation.decode(&piece.tokens), &[])).collect();
    }
    let read_all = || {
        let songs = files.iter().filter_map(|bytes| midi::read(bytes).ok());
        songs
            .map(|song| song.instruments.iter().map(|instrument| instrument.notes.len()).sum::<usize>())
            .sum()
    };
    let (seconds, bytes, notes) = (seconds_of(read_all), files.iter().map(Vec::len).sum(), read_all());
    Reading {
        files: files.len(),
        bytes,
        notes,
        files_per_second: files.len() as f64 / seconds,
        bytes_per_second: bytes as f64 / seconds,
        notes_per_second: notes as f64 / seconds,
    }
}

/// Of a corpus of scores or piano rolls there are none.
fn midi_files(plan: &Plan) -> Vec<Vec<u8>> {
    let root = Path::new(&plan.config.data.midi);
    let names = plan.training.pieces.iter().map(|piece| &piece.name);
    let paths = names.map(|name| if root.is_dir() { root.join(name) } else { root.to_owned() });
    let files = paths.take(MAX_FILES).filter_map(|path| std::fs::read(path).ok());
    files.filter(|bytes| midi::read(bytes).is_ok()).collect()
}

/// Composes a piece of the configuration's network, with its initial weights.
pub fn composing(plan: &Plan) -> Result<Composing> {
    const NOTES: usize = 50;
    let representation = plan.config.representation.build();
    let network = InferenceNetwork::new(
        representation.clone(),
        plan.architecture,
        &initial_parameters(plan.architecture, plan.config.train.seed),
    );
    let reading = sample::Reading::of(&plan.config);
    let reads_pieces = representation.end().is_some() && reading == sample::Reading::Piece;
    let prompt: &[Token] = if reads_pieces {
        &[]
    } else {
        // Training may take longer windows than composing does.
        let tokens =
            &plan.training.pieces.iter().max_by_key(|piece| piece.tokens.len()).expect("a piece").tokens;
        &tokens[..tokens.len().min(plan.config.data.sequence_length)]
    };
    let decoding = Decoding::Sampling { temperature: 1.0, top_k: None, top_p: Some(0.9) };
    let stream = RandomStream::new(plan.config.train.seed, Purpose::Sampling, &[1]);
    let piece = || compose(&network, reading, prompt, Length::Notes(NOTES), &decoding, stream, None);
    // A network without training may end a piece early.
    let notes = pitches(&*representation, &piece()?.tokens).len();
    Ok(Composing { notes, notes_per_second: notes as f64 / seconds_of(piece) })
}
