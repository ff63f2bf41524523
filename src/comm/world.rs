//! Joining the world that the launcher made, if there was a launcher.
//!
//! Whether there was one is judged by the variables that launchers set: a program started by hand must not
//! need MPI, and one started by another MPI's mpirun, where every rank would think itself alone, must say so.

use std::env;

use super::Comm;
#[cfg(feature = "mpi")]
use super::launcher;
use super::solo::Solo;

/// Why a rank cannot join.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The launcher made several ranks, but this one sees only itself.
    #[error(
        "launched as one of {launched} ranks ({variable}), but alone in its MPI world: the launcher belongs to \
         another MPI than the one this program was built with ({built_with}); use that one's mpirun"
    )]
    Alone {
        /// Ranks that the launcher made.
        launched: usize,
        /// The variable that says so.
        variable: &'static str,
        /// The library in this program.
        built_with: String,
    },
    /// The launcher made several ranks, but this program cannot talk to others.
    #[error(
        "launched as one of {launched} ranks ({variable}), but built without MPI; build with the feature mpi, \
         which is on by default"
    )]
    WithoutMpi {
        /// Ranks that the launcher made.
        launched: usize,
        /// The variable that says so.
        variable: &'static str,
    },
}

/// Variables by which launchers tell how many ranks there are: Open MPI, MPICH and Intel MPI, MVAPICH2, and
/// Slurm's srun, which without PMIx would start as many worlds of one.
const SIZES: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"];

/// Variables that a launcher sets without a size: PMIx, by which Slurm's srun starts ranks.
const MARKS: [&str; 1] = ["PMIX_RANK"];

fn launched() -> Option<(&'static str, usize)> {
    SIZES.iter().find_map(|&name| Some((name, env::var(name).ok()?.parse().ok()?)))
}

/// This process's place among its ranks.
#[cfg(feature = "mpi")]
pub fn join() -> Result<Box<dyn Comm>, WorldError> {
    let launched = launched();
    let marked = MARKS.iter().any(|name| env::var_os(name).is_some());
    if launched.is_none() && !marked {
        return Ok(Box::new(Solo));
    }
    // First: a rank whose launcher is gone waits in MPI's initialization too.
    launcher::end_with_launcher();
    let comm = super::mpi::Mpi::initialize().expect("joined once, at the start of main");
    match launched {
        Some((variable, launched)) if launched > 1 && comm.size() == 1 => {
            let built_with = mpi::environment::library_version().unwrap_or_default();
            let built_with = built_with.split(',').next().unwrap_or_default().trim().to_owned();
            Err(WorldError::Alone { launched, variable, built_with })
        }
        _ => Ok(Box::new(comm)),
    }
}

/// This process's place among its ranks: built without MPI, it is alone.
#[cfg(not(feature = "mpi"))]
pub fn join() -> Result<Box<dyn Comm>, WorldError> {
    let _ = MARKS;
    match launched() {
        Some((variable, launched)) if launched > 1 => Err(WorldError::WithoutMpi { launched, variable }),
        _ => Ok(Box::new(Solo)),
    }
}
