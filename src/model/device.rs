//! Where a rank computes: its own accelerator, or the cores that it may use.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Result, bail};
use bachdist_core::environment;
use bachdist_core::parallel::usable_cores;
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

/// Asks cuBLAS for the same bits in every run, unless the environment says something else: cuDNN's layers multiply on
/// several streams, and the memory that a product gets must not depend on which comes first (see PyTorch on
/// `nn.LSTM`). Must be called before anything else, while the process has one thread.
pub fn ask_for_equal_bits() {
    const VARIABLE: &str = "CUBLAS_WORKSPACE_CONFIG";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: no other thread reads the environment, because there is none yet.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var(VARIABLE, ":4096:2");
        }
    }
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

/// How many threads libtorch may use in this rank: its share of the cores that it may run on, or what
/// `OMP_NUM_THREADS` asks for, up to all of them. All ranks must call this together.
pub fn set_threads(comm: &dyn Comm) -> usize {
    // Asked of all ranks, whatever each one's environment says: it is a collective.
    let share = own_cores(comm);
    let asked = environment::threads().ok().flatten();
    let threads = asked.map_or(share, |asked| asked.min(usable_cores()));
    tch::set_num_threads(threads as i32);
    threads
}

/// This rank's share of the cores that it may run on: all of them, if its launcher gave it some of its own,
/// otherwise its part of those that it shares with other ranks.
fn own_cores(comm: &dyn Comm) -> usize {
    let usable = usable_cores();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find(|line| line.starts_with("Cpus_allowed_list"));
    let mut hash = DefaultHasher::new();
    (comm.host(), mask).hash(&mut hash);
    let mut masks = vec![0; comm.size()];
    let own = hash.finish();
    comm.all_gather_words(&[own], &mut masks);
    let sharing = masks.iter().filter(|&&mask| mask == own).count();
    (usable / sharing).max(1)
}

/// Waits until a device has done what it was given; a CPU has by then.
pub fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// A device as the configuration names it.
pub fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".into(),
    }
}
