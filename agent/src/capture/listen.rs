//! The loopback sockets that connections are redirected to.
#![expect(unsafe_code, reason = "SO_NETNS_COOKIE has no safe wrapper")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::MARK;

/// Room for connections not yet accepted. The kernel caps it at `net.core.somaxconn`; a full
/// backlog makes clients wait for a retransmission, so there is no reason to ask for less.
const BACKLOG: i32 = 4096;

/// Highest descriptor number the listeners get: the kernel's table of descriptors, eight bytes
/// each, is as long as the highest.
const HIGHEST: u64 = 1 << 16;
/// Numbers left free above where they begin, for all their copies: in our namespace and in as many
/// others as there may be.
const COPIES: u64 = 1024;

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// `SO_MARK` was refused.
    #[error("the listener cannot be marked as ours (SO_MARK): CAP_NET_ADMIN is missing")]
    Mark(#[source] io::Error),
    /// No socket, or it could not be bound.
    #[error("no listener on 127.0.0.1")]
    Bind(#[source] io::Error),
    /// The namespace's cookie is unknown.
    #[error(
        "the kernel does not tell the network namespace's cookie (SO_NETNS_COOKIE, Linux 5.14)"
    )]
    Cookie(#[source] io::Error),
}

/// Listeners of one network namespace.
#[derive(Debug)]
pub(super) struct Listening {
    /// Cookie of the namespace.
    pub(super) netns: u64,
    v4: (TcpListener, u16),
    v6: Option<(TcpListener, u16)>,
}

impl Listening {
    /// Opens them in the network namespace of the calling thread. IPv6 may be absent.
    pub(super) fn open() -> Result<Self, ListenError> {
        let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let v6 = match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))) {
            Ok(v6) => Some(v6),
            Err(ListenError::Bind(_absent)) => None,
            Err(other) => return Err(other),
        };
        let netns = netns_cookie(&v4.0).map_err(ListenError::Cookie)?;
        Ok(Self { netns, v4, v6 })
    }

    /// Opens them on the ports that the programs lead to. Where the one for IPv6 cannot be had,
    /// connections over IPv6 go direct.
    pub(super) fn open_at(port4: u16, port6: Option<u16>) -> Result<Self, ListenError> {
        let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port4)))?;
        let v6 = port6.and_then(|port| bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).ok());
        let netns = netns_cookie(&v4.0).map_err(ListenError::Cookie)?;
        Ok(Self { netns, v4, v6 })
    }

    /// The listeners that another process has opened, IPv4 first.
    pub(super) fn of(netns: u64, sockets: Vec<OwnedFd>) -> Result<Self, ListenError> {
        let mut sockets = sockets.into_iter().map(TcpListener::from);
        let missing = || ListenError::Bind(io::ErrorKind::NotConnected.into());
        let v4 = numbered(&sockets.next().ok_or_else(missing)?)?;
        let v6 = sockets.next().map(|socket| numbered(&socket)).transpose()?;
        Ok(Self { netns, v4, v6 })
    }

    /// Port on 127.0.0.1.
    pub(super) fn port4(&self) -> u16 {
        self.v4.1
    }

    /// Port on `::1`.
    pub(super) fn port6(&self) -> Option<u16> {
        self.v6.as_ref().map(|(_, port)| *port)
    }

    /// The sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &TcpListener> {
        std::iter::once(&self.v4).chain(&self.v6).map(|(socket, _)| socket)
    }

    pub(super) fn into_sockets(self) -> Vec<TcpListener> {
        std::iter::once(self.v4).chain(self.v6).map(|(socket, _)| socket).collect()
    }
}

fn bind(addr: SocketAddr) -> Result<(TcpListener, u16), ListenError> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))
        .map_err(ListenError::Bind)?;
    // Marked before it listens: the programs take an unmarked listener for a squatter.
    socket.set_mark(MARK).map_err(ListenError::Mark)?;
    let open = || {
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)
    };
    open().map_err(ListenError::Bind)?;
    numbered(&socket.into())
}

fn numbered(listener: &TcpListener) -> Result<(TcpListener, u16), ListenError> {
    let listener = outermost(listener).map_err(ListenError::Bind)?;
    let port = listener.local_addr().map_err(ListenError::Bind)?.port();
    Ok((listener, port))
}

/// Another descriptor of a listener, numbered above all others.
///
/// A process that dies closes what it holds from the highest number down. So the listeners are
/// gone before any connection is, the programs see that, and a client whose connection breaks goes
/// direct when it tries again. With the usual low numbers it would be led to a listener in its
/// last millisecond.
pub(super) fn outermost(listener: &TcpListener) -> io::Result<TcpListener> {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(HIGHEST).min(HIGHEST);
    let number = i32::try_from(most - COPIES.min(most / 4)).unwrap_or_default();
    match rustix::io::fcntl_dupfd_cloexec(listener, number) {
        Ok(copy) => Ok(copy.into()),
        // So many are open that the numbers do not matter.
        Err(_taken) => listener.try_clone(),
    }
}

fn netns_cookie(socket: &TcpListener) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or_default();
    // SAFETY: the kernel writes at most `len` bytes to `cookie`, which has that size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if done == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
