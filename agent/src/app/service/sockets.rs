//! Listeners that outlive a process: the service manager keeps them between two (`FDSTORE=1`), or
//! has opened them itself (socket activation), and hands them over by name.
//!
//! So who connects while the agent is restarted waits in the listener's queue and is served by the
//! next one. One that does not fit the configuration is let go of, and another opened in its place.
#![expect(unsafe_code, reason = "the protocol hands descriptors over by their numbers")]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::notify;
use crate::admin::{Admin, Bound};

/// The names (`FileDescriptorName=` of a socket unit).
const PROXY: &str = "proxy";
const ADMIN: &str = "admin";
const SOCKET: &str = "socket";

/// Listeners that were handed over, each until somebody takes it.
#[derive(Debug, Default)]
pub(in crate::app) struct Sockets {
    proxy: Option<TcpListener>,
    admin: Option<TcpListener>,
    socket: Option<UnixListener>,
}

impl Sockets {
    /// Those that the service manager has handed over. Before anything else is opened, and before
    /// another program is started.
    pub(in crate::app) fn inherited() -> Self {
        let own = |number| {
            // SAFETY: the protocol says that these numbers are ours, and nobody else has taken them
            // yet; each is taken once.
            unsafe { OwnedFd::from_raw_fd(number) }
        };
        match sd_notify::listen_fds_with_names() {
            Ok(handed) => Self::of(handed.map(|(number, name)| (name, own(number)))),
            Err(error) => {
                tracing::warn!(%error, "sockets of the service manager are left alone");
                Self::default()
            }
        }
    }

    /// These, by their names.
    pub(in crate::app) fn of(handed: impl Iterator<Item = (String, OwnedFd)>) -> Self {
        let mut this = Self::default();
        for (name, socket) in handed {
            if let Err(error) = this.take(&name, socket) {
                tracing::warn!(name, %error, "a listener that was handed over cannot be used");
                notify::forget(&name);
            }
        }
        this
    }

    fn take(&mut self, name: &str, socket: OwnedFd) -> io::Result<()> {
        let unusable = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        if sockopt::socket_type(&socket)? != SocketType::STREAM
            || !sockopt::socket_acceptconn(&socket)?
        {
            return Err(unusable("it is no listener"));
        }
        let is_unix = sockopt::socket_domain(&socket)? == AddressFamily::UNIX;
        match name {
            SOCKET if is_unix => self.socket = Some(socket.into()),
            PROXY if !is_unix => self.proxy = Some(socket.into()),
            ADMIN if !is_unix => self.admin = Some(socket.into()),
            _ => return Err(unusable("expected: proxy, admin (TCP), socket (unix)")),
        }
        Ok(())
    }

    /// The listener of the proxy and the base URLs, if it is at this address.
    pub(in crate::app) fn proxy(&mut self, wanted: Option<SocketAddr>) -> Option<TcpListener> {
        fitting(PROXY, self.proxy.take(), wanted)
    }

    /// The admin server's listener, if it is at this address.
    pub(in crate::app) fn admin(&mut self, wanted: Option<SocketAddr>) -> Option<TcpListener> {
        fitting(ADMIN, self.admin.take(), wanted)
    }

    /// The admin server's unix socket, if who connects to this path arrives there.
    pub(in crate::app) fn socket(&mut self, path: &Path) -> Option<UnixListener> {
        let socket = self.socket.take()?;
        let leads_here = || -> io::Result<bool> {
            let is_named = socket.local_addr()?.as_pathname() == Some(path);
            // The file may be gone, or somebody else's by now.
            Ok(is_named
                && is_only(&std::fs::read_to_string("/proc/net/unix")?, path)
                && path.symlink_metadata().is_ok())
        };
        if leads_here().unwrap_or(false) {
            return Some(socket);
        }
        notify::forget(SOCKET);
        None
    }
}

