//! The strings the mock is held by: what it answers next, and what it has seen.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::script::{Script, Tokens};

/// How many requests are remembered for assertions.
const REMEMBERED: usize = 256;
/// How many bytes of each remembered body are kept.
const REMEMBERED_BYTES: usize = 16 * 1024;

/// A request as the provider saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// All header fields.
    pub headers: HeaderMap,
    /// The first 16 KiB of the body.
    pub body: Bytes,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: http::Version,
    /// Where it came from.
    pub peer: Option<SocketAddr>,
}

/// What the mock has counted since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections that failed in the TLS handshake.
    pub handshakes_failed: u64,
    /// Requests read.
    pub requests: u64,
    /// Inference answers that were billed (every 2xx answer of an inference path, cut ones too).
    pub billed: u64,
    /// Prompt tokens billed, cached ones included.
    pub input_tokens: u64,
    /// Answer tokens billed, reasoning included.
    pub output_tokens: u64,
}

/// Scripts and counts; clones act on the same mock.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: Mutex<Plan>,
    seen: Mutex<VecDeque<Seen>>,
    listening: watch::Sender<bool>,
    connections: AtomicU64,
    handshakes_failed: AtomicU64,
    requests: AtomicU64,
    billed: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
}

#[derive(Debug, Default)]
struct Plan {
    standing: Script,
    queued: VecDeque<Script>,
    /// Standing and queued scripts of single hosts, which come before those of all.
    hosts: HashMap<String, (Script, VecDeque<Script>)>,
}

impl Control {
    pub(super) fn new(standing: Script) -> Self {
        Self(Arc::new(Inner {
            plan: Mutex::new(Plan { standing, ..Plan::default() }),
            seen: Mutex::default(),
            listening: watch::Sender::new(true),
            connections: AtomicU64::default(),
            handshakes_failed: AtomicU64::default(),
            requests: AtomicU64::default(),
            billed: AtomicU64::default(),
            input_tokens: AtomicU64::default(),
            output_tokens: AtomicU64::default(),
        }))
    }

    /// Replaces the standing script.
    pub fn standing(&self, script: Script) {
        self.0.plan.lock().standing = script;
    }

    /// Scripts the next inference request only; several calls queue up.
    pub fn once(&self, script: Script) {
        self.0.plan.lock().queued.push_back(script);
    }

    /// Replaces the standing script of one host; what is queued for all no longer reaches it.
    pub fn standing_at(&self, host: &str, script: Script) {
        self.0.plan.lock().at(host).0 = script;
    }

    /// Scripts the next inference request to one host only; several calls queue up.
    pub fn once_at(&self, host: &str, script: Script) {
        self.0.plan.lock().at(host).1.push_back(script);
    }

    /// Whether the mock accepts connections; `false` closes its listening sockets, so that
    /// connecting is refused by the kernel.
    pub fn listen(&self, open: bool) {
        self.0.listening.send_replace(open);
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            connections: read(&self.0.connections),
            handshakes_failed: read(&self.0.handshakes_failed),
            requests: read(&self.0.requests),
            billed: read(&self.0.billed),
            input_tokens: read(&self.0.input_tokens),
            output_tokens: read(&self.0.output_tokens),
        }
    }

    /// The last requests, oldest first (at most 256).
    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().iter().cloned().collect()
    }

    pub(super) fn listening(&self) -> watch::Receiver<bool> {
        self.0.listening.subscribe()
    }

    /// The script of the next inference at a host, and whether it was queued for this one.
    pub(super) fn next_script(&self, host: &str) -> (Script, bool) {
        let mut plan = self.0.plan.lock();
        if let Some((standing, queued)) = plan.hosts.get_mut(host) {
            return queued.pop_front().map_or((*standing, false), |script| (script, true));
        }
        plan.queued.pop_front().map_or((plan.standing, false), |script| (script, true))
    }

    pub(super) fn accepted(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn handshake_failed(&self) {
        self.0.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request, remembers it, and returns its serial number (from 1).
    pub(super) fn requested(&self, mut seen: Seen) -> u64 {
        seen.body = Bytes::copy_from_slice(&seen.body[..seen.body.len().min(REMEMBERED_BYTES)]);
        let mut all = self.0.seen.lock();
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(seen);
        self.0.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn bill(&self, tokens: Tokens) {
        self.0.billed.fetch_add(1, Ordering::Relaxed);
        self.0.input_tokens.fetch_add(tokens.input, Ordering::Relaxed);
        self.0.output_tokens.fetch_add(tokens.output, Ordering::Relaxed);
    }
}

impl Plan {
    fn at(&mut self, host: &str) -> &mut (Script, VecDeque<Script>) {
        let standing = self.standing;
        self.hosts.entry(host.to_owned()).or_insert_with(|| (standing, VecDeque::new()))
    }
}
