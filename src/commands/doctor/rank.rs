//! What a rank finds by itself, and tells the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::slice;

use anyhow::Result;
use bachdist_portable::backend::Device;
use bachdist_portable::config::{BackendChoice, Config};
use bachdist_portable::corpus::{Corpus, Piece, fingerprint};
use bachdist_portable::environment;
use bachdist_portable::failure::{ExitCode, HasExitCode};
use bachdist_portable::print::count;
use bachdist_portable::process::{allowed_cores, allowed_cores_of_parent, usable_cores};
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::check::Check;
use crate::backend::{self, Target};
use crate::comm::Communicator;
use crate::comm::launch::{self, Launch};
use crate::failure::{code_of, line_of};
use crate::train::prepare::{check_threads, human_bytes};

/// What ranks compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankReport {
    pub host: String,
    /// Name and version of the MPI library.
    pub mpi: Option<String>,
    /// Started by Open MPI's mpirun.
    pub by_mpirun: bool,
    /// The cores that it may run on, by their numbers.
    pub cores: Vec<usize>,
    /// As many as a control group lets it use.
    pub usable_cores: usize,
    /// The cores of mpirun, or of its daemon, on the host.
    pub launcher_cores: Option<Vec<usize>>,
    pub threads: usize,
    /// The widest vectors of the processor that training uses.
    pub vectors: String,
    /// A hash of the executable; empty in a single process.
    pub program: String,
    /// A hash of what all ranks need the same of their configuration.
    pub config: String,
    /// Whether music, plan and storage of a run are to be checked.
    pub checks_run: bool,
    pub checks: Vec<Check>,
}

/// This rank's part, with `url` as the place of its run, if there is one to check.
///
/// # Collective
///
/// All ranks call this together, whatever each one's configuration says.
pub fn examine(comm: &dyn Communicator, config: &Config, url: Option<&str>) -> RankReport {
    let threads = backend::threads(comm);
    let mut checks = vec![device(comm, config)];
    if let Err(failure) = check_threads(comm, config) {
        checks.push(Check::of_error("threads", failure.code, &failure.message, "start fewer ranks"));
    }
    let is_first_of_host = comm.local_rank() == 0;
    if is_first_of_host {
        checks.extend([shared_memory(comm.local_size()), names_of_hosts(comm, &comm.hosts())]);
    }
    let music = (url.is_some() && is_first_of_host).then(|| read_music(config));
    checks.extend(same_music(comm, music));
    let described = serde_json::json!([config.shared_by_ranks(), url]);
    let launch = Launch::from_environment();
    RankReport {
        host: comm.host(),
        mpi: launch::library(),
        by_mpirun: launch.has_mpirun(),
        cores: allowed_cores().unwrap_or_default(),
        usable_cores: usable_cores(),
        launcher_cores: launch.has_mpirun().then(allowed_cores_of_parent).flatten(),
        threads,
        vectors: vectors().into(),
        program: if comm.size() > 1 { hash_of_program().unwrap_or_default() } else { String::new() },
        config: bachdist_portable::hex(&Sha256::digest(described.to_string())),
        checks_run: url.is_some(),
        checks,
    }
}

/// What computes the steps.
///
/// # Collective
fn device(comm: &dyn Communicator, config: &Config) -> Check {
    let mut train = config.train.clone();
    let wants_gpu = train.device == "auto" && train.backend != BackendChoice::Native;
    let missing = if wants_gpu { backend::missing_gpu() } else { None };
    if missing.is_some() {
        // What auto comes to; by name, so that no note says the same once more.
        train.device = "cpu".into();
    }
    let target = Target::select(&train, comm);
    let tried = target.and_then(|target| backend::try_out(target.device).map(|()| target));
    match (tried, missing) {
        (Err(error), _) => {
            let code = match code_of(&error) {
                ExitCode::Internal => ExitCode::Usage,
                code => code,
            };
            Check::of_error("device", code, &line_of(&error), "set train.device to another one")
        }
        (Ok(target), Some(why)) => {
            let (why, remedy) =
                why.rsplit_once("; ").unwrap_or((&why, "set train.device to cpu to train without"));
            Check::warning("device", format!("{} on the CPU, no GPU is used: {why}", target.backend), remedy)
        }
        (Ok(Target { backend, device: Device::Cpu }), None) => {
            Check::ok("device", format!("{backend} on the CPU"))
        }
        (Ok(Target { backend, device }), None) => {
            Check::ok("device", format!("{backend} on {device}{}", models_of_gpus()))
        }
    }
}

