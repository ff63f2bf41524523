//! Which CUDA GPU a rank computes on, loading libtorch's CUDA half, which the executable is not linked to, and what crosses
//! between the memory of host and device.
//!
//! What crosses lies in pinned memory, which a GPU reads and writes by itself, so that neither direction waits; only
//! [`fetch`] waits, once for all that it brings. Errors of earlier work on the device come out there. libtorch keeps the
//! pinned memory that was given back, and hands it out again when the copies from it are done: a run pins what one step
//! needs. On the CPU device, where tests run this, nothing is pinned and nothing waits.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Result, bail};
use bachdist_portable::backend::Device;
use bachdist_portable::print::eprint_line;
use tch::{Cuda, Kind, Tensor};

use crate::comm::Communicator;

/// The device of this rank for `train.device`.
///
/// # Collective
///
/// All ranks call this together, whatever each one's `train.device` is.
pub fn select_device(name: &str, comm: &dyn Communicator) -> Result<Device> {
    let found = if name == "cpu" { Ok(0) } else { devices() };
    // A rank without a GPU shares none.
    let own = if matches!(found, Ok(1..)) { view(comm, Path::new("/dev")) } else { 0 };
    let mut views = vec![0; comm.size()];
    comm.all_gather_words(&[own], &mut views);
    match found {
        _ if name == "cpu" => Ok(Device::Cpu),
        Ok(devices) => Ok(Device::Cuda(own_device(name, devices, &views, comm.rank())?)),
        Err(why) if name == "auto" => {
            // Once a host and process: an evaluation of several folds comes here for each.
            static NOTED: Once = Once::new();
            if comm.local_rank() == 0 && why.is_unexpected(Path::new("/proc/driver/nvidia").exists()) {
                NOTED.call_once(|| {
                    eprint_line(format_args!("note: {}no GPU is used: {why}", comm.rank_prefix()))
                });
            }
            Ok(Device::Cpu)
        }
        Err(why) => bail!("train.device: {name}: {why}"),
    }
}

/// Why this rank sees no GPU, on a host where one is to be expected.
pub fn missing_gpu() -> Option<String> {
    let why = devices().err()?;
    why.is_unexpected(Path::new("/proc/driver/nvidia").exists()).then(|| why.to_string())
}

/// Multiplies on a device: fails if libtorch has no kernels for it, or its memory is taken.
pub fn try_out(device: Device) -> Result<()> {
    let ones = Tensor::f_ones([64, 64], (Kind::Float, tch_device(device)))?;
    let product = fetch(&ones.f_mm(&ones)?.f_reshape([-1])?)?;
    if product.iter().any(|&sum| sum != 64.0) {
        bail!("{device} multiplies wrongly: 64 ones make {}", product[0]);
    }
    Ok(())
}

/// The number of a rank's GPU among those that it sees: the one that `train.device` names, or else its place among the
/// ranks that see the same. `views` says of each rank what it sees.
fn own_device(name: &str, devices: usize, views: &[u64], rank: usize) -> Result<usize> {
    if let Some(index) = name.strip_prefix("cuda:").and_then(|index| index.parse().ok()) {
        if index >= devices {
            let last = devices - 1;
            let there = if last == 0 { "cuda:0 alone".into() } else { format!("cuda:0 to cuda:{last}") };
            bail!("train.device: {name}: there is no such device; this host shows {there}");
        }
        return Ok(index);
    }
    let sharing = |ranks: &[u64]| ranks.iter().filter(|&&view| view == views[rank]).count();
    let index = sharing(&views[..rank]);
    if index >= devices {
        bail!(
            "train.device: {name}: {} ranks of this host see the same GPUs, of which there are {devices}; start at most \
             {devices} ranks there, or let them share one (train.device = \"cuda:0\")",
            sharing(views)
        );
    }
    Ok(index)
}

