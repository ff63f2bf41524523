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
    status_of("self", field)
}

fn status_of(process: &str, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The most physical memory that this process has had.
pub fn peak_memory_bytes() -> Option<u64> {
    let kibibytes = status("VmHWM")?.strip_suffix(" kB")?.trim().parse::<u64>().ok()?;
    Some(1024 * kibibytes)
}

/// The numbers of the cores that this process may run on, whatever part of their time a control group leaves it.
pub fn allowed_cores() -> Option<Vec<usize>> {
    parse_cores(&status("Cpus_allowed_list")?)
}

/// The same of the process that started this one.
pub fn allowed_cores_of_parent() -> Option<Vec<usize>> {
    parse_cores(&status_of(&std::os::unix::process::parent_id().to_string(), "Cpus_allowed_list")?)
}

/// Parses a list like `0-3,8`.
fn parse_cores(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cores)
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
    fn lists_of_cores() {
        assert_eq!(parse_cores("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_cores("x"), None);
        assert!(allowed_cores().unwrap().len() >= usable_cores() && allowed_cores_of_parent().is_some());
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
