//! Connections that are open and unused, and the making of new ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use foldhash::HashMap;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;

use super::body::Outgoing;
use super::connect::{Connect, Destination, Io, SocketOptions};
use super::failure::Failure;
use super::tls::{Offer, Protocol, Tls};
use crate::clock::Clock;
use crate::drain::Drain;

/// What makes two connections interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where to connect.
    pub destination: Destination,
    /// Host name: in TLS the name whose certificate is required.
    pub host: Arc<str>,
    /// Whether to speak TLS.
    pub tls: bool,
    /// Protocols to offer.
    pub offer: Offer,
    /// What the client's socket carried.
    pub options: SocketOptions,
}

/// A connection that requests can be sent on.
#[derive(Debug)]
pub(super) enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

impl Sender {
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Http1(_) => Protocol::Http1,
            Self::Http2(_) => Protocol::Http2,
        }
    }

    /// Whether a request can be sent at once.
    fn is_ready(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(sender) => sender.is_ready(),
        }
    }

    /// Waits for the previous response to be over; false where the connection has closed.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends; the request comes back where none of it was written.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<Outgoing>>)> {
        let sent = match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error| {
            let request = error.take_message();
            (error.into_error(), request)
        })
    }
}

/// Idle connections by target.
#[derive(Debug)]
pub struct Pool {
    connect: Arc<dyn Connect>,
    tls: ArcSwap<Tls>,
    clock: Arc<dyn Clock>,
    drain: Drain,
    idle: Mutex<HashMap<Target, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// How long a connection is kept unused. Short, since a provider that closes it at the moment
    /// of use costs the client a call it would not have lost without us.
    const KEEP: Duration = Duration::from_secs(15);
    /// Idle connections kept to one target; above it the oldest are closed.
    const PER_TARGET: usize = 128;

    /// An empty pool. Connections run as tasks of `drain`.
    pub fn new(connect: Arc<dyn Connect>, tls: Tls, clock: Arc<dyn Clock>, drain: Drain) -> Self {
        Self { connect, tls: ArcSwap::from_pointee(tls), clock, drain, idle: Mutex::default() }
    }

    /// How certificates are checked.
    pub fn tls(&self) -> Arc<Tls> {
        self.tls.load_full()
    }

    /// Checks certificates otherwise from now on. Idle connections were checked as before: they are
    /// closed.
    pub fn verify_by(&self, tls: Tls) {
        self.tls.store(Arc::new(tls));
        self.idle.lock().clear();
    }

    /// Closes connections that have been unused too long; to be called every few seconds.
    pub fn sweep(&self) {
        let now = self.clock.mono();
        self.idle.lock().retain(|_target, idle| {
            idle.retain(|idle| idle.is_live(now));
            !idle.is_empty()
        });
    }

    /// Closes idle connections that leave from the network namespace with this number: they would
    /// keep it alive.
    pub fn leave(&self, netns: u64) {
        self.idle.lock().retain(|target, _idle| target.options.netns != Some(netns));
    }

    /// Closes all idle connections, for good when the drain has been signalled.
    pub fn close(&self) {
        self.idle.lock().clear();
    }

    /// Number of idle connections.
    pub fn idle(&self) -> usize {
        self.idle.lock().values().map(Vec::len).sum()
    }

    /// The most recently used live connection to `target`.
    pub(super) fn take(&self, target: &Target) -> Option<Sender> {
        let now = self.clock.mono();
        let mut all = self.idle.lock();
        let idle = all.get_mut(target)?;
        while let Some(candidate) = idle.pop() {
            if candidate.is_live(now) {
                return Some(candidate.sender);
            }
        }
        None
    }

    /// Keeps a connection for another link, if it is fit for that.
    pub(super) fn keep(&self, target: &Target, sender: Sender) {
        if !sender.is_ready() {
            return;
        }
        let since = self.clock.mono();
        let mut all = self.idle.lock();
        // Under the lock: after `close` nothing is kept any more.
        if self.drain.is_signalled() {
            return;
        }
        let idle = all.entry(target.clone()).or_default();
        if idle.len() >= Self::PER_TARGET {
            idle.remove(0);
        }
        idle.push(Idle { sender, since });
    }

    /// Opens a new connection.
    pub(super) async fn dial(&self, target: &Target) -> Result<Sender, Failure> {
        let io =
            self.connect.connect(&target.destination, target.options).await.map_err(|source| {
                Failure::Connect { to: target.destination.to_string(), source }
            })?;
        self.greet(io, target).await
    }

    /// Begins TLS, where it is to be spoken, and HTTP.
    pub(super) async fn greet(&self, io: Io, target: &Target) -> Result<Sender, Failure> {
        if !target.tls {
            return self.http(io, Protocol::Http1, target).await;
        }
        let (io, protocol) = self
            .tls()
            .handshake(&target.host, target.offer, io)
            .await
            .map_err(|source| Failure::of_handshake(&target.host, source))?;
        self.http(Box::new(io), protocol, target).await
    }

    async fn http(&self, io: Io, protocol: Protocol, target: &Target) -> Result<Sender, Failure> {
        let broken = |source| Failure::Broken { host: target.host.to_string(), source };
        let io = TokioIo::new(io);
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .preserve_header_case(true)
                    .handshake(io)
                    .await
                    .map_err(broken)?;
                self.drain.spawn(report(connection.with_upgrades()));
                Ok(Sender::Http1(sender))
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(self.drain.clone())
                    .timer(TokioTimer::new())
                    .keep_alive_interval(Duration::from_secs(30))
                    .keep_alive_timeout(Duration::from_secs(20))
                    .handshake(io)
                    .await
                    .map_err(broken)?;
                self.drain.spawn(report(connection));
                Ok(Sender::Http2(sender))
            }
        }
    }
}

impl Idle {
    fn is_live(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < Pool::KEEP && self.sender.is_ready()
    }
}

/// Runs a connection to its end. Whoever waits for a response on it is told of the error too.
async fn report(connection: impl Future<Output = hyper::Result<()>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "upstream connection ended");
    }
}
