//! What Linux says of this process in `/proc/self/status`.

use std::fs;

/// What stands behind a field's name, like `Cpus_allowed_list`; `None` where there is no such field, or no `/proc`.
pub fn status(field: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned());
    status.lines().find_map(value)
}

/// Whether a signal is in one of this process's sets: `SigIgn` has those that it ignores, `ShdPnd` those that wait for any
/// of its threads.
pub fn has_signal(set: &str, signal: i32) -> bool {
    let mask = status(set).and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_sets() {
        assert_eq!(status("Pid"), Some(std::process::id().to_string()));
        assert_eq!(status("Pi"), None);
        // Rust's runtime ignores a pipe that nobody reads, and nothing ignores KILL.
        assert!(has_signal("SigIgn", 13) && !has_signal("SigIgn", 9) && !has_signal("NoSuchSet", 13));
    }
}
