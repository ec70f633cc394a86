//! An embedded provider: speaks OpenAI's, Anthropic's and Gemini's APIs over real TLS, HTTP/1.1,
//! HTTP/2 and WebSocket, bills deterministic tokens, and misbehaves on request.
//!
//! The demo and the test harness share it. Its memory is bounded: connections, the body it reads,
//! the requests it remembers and the length of a stream all have a limit.

mod ca;
mod ask;
mod script;
mod control;
mod openai;
mod anthropic;
mod gemini;
mod transcript;
mod socket;
mod serve;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::clock::Clock;
use crate::drain::Drain;

pub use ca::CaError;
pub use control::{Control, Seen, Stats};
pub use script::{Ending, Script, Tokens, UnknownWord};

/// The hosts it stands for.
const NAMES: [&str; 3] =
    ["api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"];
/// Most connections served at once; further ones wait in the kernel's backlog.
const MOST_CONNECTIONS: usize = 8 * 1024;

/// Where the mock listens and what it answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses to listen on, with TLS; port 0 is allowed.
    pub listen: Vec<SocketAddr>,
    /// Names its certificate is good for, beside `localhost` and the addresses.
    pub names: Vec<String>,
    /// The standing script.
    pub script: Script,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            names: NAMES.map(str::to_owned).to_vec(),
            script: Script::default(),
        }
    }
}

/// Why the mock could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// No certificate could be made.
    #[error(transparent)]
    Ca(#[from] CaError),
}

/// The provider, bound and not yet serving.
#[derive(Debug)]
pub struct Mock {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    tls: Arc<rustls::ServerConfig>,
    ca_pem: String,
    control: Control,
}

impl Mock {
    /// Makes a CA and listens.
    pub async fn bind(settings: &Settings, clock: &dyn Clock) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for &address in &settings.listen {
            let fail = |source| BindError::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(fail)?;
            addresses.push(listener.local_addr().map_err(fail)?);
            listeners.push(listener);
        }
        let mut names = settings.names.clone();
        names.push("localhost".to_owned());
        let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
        let (tls, ca_pem) = ca::server(&names, &ips, clock.now().wall)?;
        let control = Control::new(settings.script);
        Ok(Self { listeners, addresses, tls, ca_pem, control })
    }

    /// The addresses really listened on, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The CA that vouches for it, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Scripts it and reads its counts, also while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until `drain` is signalled.
    pub async fn run(self, drain: Drain) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        for (listener, address) in self.listeners.into_iter().zip(self.addresses) {
            let port = Port {
                address,
                tls: TlsAcceptor::from(Arc::clone(&self.tls)),
                control: self.control.clone(),
                room: Arc::clone(&room),
                drain: drain.clone(),
            };
            drain.spawn(port.run(listener));
        }
        drain.signalled().await;
    }
}

/// One listening address.
struct Port {
    address: SocketAddr,
    tls: TlsAcceptor,
    control: Control,
    room: Arc<Semaphore>,
    drain: Drain,
}

impl Port {
    async fn run(self, listener: TcpListener) {
        let mut listening = self.control.listening();
        let mut open = Some(listener);
        loop {
            tokio::select! {
                () = self.drain.signalled() => return,
                changed = listening.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = *listening.borrow_and_update();
                    open = match open.take() {
                        Some(listener) if wanted => Some(listener),
                        _ if wanted => TcpListener::bind(self.address).await.ok(),
                        _ => None,
                    };
                }
                Some(stream) = accept(open.as_ref()) => self.serve(stream).await,
            }
        }
    }

    async fn serve(&self, stream: TcpStream) {
        self.control.accepted();
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return };
        let (tls, control, drain) = (self.tls.clone(), self.control.clone(), self.drain.clone());
        self.drain.spawn(async move {
            tokio::select! {
                () = drain.signalled() => {}
                () = serve::connection(stream, tls, control, drain.clone()) => {}
            }
            drop(room);
        });
    }
}

/// The next connection; never, while the port is closed. A failed accept counts as none.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
