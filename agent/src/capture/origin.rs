//! Where an accepted connection was going, and who opened it, as the kernel half saved it.

use std::net::SocketAddr;
use std::time::Duration;

/// The caller as the kernel saw it in connect(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Thread-group id in the initial pid namespace.
    pub tgid: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Id of the cgroup v2 node (its inode in cgroupfs).
    pub cgroup: u64,
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Thread name, at most 15 bytes: a hint, never an identity.
    pub comm: String,
    /// Time of the connect on `CLOCK_BOOTTIME`.
    pub at: Duration,
}

/// What is known of a redirected connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Where the client meant to connect.
    pub destination: SocketAddr,
    /// Who it was.
    pub caller: Caller,
    /// Interface index the client's socket was bound to (`SO_BINDTODEVICE`), if any.
    pub device: Option<u32>,
    /// Mark the client's socket carried (`SO_MARK`), if any.
    pub mark: Option<u32>,
    /// The client socket's cookie.
    pub cookie: u64,
}

/// Tells where accepted connections were going: one of the three seams tests may replace.
pub trait Origins: Send + Sync + std::fmt::Debug {
    /// The origin of the connection that a listener accepted from `client`, used up by this call.
    /// `None` means nobody was redirected here: the connection must be reset.
    fn take(&self, client: SocketAddr) -> Option<Origin>;

    /// Where the connections come from another network namespace than the agent's own: the number
    /// by which sockets that leave from there are asked for.
    fn elsewhere(&self) -> Option<u64> {
        None
    }
}
