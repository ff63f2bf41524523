//! Makes the plan of a run and checks it before anything is allocated or claimed: whether the run fits in memory, and which
//! settings have no effect or contradict each other with this music. What cannot work with any music was refused by
//! [`Config::validate`](bachdist_portable::config::Config::validate).

use std::fs;
use std::path::Path;

use anyhow::Result;
use bachdist_portable::backend::Device;
use bachdist_portable::config::{
    CheckpointConfig, Config, DataConfig, LossPositions, ModelConfig, OptimizerConfig, TrainConfig,
};
use bachdist_portable::corpus::Piece;
use bachdist_portable::corpus::load::list_some;
use bachdist_portable::corpus::windows::windows_of;
use bachdist_portable::failure::{ExitCode, Failure, out_of_threads};
use bachdist_portable::network::Architecture;
use bachdist_portable::print::count;
use bachdist_portable::process::{cores, try_threads};
use bachdist_portable::schedule::Batches;
use rustix::process::{Resource, getrlimit};

use super::music;
use super::plan::{Plan, assign_lanes_and_target};
use crate::backend;
use crate::comm::Communicator;
use crate::comm::collectives::collective_result;
use crate::export::Exporters;

impl Plan {
    /// The plan of these ranks, checked, with their threads set.
    ///
    /// # Collective
    ///
    /// All ranks call this together.
    pub fn prepare(comm: &dyn Communicator, path: &Path, config: Config) -> Result<Plan> {
        // Until a step has shown how long steps take: a host may read its music slowly.
        comm.set_collective_timeout(config.train.collective_timeout(None));
        let place =
            collective_result(comm, assign_lanes_and_target(comm, &config.train).map_err(Into::into))?;
        collective_result(comm, check_threads(comm, &config).map_err(Into::into))?;
        let threads = backend::threads(comm);
        let representation = config.representation.build();
        let length = config.train.tokens_before_prediction(config.training_length());
        let corpus = music::load(comm, &config.data, &*representation, length, threads)?;
        // A step has work for at most one thread per lane.
        let threads = threads.min(place.0.lanes_of(comm.rank()).len());
        let mut plan = Plan::new(place, threads, corpus, path, config);
        plan.check_same_on_all_ranks(comm)?;
        let memory = collective_result(comm, check_memory(comm, &plan, plan.batches()).map_err(Into::into))?;
        let of_settings = collective_result(comm, check_settings(comm, &plan).map_err(Into::into))?;
        plan.notes.extend(of_settings.into_iter().chain(memory));
        Ok(plan)
    }
}

/// Notes on settings that have no effect; an error where settings contradict each other.
///
/// Every key is named here, so that a new one does not compile until somebody decides when it has an effect.
pub fn check_settings(comm: &dyn Communicator, plan: &Plan) -> Result<Vec<String>, Failure> {
    let Config { data, representation: _, model, optimizer, train, checkpoint } = &plan.config;
    let mut notes = Vec::new();
    check_data(plan, data, &mut notes);
    let ModelConfig { layers: _, units: _, dense: _, ensemble_size: _, .. } = model;
    let ModelConfig { dropout: _, input_dropout: _, weight_drop: _, .. } = model;
    check_optimizer(plan, optimizer, &mut notes);
    check_train(comm, plan, train, &mut notes);
    check_validation(plan, train, &mut notes)?;
    check_checkpoint(plan, checkpoint, &mut notes);
    Ok(notes)
}

/// The names of pieces without a window of `length` notes.
fn without_windows(pieces: &[Piece], length: usize) -> Vec<&str> {
    let short = pieces.iter().filter(|piece| windows_of(piece.tokens.len(), length) == 0);
    short.map(|piece| piece.name.as_str()).collect()
}

