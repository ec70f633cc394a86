//! What the programs report: connections that go direct, and QUIC that is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Kernel;
use crate::app::direct::{any_of, reason};
use crate::app::heard::Refused;
use crate::capture::origin::Origin;
use crate::capture::{Closed, Event, Opened, Verdict};
use crate::policy::containers::Reach;
use crate::record::{Connection, Treatment};
use crate::subject::Subject;

/// Direct connections whose process has been looked at and that have not ended yet. The kernel
/// reports each end; the bound is for reports that got lost.
const DIRECT: usize = 8192;

impl Kernel {
    /// Takes down the connections that went direct. Their process is looked at when they open:
    /// nothing keeps it alive until they end.
    pub(super) async fn take_events(
        &self,
        mut events: tokio::sync::mpsc::Receiver<Event>,
        own: u64,
    ) {
        let mut open: HashMap<u64, Arc<Subject>> = HashMap::new();
        let mut refused = Refused::default();
        while let Some(event) = events.recv().await {
            match event {
                Event::Refused(origin) => self.refused(origin, &mut refused).await,
                Event::Opened(Opened { origin, verdict }) => {
                    if open.len() >= DIRECT {
                        open.clear();
                    }
                    let netns = origin.caller.netns;
                    let subject = self.front.resolve(origin.caller).await;
                    if verdict == Verdict::NoListener && netns != own {
                        self.namespaces.report(netns, &subject);
                    }
                    open.insert(origin.cookie, subject);
                }
                Event::Closed(closed) if !closed.redirected => {
                    let subject = open.remove(&closed.origin.cookie);
                    let subject = match subject {
                        Some(subject) => subject,
                        None => self.front.resolve(closed.origin.caller.clone()).await,
                    };
                    let elsewhere = closed.origin.caller.netns != own;
                    let reach =
                        elsewhere.then(|| self.front.rules.load().containers.reach(&subject));
                    if reach != Some(Reach::Off) {
                        let reason = reason(closed.verdict, reach);
                        self.front.sink.connection(self.direct(&closed, subject, reason));
                    }
                }
                // Counted by whoever served it.
                Event::Closed(_) => {}
            }
        }
    }

    /// Takes down that a process was refused QUIC: once in a while, it may try many times.
    async fn refused(&self, origin: Origin, known: &mut Refused) {
        let now = self.front.runtime.clock.now();
        if !known.is_news((origin.caller.tgid, origin.destination.ip()), now.mono) {
            return;
        }
        let subject = self.front.resolve(origin.caller).await;
        tracing::info!(
            workload = %subject.workload.name, to = %origin.destination,
            "QUIC is refused, for it to fall back to TCP"
        );
        let (provider, host) = self.name(origin.destination.ip());
        self.front.sink.connection(Connection {
            opened_at: now.wall,
            duration: Duration::ZERO,
            subject,
            provider,
            host,
            treatment: Treatment::Blocked,
            reason: Arc::from("quic"),
            bytes_up: 0,
            bytes_down: 0,
            failed: true,
        });
    }

    /// Provider and host behind an address, as far as the address tells.
    fn name(&self, address: IpAddr) -> (Arc<str>, Arc<str>) {
        let hosts = self.targets.hosts(address);
        let rules = self.front.rules.load();
        let providers = hosts.iter().filter_map(|host| rules.providers.by_host(host));
        let provider = any_of(providers.map(|provider| &provider.name));
        let provider = provider.unwrap_or_else(|| Arc::from("unknown"));
        (provider, any_of(&hosts).unwrap_or_else(|| Arc::from(address.to_string())))
    }

    fn direct(&self, closed: &Closed, subject: Arc<Subject>, reason: &str) -> Connection {
        let (provider, host) = self.name(closed.origin.destination.ip());
        Connection {
            opened_at: self
                .front
                .runtime
                .clock
                .now()
                .wall
                .checked_sub(closed.duration)
                .unwrap_or(std::time::SystemTime::UNIX_EPOCH),
            duration: closed.duration,
            subject,
            provider,
            host,
            treatment: Treatment::Direct,
            reason: Arc::from(reason),
            bytes_up: closed.tx,
            bytes_down: closed.rx,
            failed: closed.failed,
        }
    }
}