/// Copies of the listeners that are to outlive this process.
#[derive(Debug)]
pub(in crate::app) struct Doors {
    proxy: Option<OwnedFd>,
    admin: Bound,
    /// Whether the unix socket's file stays.
    left: Arc<AtomicBool>,
}

impl Doors {
    /// Of these.
    pub(in crate::app) fn of(admin: &Admin, proxy: Option<&impl AsFd>) -> io::Result<Self> {
        let proxy = proxy.map(|it| it.as_fd().try_clone_to_owned()).transpose()?;
        Ok(Self { proxy, admin: admin.copies()?, left: admin.leave_file() })
    }

    /// Has the service manager keep them for the next start.
    pub(in crate::app) fn keep(&self) {
        for (name, door) in self.handed() {
            notify::keep(name, door);
        }
    }

    /// All of them, by their names.
    pub(in crate::app) fn handed(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        let (socket, admin) = (self.admin.socket.as_ref(), self.admin.http.as_ref());
        let doors = [
            (SOCKET, socket.map(AsFd::as_fd)),
            (PROXY, self.proxy.as_ref().map(AsFd::as_fd)),
            (ADMIN, admin.map(AsFd::as_fd)),
        ];
        doors.into_iter().filter_map(|(name, door)| Some((name, door?))).collect()
    }

    /// Lets go of them. `kept` says that somebody else has them, and serves them next.
    pub(in crate::app) fn close(self, kept: bool) {
        self.left.store(kept, Relaxed);
    }
}

fn fitting(
    name: &str,
    listener: Option<TcpListener>,
    wanted: Option<SocketAddr>,
) -> Option<TcpListener> {
    let listener = listener?;
    let at = listener.local_addr().ok();
    let fits = |at: SocketAddr, wanted: SocketAddr| {
        at.ip() == wanted.ip() && (wanted.port() == 0 || at.port() == wanted.port())
    };
    if at.zip(wanted).is_some_and(|(at, wanted)| fits(at, wanted)) {
        return Some(listener);
    }
    tracing::warn!(name, ?at, ?wanted, "a listener handed over is not what is configured");
    notify::forget(name);
    None
}

/// Whether there is one listener with this path, by the format of `/proc/net/unix`: a listener has
/// the flag `00010000`.
fn is_only(sockets: &str, path: &Path) -> bool {
    let listens = |line: &&str| {
        let mut words = line.split_ascii_whitespace();
        let (flags, name) = (words.nth(3), words.nth(3));
        flags == Some("00010000") && name.map(Path::new) == Some(path)
    };
    sockets.lines().filter(listens).count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fits_its_name_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weir.sock");
        let mut sockets = Sockets::default();
        let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let unix = OwnedFd::from(UnixListener::bind(&path).unwrap());
        assert!(sockets.take("proxy", tcp()).is_ok());
        assert!(sockets.take("admin", tcp()).is_ok());
        assert!(sockets.take("socket", unix).is_ok());
        assert!(sockets.take("socket", tcp()).is_err());
        assert!(sockets.take("metrics", tcp()).is_err());
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(sockets.take("socket", one.into()).is_err(), "it does not listen");

        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        assert!(sockets.proxy(Some(any)).is_some());
        assert!(sockets.admin(Some(SocketAddr::from(([127, 0, 0, 1], 1)))).is_none());
        assert!(sockets.proxy(Some(any)).is_none(), "taken once");
        assert!(sockets.socket(&path).is_some());
    }

    #[test]
    fn a_unix_socket_that_nobody_finds_is_let_go_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weir.sock");
        let bound = || Some(UnixListener::bind(&path).unwrap());
        let taken = |socket| Sockets { socket, ..Sockets::default() }.socket(&path).is_some();
        let lost = bound();
        std::fs::remove_file(&path).unwrap();
        assert!(!taken(lost), "its file is gone");
        let (old, _new) = (bound(), {
            std::fs::remove_file(&path).unwrap();
            bound()
        });
        assert!(!taken(old), "another one has its place");
    }
}
