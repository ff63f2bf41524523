//! The launcher's end is every rank's end. `mpirun` killed by the kernel can no longer end the ranks that it started,
//! and they would hold their memory and their accelerators, waiting for each other, while the next launch begins.

use std::thread;

use bachdist_core::print::tell;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open};

/// Watches the process that started this one, and ends this one at once when that one ends.
pub fn end_with_launcher() {
    // Gone already, or a kernel without pidfd: then nothing is watched.
    let Some(launcher) = getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return };
    thread::spawn(move || {
        // It becomes readable when the process ends. A signal may interrupt the wait.
        while poll(&mut [PollFd::new(&launcher, PollFlags::IN)], None).is_err() {}
        // One rank of a host says so; those of other launchers than Open MPI's end without a word.
        if std::env::var("OMPI_COMM_WORLD_LOCAL_RANK").is_ok_and(|rank| rank == "0") {
            tell("bachdist: the launcher has ended, and so do its ranks; the same command goes on");
        }
        // Not by `exit`: other threads compute and save, and what they use must not be torn down under them.
        let _ = kill_process(getpid(), Signal::KILL);
    });
}
