//! Where a rank computes: its own accelerator, or the cores that it may use.

use std::num::NonZero;

use anyhow::{Result, bail};
use tch::{Cuda, Device};

use crate::comm::Comm;

/// The device of this rank for `train.device`.
pub fn choose(name: &str, comm: &dyn Comm) -> Result<Device> {
    let wanted = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" | "cuda" => None,
        _ => name.strip_prefix("cuda:").and_then(|index| index.parse().ok()),
    };
    load_cuda();
    let devices = Cuda::device_count() as usize;
    let index = wanted.unwrap_or(comm.local_rank());
    if index < devices {
        return Ok(Device::Cuda(index));
    }
    if name == "auto" && devices == 0 {
        return Ok(Device::Cpu);
    }
    if devices == 0 {
        bail!(
            "train.device: {name}: no CUDA device is visible, or this libtorch has no CUDA (launch/setup --cuda)"
        );
    }
    bail!(
        "train.device: {name}: rank {} of this host needs device {index}, but the host shows {devices}; start at most \
         {devices} ranks on it",
        comm.local_rank()
    )
}

/// Loads libtorch's CUDA half, which the executable is not linked to, so that it also runs where there is none.
fn load_cuda() {
    // The library's constructors register its kernels with libtorch. It is never unloaded.
    // SAFETY: this library is made to be loaded beside libtorch_cpu.so, of the same release: its constructors
    // run once, on this thread, before any CUDA call, and nothing is looked up in it by name.
    #[allow(unsafe_code)]
    if let Ok(library) = unsafe { libloading::Library::new("libtorch_cuda.so") } {
        std::mem::forget(library);
    }
}

/// How many threads libtorch may use in this rank: `OMP_NUM_THREADS` where set, otherwise its share of the
/// cores that it may run on.
pub fn set_threads(comm: &dyn Comm) -> usize {
    let asked = std::env::var("OMP_NUM_THREADS").ok().and_then(|text| text.parse::<usize>().ok());
    let threads = asked.filter(|&threads| threads > 0).unwrap_or_else(|| own_cores(comm));
    tch::set_num_threads(threads as i32);
    threads
}

/// The cores in this process's affinity mask. A launcher that binds ranks gives each its own; where ranks share
/// a mask, they share its cores.
fn own_cores(comm: &dyn Comm) -> usize {
    let usable = std::thread::available_parallelism().map_or(1, NonZero::get);
    let host = online_cores();
    let fair = (host / comm.local_size()).max(1);
    usable.min(fair)
}

fn online_cores() -> usize {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    list.trim().split(',').filter_map(count).sum::<usize>().max(1)
}

/// A device as the configuration names it.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}
