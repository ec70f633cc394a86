//! Who holds the client's end of a connection from this host: for the explicit port, which has no
//! kernel half to tell it.
//!
//! The kernel is asked for the peer's socket (`sock_diag`, or its tables in `/proc/net` where that
//! is refused), which gives user and inode; the process is the one with that inode among its open
//! files. Without privilege this finds the processes of one's own user and only the uid of others.
//! Sockets of other hosts and other network namespaces are not found, and so refused.

pub(super) mod diag;
mod table;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;

use super::helper::Helper;

/// Pids tried first: SDKs open several connections from one process.
const RECENT: usize = 32;

/// A socket on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Inode of the socket; 0 while it belongs to no process.
    pub inode: u64,
    /// User that created it.
    pub uid: u32,
    /// The kernel's cookie for it, where it could be asked.
    pub cookie: Option<u64>,
}

/// Who holds a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Process holding it; `None` where it could not be found (another user's, without privilege).
    /// Of several (a server that forked with its connection open) the youngest is named.
    pub pid: Option<u32>,
    /// User that created the socket.
    pub uid: u32,
    /// Inode of the socket.
    pub inode: u64,
    /// The kernel's cookie for it, where it could be asked.
    pub cookie: Option<u64>,
}

/// Looks owners up, starting with the processes found lately.
#[derive(Debug)]
pub struct Owners {
    helper: Helper,
    recent: Mutex<VecDeque<u32>>,
}

impl Owners {
    /// Nobody found yet.
    pub fn new(helper: Helper) -> Self {
        Self { helper, recent: Mutex::default() }
    }

    /// Who holds `socket`.
    ///
    /// Reads the open files of many processes where the owner is not one of those found lately:
    /// call it where blocking for some milliseconds is fine.
    pub fn owner(&self, socket: &Socket) -> Owner {
        let Socket { inode, uid, cookie } = *socket;
        let recent: Vec<u32> = self.recent.lock().iter().copied().collect();
        let pid = self.helper.holder(inode, uid, &recent);
        if let Some(pid) = pid {
            let mut recent = self.recent.lock();
            recent.retain(|&known| known != pid);
            recent.push_front(pid);
            recent.truncate(RECENT);
        }
        Owner { pid, uid, inode, cookie }
    }
}

/// The socket at `client` of the connection `client → server`, both as this host sees them; `None`
/// where this host has no such socket. Takes microseconds.
pub fn socket(client: SocketAddr, server: SocketAddr) -> io::Result<Option<Socket>> {
    let (client, server) = (unmapped(client), unmapped(server));
    match diag::socket(client, server) {
        Ok(Some(socket)) => Ok(Some(socket)),
        // The kernel answers alike for an unknown socket and a missing `tcp_diag` module.
        Ok(None) | Err(_) => table::socket(client, server),
    }
}

/// A v4-mapped address names the same connection as the plain one.
fn unmapped(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests;
