//! What is asked and answered: plain values, which cross as JSON, and beside an answer the
//! descriptors that belong to it.
//!
//! To ask for something new: a variant of [`Request`] with owned values, one of [`Reply`], the
//! answer in `server`, and a method of [`super::Helper`]. Descriptors go into [`Answer::fds`], in an
//! order that both sides know.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::anatomy::Anatomy;
use super::freeze::{self, FreezeError};
use super::look::{Look, Sight};
use super::netns::{EnterError, Entered, Entrance, Inhabited};
use super::socket::Wish;
use super::traits::Traits;
use crate::capture::Settings;
use crate::capture::attached::{Doors, HANDED};
use crate::capture::capability::Capabilities;
use crate::capture::chosen::ChosenSet;
use crate::capture::error::AttachError;
use crate::capture::listen::ListenError;
use crate::capture::selftest::Knock;
use crate::capture::stats::ProgramStats;

/// What the unprivileged side may ask for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// Listeners in the helper's network namespace, which is the daemon's.
    Listen,
    /// The programs, redirecting to these listeners.
    Attach(Settings, Doors),
    /// The agent's own connections left alone by this thread-group id of the initial namespace.
    Spare(u32),
    /// Whether to redirect.
    Redirect(bool),
    /// Where connections are wanted.
    Targets(Vec<IpNet>),
    /// More of them, at once.
    Add(Vec<IpAddr>),
    /// Which hosts' addresses to listen for.
    Hosts(Vec<Arc<str>>),
    /// Whose connections are wanted wherever they go.
    Choose(ChosenSet),
    /// What connections to this port look like from within the cgroup captured.
    Knock(Option<PathBuf>, u16),
    /// The kernel's run-time statistics of the programs.
    Statistics,
    /// The guard in place for this network namespace, or gone.
    Guard(Option<u64>),
    /// The programs gone.
    Detach,
    /// A sign of life.
    Ping,
    /// The id of the program at connect(2).
    Program,
    /// Nothing wanted any more, and the guard left to whoever is attached next to this.
    GiveWay,
    /// What `/proc` says of a process.
    Identify(Look),
    /// Whether that process instance was started with this root's fingerprint in its environment.
    Vouched { pid: u32, start_ticks: u64, fingerprint: String },
    /// What decides whom that process instance trusts.
    Traits { pid: u32, start_ticks: u64 },
    /// What that process instance is made of.
    Anatomy { pid: u32, start_ticks: u64 },
    /// Which process has this socket of this user open; those of `recent` are asked first.
    Holder { inode: u64, uid: u32, recent: Vec<u32> },
    /// What its runtime calls the container with this id.
    Container(String),
    /// What the kubelet calls the pod with this uid.
    Pod(String),
    /// A socket that the programs leave alone.
    Socket(Wish),
    /// Listeners in the network namespace of a process.
    Enter(Entrance),
    /// The way into a namespace that was entered forgotten.
    Leave(u64),
    /// Who lives in other network namespaces; only processes of the cgroup at this path are named.
    Inhabited(Option<PathBuf>),
    /// The cgroup of this process's workload, if it may be stopped.
    Freezable(freeze::Target),
    /// The workload of this process stopped where it is.
    Freeze(freeze::Target),
    /// The cgroup at this path going on.
    Thaw(String),
}

/// The answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// Cookie of the namespace; with it one socket, or two where there is IPv6.
    Listening(u64),
    /// With it one map for each of [`HANDED`].
    Attached {
        capabilities: Capabilities,
        spared: bool,
    },
    /// With it the map of its signs of life, where it is in place.
    Guarded,
    Targets(usize),
    Knocks(Result<[Knock; 3], String>),
    Statistics(Vec<ProgramStats>),
    Sight(Sight),
    Vouched(bool),
    Traits(Option<Traits>),
    Anatomy(Option<Anatomy>),
    Holder(Option<u32>),
    Name(Option<String>),
    /// With it the socket.
    Socket,
    /// With it what was opened: a socket to ask for sockets, then the listeners.
    Entered(Result<Entered, EnterError>),
    Inhabited(Vec<Inhabited>),
    Frozen(Result<String, FreezeError>),
    Program(Option<u32>),
    Done,
}

/// An answer and what belongs to it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) fds: Vec<OwnedFd>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, fds: Vec::new() }
    }
}

