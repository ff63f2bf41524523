//! Settings that do nothing in a run, or contradict each other, with the music that it has: judged in this one place.
//! What cannot work with any music is found by [`Config::validate`] before.

use bachdist_core::config::{Checkpoint, Config, Data, Model, Optimizer, Train};
use bachdist_core::corpus::Piece;
use bachdist_core::corpus::load::named;
use bachdist_core::corpus::windows::windows_of;
use bachdist_core::failure::{Code, Failure};

use super::plan::Plan;
use crate::comm::Communicator;
use crate::report::layers::{count, thousands};

/// What the user should know of his settings, one line each; an error where a run would do what nobody wants.
///
/// Every key is named here: a new one does not compile until it is decided what becomes of it.
pub fn judge(comm: &dyn Communicator, plan: &Plan) -> Result<Vec<String>, Failure> {
    let Config { data, model, optimizer, train, checkpoint } = &plan.config;
    let mut notes = Vec::new();
    of_data(plan, data, &mut notes);
    let Model { layers: _, units: _, dense: _, members: _, .. } = model;
    let Model { dropout: _, input_dropout: _, weight_drop: _, intervals: _, .. } = model;
    of_optimizer(plan, optimizer, &mut notes);
    of_train(comm, plan, train, &mut notes);
    of_validation(plan, train, &mut notes)?;
    of_checkpoint(plan, checkpoint, &mut notes);
    Ok(notes)
}

/// Pieces that have no window of so many notes.
fn short(pieces: &[Piece], length: usize) -> Vec<&str> {
    let short = pieces.iter().filter(|piece| windows_of(piece.classes.len(), length) == 0);
    short.map(|piece| piece.name.as_str()).collect()
}

fn of_data(plan: &Plan, data: &Data, notes: &mut Vec<String>) {
    // Groups are for `eval --cross-validate`, which reads the same file.
    let Data { midi: _, representation: _, max_notes: _, out_of_range: _, groups: _, .. } = data;
    let Data { sequence_length, holdout, .. } = data;
    let length = plan.config.training_length();
    let unread = short(&plan.training.pieces, length);
    if !unread.is_empty() {
        notes.push(format!("nothing is learnt from {}: no window of {length} notes", named(&unread)));
    }
    let unread = short(&plan.held_out, *sequence_length);
    if !unread.is_empty() {
        notes.push(format!(
            "data.holdout: {} held out, but not validated on: no window of {sequence_length} notes",
            named(&unread)
        ));
    }
    for (index, pattern) in holdout.iter().enumerate() {
        if holdout[..index].contains(pattern) {
            notes.push(format!("data.holdout: {pattern:?} stands there twice"));
        }
    }
}

fn of_optimizer(plan: &Plan, optimizer: &Optimizer, notes: &mut Vec<String>) {
    let Optimizer { learning_rate: _, rho: _, epsilon: _, clip_norm: _, warmup_steps, decay_steps } =
        optimizer;
    let steps = plan.last_step;
    if *warmup_steps >= steps {
        notes.push(format!(
            "optimizer.warmup_steps = {warmup_steps}: the run ends after {}, before the step size has its full value",
            count(steps, "step")
        ));
    }
    if let Some(decay) = decay_steps.filter(|&decay| decay < steps) {
        notes.push(format!(
            "optimizer.decay_steps = {decay}: the last {} change no weight",
            count(steps - decay, "step")
        ));
    }
}