fn check_data(plan: &Plan, data: &DataConfig, notes: &mut Vec<String>) {
    // Folds are for `eval --cross-validate`, which reads the same configuration.
    let DataConfig { midi: _, max_notes: _, folds: _, .. } = data;
    let DataConfig { sequence_length, holdout, .. } = data;
    let train = &plan.config.train;
    let length = train.tokens_before_prediction(plan.config.training_length());
    let unread = without_windows(&plan.training.pieces, length);
    if !unread.is_empty() {
        notes
            .push(format!("{} not trained on: too short for a window of {length} notes", list_some(&unread)));
    }
    let length = train.tokens_before_prediction(*sequence_length);
    let unread = without_windows(&plan.held_out, length);
    if !unread.is_empty() {
        notes.push(format!(
            "data.holdout: {} held out, but too short to validate on: no window of {length} notes",
            list_some(&unread)
        ));
    }
    for (index, pattern) in holdout.iter().enumerate() {
        if holdout[..index].contains(pattern) {
            notes.push(format!("data.holdout: {pattern:?} is listed twice"));
        }
    }
}

fn check_optimizer(plan: &Plan, optimizer: &OptimizerConfig, notes: &mut Vec<String>) {
    let OptimizerConfig { learning_rate: _, rho: _, epsilon: _, clip_norm: _, warmup_steps, decay_steps } =
        optimizer;
    let steps = plan.last_step;
    if *warmup_steps >= steps {
        notes.push(format!(
            "optimizer.warmup_steps = {warmup_steps}: the run ends after {}, before the learning rate reaches its full value",
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

fn check_train(comm: &dyn Communicator, plan: &Plan, train: &TrainConfig, notes: &mut Vec<String>) {
    // The rest is checked by `Config::validate` and by `check_validation`.
    let TrainConfig { seed: _, loss_positions: _, window_length: _, carry_state: _, .. } = train;
    let TrainConfig { transpose: _, backend: _, device: _, log: _, metrics_file: _, .. } = train;
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
            "train.batch_size = {batch_size}: every step uses all {}",
            count(batches.windows, "window")
        ));
    }
    let used = (0..*lanes).filter(|&lane| {
        let rows = batches.rows(lane);
        !rows.is_empty() && rows.start < batches.max_windows()
    });
    let used = used.count();
    if used < *lanes {
        notes.push(format!(
            "train.lanes = {lanes}: a batch of {} fills only {used} of them; ranks and threads without a filled lane \
             are idle",
            count(batches.max_windows() as u64, "window")
        ));
    }
    if comm.size() == 1 && *collective_timeout_seconds != TrainConfig::default().collective_timeout_seconds {
        notes.push("train.collective_timeout_seconds has no effect in a single process".into());
    }
}

fn check_validation(plan: &Plan, train: &TrainConfig, notes: &mut Vec<String>) -> Result<(), Failure> {
    let TrainConfig { validate_every_epochs, validate_every_steps, early_stop, .. } = train;
    let defaults = TrainConfig::default();
    if plan.held_out_sequences().windows() == 0 {
        let why = match plan.held_out.len() {
            0 => "data.holdout holds out no piece".to_owned(),
            _ => format!("no held-out piece has a window of {} notes", plan.config.data.sequence_length),
        };
        if early_stop.is_some() {
            let message = format!("train.early_stop needs validations, and there are none: {why}");
            return Err(Failure::new(ExitCode::Usage, message));
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
            "the only validation is the one at the end; the first regular one would come after {}",
            count(every, "step")
        ));
    }
    // The first validation cannot fail to improve, and after the last one the run ends anyway.
    let validations = plan.last_step.div_ceil(every);
    if let Some(limit) = early_stop.filter(|&limit| validations <= limit.saturating_add(1)) {
        notes.push(format!(
            "train.early_stop = {limit} has no effect: the run has only {}",
            count(validations, "validation")
        ));
    }
    Ok(())
}

