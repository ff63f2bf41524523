//! Which backend computes a rank's steps, and where: `train.backend` and `train.device` resolved on the machine at hand.
//!
//! [`bachdist_portable::backend`] has the trait and the native backend, `torch` (feature `torch`) the one by libtorch.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Result, bail};
use bachdist_portable::backend::native::NativeBackend;
use bachdist_portable::backend::{Backend, BackendName, Device};
use bachdist_portable::config::{BackendChoice, TrainConfig};
use bachdist_portable::network::Architecture;
use bachdist_portable::process::{cores, usable_cores};
use bachdist_portable::{environment, process};

use crate::comm::Communicator;
#[cfg(feature = "torch")]
use crate::torch::{self, TorchBackend};

/// What computes a rank's steps, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The same on every rank.
    pub backend: BackendName,
    /// May differ from host to host.
    pub device: Device,
}

impl Target {
    /// Resolves `train.backend` and `train.device`: `auto` is `torch` on a GPU and `native` on a CPU.
    ///
    /// # Errors
    /// Combinations that cannot be, and ranks that would use different backends.
    ///
    /// # Collective
    /// All ranks call this together, whatever each one's configuration says.
    pub fn select(train: &TrainConfig, comm: &dyn Communicator) -> Result<Target> {
        let own = Target::own(train, comm);
        let word = match &own {
            Ok(Target { backend: BackendName::Native, .. }) => 1,
            Ok(Target { backend: BackendName::Torch, .. }) => 2,
            Err(_) => 0,
        };
        let mut all = vec![0; comm.size()];
        comm.all_gather_words(&[word], &mut all);
        let own = own?;
        if all[0] != 0 && all[0] != word {
            let there = if all[0] == 1 { BackendName::Native } else { BackendName::Torch };
            bail!(
                "train.backend: auto is {} here and {there} on rank 0, whose numbers differ; set train.backend to one of \
                 them, or train.device to one kind of device",
                own.backend
            );
        }
        Ok(own)
    }

    fn own(train: &TrainConfig, comm: &dyn Communicator) -> Result<Target> {
        let TrainConfig { backend, device: name, .. } = train;
        // Looking for GPUs is a collective, so it comes before anything that may differ between ranks.
        let device =
            device(if *backend == BackendChoice::Native && name == "auto" { "cpu" } else { name }, comm);
        if *backend == BackendChoice::Torch && !cfg!(feature = "torch") {
            bail!(
                "train.backend: this bachdist was built without libtorch, so there is no \"torch\" (feature torch)"
            );
        }
        let device = device?;
        let backend = match (backend, device) {
            (BackendChoice::Native, Device::Cuda(_)) => {
                bail!(
                    "train.backend: \"native\" computes on CPUs, and train.device is {name:?}; set one of them to \"auto\""
                )
            }
            (BackendChoice::Native, Device::Cpu) | (BackendChoice::Auto, Device::Cpu) => BackendName::Native,
            (BackendChoice::Torch, _) | (BackendChoice::Auto, Device::Cuda(_)) => BackendName::Torch,
        };
        Ok(Target { backend, device })
    }

    /// A backend of zeros, which up to `threads` threads of a CPU compute.
    pub fn backend(self, architecture: Architecture, threads: usize) -> Result<Box<dyn Backend>> {
        match self.backend {
            BackendName::Native => Ok(Box::new(NativeBackend::new(architecture, threads))),
            #[cfg(feature = "torch")]
            BackendName::Torch => {
                let device = torch::cuda::tch_device(self.device);
                Ok(Box::new(TorchBackend::new(architecture, device, threads)?))
            }
            #[cfg(not(feature = "torch"))]
            BackendName::Torch => bail!("this bachdist was built without libtorch (feature torch)"),
        }
    }
}

#[cfg(feature = "torch")]
fn device(name: &str, comm: &dyn Communicator) -> Result<Device> {
    torch::cuda::select_device(name, comm)
}

#[cfg(not(feature = "torch"))]
fn device(name: &str, _comm: &dyn Communicator) -> Result<Device> {
    if name.starts_with("cuda") {
        bail!(
            "train.device: {name}: this bachdist was built without libtorch (feature torch), which GPUs need"
        );
    }
    Ok(Device::Cpu)
}

/// Why no GPU is used, on a host that seems to have one.
pub fn missing_gpu() -> Option<String> {
    #[cfg(feature = "torch")]
    let missing = torch::cuda::missing_gpu();
    #[cfg(not(feature = "torch"))]
    let missing = std::path::Path::new("/proc/driver/nvidia")
        .exists()
        .then(|| "this bachdist was built without libtorch; build it with the feature torch".to_owned());
    missing
}

/// Fails if a device is there but cannot compute.
pub fn try_out(device: Device) -> Result<()> {
    match device {
        #[cfg(feature = "torch")]
        Device::Cuda(_) => torch::cuda::try_out(device),
        _ => Ok(()),
    }
}

/// The threads of this rank: its part of the cores that it may run on, or what `OMP_NUM_THREADS` asks for, up to all of
/// them.
///
/// # Collective
/// All ranks call this together.
pub fn threads(comm: &dyn Communicator) -> usize {
    // Asked of all ranks, whatever each one's environment says: it is a collective.
    let own = own_cores(comm);
    if let Ok(Some(_)) = environment::threads() { cores() } else { own }
}

/// All cores that this rank may run on, if its launcher gave it cores of its own; otherwise its part of those that it
/// shares with other ranks.
fn own_cores(comm: &dyn Communicator) -> usize {
    let mut hash = DefaultHasher::new();
    (comm.host(), process::status("Cpus_allowed_list")).hash(&mut hash);
    let mut masks = vec![0; comm.size()];
    let own = hash.finish();
    comm.all_gather_words(&[own], &mut masks);
    let sharing = masks.iter().filter(|&&mask| mask == own).count();
    (usable_cores() / sharing).max(1)
}