fn of_train(comm: &dyn Communicator, plan: &Plan, train: &Train, notes: &mut Vec<String>) {
    // An objective without its stretch is refused by `validate`; validation has a function of its own.
    let Train { seed: _, objective: _, stretch: _, transpose: _, device: _, .. } = train;
    let Train { validate_every: _, validate_every_steps: _, early_stop: _, .. } = train;
    let Train { epochs, max_steps, batch_size, lanes, hang_seconds, .. } = train;
    if let Some(most) = max_steps.filter(|&most| most > plan.last_step) {
        notes.push(format!(
            "train.max_steps = {most} takes no part: train.epochs = {epochs} ends the run after {}",
            count(plan.last_step, "step")
        ));
    }
    let batches = plan.batches();
    if *batch_size as u64 > batches.windows {
        notes.push(format!(
            "train.batch_size = {batch_size}: every step takes all {}",
            count(batches.windows, "window")
        ));
    }
    let used = (0..*lanes).filter(|&lane| {
        let rows = batches.rows(lane);
        !rows.is_empty() && rows.start < batches.most_windows()
    });
    let used = used.count();
    if used < *lanes {
        notes.push(format!(
            "train.lanes = {lanes}: only {used} of them get windows of a batch of {}; the others, and ranks and threads \
             that have no more, do nothing",
            thousands(batches.most_windows() as u64)
        ));
    }
    if comm.size() == 1 && *hang_seconds != Train::default().hang_seconds {
        notes.push("train.hang_seconds takes part only on several ranks".into());
    }
}

fn of_validation(plan: &Plan, train: &Train, notes: &mut Vec<String>) -> Result<(), Failure> {
    let Train { validate_every, validate_every_steps, early_stop, .. } = train;
    let defaults = Train::default();
    if plan.held_out_windows().is_empty() {
        let why = match plan.held_out.len() {
            0 => "data.holdout holds no piece out".to_owned(),
            _ => format!("no held-out piece has a window of {} notes", plan.config.data.sequence_length),
        };
        if early_stop.is_some() {
            let message = format!("train.early_stop: there is no validation to stop by, because {why}");
            return Err(Failure::new(Code::Usage, message));
        }
        if (validate_every, validate_every_steps) != (&defaults.validate_every, &None) {
            let key = if validate_every_steps.is_some() { "validate_every_steps" } else { "validate_every" };
            notes.push(format!("train.{key} takes no part: {why}"));
        }
        return Ok(());
    }
    if validate_every_steps.is_some() && *validate_every != defaults.validate_every {
        notes.push("train.validate_every takes no part beside train.validate_every_steps".into());
    }
    let every = plan.validates_every();
    if every > plan.last_step {
        notes.push(format!(
            "the only validation is that at the end: the next would come after {}",
            count(every, "step")
        ));
    }
    // The first validation is the best so far, and after the last the run ends anyway.
    let validations = plan.last_step.div_ceil(every);
    if let Some(most) = early_stop.filter(|&most| validations <= most.saturating_add(1)) {
        notes.push(format!(
            "train.early_stop = {most} takes no part: the run has {}",
            count(validations, "validation")
        ));
    }
    Ok(())
}

fn of_checkpoint(plan: &Plan, checkpoint: &Checkpoint, notes: &mut Vec<String>) {
    let Checkpoint { url: _, keep: _, fallback: _, every_steps, .. } = checkpoint;
    let Checkpoint { keep_every, max_unsaved_steps, timeout_seconds, retry_seconds, .. } = checkpoint;
    if plan.fallback == plan.url {
        notes.push("checkpoint.fallback is where the checkpoints go anyway".into());
    }
    let comes =
        |kept: u64| (1..=plan.last_step / every_steps).any(|n| (n * every_steps).is_multiple_of(kept));
    let is_last = |kept: u64| plan.last_step.is_multiple_of(kept);
    if let Some(kept) = keep_every.filter(|&kept| !comes(kept) && !is_last(kept)) {
        notes.push(format!(
            "checkpoint.keep_every = {kept} keeps none: there are checkpoints every {}, and {} in all",
            count(*every_steps, "step"),
            count(plan.last_step, "step")
        ));
    }
    if let Some(most) = max_unsaved_steps.filter(|most| most < every_steps) {
        notes.push(format!(
            "checkpoint.max_unsaved_steps = {most} is less than every_steps = {every_steps}: the first checkpoint that the \
             storage misses ends the run"
        ));
    }
    let defaults = Checkpoint::default();
    if !plan.url.starts_with("s3://")
        && (*timeout_seconds, *retry_seconds) != (defaults.timeout_seconds, defaults.retry_seconds)
    {
        notes.push(
            "checkpoint.timeout_seconds and retry_seconds take part only where the storage is a server"
                .into(),
        );
    }
}