fn check_checkpoint(plan: &Plan, checkpoint: &CheckpointConfig, notes: &mut Vec<String>) {
    let CheckpointConfig { url: _, keep: _, fallback: _, every_steps, .. } = checkpoint;
    let CheckpointConfig { keep_every_steps, max_unsaved_steps, timeout_seconds, retry_seconds, .. } =
        checkpoint;
    if plan.fallback == plan.url {
        notes.push("checkpoint.fallback is the place of the checkpoints themselves".into());
    }
    if let Some(kept) = *keep_every_steps {
        let mut saved = (1..=plan.last_step / every_steps).map(|n| n * every_steps);
        if !saved.any(|step| step.is_multiple_of(kept)) && !plan.last_step.is_multiple_of(kept) {
            notes.push(format!(
                "checkpoint.keep_every_steps = {kept} matches no checkpoint: there is one every {}, and the run has {}",
                count(*every_steps, "step"),
                count(plan.last_step, "step")
            ));
        }
    }
    if let Some(limit) = max_unsaved_steps.filter(|limit| limit < every_steps) {
        notes.push(format!(
            "checkpoint.max_unsaved_steps = {limit} is less than every_steps = {every_steps}: the first checkpoint that \
             cannot be saved ends the run"
        ));
    }
    let defaults = CheckpointConfig::default();
    if !plan.url.starts_with("s3://")
        && (*timeout_seconds, *retry_seconds) != (defaults.timeout_seconds, defaults.retry_seconds)
    {
        notes.push("checkpoint.timeout_seconds and retry_seconds have no effect on a folder".into());
    }
}

/// f32 copies of the parameters that a rank has in the host's memory: weights, mean squares, gradient, and the kernels of
/// the network packed for the forward and the backward pass.
const COPIES_ON_CPU: f64 = 5.0;

/// Copies in the host's memory of a rank that trains on a GPU: the weights and mean squares that it starts from.
const COPIES_BESIDE_GPU: f64 = 2.0;

/// Copies that rank 0 has in addition while it saves: weights and mean squares, as numbers and as bytes.
const COPIES_OF_CHECKPOINT: f64 = 4.0;

/// An amount of memory, and how messages name the limit that sets it.
struct MemoryLimit {
    bytes: f64,
    what: &'static str,
}

/// Bytes that a run needs at least, so that nothing is refused that would work.
struct MemoryNeeded {
    /// For this rank's parameters, in all their copies.
    parameters: f64,
    /// For this rank's activations.
    batch: f64,
    /// For all ranks of this host.
    on_host: f64,
}

/// An error if the plan's run needs more memory than there is for it; a note if it needs more than is free now.
pub fn check_memory(
    comm: &dyn Communicator,
    plan: &Plan,
    batches: Batches,
) -> Result<Option<String>, Failure> {
    let needed = needed(comm, plan, batches);
    let own = needed.parameters + needed.batch;
    let limits = [
        (needed.on_host, machine_memory()),
        (needed.on_host, control_group_limit()),
        (own, address_space_limit()),
    ];
    for (needed_here, limit) in limits {
        let Some(limit) = limit.filter(|limit| limit.bytes < needed_here) else { continue };
        let key = if needed.batch > needed.parameters {
            format!("train.batch_size = {}", plan.config.train.batch_size)
        } else {
            format!("model.units = {}", plan.config.model.units)
        };
        let message = format!(
            "{key}: training needs at least {} of memory, and {} {}; a smaller model or batch needs less",
            human_bytes(needed_here),
            limit.what,
            human_bytes(limit.bytes)
        );
        return Err(Failure::new(ExitCode::Usage, message));
    }
    let free = meminfo(&["MemAvailable", "SwapFree"]).filter(|&free| free < needed.on_host);
    let [needed, free] = [Some(needed.on_host), free].map(|bytes| bytes.map(human_bytes));
    Ok(needed
        .zip(free)
        .map(|(needed, free)| format!("training needs at least {needed} of memory, and {free} is free")))
}

