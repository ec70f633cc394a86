//! The privileged side: everything that takes capabilities, behind one small protocol.
//!
//! ```text
//! Capture · Identities · Owners · Resolver · upstream's sockets
//!     │ Helper (one method a question)
//!     ▼
//! link ─┬─ within this process ──────────────────────────────┬─► server ─► attach, proc, holder, …
//!       └─ lanes ── frames on SEQPACKET sockets ──► worker ──┘     (in the process `weir helper`)
//!          started, and started again when it ends, by keeper
//! ```
//! Threads share memory, so privileges can only be split by process: [`protocol::Request`] and
//! [`protocol::Reply`] hold plain values, and descriptors (sockets, maps) travel beside them. The
//! helper ends when its main socket closes, and the programs with it: the death of either side means
//! that connections go direct. Without privileges there is nothing to split, and `server` answers
//! within this process.
//!
//! Answers say no more than is needed. Of a process's environment only the variables that name
//! certificates are told; of its open files only whether a socket is among them.

mod protocol;
mod link;
mod lanes;
pub(crate) mod frame;
mod keeper;
mod worker;
pub mod confine;
mod server;
mod look;
mod proc;
mod marker;
mod holder;
mod names;
mod netns;
mod socket;
mod freeze;
mod traits;
mod anatomy;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;

use self::link::{Link, Process};
use self::protocol::{Answer, MAPS, Reply, Request};
use super::Settings;
use super::attached::{Attached, Doors};
use super::chosen::ChosenSet;
use super::error::AttachError;
use super::listen::Listening;
use super::selftest::Knock;
use super::stats::ProgramStats;
use crate::drain::Drain;

pub use self::anatomy::Anatomy;
pub use self::freeze::{FreezeError, Why, may_freeze};
pub use self::link::Standing;
pub(super) use self::look::{Facts, Instance, Look, Sight};
pub use self::marker::VARIABLE as TRUST_VARIABLE;
pub use self::netns::{EnterError, Inhabited};
pub(super) use self::netns::{Entrance, Opened as Inside};
pub(super) use self::proc::Stat;
pub use self::socket::{Kind, Wish};
pub use self::traits::Traits;

/// The unprivileged side's end: one method for each question. Clones ask the same server.
#[derive(Clone)]
pub struct Helper {
    link: Arc<Link>,
}

