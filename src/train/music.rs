//! Reading the music together: each file is read by one rank, and all ranks get the tokens of its pieces.
//!
//! Which rank reads a file shows neither in the corpus nor in the messages about bad files.

use anyhow::Result;
use bachdist_portable::config::DataConfig;
use bachdist_portable::corpus::Corpus;
use bachdist_portable::corpus::files::CorpusFile;
use bachdist_portable::corpus::listing::list;
use bachdist_portable::corpus::load::{EncodedPiece, encode_file};
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::parallel::in_parallel;
use bachdist_portable::print::WorkBar;
use bachdist_portable::representation::{Encoded, Representation, Token};

use crate::comm::Communicator;
use crate::comm::collectives::{collective_result, gather_round_robin, round_robin};

/// The corpus, for training on windows of this length. Each rank reads with this many threads.
///
/// # Collective
///
/// All ranks get the same corpus, or the same error.
pub fn load(
    comm: &dyn Communicator,
    data: &DataConfig,
    representation: &dyn Representation,
    length: usize,
    threads: usize,
) -> Result<Corpus> {
    let listing = collective_result(comm, list(&data.midi).map_err(Into::into))?;
    let sources = &listing.sources;
    collective_result(comm, same_files(comm, sources))?;
    let own = round_robin(comm, sources);
    // Under mpirun this is no terminal.
    let bar = WorkBar::new("reading music", own.len() as u64);
    let own = in_parallel(threads, &own, |source| {
        let encoded = packed(encode_file(source, data, representation));
        bar.add(1);
        encoded
    });
    drop(bar);
    let all = gather_round_robin(comm, own, sources.len()).into_iter().map(unpacked).collect();
    let corpus = Corpus::new(listing, all, data, representation)
        .and_then(|corpus| corpus.require_windows(data, length).map(|()| corpus));
    collective_result(comm, corpus.map_err(Into::into))
}

/// An error unless this rank's host has files with the same names and sizes as rank 0's. Nothing more is known of files that
/// another rank reads.
///
/// # Collective
fn same_files(comm: &dyn Communicator, own: &[CorpusFile]) -> Result<()> {
    if comm.size() == 1 {
        return Ok(());
    }
    let own: Vec<(String, u64)> = own.iter().map(|source| (source.name.clone(), source.bytes)).collect();
    let mut bytes = if comm.is_root() { serde_json::to_vec(&own)? } else { Vec::new() };
    comm.broadcast(&mut bytes);
    match difference(&own, &serde_json::from_slice::<Vec<(String, u64)>>(&bytes)?) {
        None => Ok(()),
        Some(difference) => {
            let message = format!(
                "has other music than rank 0: {difference}; every host needs the same files under data.midi"
            );
            Err(Failure::new(ExitCode::Data, message).into())
        }
    }
}

/// The first file, by name, that is not the same here and on rank 0; both are sorted.
fn difference(here: &[(String, u64)], there: &[(String, u64)]) -> Option<String> {
    let first = here.iter().zip(there).position(|(here, there)| here != there);
    let at = first.unwrap_or(here.len().min(there.len()));
    let (here, there) = (here.get(at), there.get(at));
    match (here, there) {
        (None, None) => None,
        (Some((name, here)), Some((other, there))) if name == other => {
            Some(format!("{name} has {here} bytes here and {there} on rank 0"))
        }
        (Some((name, _)), there) if there.is_none_or(|(other, _)| name < other) => {
            Some(format!("{name} is not on rank 0"))
        }
        (_, there) => there.map(|(name, _)| format!("{name} is missing here")),
    }
}

/// The last byte of a file's message: whether it could be used.
const UNUSABLE: u8 = 0;
const USABLE: u8 = 1;

/// A file's pieces, or what is wrong with it, as bytes. A piece is the lengths of its name and tokens, the number of altered
/// notes and whether they are drums, as words; then its name and its tokens.
fn packed(encoded: Result<Vec<EncodedPiece>, String>) -> Vec<u8> {
    let pieces = match encoded {
        Ok(pieces) => pieces,
        Err(lines) => {
            let mut bytes = lines.into_bytes();
            bytes.push(UNUSABLE);
            return bytes;
        }
    };
    let mut bytes = Vec::new();
    for EncodedPiece { name, encoded: Encoded { tokens, altered, is_drum, .. } } in pieces {
        for word in [name.len(), tokens.len(), altered, usize::from(is_drum)] {
            bytes.extend((word as u64).to_le_bytes());
        }
        bytes.extend(name.into_bytes());
        bytes.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
    }
    bytes.push(USABLE);
    bytes
}

fn unpacked(mut bytes: Vec<u8>) -> Result<Vec<EncodedPiece>, String> {
    if bytes.pop() != Some(USABLE) {
        return Err(String::from_utf8_lossy(&bytes).into_owned());
    }
    let (mut rest, mut pieces) = (&bytes[..], Vec::new());
    while let Some((words, after)) = rest.split_first_chunk::<32>() {
        let mut words = words.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word) as usize);
        let mut word = || words.next().expect("four words");
        let (name_length, token_count, altered, is_drum) = (word(), word(), word(), word() != 0);
        let (name, after) = after.split_at(name_length);
        let (tokens, after) = after.split_at(size_of::<Token>() * token_count);
        let name = String::from_utf8_lossy(name).into_owned();
        let tokens = tokens.as_chunks().0.iter().map(|&token| Token::from_le_bytes(token)).collect();
        let encoded = Encoded { tokens, altered, is_drum, ..Encoded::default() };
        pieces.push(EncodedPiece { name, encoded });
        rest = after;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_reasons_are_unpacked_as_they_were() {
        let piece = |name: &str, tokens: &[Token], is_drum| {
            let encoded = Encoded { tokens: tokens.to_vec(), is_drum, altered: 300, ..Encoded::default() };
            EncodedPiece { name: name.into(), encoded }
        };
        let all = [
            Ok(Vec::new()),
            Ok(vec![piece("a/é", &[], false)]),
            Ok(vec![piece("a", &[0, 1, 500], true), piece("b", &[7], false)]),
            Err(String::new()),
            Err("b: é".into()),
        ];
        for encoded in all {
            assert_eq!(unpacked(packed(encoded.clone())), encoded);
        }
    }

    #[test]
    fn the_first_file_that_differs_is_named() {
        let files = |files: &[(&str, u64)]| -> Vec<(String, u64)> {
            files.iter().map(|&(name, bytes)| (name.into(), bytes)).collect()
        };
        let rank_0 = files(&[("a", 1), ("b", 2), ("d", 3)]);
        let said = |here: &[(&str, u64)]| difference(&files(here), &rank_0);
        assert_eq!(said(&[("a", 1), ("b", 2), ("d", 3)]), None);
        assert_eq!(said(&[("a", 1), ("d", 3)]).unwrap(), "b is missing here");
        assert_eq!(said(&[("a", 1), ("b", 2)]).unwrap(), "d is missing here");
        assert_eq!(said(&[]).unwrap(), "a is missing here");
        assert_eq!(said(&[("a", 1), ("b", 2), ("c", 9), ("d", 3)]).unwrap(), "c is not on rank 0");
        assert_eq!(said(&[("a", 1), ("b", 2), ("d", 3), ("e", 4)]).unwrap(), "e is not on rank 0");
        assert_eq!(said(&[("a", 1), ("b", 7), ("d", 8)]).unwrap(), "b has 7 bytes here and 2 on rank 0");
    }
}