/// What decides which GPUs a rank sees, as a hash: its host, `CUDA_VISIBLE_DEVICES`, and which of the device files it may
/// open. Where a scheduler gives each rank a GPU by a control group, that is number 0 to every one of them.
fn view(comm: &dyn Communicator, dev: &Path) -> u64 {
    let names = [dev.to_owned(), dev.join("nvidia-caps")]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()));
    let is_gpu = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name.strip_prefix("nvidia-cap").or(name.strip_prefix("nvidia"));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let mut open: Vec<PathBuf> = names.filter(|path| is_gpu(path) && File::open(path).is_ok()).collect();
    open.sort();
    let mut hash = DefaultHasher::new();
    (comm.host(), std::env::var_os(VISIBLE), open).hash(&mut hash);
    // 0 is for ranks without a GPU.
    hash.finish().max(1)
}

/// Says which GPUs CUDA shows to a process, and in which order.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// How many GPUs this rank sees, at least one.
fn devices() -> Result<usize, NoCuda> {
    load_cuda(&libtorch()?.join("libtorch_cuda.so"))?;
    match Cuda::device_count() {
        count @ 1.. => Ok(count as usize),
        _ => Err(NoCuda::NoDevice {
            visible: std::env::var(VISIBLE).ok(),
            driver: fs::read_to_string("/proc/driver/nvidia/version").ok(),
        }),
    }
}

/// Why there is no CUDA device.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum NoCuda {
    /// libtorch's other half is not where it should be.
    #[error(
        "this libtorch has no CUDA half: there is no {}; launch/setup --cuda installs one, for which the program must be \
         built again", .0.display()
    )]
    Missing(PathBuf),
    /// It is, but does not load, in the loader's words.
    #[error("{} does not load: {why}; launch/setup --cuda installs what it needs", path.display())]
    Unloadable { path: PathBuf, why: String },
    /// It loads, and finds no GPU.
    #[error("libtorch's CUDA half finds no GPU: {}", no_device(visible.as_deref(), driver.as_deref()))]
    NoDevice { visible: Option<String>, driver: Option<String> },
}

impl NoCuda {
    /// Whether to print a note although no GPU was named, on a host where there is a driver or none.
    fn is_unexpected(&self, has_driver: bool) -> bool {
        match self {
            NoCuda::Missing(_) => has_driver,
            NoCuda::Unloadable { .. } => true,
            // Who sets the variable may want no GPU.
            NoCuda::NoDevice { visible, .. } => has_driver && visible.is_none(),
        }
    }
}

/// The likely reason, from `CUDA_VISIBLE_DEVICES` and what the driver's kernel half says of itself.
fn no_device(visible: Option<&str>, driver: Option<&str>) -> String {
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let version =
        driver.map(|driver| driver.split_whitespace().find(is_version).unwrap_or("of an unknown version"));
    match (visible, version) {
        (_, None) => "no NVIDIA driver is loaded here".into(),
        (Some(visible), _) => format!("{VISIBLE} is {visible:?}, which shows none"),
        (None, Some(version)) => {
            format!(
                "the NVIDIA driver ({version}) shows none; CUDA 13 needs 580 or newer, and a container needs --gpus"
            )
        }
    }
}

/// Asks cuBLAS for the same bits in every run: cuDNN's layers multiply on several streams, and the memory that a GEMM
/// gets must not depend on which comes first (see PyTorch on `nn.LSTM`). A value in the environment is replaced, because
/// each size of the workspace has bits of its own. Must be called before anything else, while the process has one thread.
pub fn request_deterministic_cublas() {
    // SAFETY: no other thread reads the environment, because there is none yet.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("CUBLAS_WORKSPACE_CONFIG", ":4096:2");
    }
}

/// The folder of the libtorch in this process. One of another release may lie where the loader would look first.
fn libtorch() -> Result<PathBuf, NoCuda> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    folder_of_libtorch(&maps).ok_or_else(|| NoCuda::Missing("libtorch_cuda.so".into()))
}

fn folder_of_libtorch(maps: &str) -> Option<PathBuf> {
    let mut paths = maps.lines().filter_map(|line| Some(Path::new(&line[line.find('/')?..])));
    Some(paths.find(|path| path.ends_with("libtorch_cpu.so"))?.parent()?.to_owned())
}

