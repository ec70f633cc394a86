//! A stage: a network and mount namespace of its own, with names, roots and a cgroup to play in.
//!
//! Nothing outside changes: what is mounted here is seen only by the calling thread and the
//! processes it starts, and the last of them to end takes it all away.

mod namespace;
mod loopback;
mod names;
mod roots;
mod cgroup;
mod scratch;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use cgroup::Cgroup;
pub use scratch::Scratch;

/// Why the stage cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Something is not permitted or not there; nothing has happened, and the caller may go on
    /// without a stage.
    #[error("cannot {doing}: {source}")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The calling thread is in its new namespaces, which are not usable.
    #[error("cannot {doing}: {source}")]
    Broken {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StageError {
    fn unavailable(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unavailable { doing, source }
    }

    fn broken(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Broken { doing, source }
    }
}

/// A name and where it leads on the stage.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The name.
    pub name: &'a str,
    /// Its addresses, which become local.
    pub addresses: &'a [IpAddr],
}

/// The set stage. Its parts go in this order when it is dropped.
#[derive(Debug)]
pub struct Stage {
    cgroup: Cgroup,
    scratch: Scratch,
}

impl Stage {
    /// Moves the calling thread into new namespaces where the hosts' addresses are local, their
    /// names resolve to them, and nothing else is reachable.
    ///
    /// Threads and processes the caller starts afterwards are inside too; threads that ran before
    /// are not. There is no way back: end the thread.
    pub fn set(name: &str, hosts: &[Host<'_>]) -> Result<Self, StageError> {
        let cgroup = Cgroup::create(name).map_err(StageError::unavailable("make a cgroup"))?;
        let scratch = Scratch::create(name).map_err(StageError::unavailable("make a directory"))?;
        namespace::enter().map_err(StageError::unavailable("enter new namespaces"))?;
        loopback::up(hosts).map_err(StageError::broken("set the loopback interface up"))?;
        names::resolve(hosts, scratch.path()).map_err(StageError::broken("replace /etc/hosts"))?;
        Ok(Self { cgroup, scratch })
    }

    /// Makes every client that uses the system's roots trust `pems` too.
    pub fn trust(&self, pems: &[&str]) -> Result<(), StageError> {
        roots::add(pems, self.scratch.path())
            .map_err(StageError::broken("replace the system's roots"))
    }

    /// The cgroup whose processes are captured.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// A directory for whatever is needed while the stage stands.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}

/// Where the cgroup2 hierarchy is mounted.
fn cgroup_mount() -> io::Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    cgroup::mount_point(&mounts)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "cgroup2 is not mounted"))
}
