//! One connection, redirected or tunnelled to us by `CONNECT`: understood, then relayed or served.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;
use rustls::HandshakeKind;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::accept::Permit;
use super::heard::Heard;
use super::hello::{self, Opening};
use super::patience::Patience;
use super::replay::{Passed, Replay};
use super::treat::{Known, Treat, treat};
use super::trust::{self, Client, Reached, Signal};
use super::{Front, proxied, serve};
use crate::clock::Now;
use crate::llm::providers::Provider;
use crate::pipeline::{Context, Parties, Place};
use crate::record::{Connection, Treatment, Via};
use crate::subject::Subject;
use crate::upstream::connect::keep_alive;
use crate::upstream::{Destination, Failure, Link, Offer, SocketOptions, Target};

/// How long a client may take to say hello; after that the server is taken to speak first.
pub(super) const HELLO_WAIT: Duration = Duration::from_secs(5);

/// A connection that has arrived, and where it was going.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// How it reached the agent.
    pub via: Via,
    /// Who opened it.
    pub subject: Arc<Subject>,
    /// Where it was going.
    pub destination: Destination,
    /// What the client's socket carried.
    pub options: SocketOptions,
    /// Whether it is only here because somebody else in its network namespace is metered.
    pub bystander: bool,
    /// When it arrived.
    pub opened: Now,
    /// What it counts as.
    pub permit: Permit,
}

/// Deals with a connection of which `read` has been read already.
pub async fn run(front: Arc<Front>, arrival: Arrival, mut stream: TcpStream, read: BytesMut) {
    // Streams of small events wait for nothing (a missing TCP_NODELAY costs 40 ms stalls).
    if let Err(error) = stream.set_nodelay(true).and_then(|()| keep_alive(&stream)) {
        tracing::debug!(%error, "the client is gone already");
        return;
    }
    let mut buffer = read;
    let deadline = Instant::now() + HELLO_WAIT;
    let opening = match hello::peek(&mut stream, &mut buffer, hello::LIMIT, deadline).await {
        Ok(opening) => opening,
        Err(error) => {
            tracing::debug!(%error, "the client left before saying anything");
            return;
        }
    };
    if proxied::is_meant(&front, &arrival, &opening, &buffer) {
        return proxied::run(front, arrival, stream, buffer).await;
    }
    go_on(front, arrival, (stream, buffer), &opening, None).await;
}

/// Deals with a connection whose opening is known. `open` leads to where it was going, if there is
/// such a connection yet.
pub(super) async fn go_on(
    front: Arc<Front>,
    arrival: Arrival,
    (stream, buffer): (TcpStream, BytesMut),
    opening: &Opening,
    open: Option<TcpStream>,
) {
    match known(&front, &arrival, opening, treat) {
        Treat::Relay { provider, host, reason } => {
            let label = Label::of(provider.as_deref(), host, &arrival.destination);
            relay(&front, &arrival, (stream, buffer), (open, label), reason).await;
        }
        Treat::Block { provider, host } => {
            reset(stream);
            let label = Label::of(Some(&provider), Some(host), &arrival.destination);
            let end = End { treatment: Treatment::Blocked, reason: "untrusted", failed: false };
            finish(&front, &arrival, label, end, (0, 0));
        }
        Treat::Terminate { provider, host, offer } => {
            let meant = Meant { provider, host, offer };
            terminate(&front, &arrival, (stream, buffer), (open, meant)).await;
        }
    }
}

/// Closes a connection with a reset, which is what a client sees of a server that is not there.
pub fn reset(stream: TcpStream) {
    if let Err(error) = SockRef::from(&stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "the client is gone already");
    }
    drop(stream);
}

struct Meant {
    provider: Arc<Provider>,
    host: Arc<str>,
    offer: Offer,
}

/// Decides from what is known now.
pub(super) fn known<T>(
    front: &Front,
    arrival: &Arrival,
    opening: &Opening,
    decide: impl FnOnce(&Known<'_>) -> T,
) -> T {
    let rules = front.rules.load();
    decide(&Known {
        opening,
        providers: &rules.providers,
        can_terminate: &|host| front.client.can_terminate(host),
        bypassed: &|host| front.is_bypassed(&arrival.subject, host),
        verdict: front.client.verdict(&arrival.subject, &front.identities),
        block_untrusted: front.client.block_untrusted.load(Relaxed),
        bystander: arrival.bystander,
    })
}

/// Passes everything on untouched, as if we were not there.
pub(super) async fn relay(
    front: &Front,
    arrival: &Arrival,
    (stream, buffer): (TcpStream, BytesMut),
    (open, label): (Option<TcpStream>, Label),
    reason: &'static str,
) {
    let opened = match open {
        Some(open) => Ok(open),
        None => front.upstream.tcp.open(&arrival.destination, arrival.options).await,
    };
    let upstream = match opened {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::debug!(%error, to = %arrival.destination, "cannot relay");
            reset(stream);
            let end = End { treatment: Treatment::Opaque, reason, failed: true };
            finish(front, arrival, label, end, (0, 0));
            return;
        }
    };
    let stop = front.runtime.drain.hurried();
    let relayed = front.upstream.tunnels.relay(stream, &buffer, upstream, stop).await;
    let end = End { treatment: Treatment::Opaque, reason, failed: false };
    finish(front, arrival, label, end, (relayed.up, relayed.down));
}

