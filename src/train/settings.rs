//! Settings that do nothing in a run, or contradict each other, with the music that it has: judged in this one place.
//! What cannot work with any music is found by [`Config::validate`] before.

use bachdist_core::config::{
    CheckpointConfig, Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig,
};
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
    let ModelConfig { layers: _, units: _, dense: _, ensemble_size: _, .. } = model;
    let ModelConfig { dropout: _, input_dropout: _, weight_drop: _, intervals: _, .. } = model;
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

fn of_data(plan: &Plan, data: &DataConfig, notes: &mut Vec<String>) {
    // Folds are for `eval --cross-validate`, which reads the same file.
    let DataConfig { midi: _, representation: _, max_notes: _, out_of_range: _, folds: _, .. } = data;
    let DataConfig { sequence_length, holdout, .. } = data;
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

fn of_optimizer(plan: &Plan, optimizer: &OptimizerConfig, notes: &mut Vec<String>) {
    let OptimizerConfig { learning_rate: _, rho: _, epsilon: _, clip_norm: _, warmup_steps, decay_steps } =
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

fn of_train(comm: &dyn Communicator, plan: &Plan, train: &TrainConfig, notes: &mut Vec<String>) {
    // A window length that is not used is refused by `validate`; validation has a function of its own.
    let TrainConfig { seed: _, loss_positions: _, window_length: _, transpose: _, device: _, .. } = train;
    let TrainConfig { validate_every_epochs: _, validate_every_steps: _, early_stop: _, .. } = train;
    let TrainConfig { epochs, max_steps, batch_size, lanes, collective_timeout_seconds, .. } = train;
    if let Some(most) = max_steps.filter(|&most| most > plan.last_step) {
        notes.push(format!(
            "train.max_steps = {most} has no effect: train.epochs = {epochs} ends the run after {}",
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
    if comm.size() == 1 && *collective_timeout_seconds != TrainConfig::default().collective_timeout_seconds {
        notes.push("train.collective_timeout_seconds is only used on several ranks".into());
    }
}

fn of_validation(plan: &Plan, train: &TrainConfig, notes: &mut Vec<String>) -> Result<(), Failure> {
    let TrainConfig { validate_every_epochs, validate_every_steps, early_stop, .. } = train;
    let defaults = TrainConfig::default();
    if plan.held_out_windows().is_empty() {
        let why = match plan.held_out.len() {
            0 => "data.holdout holds no piece out".to_owned(),
            _ => format!("no held-out piece has a window of {} notes", plan.config.data.sequence_length),
        };
        if early_stop.is_some() {
            let message = format!("train.early_stop: there is no validation to stop by, because {why}");
            return Err(Failure::new(Code::Usage, message));
        }
        if (validate_every_epochs, validate_every_steps) != (&defaults.validate_every_epochs, &None) {
            let key =
                if validate_every_steps.is_some() { "validate_every_steps" } else { "validate_every_epochs" };
            notes.push(format!("train.{key} has no effect: {why}"));
        }
        return Ok(());
    }
    if validate_every_steps.is_some() && *validate_every_epochs != defaults.validate_every_epochs {
        notes.push("train.validate_every_epochs has no effect: train.validate_every_steps is set".into());
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
            "train.early_stop = {most} has no effect: the run has {}",
            count(validations, "validation")
        ));
    }
    Ok(())
}

fn of_checkpoint(plan: &Plan, checkpoint: &CheckpointConfig, notes: &mut Vec<String>) {
    let CheckpointConfig { url: _, keep: _, fallback: _, every_steps, .. } = checkpoint;
    let CheckpointConfig { keep_every_steps, max_unsaved_steps, timeout_seconds, retry_seconds, .. } =
        checkpoint;
    if plan.fallback == plan.url {
        notes.push("checkpoint.fallback is where the checkpoints go anyway".into());
    }
    let comes =
        |kept: u64| (1..=plan.last_step / every_steps).any(|n| (n * every_steps).is_multiple_of(kept));
    let is_last = |kept: u64| plan.last_step.is_multiple_of(kept);
    if let Some(kept) = keep_every_steps.filter(|&kept| !comes(kept) && !is_last(kept)) {
        notes.push(format!(
            "checkpoint.keep_every_steps = {kept} keeps none: there are checkpoints every {}, and {} in all",
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
    let defaults = CheckpointConfig::default();
    if !plan.url.starts_with("s3://")
        && (*timeout_seconds, *retry_seconds) != (defaults.timeout_seconds, defaults.retry_seconds)
    {
        notes.push(
            "checkpoint.timeout_seconds and retry_seconds are only used when the storage is a server".into(),
        );
    }
}
