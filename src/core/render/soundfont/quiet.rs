//! Catching a panic without its report on stderr.
//!
//! `catch_unwind` alone lets the panic hook print a backtrace that means nothing to the user. The hook is
//! global, so it is wrapped once, for good, and stays silent only on a thread that is inside [`catch_panic`];
//! other threads' panics are reported as ever.

use std::cell::Cell;
use std::panic::{self, UnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `f` returns, or `None` where it panicked.
pub(super) fn catch_panic<T>(f: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    static WRAP_HOOK: Once = Once::new();
    WRAP_HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                report(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(f);
    QUIET.set(false);
    result.ok()
}