/// Terminates TLS and serves the calls inside.
async fn terminate(
    front: &Arc<Front>,
    arrival: &Arrival,
    (stream, buffer): (TcpStream, BytesMut),
    (open, meant): (Option<TcpStream>, Meant),
) {
    let label =
        Label::of(Some(&meant.provider), Some(Arc::clone(&meant.host)), &arrival.destination);
    let mut target = Target {
        destination: arrival.destination.clone(),
        host: Arc::clone(&meant.host),
        tls: true,
        offer: meant.offer,
        options: arrival.options,
    };
    // The provider first: once our hello is out, an unreachable provider would look like broken
    // TLS. Now it looks like what it is.
    let pool = Arc::clone(&front.upstream.pool);
    let linked = match open {
        Some(open) => Link::over(Arc::clone(&pool), target.clone(), Box::new(open)).await,
        None => Link::open(Arc::clone(&pool), target.clone()).await,
    };
    let opened = match linked {
        // connect(2) to us always succeeds, so a client that tries IPv6 first never comes to its
        // own fallback: it is ours to make. The name is verified by TLS either way.
        Err(Failure::Connect { .. }) if let Some(other) = fallback(front, &target).await => {
            target = other.clone();
            Link::open(pool, other).await
        }
        opened => opened,
    };
    let mut refused = false;
    let (link, protocol) = match opened {
        Ok(open) => open,
        // The client's TLS is finished all the same, since inside it the reason can be said; each
        // of its requests tries anew.
        Err(failure @ Failure::Certificate { .. }) => {
            tracing::warn!(%failure, "calls are refused");
            refused = true;
            (Link::lazy(Arc::clone(&front.upstream.pool), target), meant.offer.ours())
        }
        Err(failure) => {
            tracing::debug!(%failure, "the provider cannot be reached");
            reset(stream);
            let failed = matches!(failure, Failure::Connect { .. });
            let reason = if failed { "connect" } else { "upstream_tls" };
            let end = End { treatment: Treatment::Metered, reason, failed: true };
            finish(front, arrival, label, end, (0, 0));
            return;
        }
    };
    let alpn = match meant.offer {
        Offer::Nothing => Vec::new(),
        _ => vec![protocol.alpn().to_vec()],
    };
    let now = front.runtime.clock.now().wall;
    let config =
        front.client.leaves.as_ref().map(|leaves| leaves.config_for(&meant.host, &alpn, now));
    let config = match config {
        Some(Ok(config)) => config,
        Some(Err(error)) => {
            tracing::warn!(%error, host = %meant.host, "cannot make a certificate; relaying");
            let way = (None, label);
            return relay(front, arrival, (stream, buffer), way, "no_certificate").await;
        }
        None => {
            return relay(front, arrival, (stream, buffer), (None, label), "observe").await;
        }
    };
    let stream = Replay::new(stream, buffer.freeze());
    let passed = stream.passed();
    let handshake = TlsAcceptor::from(config).accept(stream);
    let tls = match tokio::time::timeout(front.limits.handshake, handshake).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return rejected(front, arrival, label, &passed, &error),
        Err(_elapsed) => {
            front.sink.fault(arrival.via.listener(), "handshake_timeout");
            let error = io::Error::from(io::ErrorKind::TimedOut);
            return rejected(front, arrival, label, &passed, &error);
        }
    };
    let context = Arc::new(Context {
        parties: Parties {
            subject: Arc::clone(&arrival.subject),
            via: arrival.via,
            host: meant.host,
            provider: meant.provider,
        },
        link,
        rules: Arc::clone(&front.rules),
        sink: Arc::clone(&front.sink),
        clock: Arc::clone(&front.runtime.clock),
        drain: front.runtime.drain.clone(),
        permit: Some(Arc::clone(&arrival.permit) as Place),
    });
    // A session we resumed began with a handshake that was accepted.
    if tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
        accepted(front, &arrival.subject);
    }
    let (to, subject) = (Arc::clone(front), Arc::clone(&arrival.subject));
    let tls = Heard::new(tls, move || accepted(&to, &subject));
    let ear = tls.ear();
    let patience = Patience { first: front.limits.patience.idle, ..front.limits.patience };
    serve::connection(tls, protocol, context, patience).await;
    if !ear.heard() && !front.runtime.drain.is_signalled() {
        // Some clients verify after the handshake, and then hang up with or without an alert.
        let said = ear.error().and_then(|error| trust::classify(&error, Reached::Finished));
        distrust(front, arrival, said.unwrap_or(Signal::Unused));
    }
    let reason = match arrival.destination {
        _ if refused => "upstream_certificate",
        Destination::Proxied(_) => "proxied",
        _ => "",
    };
    let end = End { treatment: Treatment::Metered, reason, failed: false };
    finish(front, arrival, label, end, (passed.read(), passed.written()));
}

