//! Why nothing is captured.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;

use super::guard::GuardError;
use super::listen::ListenError;

/// Why the programs are not attached. Nothing is left behind then.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The process may not load programs.
    #[error("the kernel half needs {0}")]
    Privilege(String),
    /// No cgroup v2 hierarchy.
    #[error("no cgroup v2 hierarchy is mounted")]
    NoCgroup,
    /// The cgroup cannot be opened.
    #[error("cgroup {path} cannot be opened")]
    Cgroup {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The object or its maps were refused.
    #[error("the kernel refuses the programs' maps")]
    Load(#[from] EbpfError),
    /// The program without which nothing can be captured was refused.
    #[error("connect4 cannot be attached: {0}")]
    Connect(String),
    /// Another agent captures this cgroup.
    #[error("another Weir is attached to this cgroup already ({0})")]
    Running(String),
    /// A map is missing, or refuses an entry.
    #[error("a map of the programs does not work")]
    Map(#[from] MapError),
    /// Input or output failed.
    #[error("the kernel half's set-up failed")]
    Io(#[from] io::Error),
    /// There is no guard.
    #[error("on_agent_failure: closed cannot be kept: {0}")]
    Guard(#[from] GuardError),
    /// What the helper process says.
    #[error("{0}")]
    Remote(String),
    /// The helper process is gone, or hangs.
    #[error("the helper process does not answer")]
    Gone,
    /// The privileged side gave an answer that does not belong to the question.
    #[error("the helper process does not speak our protocol")]
    Protocol,
}
