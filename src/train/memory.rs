//! Whether a run fits into memory, judged before anything is allocated for it. What is counted is the least that it
//! takes, so that nothing is refused that would work.

use std::fs;

use bachdist_core::config::LossPositions;
use bachdist_core::corpus::batches::Batches;
use bachdist_core::failure::{Code, Failure};
use bachdist_core::network::Architecture;
use rustix::process::{Resource, getrlimit};
use tch::Device;

use super::plan::Plan;
use crate::comm::Communicator;

/// Copies of the parameters that a rank has in f32: weights, mean squares, gradient, and the kernels of the
/// network packed for both ways.
const COPIES: f64 = 5.0;

/// The same where a GPU has the rest: what the run starts from.
const COPIES_BESIDE_A_GPU: f64 = 2.0;

/// What rank 0 has beside them while it saves: weights and mean squares, as they were and as bytes.
const COPIES_OF_A_CHECKPOINT: f64 = 4.0;

/// Memory that there is, and what says so.
struct Limit {
    bytes: f64,
    what: &'static str,
}

/// Bytes that a run takes at least.
struct Needed {
    /// By this rank's parameters, in all their copies.
    parameters: f64,
    /// By what this rank keeps of a batch.
    batch: f64,
    /// By all ranks of this host.
    on_host: f64,
}

/// An error if the plan's run needs more than there is for it; a note if it needs more than is free at the moment.
pub fn judge(comm: &dyn Communicator, plan: &Plan, batches: Batches) -> Result<Option<String>, Failure> {
    let needed = needed(comm, plan, batches);
    let own = needed.parameters + needed.batch;
    let limits = [(needed.on_host, of_machine()), (needed.on_host, of_group()), (own, of_process())];
    for (needed_here, limit) in limits {
        let Some(limit) = limit.filter(|limit| limit.bytes < needed_here) else { continue };
        let key = if needed.batch > needed.parameters {
            format!("train.batch_size = {}", plan.config.train.batch_size)
        } else {
            format!("model.units = {}", plan.config.model.units)
        };
        let message = format!(
            "{key}: training needs at least {} of memory, and {} {}; a smaller model or batch needs less",
            size(needed_here),
            limit.what,
            size(limit.bytes)
        );
        return Err(Failure::new(Code::Usage, message));
    }
    let free = meminfo(&["MemAvailable", "SwapFree"]).filter(|&free| free < needed.on_host);
    let [needed, free] = [Some(needed.on_host), free].map(|bytes| bytes.map(size));
    Ok(needed
        .zip(free)
        .map(|(needed, free)| format!("training needs at least {needed} of memory, of which {free} is free")))
}

/// What a plan needs, in floating point: the declared numbers may be too large for any other.
fn needed(comm: &dyn Communicator, plan: &Plan, batches: Batches) -> Needed {
    let Architecture { classes, layers, units, dense, members, .. } = plan.architecture;
    let features = plan.architecture.features();
    let [classes, layers, units, dense, members, features] =
        [classes, layers, units, dense, members, features].map(|size| size as f64);
    let lstm = 4.0 * units * (features + units + 1.0) + (layers - 1.0) * 4.0 * units * (2.0 * units + 1.0);
    let one_copy = 4.0 * members * (lstm + dense * (units + 1.0) + features * (dense + 1.0));
    let on_cpu = plan.device == Device::Cpu;
    let copies = if on_cpu { COPIES } else { COPIES_BESIDE_A_GPU };
    let of_checkpoint = if comm.is_root() { COPIES_OF_A_CHECKPOINT } else { 0.0 };

    // What a thread keeps of a lane between the ways forward and back.
    let own = plan.assignment.lanes_of(comm.rank());
    let lanes = own.filter(|&lane| batches.rows(lane).start < batches.most_windows()).count();
    let rows = (lanes.min(plan.threads) * batches.padded_rows()) as f64;
    let notes = plan.config.training_length() as f64;
    let predictions = if plan.config.train.loss_positions == LossPositions::All { notes } else { 1.0 };
    let of_note = 7.0 * units * layers + units * (layers - 1.0) + 2.0 * units;
    let of_prediction = 2.0 * dense + features + classes;
    let of_rows = 4.0 * rows * (notes * of_note + predictions * of_prediction);
    let batch = if on_cpu { of_rows } else { 0.0 };
    Needed {
        parameters: one_copy * (copies + of_checkpoint),
        batch,
        on_host: one_copy * (copies * comm.local_size() as f64 + of_checkpoint) + batch,
    }
}

/// The machine's memory and swap.
fn of_machine() -> Option<Limit> {
    let bytes = meminfo(&["MemTotal", "SwapTotal"])?;
    Some(Limit { bytes, what: "this machine has" })
}

/// The sum of some lines of `/proc/meminfo`, in bytes.
fn meminfo(names: &[&str]) -> Option<f64> {
    let all = names.iter().map(|name| kilobytes("/proc/meminfo", name));
    all.sum::<Option<f64>>().map(|kilobytes| 1024.0 * kilobytes)
}

/// The number in the line of this name of a file of the kernel's.
fn kilobytes(path: &str, name: &str) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// What the job's control group may take, where a scheduler or container has set it.
fn of_group() -> Option<Limit> {
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
        // In a container the group's own path may be that of the host, and the root is the container's.
        let group = group.trim_end_matches('/');
        [read(format!("{root}{group}/{file}")), read(format!("{root}/{file}"))]
            .into_iter()
            .flatten()
            .reduce(f64::min)
    });
    Some(Limit { bytes: limits.reduce(f64::min)?, what: "the limit of its control group is" })
}

/// What `ulimit -v` leaves of this process's address space.
fn of_process() -> Option<Limit> {
    let most = getrlimit(Resource::As).current? as f64;
    let used = kilobytes("/proc/self/status", "VmSize")?;
    let bytes = (most - 1024.0 * used).max(0.0);
    Some(Limit { bytes, what: "ulimit -v leaves" })
}

/// Bytes as people read them.
fn size(bytes: f64) -> String {
    let units = ["MB", "GB", "TB", "PB"];
    let power = ((bytes.max(1e6).log10() / 3.0) as usize).clamp(2, 5);
    format!("{:.1} {}", bytes / 1000f64.powi(power as i32), units[power - 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_units_that_fit() {
        assert_eq!(
            [0.0, 2.5e6, 24e9, 3.84e14, 1e30].map(size),
            ["0.0 MB", "2.5 MB", "24.0 GB", "384.0 TB", "1000000000000000.0 PB"]
        );
    }

    #[test]
    fn this_machine_has_memory() {
        let Some(Limit { bytes, .. }) = of_machine() else { return };
        assert!(bytes > 1e8 && meminfo(&["MemAvailable"]).is_some_and(|free| free < bytes), "{bytes}");
    }
}