/// The kinds of GPUs that the driver knows.
fn models_of_gpus() -> String {
    let gpus = fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let models: BTreeSet<String> = gpus
        .filter_map(|gpu| fs::read_to_string(gpu.path().join("information")).ok())
        .filter_map(|text| Some(text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim().to_owned()))
        .collect();
    let models: Vec<_> = models.into_iter().collect();
    if models.is_empty() { String::new() } else { format!(" ({})", models.join(", ")) }
}

/// What Open MPI reserves in `/dev/shm` for each rank of a host (`btl_vader_segment_size`).
const SEGMENT_BYTES: f64 = (4 << 20) as f64;

fn shared_memory(local_ranks: usize) -> Check {
    let name = "/dev/shm";
    let needed = SEGMENT_BYTES * local_ranks as f64;
    match free_bytes(Path::new(name)) {
        Err(error) => Check::warning(
            name,
            format!("cannot be used: {error}"),
            "mount a tmpfs there: without it the ranks of a host talk more slowly",
        ),
        Ok(free) if free < needed => Check::warning(
            name,
            format!("{} free, and Open MPI wants {}", human_bytes(free), human_bytes(needed)),
            "delete vader_segment.* of crashed jobs, or docker run --shm-size=1g",
        ),
        Ok(free) => Check::ok(name, format!("{} free", human_bytes(free))),
    }
}

/// The space that a user has on the file system of a folder.
pub fn free_bytes(folder: &Path) -> io::Result<f64> {
    let found = statvfs(folder)?;
    Ok(found.f_bavail as f64 * found.f_frsize as f64)
}

/// Files with the hosts that Open MPI 4 and 5 start ranks on where nothing else is said.
const HOST_FILES: [&str; 2] = ["OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile"];

/// Whether the names of all ranks' hosts, and of those that mpirun would use, have an address here.
fn names_of_hosts(comm: &dyn Communicator, hosts: &[String]) -> Check {
    let name = "hosts";
    let same_name = hosts.iter().filter(|host| **host == comm.host()).count();
    if same_name != comm.local_size() {
        return Check::warning(
            name,
            format!("several hosts are named {}", comm.host()),
            "give each host a name of its own: ranks divide cores and GPUs by it",
        );
    }
    let distinct: BTreeSet<&str> = hosts.iter().map(String::as_str).collect();
    let mut listed = BTreeSet::new();
    for variable in HOST_FILES {
        let Ok(Some(path)) = environment::variable(variable) else { continue };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let found = format!("{variable} is {path}, which cannot be read: {error}");
                return Check::problem(name, ExitCode::Usage, found, format!("correct or unset {variable}"));
            }
        };
        let names = text.lines().filter_map(|line| line.split(['#', ' ', '\t', ':']).next());
        listed.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    let has_no_address = |host: &&str| (*host, 0).to_socket_addrs().is_err();
    if let Some(host) = listed.iter().map(String::as_str).find(has_no_address) {
        return Check::problem(
            name,
            ExitCode::Usage,
            format!("{host} of mpirun's host file has no address"),
            "correct it there, or add it to the DNS or /etc/hosts of every host",
        );
    }
    match distinct.iter().copied().find(has_no_address) {
        Some(host) => Check::warning(
            name,
            format!("{host} has no address"),
            "add it to the DNS, or to /etc/hosts of every host",
        ),
        None => {
            let known = listed.len().max(distinct.len());
            let verb = if known == 1 { "has an address" } else { "have addresses" };
            Check::ok(name, format!("{} {verb}", count(known as u64, "name")))
        }
    }
}

