//! What the commands that work without the daemon need to know.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Paths and addresses of this installation.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// `/var/lib/weir`, or what `--state-dir` says.
    pub state_dir: PathBuf,
    /// Where the explicit proxy listens.
    pub explicit_addr: SocketAddr,
    /// The daemon's socket.
    pub daemon_socket: PathBuf,
    /// Hosts of the configured providers: what a new CA is limited to.
    pub hosts: Vec<String>,
}

/// Exit codes (DESIGN §6) of these commands.
pub(super) mod code {
    /// Done.
    pub(crate) const OK: u8 = 0;
    /// Failed.
    pub(crate) const FAILURE: u8 = 1;
    /// Works, but not as it should.
    pub(crate) const DEGRADED: u8 = 10;
    /// Not allowed.
    pub(crate) const PERMISSION: u8 = 77;
}