/// The same host by IPv4, where it was to be reached by IPv6. In another network namespace names
/// may mean something else: there only where this one meant the same to the client as to us.
async fn fallback(front: &Front, target: &Target) -> Option<Target> {
    let Destination::Address(address @ SocketAddr::V6(_)) = &target.destination else {
        return None;
    };
    let name = Destination::Name(Arc::clone(&target.host), address.port());
    let found = front.upstream.tcp.addresses(&name).await.ok()?;
    if target.options.netns.is_some() && !found.contains(address) {
        return None;
    }
    let other = found.into_iter().find(SocketAddr::is_ipv4)?;
    Some(Target { destination: Destination::Address(other), ..target.clone() })
}

/// A client that would not have our certificate: next time it is relayed.
fn rejected(
    front: &Arc<Front>,
    arrival: &Arrival,
    label: Label,
    passed: &Passed,
    error: &io::Error,
) {
    let reached = if passed.written() > 0 { Reached::Certificate } else { Reached::Hello };
    if let Some(signal) = trust::classify(error, reached) {
        distrust(front, arrival, signal);
    }
    let end = End { treatment: Treatment::Opaque, reason: "rejected", failed: true };
    finish(front, arrival, label, end, (passed.read(), passed.written()));
}

fn accepted(front: &Front, subject: &Subject) {
    let traits = front.identities.traits(&subject.process);
    front.client.trust.accepted(&Client { subject, traits });
}

fn distrust(front: &Arc<Front>, arrival: &Arrival, signal: Signal) {
    front.sink.distrusted(signal.as_str());
    let subject = Arc::clone(&arrival.subject);
    let traits = front.identities.traits(&subject.process);
    let client = Client { subject: &subject, traits: traits.clone() };
    if !front.client.trust.rejected(&client, signal, front.runtime.clock.now()) {
        return;
    }
    tracing::info!(
        workload = %subject.workload.name,
        pid = subject.process.pid,
        %signal,
        "does not accept our certificate; relayed untouched from now on"
    );
    // While it is still there to be looked at; but it is a long look.
    let there = Arc::clone(front);
    front.runtime.drain.spawn_blocking(move || {
        let client = Client { subject: &subject, traits };
        there.client.trust.explained(&client, &there.cause(&client));
    });
}

/// Names for the connection's record.
pub(super) struct Label {
    provider: Arc<str>,
    host: Arc<str>,
}

impl Label {
    pub(super) fn of(
        provider: Option<&Provider>,
        host: Option<Arc<str>>,
        to: &Destination,
    ) -> Self {
        Self {
            provider: provider
                .map_or_else(|| Arc::from("unknown"), |provider| Arc::clone(&provider.name)),
            host: host.unwrap_or_else(|| match to {
                Destination::Address(address) => Arc::from(address.to_string()),
                Destination::Name(host, _port) => Arc::clone(host),
                Destination::Proxied(way) => Arc::clone(&way.host),
            }),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) treatment: Treatment,
    pub(super) reason: &'static str,
    pub(super) failed: bool,
}

pub(super) fn finish(
    front: &Front,
    arrival: &Arrival,
    label: Label,
    end: End,
    (up, down): (u64, u64),
) {
    let now = front.runtime.clock.now();
    front.sink.connection(Connection {
        opened_at: arrival.opened.wall,
        duration: now.mono.saturating_duration_since(arrival.opened.mono),
        subject: Arc::clone(&arrival.subject),
        provider: label.provider,
        host: label.host,
        treatment: end.treatment,
        reason: Arc::from(end.reason),
        bytes_up: up,
        bytes_down: down,
        failed: end.failed,
    });
}
