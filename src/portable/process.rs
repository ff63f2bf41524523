//! What the operating system knows of this process: its host, its cores and threads, its signals.

use std::num::NonZero;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::{fs, io};

use crate::environment::{self, BadVariable, THREADS};

/// The name of this host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The number of threads to use: the cores that this process may run on, or fewer if `OMP_NUM_THREADS` says so. More
/// threads would only wait for each other. The variable was checked when the program started.
pub fn cores() -> usize {
    let usable = usable_cores();
    environment::threads().ok().flatten().map_or(usable, |asked| asked.min(usable))
}

/// The number of cores that this process may run on.
pub fn usable_cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// A note for the user if `OMP_NUM_THREADS` asks for more threads than cores.
///
/// # Errors
/// The variable is not a number of threads.
pub fn check_threads() -> Result<Option<String>, BadVariable> {
    let usable = usable_cores();
    Ok(environment::threads()?.filter(|&asked| asked > usable).map(|asked| {
        format!("{THREADS} asks for {asked} threads; this process uses {usable}, one for each core that it may run on")
    }))
}

/// Fails unless this many more threads can be started, each with the C library's default stack. Some libraries wait forever
/// for a thread that the system does not give them.
pub fn try_threads(threads: usize) -> io::Result<()> {
    /// What glibc reserves for a thread.
    const STACK_BYTES: usize = 8 << 20;
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    thread::scope(|scope| {
        let mut started = Ok(());
        for _ in 0..threads {
            // Every thread lives until the last one was started.
            let wait = || drop(held.lock().map(|held| held.recv()));
            started = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, wait).map(drop);
            if started.is_err() {
                break;
            }
        }
        drop(hold);
        started
    })
}

/// The value of a field of `/proc/self/status`, like `Cpus_allowed_list`; `None` if there is no such field, or no `/proc`.
pub fn status(field: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The most physical memory that this process has had.
pub fn peak_memory_bytes() -> Option<u64> {
    let kibibytes = status("VmHWM")?.strip_suffix(" kB")?.trim().parse::<u64>().ok()?;
    Some(1024 * kibibytes)
}

/// Whether a signal is in one of this process's sets: `SigIgn` has the ignored ones, `ShdPnd` those that are pending for the
/// process.
pub fn has_signal(set: &str, signal: i32) -> bool {
    let mask = status(set).and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_tried_out() {
        try_threads(0).unwrap();
        try_threads(3).unwrap();
    }

    #[test]
    fn fields_and_sets() {
        assert_eq!(status("Pid"), Some(std::process::id().to_string()));
        assert_eq!(status("Pi"), None);
        assert!(peak_memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
        // Rust's runtime ignores SIGPIPE (13), and nothing can ignore SIGKILL (9).
        assert!(has_signal("SigIgn", 13) && !has_signal("SigIgn", 9) && !has_signal("NoSuchSet", 13));
    }
}
