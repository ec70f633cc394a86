//! Other network namespaces: who lives where, listeners of ours inside, and sockets that leave from
//! there.
//!
//! A namespace is entered by a thread that ends in it, so nothing ever has to find its way back. What
//! is opened inside stays inside, whoever uses it later.

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use serde::{Deserialize, Serialize};

use super::proc::Handle;
use crate::capture::cgroup;
use crate::capture::listen::{ListenError, Listening};
use crate::capture::owner::diag;

/// Processes of one namespace that are named.
const NAMED: usize = 8;

/// A namespace to be entered.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::capture) struct Entrance {
    /// A process that lives there.
    pub(in crate::capture) pid: u32,
    /// When it began: the pid may have changed hands.
    pub(in crate::capture) start_ticks: u64,
    /// Cookie of the namespace, where it is known: the process may have moved on.
    pub(in crate::capture) netns: Option<u64>,
    /// Ports on 127.0.0.1 and `::1` that the programs lead to.
    pub(in crate::capture) ports: (u16, Option<u16>),
}

/// What was opened inside a namespace.
#[derive(Debug)]
pub(in crate::capture) struct Opened {
    /// By which sockets that leave from there are asked for.
    pub(in crate::capture) number: u64,
    /// Cookie of the namespace.
    pub(in crate::capture) netns: u64,
    /// Its inode, as `/proc` names it.
    pub(in crate::capture) inode: u64,
    /// Marked listeners: on 127.0.0.1 and, where there is IPv6, on `::1`.
    pub(in crate::capture) listeners: Vec<TcpListener>,
    /// Asks for sockets of the namespace (`sock_diag`).
    pub(in crate::capture) diag: OwnedFd,
}

/// What is said of it beside the descriptors.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Entered {
    number: u64,
    netns: u64,
    inode: u64,
}

impl Opened {
    /// As it crosses: the socket to ask for sockets first, then the listeners.
    pub(super) fn into_parts(self) -> (Entered, Vec<OwnedFd>) {
        let Self { number, netns, inode, listeners, diag } = self;
        let listeners = listeners.into_iter().map(OwnedFd::from);
        (Entered { number, netns, inode }, std::iter::once(diag).chain(listeners).collect())
    }

    /// As it arrives; `None` where something is missing.
    pub(super) fn of(entered: Entered, fds: Vec<OwnedFd>) -> Option<Self> {
        let Entered { number, netns, inode } = entered;
        let mut fds = fds.into_iter();
        let diag = fds.next()?;
        let listeners: Vec<_> = fds.map(TcpListener::from).collect();
        (!listeners.is_empty()).then_some(Self { number, netns, inode, listeners, diag })
    }
}

/// A network namespace other than our own, and who lives there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inhabited {
    /// Its inode.
    pub inode: u64,
    /// Some of the processes that live there and are captured.
    pub pids: Vec<u32>,
}

/// Why a namespace could not be entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum EnterError {
    /// The process has ended, or lives in another namespace by now.
    #[error("the process is gone, or has moved on")]
    Gone,
    /// Something inside listens on our port.
    #[error("port {0} is taken inside")]
    PortTaken(u16),
    /// There is no 127.0.0.1 inside.
    #[error("its loopback interface is down")]
    NoLoopback,
    /// `CAP_SYS_ADMIN` is missing, or `CAP_SYS_PTRACE`.
    #[error("entering a namespace takes CAP_SYS_ADMIN and CAP_SYS_PTRACE")]
    Privilege,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl EnterError {
    /// In one word, for a metric.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::PortTaken(_) => "port_taken",
            Self::NoLoopback => "no_loopback",
            Self::Privilege => "privilege",
            Self::Other(_) => "error",
        }
    }
}

/// The namespaces that were entered and not yet left.
#[derive(Debug)]
pub(super) struct Namespaces {
    ways: Mutex<Ways>,
}

#[derive(Debug)]
struct Ways {
    last: u64,
    descriptors: HashMap<u64, Arc<OwnedFd>>,
}

impl Default for Namespaces {
    /// Numbers begin where no earlier helper's did: what the daemon still holds of that one must
    /// never lead into another namespace.
    fn default() -> Self {
        let last = RandomState::new().hash_one(()) >> 1;
        Self { ways: Mutex::new(Ways { last, descriptors: HashMap::new() }) }
    }
}

impl Namespaces {
    /// Opens listeners in the namespace of a process, and keeps the way in.
    pub(super) fn enter(&self, entrance: Entrance) -> Result<Opened, EnterError> {
        let namespace = namespace_of(entrance.pid, entrance.start_ticks)?;
        let inode = fstat(&namespace).map_err(refused)?.st_ino;
        let opened = inside(namespace.as_fd(), || {
            let (port4, port6) = entrance.ports;
            let listening = Listening::open_at(port4, port6.filter(|_port| has_ipv6()));
            Ok((listening, diag::open()?))
        });
        let (listening, diag) = opened.map_err(|error| other(&error))?;
        let listening = listening.map_err(|error| no_listener(&error, entrance.ports.0))?;
        // Asked of the socket, not of the process: so it is the namespace we are in.
        let netns = listening.netns;
        if entrance.netns.is_some_and(|meant| meant != netns) {
            return Err(EnterError::Gone);
        }
        let mut ways = self.ways.lock();
        ways.last += 1;
        let number = ways.last;
        ways.descriptors.insert(number, Arc::new(namespace));
        Ok(Opened { number, netns, inode, listeners: listening.into_sockets(), diag })
    }