/// Loads libtorch's CUDA half, which the executable is not linked to, so that it also runs where there is none.
fn load_cuda(path: &Path) -> Result<(), NoCuda> {
    if !path.exists() {
        return Err(NoCuda::Missing(path.to_owned()));
    }
    // The library's constructors register its kernels with libtorch.
    // SAFETY: this library is made to be loaded beside libtorch_cpu.so, of the same release: its constructors
    // run once, on this thread, before any CUDA call, and nothing is looked up in it by name.
    #[allow(unsafe_code)]
    let loaded = unsafe { libloading::Library::new(path) };
    let library = loaded.map_err(|error| {
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        NoCuda::Unloadable { path: path.to_owned(), why }
    })?;
    // It is never unloaded.
    std::mem::forget(library);
    Ok(())
}

/// Blocks until work queued on `device` is done (no-op on a CPU). Errors of that work may be returned here.
pub fn wait(device: tch::Device) -> Result<()> {
    if let tch::Device::Cuda(_) = device {
        // All work is in one queue, and so is this copy, which waits. tch's `Cuda::synchronize` panics on an error.
        let _ = Tensor::f_zeros([1], (Kind::Float, device))?.f_to_device_(
            tch::Device::Cpu,
            Kind::Float,
            false,
            true,
        )?;
    }
    Ok(())
}

/// Fails as a device does, for fault injection: these two cannot be multiplied.
pub fn fail() -> Result<()> {
    let [a, b] = [[1, 2], [3, 4]].map(|shape| Tensor::f_zeros(shape, (Kind::Float, tch::Device::Cpu)));
    let _ = a?.f_mm(&b?)?;
    Ok(())
}

/// A device as libtorch names it.
pub fn tch_device(device: Device) -> tch::Device {
    match device {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda(index) => tch::Device::Cuda(index),
    }
}

/// Puts numbers on a device, without waiting for the copy.
pub fn upload(numbers: &[i64], device: tch::Device) -> Result<Tensor> {
    Ok(pinned(Tensor::f_from_slice(numbers)?, device)?.f_to_device_(device, Kind::Int64, true, false)?)
}

/// The same for numbers of a network.
pub fn upload_floats(numbers: &[f32], device: tch::Device) -> Result<Tensor> {
    Ok(pinned(Tensor::f_from_slice(numbers)?, device)?.f_to_device_(device, Kind::Float, true, false)?)
}

fn pinned(tensor: Tensor, device: tch::Device) -> Result<Tensor> {
    match device {
        // Not `pin_memory`, which warns at each call of an argument that tch cannot leave out.
        tch::Device::Cuda(_) => Ok(tensor.f_internal_pin_memory(device)?),
        _ => Ok(tensor),
    }
}

/// Brings numbers (f64) to the host. Waits until the device has done all that it was given: its queue has one order.
pub fn fetch(report: &Tensor) -> Result<Vec<f64>> {
    // Not tch's `Cuda::synchronize`, which panics if the device's work has failed.
    Ok(Vec::try_from(&report.f_to_device_(tch::Device::Cpu, Kind::Double, false, true)?)?)
}

/// Numbers of a network in the host's memory; pinned, if they come from a GPU.
pub struct HostBuffer(Tensor);

impl HostBuffer {
    /// A copy of a tensor, which is complete when this returns.
    pub fn fetch(tensor: &Tensor) -> Result<Self> {
        // A copy that is not waited for goes into pinned memory, which is much faster.
        let copy = tensor.f_to_device_(tch::Device::Cpu, Kind::Float, true, true)?;
        wait(tensor.device())?;
        let copy = copy.f_contiguous()?;
        assert_eq!((copy.device(), copy.kind()), (tch::Device::Cpu, Kind::Float));
        Ok(HostBuffer(copy))
    }

