//! Where a run begins: at step 0, or at the newest good checkpoint, the same on every rank.

use anyhow::Result;
use bachdist_core::checkpoint::open;
use bachdist_core::checkpoint::origin::{Origin, Whose};
use bachdist_core::checkpoint::recover::{Recovery, recover};
use bachdist_core::checkpoint::run::Run;
use bachdist_core::checkpoint::{Checkpoint, EpochSums, Name};
use bachdist_core::corpus::audit::Seen;
use bachdist_core::failure::{Code, Failure};
use bachdist_core::fault;
use bachdist_core::network::Architecture;
use bachdist_core::store::Store;

use super::fallback::Fallback;
use super::plan::Plan;
use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::comm::collectives::run_on_root_with_heartbeat;
use bachdist_core::network::init;

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
pub fn start(comm: &dyn Communicator, plan: &Plan, resume: &Resume) -> Result<(Start, Option<Run>)> {
    fault::at("start");
    let reading = (comm.is_root()).then_some(|| read(plan, resume));
    let read = run_on_root_with_heartbeat(comm, reading).unwrap_or_else(|| Ok((Read::default(), None)));
    let (Read { mut bytes, from, notes }, run) = collective_result(comm, read)?;
    comm.broadcast(&mut bytes);
    if bytes.is_empty() {
        let parameters = initial(comm, plan.architecture, plan.config.train.seed);
        let mean_square = vec![0.0; parameters.len()];
        let (epoch, seen) = (EpochSums::default(), Seen::default());
        return Ok((Start { step: 0, parameters, mean_square, epoch, seen, from, notes }, run));
    }
    let Checkpoint { step, parameters, mean_square, epoch, seen, .. } = Checkpoint::decode(&bytes)?;
    Ok((Start { step, parameters, mean_square, epoch, seen, from, notes }, run))
}

/// Rank 0's initial weights, on every rank, so that they are found once.
fn initial(comm: &dyn Communicator, architecture: Architecture, seed: u64) -> Vec<f32> {
    let mut bytes = match comm.rank() {
        0 => init::parameters(architecture, seed).iter().flat_map(|weight| weight.to_le_bytes()).collect(),
        _ => Vec::new(),
    };
    comm.broadcast(&mut bytes);
    bytes.as_chunks().0.iter().map(|&weight| f32::from_le_bytes(weight)).collect()
}

fn read(plan: &Plan, resume: &Resume) -> Result<(Read, Option<Run>)> {
    let origin = Origin::new(&plan.config, &plan.training);
    let whose = Whose::Run(origin.clone());
    let store = Store::open_patiently(&plan.url, plan.config.checkpoint.patience())?;
    let recovery = recover(&store, &whose)?;
    let mut found = Read { notes: recovery.notes(&store), ..Read::default() };
    // Even a run that begins anew must not lie among another's checkpoints alone.
    if let Some(refusal) = recovery.refusal(&store) {
        return Err(refusal.into());
    }
    let fallback = Fallback::new(plan)?;
    let unsaved = match resume {
        Resume::Auto => {
            let beside = fallback.recover()?;
            found.notes.extend(fallback.notes(&beside));
            beside.newest.filter(|(name, _)| is_newer(name, &recovery))
        }
        _ => None,
    };
    match &recovery.newest {
        Some((name, bytes)) if *resume == Resume::Auto => {
            let from = Some(store.url_of(&name.to_string()));
            found = Read { bytes: bytes.clone(), from, ..found };
        }
        None if *resume == Resume::Auto && unsaved.is_none() && !recovery.passed_over.is_empty() => {
            let message = format!(
                "{}; none is left to go on from (--resume never begins anew)",
                found.notes.join("; ")
            );
            return Err(Failure::new(Code::Storage, message).into());
        }
        _ => {}
    }
    if let Resume::From(location) = resume {
        let opened = open::open(location)?;
        if let Some(difference) = whose.difference(&opened.checkpoint) {
            return Err(difference.refusal(&opened.location).into());
        }
        found.notes.extend(opened.notes);
        found = Read { bytes: opened.bytes, from: Some(opened.location), ..found };
    }
    // Last, because it takes the run from whoever has it.
    fault::at("claim");
    let run = Run::claim(store, origin, &recovery)?;
    found.notes.extend(run.note());
    if let Some((name, bytes)) = unsaved {
        // Where it is missed, before anything else.
        run.put(&name, bytes.clone())?;
        found.notes.push(format!(
            "step {} was safe in {}, and is in the storage now",
            name.step,
            fallback.path(&name)
        ));
        fallback.forget(name.step)?;
        found = Read { bytes, from: Some(run.store().url_of(&name.to_string())), ..found };
    }
    Ok((found, Some(run)))
}

/// Whether the storage has no checkpoint of this step or a later one.
fn is_newer(name: &Name, stored: &Recovery) -> bool {
    stored.newest.as_ref().is_none_or(|(stored, _)| stored.step < name.step)
}
