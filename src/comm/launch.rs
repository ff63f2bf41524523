//! How this process was launched, and joining the ranks that were launched with it.
//!
//! It is judged by the variables that launchers set, before MPI is initialized: a program started by hand, or as the only
//! task of a Slurm step, must not need MPI, whose failure to initialize ends the process without a message of ours.

use std::env;

use super::{Communicator, SingleProcess, rank_prefix};

/// Variables with the number of ranks and this rank: of Open MPI, MPICH and Intel MPI, MVAPICH2, and Slurm's srun. Where
/// one launcher runs under another, the inner one comes first.
const LAUNCHERS: [(&str, &str); 4] = [
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
];

/// Set by launchers that speak PMIx, through which Open MPI's ranks find each other. No variable gives the number of ranks.
const PMIX_RANK: &str = "PMIX_RANK";

/// What the launcher's variables say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// The number of ranks, and the variable that says so.
    ranks: Option<(usize, &'static str)>,
    rank: usize,
    has_pmix: bool,
}

/// Why a rank cannot join the others.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The launcher started several ranks, but this one sees only itself.
    #[cfg(feature = "mpi")]
    #[error(
        "launched as one of {launched} ranks ({variable}), but alone in its MPI world: the launcher belongs to \
         another MPI than the one this program was built with ({built_with}); use that one's mpirun"
    )]
    Alone {
        launched: usize,
        /// The environment variable that says so.
        variable: &'static str,
        /// The MPI library in this program.
        built_with: String,
    },
    /// Slurm started several ranks, and Open MPI has no way to connect them.
    #[cfg(feature = "mpi")]
    #[error(
        "Slurm started {launched} tasks (SLURM_STEP_NUM_TASKS) without PMIx, which Open MPI needs to connect them; \
         start them with srun --mpi=pmix, or with mpirun (launch/job does)"
    )]
    WithoutPmix { launched: usize },
    /// The launcher started several ranks, but this program has no MPI.
    #[cfg(not(feature = "mpi"))]
    #[error(
        "launched as one of {launched} ranks ({variable}), but built without MPI; build with the feature `mpi`, \
         which is on by default"
    )]
    WithoutMpi {
        launched: usize,
        /// The environment variable that says so.
        variable: &'static str,
    },
}

impl Launch {
    /// How this process was launched.
    pub fn from_environment() -> Self {
        Launch::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(value: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| value(name)?.trim().parse::<usize>().ok();
        let launcher = LAUNCHERS.iter().find_map(|&(size, rank)| Some((number(size)?, size, number(rank))));
        let pmix_rank = number(PMIX_RANK);
        Launch {
            ranks: launcher.map(|(ranks, variable, _)| (ranks, variable)),
            rank: launcher.and_then(|(_, _, rank)| rank).or(pmix_rank).unwrap_or(0),
            has_pmix: pmix_rank.is_some(),
        }
    }

    /// Whether this is rank 0.
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// This rank, from 0, known before MPI starts.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Whether there are no other ranks.
    fn is_single(&self) -> bool {
        self.ranks.map_or(!self.has_pmix, |(ranks, _)| ranks <= 1)
    }

    /// `rank 1 on host: `, to begin a message with; empty in a single process.
    pub fn rank_prefix(&self) -> String {
        if self.is_single() {
            String::new()
        } else {
            rank_prefix(self.rank, &bachdist_portable::process::host_name())
        }
    }

    /// Whether this process was started by Open MPI's mpirun or its daemon, which ends with its ranks.
    pub fn has_mpirun(&self) -> bool {
        self.ranks.is_some_and(|(_, variable)| variable == "OMPI_COMM_WORLD_SIZE")
    }
}

/// Name and version of the MPI library in this process, like `Open MPI 4.1.4`; `None` if it was built without.
pub fn library() -> Option<String> {
    #[cfg(feature = "mpi")]
    let version = mpi::environment::library_version().ok();
    #[cfg(not(feature = "mpi"))]
    let version: Option<String> = None;
    version.map(|version| version.split([',', '\n']).next().unwrap_or_default().trim().replace(" v", " "))
}

/// Joins the ranks that were launched with this one.
#[cfg(feature = "mpi")]
pub fn join(launch: &Launch) -> Result<Box<dyn Communicator>, JoinError> {
    // Before MPI: a rank whose launcher is gone would wait in its initialization.
    if launch.has_mpirun() || !launch.is_single() {
        launcher::exit_with_launcher();
    }
    if launch.is_single() {
        return Ok(Box::new(SingleProcess));
    }
    let built_with = library().unwrap_or_default();
    let in_slurm_step = env::var_os("SLURM_STEP_NUM_TASKS").is_some();
    if let Some((launched, _)) = launch.ranks
        && in_slurm_step
        && !launch.has_mpirun()
        && !launch.has_pmix
        && built_with.starts_with("Open MPI")
    {
        return Err(JoinError::WithoutPmix { launched });
    }
    let comm = super::mpi::MpiCommunicator::initialize().expect("joined once, by main");
    match launch.ranks {
        Some((launched, variable)) if comm.size() == 1 => {
            Err(JoinError::Alone { launched, variable, built_with })
        }
        _ => Ok(Box::new(comm)),
    }
}

/// Joins the ranks that were launched with this one: built without MPI, there can be none.
#[cfg(not(feature = "mpi"))]
pub fn join(launch: &Launch) -> Result<Box<dyn Communicator>, JoinError> {
    match launch.ranks {
        Some((launched, variable)) if launched > 1 => Err(JoinError::WithoutMpi { launched, variable }),
        _ => Ok(Box::new(SingleProcess)),
    }
}

/// The launcher's end is every rank's end. `mpirun` killed by the kernel can no longer end the ranks that it started,
/// and they would hold their memory and their accelerators, waiting for each other, while the next launch begins.
#[cfg(feature = "mpi")]
mod launcher {
    use std::thread;