/// Which questions share what they wait in line for: none of a kind holds up another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Every dial of ours waits for one.
    Socket,
    /// A few small files.
    Look,
    /// Whole directories.
    Search,
    /// The programs; rare.
    Control,
}

impl Request {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Socket(_) => Class::Socket,
            Self::Identify(_) | Self::Vouched { .. } | Self::Traits { .. } => Class::Look,
            Self::Holder { .. }
            | Self::Anatomy { .. }
            | Self::Container(_)
            | Self::Pod(_)
            | Self::Enter(_)
            | Self::Leave(_)
            | Self::Inhabited(_)
            | Self::Freezable(_)
            | Self::Freeze(_)
            | Self::Thaw(_) => Class::Search,
            _ => Class::Control,
        }
    }

    /// How long its answer may take on a machine under load, before the helper counts as hung.
    pub(super) fn patience(&self) -> Duration {
        match self {
            // Loading programs can wait for other users of the verifier and for grace periods.
            Self::Attach(..) | Self::Guard(_) | Self::Detach | Self::Knock(..) => {
                Duration::from_secs(30)
            }
            // Reads a whole executable, perhaps from a slow disk.
            Self::Anatomy { .. } => Duration::from_secs(30),
            Self::Socket(_) => Duration::from_secs(2),
            _ => Duration::from_secs(5),
        }
    }
}

/// An error as it crosses: what callers tell apart, and the rest as its text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refused {
    Privilege(String),
    NoCgroup,
    Connect(String),
    Running(String),
    Mark,
    /// An error number of the kernel's.
    Os(i32),
    Other(String),
}

impl From<AttachError> for Refused {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Privilege(what) => Self::Privilege(what),
            AttachError::NoCgroup => Self::NoCgroup,
            AttachError::Connect(why) => Self::Connect(why),
            AttachError::Running(who) => Self::Running(who),
            AttachError::Listen(ListenError::Mark(_)) => Self::Mark,
            AttachError::Io(error) => match error.raw_os_error() {
                Some(number) => Self::Os(number),
                None => Self::Other(error.to_string()),
            },
            other => Self::Other(chain(&other)),
        }
    }
}

impl From<Refused> for AttachError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Privilege(what) => Self::Privilege(what),
            Refused::NoCgroup => Self::NoCgroup,
            Refused::Connect(why) => Self::Connect(why),
            Refused::Running(who) => Self::Running(who),
            Refused::Mark => {
                Self::Listen(ListenError::Mark(std::io::Error::from_raw_os_error(libc::EPERM)))
            }
            Refused::Os(number) => Self::Io(std::io::Error::from_raw_os_error(number)),
            Refused::Other(what) => Self::Remote(what),
        }
    }
}

/// An error with its causes, which do not cross by themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

/// Number of maps in an answer to [`Request::Attach`].
pub(super) const MAPS: usize = HANDED.len();

#[cfg(test)]
mod tests {
    use super::*;

    fn crossed<T: Serialize + for<'a> Deserialize<'a>>(it: &T) -> T {
        serde_json::from_slice(&serde_json::to_vec(it).unwrap()).unwrap()
    }

    #[test]
    fn errors_arrive_as_what_callers_tell_apart() {
        let crossed = |error: AttachError| AttachError::from(crossed(&Refused::from(error)));
        assert!(matches!(crossed(AttachError::NoCgroup), AttachError::NoCgroup));
        let errno = std::io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
        let AttachError::Io(error) = crossed(errno.into()) else { panic!("an error number") };
        assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
        let source = std::io::Error::from_raw_os_error(libc::ENOENT);
        let missing = AttachError::Cgroup { path: "/x".into(), source };
        let told = crossed(missing).to_string();
        assert!(told.starts_with("cgroup /x cannot be opened: No such file"), "{told}");
    }

    #[test]
    fn freezing_answers_cross_with_their_reasons() {
        for error in [
            FreezeError::Gone,
            FreezeError::Forbidden("/".into(), freeze::Why::Root),
            FreezeError::Write("/a".into(), std::io::Error::from_raw_os_error(libc::EACCES)),
        ] {
            let told = error.to_string();
            let Reply::Frozen(Err(error)) = crossed(&Reply::Frozen(Err(error))) else { panic!() };
            assert_eq!(error.to_string(), told);
        }
    }
}