    /// The numbers.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        if self.0.numel() == 0 {
            return &mut [];
        }
        // SAFETY: the tensor is contiguous, of f32 and in the host's memory (ensured by `fetch`, and never changed), so
        // `numel` initialized numbers lie at its address, which is not null because there are some. `self` is its only
        // handle: `fetch` makes a copy of its own, which no graph holds and which is complete when it returns, and
        // `send` takes `self` along, so while this borrow lives no device reads or writes there.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.0.data_ptr().cast::<f32>(), self.0.numel())
        }
    }

    /// Puts them on a device, without waiting for the copy. The memory is not used again before that is done.
    pub fn send(self, device: tch::Device) -> Result<Tensor> {
        Ok(self.0.f_to_device_(device, Kind::Float, true, false)?)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::comm::SingleProcess;

    #[test]
    fn ranks_that_see_the_same_gpus_share_them_out() {
        let own = |devices, views: &[u64]| -> Vec<_> {
            (0..views.len()).map(|rank| own_device("auto", devices, views, rank).ok()).collect()
        };
        // One host of four GPUs; two hosts of two; a GPU for each rank; two for each pair; ranks without one among others.
        assert_eq!(own(4, &[7, 7, 7, 7]), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(own(2, &[7, 7, 8, 8]), [Some(0), Some(1), Some(0), Some(1)]);
        assert_eq!(own(1, &[5, 6, 7, 8]), [Some(0); 4]);
        assert_eq!(own(2, &[5, 6, 5, 6]), [Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!(own(1, &[0, 6, 0, 7])[1], Some(0));
        assert_eq!(own(2, &[7, 7, 7]), [Some(0), Some(1), None]);
    }

    #[test]
    fn devices_that_are_not_there() {
        let error = |name, devices, views: &[u64], rank| {
            own_device(name, devices, views, rank).unwrap_err().to_string()
        };
        assert_eq!(
            error("cuda", 1, &[7, 7, 8], 1),
            "train.device: cuda: 2 ranks of this host see the same GPUs, of which there are 1; start at most 1 ranks there, \
             or let them share one (train.device = \"cuda:0\")"
        );
        let named = "train.device: cuda:9: there is no such device; this host shows";
        assert_eq!(error("cuda:9", 1, &[7, 7], 1), format!("{named} cuda:0 alone"));
        assert_eq!(error("cuda:9", 8, &[7], 0), format!("{named} cuda:0 to cuda:7"));
        // Ranks may share a GPU that is named.
        assert_eq!(own_device("cuda:1", 2, &[7, 7, 7], 2).unwrap(), 1);
    }

    #[test]
    fn what_a_rank_sees_is_what_it_may_open() {
        let dev = tempfile::tempdir().unwrap();
        let seen = || view(&SingleProcess, dev.path());
        let none = seen();
        fs::write(dev.path().join("nvidiactl"), "").unwrap();
        fs::write(dev.path().join("nvidia-uvm"), "").unwrap();
        assert_eq!(seen(), none);
        fs::write(dev.path().join("nvidia0"), "").unwrap();
        let one = seen();
        assert_ne!(one, none);
        // Cannot be opened, whoever asks.
        std::os::unix::fs::symlink("nowhere", dev.path().join("nvidia1")).unwrap();
        assert_eq!(seen(), one);
        fs::create_dir(dev.path().join("nvidia-caps")).unwrap();
        fs::write(dev.path().join("nvidia-caps/nvidia-cap3"), "").unwrap();
        assert_ne!(seen(), one);
    }

    #[test]
    fn the_libtorch_of_this_process() {
        let folder = libtorch().unwrap();
        assert!(folder.join("libtorch_cpu.so").exists(), "{}", folder.display());
        let maps = "7f00-7f01 r-xp 00000000 08:01 12   /a b/lib/libtorch_cpu.so.bak\n\
                    7f00-7f01 r-xp 00000000 08:01 12   [heap]\n7f00-7f01 r-xp 00000000 08:01 12   /a b/lib/libtorch_cpu.so\n";
        assert_eq!(folder_of_libtorch(maps), Some("/a b/lib".into()));
        assert_eq!(folder_of_libtorch("7f00-7f01 r-xp 00000000 08:01 12\n"), None);
    }

    #[test]
    fn a_cuda_half_that_is_missing_or_does_not_load() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("libtorch_cuda.so");
        let error = load_cuda(&path).unwrap_err();
        assert_eq!(error, NoCuda::Missing(path.clone()));
        assert!(
            error.to_string().contains(&format!("there is no {}; launch/setup --cuda", path.display())),
            "{error}"
        );

        // It needs another library, which is not there, and then is.
        let cc = |words: &[&str]| {
            assert!(Command::new("cc").args(words).current_dir(&place).status().unwrap().success())
        };
        fs::write(place.path().join("needed.c"), "int f(void) { return 1; }").unwrap();
        fs::write(place.path().join("half.c"), "int f(void); int g(void) { return f(); }").unwrap();
        cc(&["-shared", "-fPIC", "-o", "libneeded.so.9", "-Wl,-soname,libneeded.so.9", "needed.c"]);
        cc(&["-shared", "-fPIC", "-o", "libtorch_cuda.so", "-Wl,-rpath,$ORIGIN", "half.c", "libneeded.so.9"]);
        fs::rename(place.path().join("libneeded.so.9"), place.path().join("elsewhere")).unwrap();
        let error = load_cuda(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{} does not load: libneeded.so.9: cannot open shared object file: No such file or directory; launch/setup \
                 --cuda installs what it needs",
                path.display()
            )
        );
        fs::rename(place.path().join("elsewhere"), place.path().join("libneeded.so.9")).unwrap();
        assert_eq!(load_cuda(&path), Ok(()));

        let path = place.path().join("other.so");
        fs::write(&path, "no library").unwrap();
        let error = load_cuda(&path).unwrap_err().to_string();
        assert!(error.contains("does not load: ") && error.contains("file too short"), "{error}");
    }

    #[test]
    fn why_a_loaded_half_finds_no_gpu() {
        let driver = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\nGCC version:\n";
        assert_eq!(no_device(None, None), "no NVIDIA driver is loaded here");
        assert_eq!(no_device(Some(""), None), "no NVIDIA driver is loaded here");
        assert_eq!(no_device(Some(""), Some(driver)), "CUDA_VISIBLE_DEVICES is \"\", which shows none");
        assert!(
            no_device(None, Some(driver))
                .starts_with("the NVIDIA driver (535.54.03) shows none; CUDA 13 needs 580")
        );
    }

    #[test]
    fn who_is_told_that_no_gpu_is_used() {
        let missing = NoCuda::Missing("x".into());
        let unloadable = NoCuda::Unloadable { path: "x".into(), why: "y".into() };
        let hidden = NoCuda::NoDevice { visible: Some("".into()), driver: None };
        let none = NoCuda::NoDevice { visible: None, driver: None };
        assert_eq!(
            [&missing, &unloadable, &hidden, &none].map(|why| why.is_unexpected(true)),
            [true, true, false, true]
        );
        assert_eq!(
            [&missing, &unloadable, &hidden, &none].map(|why| why.is_unexpected(false)),
            [false, true, false, false]
        );
    }

    #[test]
    fn waiting_for_a_device_that_fails_is_an_error() {
        assert!(wait(tch::Device::Cuda(100)).is_err());
        assert!(wait(tch::Device::Cpu).is_ok());
    }

    #[test]
    fn a_fetched_tensor_is_a_copy_that_can_be_changed_and_sent_back() {
        let gradient = Tensor::from_slice(&[1f32, 2.0, 3.0]);
        let report = fetch(&Tensor::from_slice(&[0.1, f64::NAN])).unwrap();
        assert_eq!(report[0], 0.1);
        assert!(report[1].is_nan());
        let mut host = HostBuffer::fetch(&gradient).unwrap();
        assert_eq!(host.as_mut_slice(), [1.0, 2.0, 3.0]);
        host.as_mut_slice()[1] = 5.0;
        assert_eq!(Vec::<f32>::try_from(&gradient).unwrap(), [1.0, 2.0, 3.0]);
        let back = host.send(tch::Device::Cpu).unwrap();
        assert_eq!(Vec::<f32>::try_from(&back).unwrap(), [1.0, 5.0, 3.0]);
    }
}
