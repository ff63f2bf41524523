//! What everything that speaks HTTP here shares: a small runtime on the caller's thread, and the
//! cryptography of TLS.

use std::io;
use tokio::runtime::{Builder, Runtime};

/// A runtime without threads: its tasks, a connection's for one, advance while a caller waits in it.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Chooses the cryptography of every TLS connection of the process. To be called before the first HTTP
/// client is built; calls after the first change nothing.
pub(crate) fn choose_tls() {
    // The only error is that a choice was made before, by us or by a program that embeds the library.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
