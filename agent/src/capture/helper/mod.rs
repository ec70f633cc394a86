//! The privileged side: everything that takes capabilities, behind one small protocol.
//!
//! ```text
//! Capture · Identities · Owners · Resolver · upstream's sockets
//!        └────────── Helper (one method a question) ──► link ──► server ──► attach, proc, holder, …
//! ```
//! Threads share memory, so privileges can only be split by process. [`Request`] and [`Reply`] hold
//! plain values and file descriptors (sockets, maps), which a SEQPACKET socket can carry, and errors
//! that cross as their text. For now `server` answers within this process, and a question is a
//! function call; to split it off, `link` is the one file to change: it would send what it now hands
//! over, and a closed socket would mean [`Request::Detach`]. Two things do not cross, and would have
//! to be asked for then: what the programs narrate (`--log-bpf`, a closure in the answer), and the
//! self-test's child, which joins the captured cgroup and is still forked by the asking side.
//!
//! Answers say no more than is needed. Of a process's environment only the variables that name
//! certificates are told; of its open files only whether a socket is among them.

mod anatomy;
mod freeze;
mod holder;
mod link;
mod look;
mod marker;
mod names;
mod proc;
mod server;
mod socket;
mod traits;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use self::link::Link;
use super::Settings;
use super::attach::{AttachError, Attached};
use super::listen::Listening;
use super::stats::ProgramStats;

pub use self::anatomy::Anatomy;
pub use self::freeze::{FreezeError, Why, may_freeze};
pub(super) use self::look::{Facts, Instance, Look, Sight};
pub use self::marker::VARIABLE as TRUST_VARIABLE;
pub(super) use self::proc::Stat;
pub use self::socket::{Kind, Wish};
pub use self::traits::Traits;