/// In floating point, because declared sizes may overflow integers.
fn needed(comm: &dyn Communicator, plan: &Plan, batches: Batches) -> MemoryNeeded {
    let Architecture { shape, layers, units, dense, members } = plan.architecture;
    let [tokens, inputs, scores] = [shape.tokens, shape.inputs, shape.scores].map(|size| size as f64);
    let [layers, units, dense, members] = [layers, units, dense, members].map(|size| size as f64);
    let lstm = 4.0 * units * (inputs + units + 1.0) + (layers - 1.0) * 4.0 * units * (2.0 * units + 1.0);
    let one_copy = 4.0 * members * (lstm + dense * (units + 1.0) + scores * (dense + 1.0));
    let on_cpu = plan.target.device == Device::Cpu;
    let copies = if on_cpu { COPIES_ON_CPU } else { COPIES_BESIDE_GPU };
    let of_checkpoint = if comm.is_root() { COPIES_OF_CHECKPOINT } else { 0.0 };

    // Activations that each thread keeps of a lane between forward and backward pass.
    let own = plan.assignment.lanes_of(comm.rank());
    let lanes = own.filter(|&lane| batches.rows(lane).start < batches.max_windows()).count();
    let rows = (lanes.min(plan.threads) * batches.padded_rows()) as f64;
    let notes = plan.config.training_length() as f64;
    let predictions = if plan.config.train.loss_positions == LossPositions::All { notes } else { 1.0 };
    let of_note = 7.0 * units * layers + units * (layers - 1.0) + 2.0 * units;
    let of_prediction = 2.0 * dense + scores + tokens;
    let of_rows = 4.0 * rows * (notes * of_note + predictions * of_prediction);
    let batch = if on_cpu { of_rows } else { 0.0 };
    MemoryNeeded {
        parameters: one_copy * (copies + of_checkpoint),
        batch,
        on_host: one_copy * (copies * comm.local_size() as f64 + of_checkpoint) + batch,
    }
}

/// Memory and swap of the machine.
fn machine_memory() -> Option<MemoryLimit> {
    let bytes = meminfo(&["MemTotal", "SwapTotal"])?;
    Some(MemoryLimit { bytes, what: "this machine has" })
}

/// The sum of these lines of `/proc/meminfo`, in bytes.
fn meminfo(names: &[&str]) -> Option<f64> {
    let all = names.iter().map(|name| kilobytes("/proc/meminfo", name));
    all.sum::<Option<f64>>().map(|kilobytes| 1024.0 * kilobytes)
}

/// The number on the line of this name in a file under `/proc`.
fn kilobytes(path: &str, name: &str) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The limit of the job's control group, if a scheduler or container has set one.
fn control_group_limit() -> Option<MemoryLimit> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let read = |path: String| fs::read_to_string(path).ok()?.trim().parse::<f64>().ok();
    let limits = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path of the group may be the host's, while the root is the container's.
        let group = group.trim_end_matches('/');
        [read(format!("{root}{group}/{file}")), read(format!("{root}/{file}"))]
            .into_iter()
            .flatten()
            .reduce(f64::min)
    });
    Some(MemoryLimit { bytes: limits.reduce(f64::min)?, what: "the limit of its control group is" })
}

/// The address space that `ulimit -v` leaves to this process.
fn address_space_limit() -> Option<MemoryLimit> {
    let limit = getrlimit(Resource::As).current? as f64;
    let used = kilobytes("/proc/self/status", "VmSize")?;
    let bytes = (limit - 1024.0 * used).max(0.0);
    Some(MemoryLimit { bytes, what: "ulimit -v leaves" })
}

/// Fails unless this rank gets the threads that it needs: one per core of its own, without which libtorch hangs, and one each
/// for saving, signals and exporters.
pub fn check_threads(comm: &dyn Communicator, config: &Config) -> Result<(), Failure> {
    let own = cores().div_ceil(comm.local_size());
    try_threads(own + 2 + Exporters::threads(config)).map_err(|error| out_of_threads(&error))
}

/// Decimal units, as schedulers use them.
pub fn human_bytes(bytes: f64) -> String {
    let units = ["MB", "GB", "TB", "PB"];
    let power = ((bytes.max(1e6).log10() / 3.0) as usize).clamp(2, 5);
    format!("{:.1} {}", bytes / 1000f64.powi(power as i32), units[power - 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_that_fit() {
        assert_eq!(
            [0.0, 2.5e6, 24e9, 3.84e14, 1e30].map(human_bytes),
            ["0.0 MB", "2.5 MB", "24.0 GB", "384.0 TB", "1000000000000000.0 PB"]
        );
    }

    #[test]
    fn this_machine_has_memory() {
        let Some(MemoryLimit { bytes, .. }) = machine_memory() else { return };
        assert!(bytes > 1e8 && meminfo(&["MemAvailable"]).is_some_and(|free| free < bytes), "{bytes}");
    }
}
