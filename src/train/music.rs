//! Reading the music together: each file is read by one rank, and all get its classes.
//!
//! Which rank reads what does not show: neither in the corpus nor in what is said of bad files.

use anyhow::Result;
use bachdist_core::config::DataConfig;
use bachdist_core::corpus::Corpus;
use bachdist_core::corpus::files::CorpusFile;
use bachdist_core::corpus::listing::list;
use bachdist_core::corpus::load::{Classes, read_classes};
use bachdist_core::failure::{Code, Failure};
use bachdist_core::parallel::in_parallel;

use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::comm::collectives::{gather_round_robin, round_robin};

/// The corpus, the same on every rank, to train on windows of so many notes. Each rank reads with so many threads.
pub fn load(comm: &dyn Communicator, data: &DataConfig, length: usize, threads: usize) -> Result<Corpus> {
    let listing = collective_result(comm, list(&data.midi).map_err(Into::into))?;
    let sources = &listing.sources;
    collective_result(comm, same_files(comm, sources))?;
    let read = in_parallel(threads, &round_robin(comm, sources), |source| packed(read_classes(source, data)));
    let read = gather_round_robin(comm, read, sources.len()).into_iter().map(unpacked).collect();
    let corpus = Corpus::new(listing, read, data)
        .and_then(|corpus| corpus.require_windows(data, length).map(|()| corpus));
    collective_result(comm, corpus.map_err(Into::into))
}

/// An error unless this rank's host has files of the names and sizes that rank 0's has. Of a file that another rank
/// reads this one sees no more: that is what reading each once means.
fn same_files(comm: &dyn Communicator, own: &[CorpusFile]) -> Result<()> {
    if comm.size() == 1 {
        return Ok(());
    }
    let described = |source: &CorpusFile| (source.name.clone(), source.bytes);
    let own: Vec<(String, u64)> = own.iter().map(described).collect();
    let mut bytes = if comm.is_root() { serde_json::to_vec(&own)? } else { Vec::new() };
    comm.broadcast(&mut bytes);
    match difference(&own, &serde_json::from_slice::<Vec<(String, u64)>>(&bytes)?) {
        None => Ok(()),
        Some(difference) => {
            let message = format!(
                "has other music than rank 0, {difference}; every host needs the same files under data.midi"
            );
            Err(Failure::new(Code::Data, message).into())
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
            Some(format!("of whose {name} it has {here} bytes in place of {there}"))
        }
        (Some((name, _)), there) if there.is_none_or(|(other, _)| name < other) => {
            Some(format!("which has no {name}"))
        }
        (_, there) => there.map(|(name, _)| format!("whose {name} it lacks")),
    }
}

/// Whether a file could be read, and whether its notes are drums: said after its classes or after what is wrong with it.
const NOT_READ: u8 = 0;
const READ: u8 = 1;
const DRUMS: u8 = 2;

fn packed(read: Result<Classes, String>) -> Vec<u8> {
    let (mut bytes, how) = match read {
        Ok(Classes { mut classes, are_drums, outside }) => {
            classes.extend((outside as u64).to_le_bytes());
            (classes, if are_drums { DRUMS } else { READ })
        }
        Err(reason) => (reason.into_bytes(), NOT_READ),
    };
    bytes.push(how);
    bytes
}

fn unpacked(mut bytes: Vec<u8>) -> Result<Classes, String> {
    match bytes.pop() {
        Some(how @ (READ | DRUMS)) => {
            let (classes, outside) = bytes.split_last_chunk().expect("a number after the classes");
            let outside = u64::from_le_bytes(*outside) as usize;
            Ok(Classes { classes: classes.to_vec(), are_drums: how == DRUMS, outside })
        }
        _ => Err(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_reasons_survive_the_way() {
        let classes =
            |classes: &[u8], are_drums| Ok(Classes { classes: classes.to_vec(), are_drums, outside: 300 });
        let all = [classes(&[], false), classes(&[0, 1, 78], true), Err(String::new()), Err("b: é".into())];
        for read in all {
            assert_eq!(unpacked(packed(read.clone())), read);
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
        assert_eq!(said(&[("a", 1), ("d", 3)]).unwrap(), "whose b it lacks");
        assert_eq!(said(&[("a", 1), ("b", 2)]).unwrap(), "whose d it lacks");
        assert_eq!(said(&[]).unwrap(), "whose a it lacks");
        assert_eq!(said(&[("a", 1), ("b", 2), ("c", 9), ("d", 3)]).unwrap(), "which has no c");
        assert_eq!(said(&[("a", 1), ("b", 2), ("d", 3), ("e", 4)]).unwrap(), "which has no e");
        assert_eq!(said(&[("a", 1), ("b", 7), ("d", 8)]).unwrap(), "of whose b it has 7 bytes in place of 2");
    }
}