/// What the unprivileged side may ask for.
#[derive(Debug, Clone, Copy)]
enum Request<'a> {
    /// Listeners in the caller's own network namespace.
    Listen,
    /// The programs, redirecting to these listeners.
    Attach(&'a Settings, &'a Listening),
    /// The agent's own connections left alone by this thread-group id of the initial namespace.
    Spare(u32),
    /// Whether to redirect.
    Redirect(bool),
    /// Where connections are wanted.
    Targets(&'a [IpNet]),
    /// The kernel's run-time statistics of the programs.
    Statistics,
    /// The programs gone.
    Detach,
    /// What `/proc` says of a process.
    Identify(Look<'a>),
    /// Whether that process instance was started with this root's fingerprint in its environment.
    Vouched { pid: u32, start_ticks: u64, fingerprint: &'a str },
    /// What decides whom that process instance trusts.
    Traits { pid: u32, start_ticks: u64 },
    /// What that process instance is made of.
    Anatomy { pid: u32, start_ticks: u64 },
    /// Which process has this socket of this user open; those of `recent` are asked first.
    Holder { inode: u64, uid: u32, recent: &'a [u32] },
    /// What its runtime calls the container with this id.
    Container(&'a str),
    /// What the kubelet calls the pod with this uid.
    Pod(&'a str),
    /// A socket that the programs leave alone.
    Socket(Wish),
    /// The cgroup of this process's workload, if it may be stopped.
    Freezable(freeze::Target<'a>),
    /// The workload of this process stopped where it is.
    Freeze(freeze::Target<'a>),
    /// The cgroup at this path going on.
    Thaw(&'a str),
}

/// The answers.
enum Reply {
    Listening(Listening),
    Attached(Box<Attached>),
    Targets(usize),
    Statistics(Vec<ProgramStats>),
    Sight(Sight),
    Vouched(bool),
    Traits(Option<Traits>),
    Anatomy(Option<Anatomy>),
    Holder(Option<u32>),
    Name(Option<String>),
    Socket(OwnedFd),
    Frozen(Result<String, FreezeError>),
    Done,
}

/// The unprivileged side's end: one method for each question. Clones ask the same server.
#[derive(Clone)]
pub struct Helper {
    link: Arc<Link>,
}

/// Asks, and takes the one kind of answer that belongs to the question.
macro_rules! ask {
    ($self:ident, $request:expr, $reply:pat => $answer:expr) => {
        match $self.link.ask($request)? {
            $reply => Ok($answer),
            _ => Err(AttachError::Protocol),
        }
    };
}

impl Helper {
    /// A helper within this process.
    pub fn in_process() -> Self {
        Self::below(Path::new("/"))
    }

    /// One that looks for the files of container runtimes below `root`.
    pub(super) fn below(root: &Path) -> Self {
        Self { link: Arc::new(Link::in_process(root)) }
    }

    pub(super) fn listen(&self) -> Result<Listening, AttachError> {
        ask!(self, Request::Listen, Reply::Listening(listening) => listening)
    }

    pub(super) fn attach(
        &self,
        settings: &Settings,
        listening: &Listening,
    ) -> Result<Attached, AttachError> {
        ask!(self, Request::Attach(settings, listening), Reply::Attached(attached) => *attached)
    }

    pub(super) fn spare(&self, tgid: u32) -> Result<(), AttachError> {
        ask!(self, Request::Spare(tgid), Reply::Done => ())
    }

    pub(super) fn redirect(&self, on: bool) -> Result<(), AttachError> {
        ask!(self, Request::Redirect(on), Reply::Done => ())
    }

    pub(super) fn targets(&self, networks: &[IpNet]) -> Result<usize, AttachError> {
        ask!(self, Request::Targets(networks), Reply::Targets(left_out) => left_out)
    }

    pub(super) fn statistics(&self) -> Result<Vec<ProgramStats>, AttachError> {
        ask!(self, Request::Statistics, Reply::Statistics(statistics) => statistics)
    }

    pub(super) fn detach(&self) {
        if let Err(error) = self.link.ask(Request::Detach) {
            // A helper that cannot be reached is gone, and the links with it.
            tracing::debug!(%error, "detaching");
        }
    }

    /// What is to be seen of a process; nothing where the helper does not answer.
    pub(super) fn identify(&self, look: Look<'_>) -> Sight {
        let seen = || ask!(self, Request::Identify(look), Reply::Sight(sight) => sight);
        answered(seen()).unwrap_or(Sight::Gone)
    }

    /// Whether that process instance was started with the root `fingerprint` in its environment.
    pub(super) fn vouched(&self, pid: u32, start_ticks: u64, fingerprint: &str) -> bool {
        let request = Request::Vouched { pid, start_ticks, fingerprint };
        let vouched = || ask!(self, request, Reply::Vouched(vouched) => vouched);
        answered(vouched()).unwrap_or(false)
    }

    /// What decides whom that process instance trusts; `None` where it is gone.
    pub(super) fn traits(&self, pid: u32, start_ticks: u64) -> Option<Traits> {
        let request = Request::Traits { pid, start_ticks };
        let traits = || ask!(self, request, Reply::Traits(traits) => traits);
        answered(traits()).flatten()
    }

    /// What that process instance is made of; `None` where it is gone.
    pub(super) fn anatomy(&self, pid: u32, start_ticks: u64) -> Option<Anatomy> {
        let request = Request::Anatomy { pid, start_ticks };
        let anatomy = || ask!(self, request, Reply::Anatomy(anatomy) => anatomy);
        answered(anatomy()).flatten()
    }

    /// The process that has the socket among its open files, tried first among `recent`.
    pub(super) fn holder(&self, inode: u64, uid: u32, recent: &[u32]) -> Option<u32> {
        let request = Request::Holder { inode, uid, recent };
        let holder = || ask!(self, request, Reply::Holder(holder) => holder);
        answered(holder()).flatten()
    }

    /// Name of the container with this full id.
    pub(super) fn container(&self, id: &str) -> Option<String> {
        let name = || ask!(self, Request::Container(id), Reply::Name(name) => name);
        answered(name()).flatten()
    }

    /// `NAMESPACE/NAME` of the pod with this uid.
    pub(super) fn pod(&self, uid: &str) -> Option<String> {
        let name = || ask!(self, Request::Pod(uid), Reply::Name(name) => name);
        answered(name()).flatten()
    }

    /// A non-blocking, close-on-exec socket that connects past the programs.
    pub fn socket(&self, wish: Wish) -> io::Result<OwnedFd> {
        let made = || ask!(self, Request::Socket(wish), Reply::Socket(socket) => socket);
        made().map_err(|error| match error {
            AttachError::Io(error) => error,
            other => io::Error::other(other),
        })
    }

    /// Path of the cgroup of a process's workload. Refused where freezing it would stop more than
    /// a workload.
    pub fn freezable(
        &self,
        (pid, start_ticks): (u32, u64),
        unit: Option<&str>,
    ) -> Result<String, FreezeError> {
        self.ask_frozen(Request::Freezable(freeze::Target { pid, start_ticks, unit }))
    }

    /// Stops the workload of a process where it is; returns the path of its cgroup, for
    /// [`Helper::thaw`]. Refused as [`Helper::freezable`] is.
    pub fn freeze(
        &self,
        (pid, start_ticks): (u32, u64),
        unit: Option<&str>,
    ) -> Result<String, FreezeError> {
        self.ask_frozen(Request::Freeze(freeze::Target { pid, start_ticks, unit }))
    }

    /// Lets the cgroup at `path` go on. Fine where it is gone.
    pub fn thaw(&self, path: &str) -> Result<(), FreezeError> {
        self.ask_frozen(Request::Thaw(path)).map(drop)
    }

    fn ask_frozen(&self, request: Request<'_>) -> Result<String, FreezeError> {
        let answer = || ask!(self, request, Reply::Frozen(answer) => answer);
        answer().unwrap_or_else(|error| Err(FreezeError::Helper(error.to_string())))
    }
}

/// What has no answer without the helper is unknown then, as it is without privilege.
fn answered<T>(answer: Result<T, AttachError>) -> Option<T> {
    answer.inspect_err(|error| tracing::warn!(%error, "the helper does not answer")).ok()
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Helper")
    }
}
