//! The admin server: the same routes on a unix socket, where the kernel says who asks, and on
//! loopback HTTP, where nobody is known but by the token of a session.
//!
//! Everything it says comes from the running agent through [`Agent`]; the types of the API live
//! here, and the CLI reads the same ones.

mod agent;
mod peer;
mod access;
mod sessions;
mod crowd;
mod serve;
mod problem;
mod routes;
pub mod alerts;
pub mod webhooks;
pub mod watch;
mod control;
mod dashboard;
mod stream;
pub mod analytics;
mod openapi;
pub mod harmless;
mod near;
pub mod status;
pub mod spend;
pub mod calls;
pub mod processes;
pub mod prices;
pub mod policies;
pub mod reload;
pub mod upgrade;
pub mod upkeep;
pub mod bypass;
pub mod trial;
pub mod usage;
pub mod budgets;
pub mod breakers;
pub mod accounts;
pub mod money;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::net::{TcpListener, UnixListener};

pub use self::agent::{Agent, Failure};
pub use self::alerts::Alerts;
pub use self::analytics::Analytics;
pub use self::control::Control;
pub use self::problem::ProblemDetails;
pub use self::routes::{SetCapture, SetMode};
pub use self::sessions::{NewSession, Role, WhoAmI};
pub use self::watch::Watching;
pub use self::webhooks::Inbound;

use self::sessions::Sessions;
use crate::clock::{Clock, System};
use crate::drain::Drain;

/// Version of all JSON shapes; grows only when a key changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// Members of this group administer the agent.
const GROUP: &str = "weir";

/// Where to listen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Path of the unix socket; its directory is made where it is missing.
    pub socket: PathBuf,
    /// Address for HTTP, if any; loopback.
    pub http: Option<SocketAddr>,
    /// File with the token that readers of metrics must send.
    pub token_file: Option<PathBuf>,
}

/// Why the admin server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another agent answers on the socket.
    #[error("another weir daemon is running ({0} answers)")]
    Running(PathBuf),
    /// The socket cannot be made.
    #[error("{path}: {fault}")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        fault: io::Error,
    },
    /// The HTTP address cannot be listened on.
    #[error("{addr}: {fault} (listen.admin)")]
    Http {
        /// The address.
        addr: SocketAddr,
        /// Why.
        fault: io::Error,
    },
    /// The token cannot be read.
    #[error("{path}: {fault} (metrics.token_file)")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: io::Error,
    },
}

/// A bound admin server.
#[derive(Debug)]
pub struct Admin {
    socket: SocketFile,
    unix: UnixListener,
    tcp: Option<TcpListener>,
    token: Option<Arc<str>>,
    group: Option<u32>,
}

impl Admin {
    /// Binds the socket and the HTTP address. Must run inside the runtime.
    pub fn bind(settings: &Settings) -> Result<Self, BindError> {
        Self::over(settings, Bound::default())
    }

    /// The same over listeners that are there already; those that are not are bound.
    pub fn over(settings: &Settings, bound: Bound) -> Result<Self, BindError> {
        let token = settings.token_file.as_deref().map(read_token).transpose()?;
        let socket_error = |fault| BindError::Socket { path: settings.socket.clone(), fault };
        let (socket, unix) = match bound.socket {
            Some(unix) => {
                unix.set_nonblocking(true).map_err(socket_error)?;
                let unix = UnixListener::from_std(unix).map_err(socket_error)?;
                (SocketFile::of(&settings.socket), unix)
            }
            None => bind_socket(&settings.socket)?,
        };
        let tcp = match (settings.http, bound.http) {
            (Some(addr), Some(tcp)) => {
                let failed = |fault| BindError::Http { addr, fault };
                tcp.set_nonblocking(true).map_err(failed)?;
                Some(TcpListener::from_std(tcp).map_err(failed)?)
            }
            (http, _) => http.map(bind_http).transpose()?,
        };
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        Ok(Self { socket, unix, tcp, token, group: access::group_id(&groups, GROUP) })
    }

    /// The HTTP address, with the port that was found where 0 was asked for.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }

    /// Path of the unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket.path
    }

    /// Copies of the listeners, for whoever is to serve them next.
    pub fn copies(&self) -> io::Result<Bound> {
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        let http = self.tcp.as_ref().map(|tcp| copy(tcp.as_fd())).transpose()?;
        Ok(Bound { socket: Some(copy(self.unix.as_fd())?.into()), http: http.map(Into::into) })
    }

    /// Leaves the socket's file where it is when this server goes: it is to be served by the next.
    pub fn leave_file(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.socket.left)
    }

    /// Serves until drained; the socket's file is gone afterwards.
    pub async fn run(self, agent: Arc<dyn Agent>, drain: Drain) {
        let clock: Arc<dyn Clock> = Arc::new(System);
        let sessions = Arc::new(Sessions::new(Arc::clone(&clock)));
        let shared = routes::Shared {
            agent,
            drain: drain.clone(),
            guarded: self.token.is_some(),
            sessions: Arc::clone(&sessions),
            http: self.addr(),
        };
        let listening = Arc::clone(&shared.agent);
        let router = routes::router(shared);
        let who = (self.group, rustix::process::geteuid().as_raw());
        let unix =
            serve::unix(self.unix, (router.clone(), Arc::clone(&listening)), who, drain.clone());
        match self.tcp {
            Some(tcp) => {
                let keys = serve::Keys::new(self.token, sessions, clock);
                let http = serve::tcp(tcp, (router, listening), keys, drain);
                tokio::join!(unix, http);
            }
            None => unix.await,
        }
    }
}

/// Listeners that are there already.
#[derive(Debug, Default)]
pub struct Bound {
    /// The unix socket.
    pub socket: Option<std::os::unix::net::UnixListener>,
    /// For HTTP.
    pub http: Option<std::net::TcpListener>,
}

/// The socket's file: removed when the server goes, unless it is another's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    left: Arc<AtomicBool>,
}

impl SocketFile {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), left: Arc::default() }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.left.load(Relaxed) {
            // Already gone is as good as removed; nobody is left to be told otherwise.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn bind_socket(path: &Path) -> Result<(SocketFile, UnixListener), BindError> {
    let socket_error = |fault| BindError::Socket { path: path.to_owned(), fault };
    if let Some(dir) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(dir).map_err(socket_error)?;
    }
    // A socket nobody answers on was left behind by an agent that was killed.
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(BindError::Running(path.to_owned())),
        Err(fault) if fault.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(socket_error)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(socket_error)?;
    let file = SocketFile::of(path);
    // Anyone may connect: what they may see and do is decided by their credentials.
    let anyone = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, anyone).map_err(socket_error)?;
    Ok((file, listener))
}

fn bind_http(addr: SocketAddr) -> Result<TcpListener, BindError> {
    let bind = || {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    bind().map_err(|fault| BindError::Http { addr, fault })
}

fn read_token(path: &Path) -> Result<Arc<str>, BindError> {
    let token_error = |fault| BindError::Token { path: path.to_owned(), fault };
    let text = std::fs::read_to_string(path).map_err(token_error)?;
    match text.trim() {
        "" => Err(token_error(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"))),
        token => Ok(Arc::from(token)),
    }
}

#[cfg(test)]
mod sample;
