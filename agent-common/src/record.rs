//! What is saved about a connection in connect(2), and the key it is found by.

use crate::Addr;

/// Finds a redirected connection from its accepted end.
///
/// The port alone would collide between network namespaces, and on a socket bound to an address of
/// the host, so all three are needed.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Cookie of the client's network namespace.
    pub netns: u64,
    /// Source address.
    pub addr: Addr,
    /// Source port, host byte order.
    pub port: u32,
    /// Explicit padding: map keys are compared as bytes.
    pub pad: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 32 && align_of::<FlowKey>() == 8);

impl FlowKey {
    /// The key of a client at `addr` and `port` in the namespace `netns`.
    #[inline]
    pub const fn new(netns: u64, addr: Addr, port: u16) -> Self {
        Self { netns, addr, port: port as u32, pad: 0 }
    }
}

/// What became of a connection to a wanted address: values of [`Record::verdict`].
pub mod verdict {
    /// Redirected to the daemon.
    pub const REDIRECTED: u8 = 1;
    /// Left alone: redirecting is off.
    pub const OBSERVED: u8 = 2;
    /// Left alone: no listener of ours in the caller's network namespace.
    pub const NO_LISTENER: u8 = 3;
    /// Left alone: the daemon gave no sign of life.
    pub const STALE: u8 = 4;
    /// Left alone: the socket is bound to a device, and that could not be undone.
    pub const DEVICE: u8 = 5;
    /// Left alone: the record could not be saved.
    pub const UNSAVED: u8 = 6;
    /// A datagram socket: what it sends there is refused as QUIC, which cannot be redirected.
    pub const QUIC: u8 = 7;
}

/// What a socket went through: bits of [`Record::seen`].
pub mod seen {
    /// The handshake completed.
    pub const ESTABLISHED: u8 = 1;
    /// The peer's FIN arrived.
    pub const PEER_FIN: u8 = 2;
    /// A datagram was refused, and that was reported.
    pub const REFUSED: u8 = 4;
}

/// A connection to a wanted address, as connect(2) found it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The socket's cookie.
    pub cookie: u64,
    /// Cookie of the socket's network namespace.
    pub netns: u64,
    /// Id of the caller's cgroup v2 node.
    pub cgroup: u64,
    /// Nanoseconds since boot, suspend included.
    pub at: u64,
    /// Where the caller wanted to go.
    pub destination: Addr,
    /// Thread-group id in the initial pid namespace.
    pub tgid: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Interface the socket was bound to; 0 for none.
    pub device: u32,
    /// Mark the socket carried; 0 for none.
    pub mark: u32,
    /// Port the caller wanted, host byte order.
    pub port: u16,
    /// One of [`verdict`].
    pub verdict: u8,
    /// Bits of [`seen`].
    pub seen: u8,
    /// Name of the calling thread, padded with zeros.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Record>() == 88 && align_of::<Record>() == 8);