    use bachdist_portable::print::eprint_line;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open};

    /// Watches the process that started this one, and kills this one as soon as that one ends.
    pub fn exit_with_launcher() {
        // Without a parent, or on a kernel without pidfd, there is nothing to watch.
        let Some(launcher) = getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            return;
        };
        thread::spawn(move || {
            // It becomes readable when the process ends. A signal may interrupt the wait.
            while poll(&mut [PollFd::new(&launcher, PollFlags::IN)], None).is_err() {}
            // One rank per host says so; ranks of launchers other than Open MPI's end silently.
            if std::env::var("OMPI_COMM_WORLD_LOCAL_RANK").is_ok_and(|rank| rank == "0") {
                eprint_line("bachdist: mpirun exited, so its ranks stop; rerun the same command to resume");
            }
            // Not by `exit`: other threads compute and save, and what they use must not be torn down under them.
            let _ = kill_process(getpid(), Signal::KILL);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&str, &str)]) -> Launch {
        Launch::from_variables(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_process_is_single_unless_its_launcher_made_several() {
        for single in [
            &[][..],
            &[("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_RANK", "0"), ("PMIX_RANK", "0")],
            // `srun --pty bash`, without PMIx and with.
            &[("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0")],
            &[("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_PROCID", "0"), ("PMIX_RANK", "0")],
            &[("PMI_SIZE", "1"), ("PMI_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "1")],
            // A batch script outside of any step.
            &[("SLURM_JOB_ID", "7"), ("SLURM_NTASKS", "4")],
            &[("PMI_SIZE", "")],
        ] {
            let launch = launch(single);
            assert!(launch.is_single(), "{single:?}");
            assert_eq!((launch.rank(), launch.rank_prefix().as_str()), (0, ""), "{single:?}");
        }
    }

    #[test]
    fn ranks_know_their_number_before_mpi_does() {
        for (several, rank) in [
            (&[("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "3")][..], 3),
            (&[("PMI_SIZE", "2"), ("PMI_RANK", "1")], 1),
            (&[("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")], 1),
            (&[("PMIX_RANK", "2")], 2),
            // mpirun in the shell of a step: the step's task is not the rank.
            (
                &[
                    ("OMPI_COMM_WORLD_SIZE", "4"),
                    ("OMPI_COMM_WORLD_RANK", "2"),
                    ("SLURM_STEP_NUM_TASKS", "1"),
                    ("SLURM_PROCID", "0"),
                ],
                2,
            ),
        ] {
            let launch = launch(several);
            assert!(!launch.is_single(), "{several:?}");
            assert_eq!(launch.rank(), rank, "{several:?}");
            assert!(launch.rank_prefix().starts_with(&format!("rank {rank} on ")), "{several:?}");
        }
    }
}
