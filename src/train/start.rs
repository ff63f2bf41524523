//! Where a run begins: at step 0, or at the newest good checkpoint, the same on every rank.

use anyhow::Result;
use bachdist_core::checkpoint::open;
use bachdist_core::checkpoint::run::{Run, recover};
use bachdist_core::checkpoint::{Checkpoint, EpochSums, Training};
use bachdist_core::config::Config;
use bachdist_core::corpus::audit::Seen;
use bachdist_core::failure::{Code, Failure};
use bachdist_core::network::Architecture;
use bachdist_core::store::Store;
use serde_json::Value;

use crate::comm::Comm;
use crate::comm::agree::agree;
use crate::model::init;

/// `--resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Go on from the run's newest good checkpoint, if it has one.
    Auto,
    /// Begin at step 0.
    Never,
    /// Go on from this checkpoint, wherever it lies.
    From(String),
}

/// The state before the first step of an attempt.
#[derive(Debug)]
pub struct Start {
    /// Steps made before.
    pub step: u64,
    /// Weights.
    pub parameters: Vec<f32>,
    /// RMSprop's running mean of squared gradients.
    pub mean_square: Vec<f32>,
    /// Loss and accuracy of the epoch so far.
    pub epoch: EpochSums,
    /// The windows loaded since step 0.
    pub seen: Seen,
    /// The checkpoint that it comes from.
    pub from: Option<String>,
    /// What the user should know: damaged checkpoints passed over.
    pub notes: Vec<String>,
}

/// What rank 0 read.
#[derive(Default)]
struct Read {
    bytes: Vec<u8>,
    from: Option<String>,
    notes: Vec<String>,
}

/// Finds the state to start from. Rank 0 alone reads storage, claims the attempt, and gets a [`Run`].
pub fn start(
    comm: &dyn Comm,
    config: &Config,
    url: &str,
    resume: &Resume,
    architecture: Architecture,
    training: &Training,
) -> Result<(Start, Option<Run>)> {
    let read = match comm.rank() {
        0 => read(url, resume, config, training),
        _ => Ok((Read::default(), None)),
    };
    let (Read { mut bytes, from, notes }, run) = agree(comm, read)?;
    comm.broadcast(&mut bytes);
    if bytes.is_empty() {
        let parameters = initial(comm, architecture, config.train.seed);
        let mean_square = vec![0.0; parameters.len()];
        let (epoch, seen) = (EpochSums::default(), Seen::default());
        return Ok((Start { step: 0, parameters, mean_square, epoch, seen, from, notes }, run));
    }
    let Checkpoint { step, parameters, mean_square, epoch, seen, .. } = Checkpoint::decode(&bytes)?;
    Ok((Start { step, parameters, mean_square, epoch, seen, from, notes }, run))
}

/// Rank 0's initial weights, on every rank: logarithms may have other last bits on another host.
fn initial(comm: &dyn Comm, architecture: Architecture, seed: u64) -> Vec<f32> {
    let mut bytes = match comm.rank() {
        0 => init::parameters(architecture, seed).iter().flat_map(|weight| weight.to_le_bytes()).collect(),
        _ => Vec::new(),
    };
    comm.broadcast(&mut bytes);
    bytes.as_chunks().0.iter().map(|&weight| f32::from_le_bytes(weight)).collect()
}

fn read(url: &str, resume: &Resume, config: &Config, training: &Training) -> Result<(Read, Option<Run>)> {
    let store = Store::open(url)?;
    let recovery = recover(&store)?;
    let mut found = Read { notes: recovery.notes(&store), ..Read::default() };
    match &recovery.newest {
        Some((name, bytes)) => {
            let location = store.url_of(&name.to_string());
            // Even a run that begins anew must not lie among another's checkpoints.
            fits(&location, &Checkpoint::decode(bytes)?, config, training)?;
            if *resume == Resume::Auto {
                found = Read { bytes: bytes.clone(), from: Some(location), ..found };
            }
        }
        None if *resume == Resume::Auto && !recovery.damaged.is_empty() => {
            let message = format!(
                "{}; none is left to go on from (--resume never begins anew)",
                found.notes.join("; ")
            );
            return Err(Failure::new(Code::Storage, message).into());
        }
        None => {}
    }
    if let Resume::From(location) = resume {
        let opened = open::open(location)?;
        fits(&opened.location, &opened.checkpoint, config, training)?;
        found.notes.extend(opened.notes);
        found = Read { bytes: opened.bytes, from: Some(opened.location), ..found };
    }
    // Last, because it takes the run from whoever has it.
    let damaged = recovery.damaged.into_iter().map(|(name, _)| name).collect();
    let run = Run::claim(store, damaged)?;
    Ok((found, Some(run)))
}

/// An error if a checkpoint belongs to another run.
fn fits(
    location: &str,
    checkpoint: &Checkpoint,
    config: &Config,
    training: &Training,
) -> Result<(), Failure> {
    let mut differences = Vec::new();
    compare("", &checkpoint.identity, &config.identity(), &mut differences);
    if !differences.is_empty() {
        let message = format!(
            "{location} belongs to another run: {}; give this one a checkpoint.url of its own, or those values back",
            differences.join(", ")
        );
        return Err(Failure::new(Code::Usage, message));
    }
    if checkpoint.corpus.fingerprint != training.fingerprint {
        let message = format!(
            "{location} was trained on other music ({} pieces, fingerprint {:.12}) than data.midi holds now ({} pieces, \
             {:.12}); give this run a checkpoint.url of its own, or that music back",
            checkpoint.corpus.pieces.len(),
            checkpoint.corpus.fingerprint,
            training.pieces.len(),
            training.fingerprint
        );
        return Err(Failure::new(Code::Data, message));
    }
    Ok(())
}

/// The dotted keys whose values differ.
fn compare(key: &str, theirs: &Value, ours: &Value, differences: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<_> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let value = |object: &serde_json::Map<String, Value>| {
                    object.get(name).cloned().unwrap_or(Value::Null)
                };
                compare(&key, &value(a), &value(b), differences);
            }
        }
        _ if theirs != ours => differences.push(format!("{key} is {theirs} there and {ours} here")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_key() {
        let (a, mut b) = (Config::default(), Config::default());
        b.model.units = 128;
        b.data.holdout = vec!["x".into()];
        let mut differences = Vec::new();
        compare("", &a.identity(), &b.identity(), &mut differences);
        assert_eq!(
            differences,
            ["data.holdout is [] there and [\"x\"] here", "model.units is 256 there and 128 here"]
        );
    }
}