/// All pieces that are trained on or held out, or why they cannot be.
fn read_music(config: &Config) -> Result<Vec<Piece>, Check> {
    let length = config.train.tokens_before_prediction(config.training_length());
    match Corpus::load(&config.data, &*config.representation.build(), length) {
        Ok(Corpus { training, held_out, .. }) => Ok([training, held_out].concat()),
        Err(error) => {
            let text = error.to_string();
            let mut lines = text.lines();
            let first = lines.next().unwrap_or_default();
            let remedy = format!("bachdist data inspect {} lists files and problems", config.data.midi);
            Err(match lines.count() {
                0 => Check::of_error("corpus", error.exit_code(), first, &remedy),
                more => {
                    let more = count(more as u64, "more line");
                    Check::problem("corpus", error.exit_code(), format!("{first}, and {more}"), remedy)
                }
            })
        }
    }
}

/// What this rank has to say of its music. Whole pieces are compared, not only names and sizes as training does: one note
/// that differs on a host changes the weights.
///
/// # Collective
fn same_music(comm: &dyn Communicator, music: Option<Result<Vec<Piece>, Check>>) -> Option<Check> {
    let own: Vec<(String, String)> = match &music {
        Some(Ok(pieces)) => {
            pieces.iter().map(|piece| (piece.name.clone(), fingerprint(slice::from_ref(piece)))).collect()
        }
        _ => Vec::new(),
    };
    let mut bytes = if comm.is_root() { serde_json::to_vec(&own).expect("text") } else { Vec::new() };
    comm.broadcast(&mut bytes);
    let on_root: Vec<(String, String)> = serde_json::from_slice(&bytes).expect("rank 0 sent it");
    let pieces = match music? {
        Ok(pieces) => pieces,
        Err(problem) => return Some(problem),
    };
    // An empty list is of a rank 0 that cannot read its own.
    if !on_root.is_empty() && own != on_root {
        let of_root: BTreeMap<_, _> = on_root.into_iter().collect();
        let differs = own.iter().find(|(name, hash)| of_root.get(name) != Some(hash));
        let found = match differs {
            Some((name, _)) if of_root.contains_key(name) => format!("{name} is not the piece of rank 0"),
            Some((name, _)) => format!("{name} is not on rank 0"),
            None => "a piece of rank 0 is missing".into(),
        };
        return Some(Check::problem(
            "corpus",
            ExitCode::Data,
            found,
            "give every host the same files under data.midi",
        ));
    }
    let tokens: usize = pieces.iter().map(|piece| piece.tokens.len()).sum();
    let (pieces, tokens) = (count(pieces.len() as u64, "piece"), count(tokens as u64, "token"));
    Some(Check::ok("corpus", format!("{pieces}, {tokens}")))
}

/// The widest vectors that the arithmetic uses here.
fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match (pulp::x86::V4::try_new(), pulp::x86::V3::try_new()) {
        (Some(_), _) => "AVX-512",
        (None, Some(_)) => "AVX2",
        (None, None) => NO_VECTORS,
    }
    #[cfg(not(target_arch = "x86_64"))]
    if cfg!(target_arch = "aarch64") { "NEON" } else { NO_VECTORS }
}

/// Of a processor without fused multiply-adds, where each is a function.
pub const NO_VECTORS: &str = "no vectors";

fn hash_of_program() -> io::Result<String> {
    let (mut file, mut hash) = (File::open("/proc/self/exe")?, Sha256::new());
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(bachdist_portable::hex(&hash.finalize())),
            length => hash.update(&part[..length]),
        }
    }
}