/// Asks, and takes the one kind of answer that belongs to the question.
macro_rules! ask {
    ($self:ident, $request:expr, $reply:pat => $answer:expr) => {
        match $self.link.ask($request)?.reply {
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

    /// A process that `command` starts (`weir helper`). With the privileges this process has now:
    /// it may drop its own afterwards.
    pub fn start(command: Command) -> io::Result<Self> {
        Ok(Self { link: Arc::new(Link::start(command)?) })
    }

    /// The other end of [`Helper::start`], in the process started. `socket` leads to the daemon;
    /// `command` starts what then runs [`Helper::serve`], again whenever it ends; `launch` what
    /// starts a successor of the daemon's, and ends.
    pub fn keep(
        socket: &OwnedFd,
        command: impl FnMut() -> Command,
        launch: impl FnMut() -> Command,
    ) -> io::Result<()> {
        keeper::run(socket, command, launch)
    }

    /// Has a successor of this process started, with `socket` as its standard input: by the process
    /// that still has what this one has given up. False where there is none, as nothing was.
    pub fn launch(&self, socket: &OwnedFd) -> io::Result<bool> {
        match &*self.link {
            Link::Within(_) => Ok(false),
            Link::Process(process) => process.launch(socket).map(|()| true),
        }
    }

    /// The attached connect4 program's id; `None` where there is none.
    pub(super) fn program(&self) -> Option<u32> {
        let id = || ask!(self, Request::Program, Reply::Program(id) => id);
        answered(id()).flatten()
    }

    /// Leaves all connections to the programs of a successor, which is attached as well.
    pub(super) fn give_way(&self) -> Result<(), AttachError> {
        ask!(self, Request::GiveWay, Reply::Done => ())
    }

    /// Serves the daemon at the other end of `socket` until that closes.
    pub fn serve(socket: &OwnedFd) -> io::Result<()> {
        worker::run(socket)
    }

    /// Follows the helper process's ends and restarts. `None` where there is no such process. Must
    /// be called within a tokio runtime, once.
    pub fn follow(&self, drain: &Drain) -> io::Result<Option<watch::Receiver<Standing>>> {
        let Link::Process(process) = &*self.link else { return Ok(None) };
        Process::follow(&self.link, drain)?;
        Ok(Some(process.standing()))
    }

    pub(super) fn listen(&self) -> Result<Listening, AttachError> {
        match self.link.ask(Request::Listen)? {
            Answer { reply: Reply::Listening(netns), fds } => Ok(Listening::of(netns, fds)?),
            _ => Err(AttachError::Protocol),
        }
    }

    pub(super) fn attach(
        &self,
        settings: &Settings,
        doors: Doors,
    ) -> Result<Attached, AttachError> {
        match self.link.ask(Request::Attach(settings.clone(), doors))? {
            Answer { reply: Reply::Attached { capabilities, spared }, fds }
                if fds.len() == MAPS =>
            {
                Attached::new(fds, capabilities, spared)
            }
            _ => Err(AttachError::Protocol),
        }
    }

    /// What connections to `port` look like from within the cgroup captured.
    pub(super) fn knock(
        &self,
        cgroup: Option<&Path>,
        port: u16,
    ) -> Result<Result<[Knock; 3], String>, AttachError> {
        let request = Request::Knock(cgroup.map(Path::to_owned), port);
        ask!(self, request, Reply::Knocks(knocks) => knocks)
    }

    pub(super) fn spare(&self, tgid: u32) -> Result<(), AttachError> {
        ask!(self, Request::Spare(tgid), Reply::Done => ())
    }

    pub(super) fn redirect(&self, on: bool) -> Result<(), AttachError> {
        ask!(self, Request::Redirect(on), Reply::Done => ())
    }

    pub(super) fn targets(&self, networks: &[IpNet]) -> Result<usize, AttachError> {
        ask!(self, Request::Targets(networks.to_vec()), Reply::Targets(left_out) => left_out)
    }

    /// Puts the guard in place for a network namespace, or removes it; returns the map of the
    /// daemon's signs of life for one in place.
    pub(super) fn guard(&self, netns: Option<u64>) -> Result<Option<OwnedFd>, AttachError> {
        match self.link.ask(Request::Guard(netns))? {
            Answer { reply: Reply::Guarded, fds } => Ok(fds.into_iter().next()),
            _ => Err(AttachError::Protocol),
        }
    }

    pub(super) fn add(&self, addrs: &[IpAddr]) -> Result<usize, AttachError> {
        ask!(self, Request::Add(addrs.to_vec()), Reply::Targets(left_out) => left_out)
    }

    pub(super) fn hosts(&self, hosts: &[Arc<str>]) -> Result<usize, AttachError> {
        ask!(self, Request::Hosts(hosts.to_vec()), Reply::Targets(left_out) => left_out)
    }

    pub(super) fn choose(&self, wanted: &ChosenSet) -> Result<usize, AttachError> {
        ask!(self, Request::Choose(wanted.clone()), Reply::Targets(left_out) => left_out)
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

    /// Whether the privileged side answers. Blocks, for seconds where it hangs.
    pub fn answers(&self) -> bool {
        let answer = || ask!(self, Request::Ping, Reply::Done => ());
        answer().is_ok()
    }

    /// What is to be seen of a process; nothing where the helper does not answer.
    pub(super) fn identify(&self, look: Look) -> Sight {
        let seen = || ask!(self, Request::Identify(look), Reply::Sight(sight) => sight);
        answered(seen()).unwrap_or(Sight::Gone)
    }

    /// Whether that process instance was started with the root `fingerprint` in its environment.
    pub(super) fn vouched(&self, pid: u32, start_ticks: u64, fingerprint: &str) -> bool {
        let fingerprint = fingerprint.to_owned();
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
        let request = Request::Holder { inode, uid, recent: recent.to_vec() };
        let holder = || ask!(self, request, Reply::Holder(holder) => holder);
        answered(holder()).flatten()
    }

    /// Name of the container with this full id.
    pub(super) fn container(&self, id: &str) -> Option<String> {
        let name = || ask!(self, Request::Container(id.to_owned()), Reply::Name(name) => name);
        answered(name()).flatten()
    }

    /// `NAMESPACE/NAME` of the pod with this uid.
    pub(super) fn pod(&self, uid: &str) -> Option<String> {
        let name = || ask!(self, Request::Pod(uid.to_owned()), Reply::Name(name) => name);
        answered(name()).flatten()
    }

    /// A non-blocking, close-on-exec socket that connects past the programs.
    pub fn socket(&self, wish: Wish) -> io::Result<OwnedFd> {
        let answer = self.link.ask(Request::Socket(wish)).map_err(|error| match error {
            AttachError::Io(error) => error,
            other => io::Error::other(other),
        })?;
        answer.fds.into_iter().next().ok_or_else(|| io::Error::other(AttachError::Protocol))
    }

    /// Opens listeners in the network namespace of a process.
    pub(super) fn enter(&self, entrance: Entrance) -> Result<Inside, EnterError> {
        let failed = |error: AttachError| EnterError::Other(error.to_string());
        match self.link.ask(Request::Enter(entrance)).map_err(failed)? {
            Answer { reply: Reply::Entered(entered), fds } => {
                Inside::of(entered?, fds).ok_or_else(|| failed(AttachError::Protocol))
            }
            _ => Err(failed(AttachError::Protocol)),
        }
    }

    /// Forgets the way into a namespace.
    pub(super) fn leave(&self, number: u64) {
        let left = || ask!(self, Request::Leave(number), Reply::Done => ());
        answered(left());
    }

    /// Who lives in other network namespaces; `None` where that is not to be known.
    pub(super) fn inhabited(&self, below: Option<&Path>) -> Option<Vec<Inhabited>> {
        let below = below.map(Path::to_owned);
        let found = || ask!(self, Request::Inhabited(below), Reply::Inhabited(found) => found);
        answered(found())
    }

    /// Path of the cgroup of a process's workload. Refused where freezing it would stop more than
    /// a workload.
    pub fn freezable(
        &self,
        (pid, start_ticks): (u32, u64),
        unit: Option<&str>,
    ) -> Result<String, FreezeError> {
        let unit = unit.map(str::to_owned);
        self.ask_frozen(Request::Freezable(freeze::Target { pid, start_ticks, unit }))
    }

    /// Stops the workload of a process where it is; returns the path of its cgroup, for
    /// [`Helper::thaw`]. Refused as [`Helper::freezable`] is.
    pub fn freeze(
        &self,
        (pid, start_ticks): (u32, u64),
        unit: Option<&str>,
    ) -> Result<String, FreezeError> {
        let unit = unit.map(str::to_owned);
        self.ask_frozen(Request::Freeze(freeze::Target { pid, start_ticks, unit }))
    }

    /// Lets the cgroup at `path` go on. Fine where it is gone.
    pub fn thaw(&self, path: &str) -> Result<(), FreezeError> {
        self.ask_frozen(Request::Thaw(path.to_owned())).map(drop)
    }

    fn ask_frozen(&self, request: Request) -> Result<String, FreezeError> {
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