    /// Forgets the way in.
    pub(super) fn leave(&self, number: u64) {
        self.ways.lock().descriptors.remove(&number);
    }

    /// Makes a socket, in one of them or in our own.
    pub(super) fn socket(
        &self,
        number: Option<u64>,
        make: impl FnOnce() -> io::Result<OwnedFd> + Send,
    ) -> io::Result<OwnedFd> {
        let Some(number) = number else { return make() };
        let namespace = self.ways.lock().descriptors.get(&number).cloned();
        // Never from our own instead: that would be a way out for whoever has none.
        let gone = || io::Error::new(io::ErrorKind::NetworkUnreachable, "its namespace is left");
        inside(namespace.ok_or_else(gone)?.as_fd(), make)
    }
}

/// Every network namespace but our own that a process lives in. Those named are `below` the cgroup
/// with this directory, where one is given.
///
/// A namespace that only single threads of a process are in counts as empty.
pub(super) fn inhabited(below: Option<&Path>) -> io::Result<Vec<Inhabited>> {
    let own = fs::metadata("/proc/thread-self/ns/net").map(|it| {
        use std::os::unix::fs::MetadataExt;
        it.ino()
    })?;
    let captured = below.map(captured).transpose()?;
    let mut found: HashMap<u64, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Those that end meanwhile live nowhere.
        let Some(inode) = inode_of(pid).filter(|inode| *inode != own) else { continue };
        let pids = found.entry(inode).or_default();
        if pids.len() < NAMED && captured.as_ref().is_none_or(|cgroup| is_below(pid, cgroup)) {
            pids.push(pid);
        }
    }
    Ok(found.into_iter().map(|(inode, pids)| Inhabited { inode, pids }).collect())
}

/// A cgroup's path as `/proc/PID/cgroup` writes it.
fn captured(directory: &Path) -> io::Result<PathBuf> {
    let mount = cgroup::mount()?.unwrap_or_default();
    let directory = directory.canonicalize()?;
    Ok(Path::new("/").join(directory.strip_prefix(&mount).unwrap_or(&directory)))
}

fn is_below(pid: u32, cgroup: &Path) -> bool {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = lines.lines().find_map(|line| line.strip_prefix("0::"));
    path.is_some_and(|path| Path::new(path).starts_with(cgroup))
}

/// Inode of a process's network namespace: `/proc/PID/ns/net` links to `net:[INODE]`.
fn inode_of(pid: u32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The namespace of one process instance.
fn namespace_of(pid: u32, start_ticks: u64) -> Result<OwnedFd, EnterError> {
    let process = Handle::open(pid).map_err(|_gone| EnterError::Gone)?;
    let stat = process.stat().map_err(|_gone| EnterError::Gone)?;
    if stat.start_ticks != start_ticks {
        return Err(EnterError::Gone);
    }
    // Through the handle: it is this instance's, whatever becomes of the pid.
    process.network().map_err(refused)
}

/// Runs `work` in a namespace, on a thread that ends there.
fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let running = thread.spawn_scoped(scope, move || {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
            work()
        })?;
        running.join().unwrap_or_else(|_panic| Err(io::ErrorKind::Other.into()))
    })
}

/// Whether IPv6 leads anywhere in the calling thread's namespace. Where it does not, a client finds
/// out in connect(2) and goes on with IPv4, and must not be kept from that by being redirected.
fn has_ipv6() -> bool {
    // Nothing is sent: connecting a datagram socket is to look for a route. The address is nobody's.
    let route = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?.connect(("2001:db8::1", 9));
    route().is_ok()
}

fn refused(errno: Errno) -> EnterError {
    other(&errno.into())
}

fn other(error: &io::Error) -> EnterError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => EnterError::Privilege,
        io::ErrorKind::NotFound => EnterError::Gone,
        _ => EnterError::Other(error.to_string()),
    }
}

fn no_listener(error: &ListenError, port: u16) -> EnterError {
    match error {
        ListenError::Bind(source) => match source.kind() {
            io::ErrorKind::AddrInUse => EnterError::PortTaken(port),
            io::ErrorKind::AddrNotAvailable => EnterError::NoLoopback,
            _ => other(source),
        },
        ListenError::Mark(source) | ListenError::Cookie(source) => other(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_is_not_there_leads_nowhere_and_not_out_of_our_own_namespace() {
        let namespaces = Namespaces::default();
        let made = namespaces.socket(Some(7), || panic!("made in our own"));
        assert_eq!(made.unwrap_err().kind(), io::ErrorKind::NetworkUnreachable);
    }

    #[test]
    fn another_instance_of_the_pid_is_not_entered() {
        let error = namespace_of(std::process::id(), 1).unwrap_err();
        assert_eq!(error, EnterError::Gone);
        assert_eq!(namespace_of(u32::MAX, 1).unwrap_err(), EnterError::Gone);
    }

    #[test]
    fn our_own_namespace_is_not_among_the_others() {
        let own = inode_of(std::process::id()).unwrap();
        let others = inhabited(None).unwrap();
        assert!(others.iter().all(|other| other.inode != own && other.pids.len() <= NAMED));
    }
}
