//! The client's side: connections come in, are understood as far as they allow, and are either
//! relayed untouched or terminated and served.

pub mod accept;
pub mod intercept;
pub mod explicit;
pub mod session;
mod proxied;
pub mod hello;
pub mod treat;
pub mod bypass;
pub mod trust;
pub mod tunnel;
mod heard;
pub mod ca;
pub mod certs;
pub mod replay;
pub mod patience;
pub mod serve;
mod outward;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::capture::identity::Identities;
use crate::capture::origin::Caller;
use crate::capture::owner::Owners;
use crate::clock::Clock;
use crate::drain::Drain;
use crate::pipeline::Rules;
use crate::record::Sink;
use crate::subject::Subject;
use crate::upstream::Pool;
use crate::upstream::connect::Tcp;
use crate::webhooks::Webhooks;

/// What every connection needs.
#[derive(Debug)]
pub struct Front {
    /// Names processes.
    pub identities: Identities,
    /// Finds the process behind a connection that was not redirected.
    pub owners: Owners,
    /// Our side of client TLS.
    pub client: ClientTls,
    /// The way to providers and, for tunnels, to any host.
    pub upstream: Upstream,
    /// Configuration in force.
    pub rules: Arc<ArcSwap<Rules>>,
    /// Where records go.
    pub sink: Arc<dyn Sink>,
    /// Webhooks that others call, once there are any.
    pub webhooks: OnceLock<Arc<Webhooks>>,
    /// What the process runs on.
    pub runtime: Runtime,
    /// Bounds on a single connection.
    pub limits: Limits,
}

/// Certificates for clients, and who accepts them.
#[derive(Debug)]
pub struct ClientTls {
    /// Mints and caches; `None` where there is no authority, so that nothing is terminated.
    pub leaves: Option<certs::Leaves>,
    /// Who accepts our authority.
    pub trust: trust::Trust,
    /// Whether TLS is terminated at all: the mode is `meter` or `enforce`.
    pub terminate: AtomicBool,
    /// Whether clients that do not accept our authority are refused instead of relayed.
    pub block_untrusted: AtomicBool,
    /// Who is left alone.
    pub bypasses: bypass::Bypasses,
}

/// The way out.
#[derive(Debug)]
pub struct Upstream {
    /// Connections to providers.
    pub pool: Arc<Pool>,
    /// Plain TCP, for tunnels.
    pub tcp: Tcp,
    /// What relays them.
    pub tunnels: tunnel::Tunnels,
    /// Ports of the proxies of this host's network.
    pub proxies: Vec<u16>,
}

/// What the process runs on.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Runs and ends tasks.
    pub drain: Drain,
}

/// Bounds on a single connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a client may take for its side of the TLS handshake.
    pub handshake: Duration,
    /// How long it may take to ask for something.
    pub patience: patience::Patience,
}

impl Front {
    /// Whether this one's connections to that host are to be left alone.
    pub fn is_bypassed(&self, subject: &Subject, host: &str) -> bool {
        self.client.bypasses.mean(subject, host, self.runtime.clock.now().wall)
    }

    /// Who made a connect. Reads `/proc`, and the user database may be across the network: not on a
    /// thread that serves others.
    pub async fn resolve(self: &Arc<Self>, caller: Caller) -> Arc<Subject> {
        let front = Arc::clone(self);
        let (asked, again) = (caller.clone(), caller);
        let found = self.runtime.drain.spawn_blocking(move || front.identities.resolve(&asked));
        match found.await {
            Ok(subject) => subject,
            // The look-up panicked, or the runtime is going down.
            Err(_) => self.identities.resolve(&again),
        }
    }

    /// Why a client that has rejected our certificate did. Looks through its files: not on a thread
    /// that serves others.
    pub fn cause(&self, client: &trust::Client<'_>) -> trust::Cause {
        let process = &client.subject.process;
        let anatomy = self.identities.anatomy(process.pid, process.start_ticks);
        trust::cause::rejected(&trust::cause::Seen {
            exe: &process.exe,
            command: &process.command,
            workload: &client.subject.workload.name,
            traits: client.traits.as_deref(),
            anatomy: anatomy.as_ref(),
            installed: self.client.trust.is_installed(),
        })
    }
}

impl ClientTls {
    /// Whether TLS to `host` can be terminated now.
    pub fn can_terminate(&self, host: &str) -> bool {
        self.terminate.load(Relaxed)
            && self.leaves.as_ref().is_some_and(|leaves| leaves.authority().covers(host))
    }

    /// Whether `subject` accepts our certificates.
    pub fn verdict(&self, subject: &Subject, identities: &Identities) -> trust::Verdict {
        let client = trust::Client { subject, traits: identities.traits(&subject.process) };
        self.trust.verdict(&client, || {
            self.leaves.as_ref().is_some_and(|leaves| {
                identities.vouched(&subject.process, leaves.authority().root().fingerprint())
            })
        })
    }
}
