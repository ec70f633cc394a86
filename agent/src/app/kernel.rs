//! The kernel half's life: attached and detached while the agent runs, its targets kept, what it
//! reports taken down.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::namespaces::{Namespaces, Standing};
use crate::capture::resolve::Resolver;
use crate::capture::targets::{Targets, Wanted};
use crate::capture::{
    AttachError, Capabilities, Capture, Closed, Event, Helper, Opened, Settings, Verdict,
};
use crate::downstream::accept::{self, Limit, Pressure};
use crate::downstream::{Front, intercept};
use crate::drain::Drain;
use crate::policy::containers::Reach;
use crate::record::{Connection, Treatment};
use crate::subject::Subject;

/// The kernel half and everything that hangs on it.
pub(super) struct Kernel {
    settings: Settings,
    helper: Helper,
    front: Arc<Front>,
    limit: Mutex<Option<Limit>>,
    namespaces: Arc<Namespaces>,
    targets: Targets,
    all: Mutex<Arc<Wanted>>,
    wanted: watch::Sender<Arc<Wanted>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    capture: Option<(Arc<Capture>, Drain)>,
    /// As last resolved; given to the programs again when they are attached anew.
    networks: Vec<IpNet>,
    redirect: bool,
    /// How many accept loops wait for room.
    full: usize,
    capabilities: Capabilities,
}

/// Direct connections whose process has been looked at and that have not ended yet. The kernel
/// reports each end; the bound is for reports that got lost.
const DIRECT: usize = 8192;

/// How long a connect(2) may be on its way from the programs to a listener's queue.
pub(super) const ON_THE_WAY: Duration = Duration::from_millis(100);

impl Kernel {
    /// Nothing attached yet.
    pub(super) fn new(
        settings: Settings,
        front: Arc<Front>,
        (helper, resolver): (Helper, Resolver),
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            helper,
            namespaces: Namespaces::new(Arc::clone(&front)),
            targets: Targets::new(resolver, Arc::clone(&front.runtime.clock)),
            front,
            limit: Mutex::new(None),
            all: Mutex::default(),
            wanted: watch::Sender::new(Arc::default()),
            state: Mutex::default(),
        })
    }

    /// The bound on connections, known once there is somebody to tell when it is reached.
    pub(super) fn bound(&self, limit: Limit) {
        *self.limit.lock() = Some(limit);
    }

    /// Keeps the targets up to date until the agent stops. Call it once what is wanted is known.
    pub(super) fn keep_targets(self: &Arc<Self>) {
        let (this, wanted) = (Arc::clone(self), self.wanted.subscribe());
        let drain = self.front.runtime.drain.clone();
        self.front.runtime.drain.spawn(async move {
            let apply = |networks: &[IpNet]| this.retarget(networks);
            this.targets.keep(wanted, apply, drain).await;
        });
    }

    /// What there is to capture, once [`Kernel::watch`] says so.
    pub(super) fn want(&self, hosts: BTreeSet<Arc<str>>, networks: BTreeSet<IpNet>) {
        *self.all.lock() = Arc::new(Wanted { hosts, networks });
    }

    /// Whether anything is captured or watched at all: not in mode `off`.
    pub(super) fn watch(&self, on: bool) {
        let wanted = if on { Arc::clone(&self.all.lock()) } else { Arc::default() };
        self.wanted.send_replace(wanted);
    }

    /// Resolves when every wanted host has been asked for once.
    pub(super) async fn settled(&self) {
        self.targets.settled().await;
    }

    /// Attaches the programs and accepts what they lead here. Idempotent.
    pub(super) fn up(self: &Arc<Self>) -> Result<(), AttachError> {
        let mut state = self.state.lock();
        if state.capture.is_some() {
            return Ok(());
        }
        let drain = self.front.runtime.drain.child();
        let capture = Arc::new(Capture::attach(&self.settings, &self.helper, &drain)?);
        let mut addresses = Vec::new();
        for listener in capture.listeners().map_err(AttachError::from)? {
            addresses.push(listener.local_addr().map_err(AttachError::from)?);
            let listener = TcpListener::from_std(listener).map_err(AttachError::from)?;
            self.accept(listener, &capture, &drain);
        }
        self.front.upstream.tcp.own().intercept(addresses);
        let (kernel, events, own) = (Arc::clone(self), capture.events(), capture.netns());
        drain.spawn(async move { kernel.take_events(events, own).await });
        if let Some(limit) = self.limit.lock().clone() {
            let namespaces = Arc::clone(&self.namespaces);
            drain.spawn(namespaces.run(Arc::clone(&capture), limit, drain.clone()));
        }
        state.capabilities = capture.capabilities().clone();
        if !state.networks.is_empty() {
            capture.targets(&state.networks)?;
        }
        capture.redirect(state.redirect && state.full == 0)?;
        state.capture = Some((capture, drain));
        Ok(())
    }

    /// Detaches: from here on connections go direct, and those already led here are served.
    /// Blocks for a moment.
    pub(super) fn down(&self) {
        let Some((capture, drain)) = self.state.lock().capture.take() else { return };
        // First the programs, then the listeners: nobody is led to a closed door, not even who
        // was past the programs and not yet in the listeners' queues.
        capture.detach();
        std::thread::sleep(ON_THE_WAY);
        drain.signal();
        let state = self.state.lock();
        if state.capture.is_none() {
            self.front.upstream.tcp.own().intercept(Vec::new());
        }
    }

    /// Whether the programs are attached.
    pub(super) fn is_up(&self) -> bool {
        self.state.lock().capture.is_some()
    }

    /// Whether connections are led here, or only watched.
    pub(super) fn redirect(&self, on: bool) {
        let mut state = self.state.lock();
        state.redirect = on;
        state.apply();
        self.namespaces.redirect(on);
    }

    /// How things stand in other network namespaces.
    pub(super) fn namespaces(&self) -> Standing {
        self.namespaces.standing()
    }

    /// What works here.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.state.lock().capabilities.clone()
    }

    /// What the programs counted, by metric name.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let state = self.state.lock();
        state.capture.as_ref().map(|(capture, _)| capture.counters()).unwrap_or_default()
    }

    /// Addresses of the listeners that redirected connections arrive at.
    pub(super) fn listeners(&self) -> Vec<std::net::SocketAddr> {
        let state = self.state.lock();
        let listeners = state.capture.as_ref().and_then(|(capture, _)| capture.listeners().ok());
        let listeners = listeners.unwrap_or_default();
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    fn retarget(&self, networks: &[IpNet]) {
        let mut state = self.state.lock();
        networks.clone_into(&mut state.networks);
        let Some((capture, _)) = &state.capture else { return };
        match capture.targets(networks) {
            Ok(0) => {}
            Ok(left_out) => {
                tracing::warn!(left_out, "more LLM addresses than the kernel's tables hold");
            }
            Err(error) => tracing::error!(%error, "the kernel's targets could not be set"),
        }
    }

    fn accept(self: &Arc<Self>, listener: TcpListener, capture: &Capture, drain: &Drain) {
        let Some(limit) = self.limit.lock().clone() else { return };
        let (front, origins) = (Arc::clone(&self.front), capture.origins());
        let serve = move |stream, client, permit| {
            let accepted = intercept::Accepted { stream, client, permit };
            intercept::serve(Arc::clone(&front), Arc::clone(&origins), accepted)
        };
        drain.spawn(accept::run(listener, limit, drain.clone(), serve));
    }

    /// Takes down the connections that went direct. Their process is looked at when they open:
    /// nothing keeps it alive until they end.
    async fn take_events(&self, mut events: tokio::sync::mpsc::Receiver<Event>, own: u64) {
        let mut open: HashMap<u64, Arc<Subject>> = HashMap::new();
        while let Some(event) = events.recv().await {
            match event {
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

    fn direct(&self, closed: &Closed, subject: Arc<Subject>, reason: &str) -> Connection {
        let address = closed.origin.destination;
        let hosts = self.targets.hosts(address.ip());
        let rules = self.front.rules.load();
        let providers = hosts.iter().filter_map(|host| rules.providers.by_host(host));
        let provider = any_of(providers.map(|provider| &provider.name));
        let host = any_of(&hosts);
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
            provider: provider.unwrap_or_else(|| Arc::from("unknown")),
            host: host.unwrap_or_else(|| Arc::from(address.ip().to_string())),
            treatment: Treatment::Direct,
            reason: Arc::from(reason),
            bytes_up: closed.tx,
            bytes_down: closed.rx,
            failed: closed.failed,
        }
    }
}

impl State {
    fn apply(&self) {
        if let Some((capture, _)) = &self.capture
            && let Err(error) = capture.redirect(self.redirect && self.full == 0)
        {
            tracing::error!(%error, "the redirection could not be switched");
        }
    }
}

impl Pressure for Kernel {
    fn full(&self, full: bool) {
        if full {
            tracing::warn!("the connection limit is reached: new connections go direct");
        }
        let mut state = self.state.lock();
        // There is a loop for each IP version: there is room again when none of them waits.
        state.full = if full { state.full + 1 } else { state.full.saturating_sub(1) };
        state.apply();
    }
}

/// Names of which each may be meant, as one: `a|b`. An address tells no more where several share it.
fn any_of<'a>(names: impl IntoIterator<Item = &'a Arc<str>>) -> Option<Arc<str>> {
    /// More would be no help to a reader.
    const MOST: usize = 3;
    let mut distinct: Vec<&Arc<str>> = Vec::new();
    for name in names {
        if distinct.len() < MOST && !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    match &distinct[..] {
        [] => None,
        [only] => Some(Arc::clone(only)),
        several => Some(several.iter().map(|name| &***name).collect::<Vec<_>>().join("|").into()),
    }
}

/// Why a connection went direct; `reach` is how far one goes with it where it came from another
/// network namespace.
fn reason(verdict: Verdict, reach: Option<Reach>) -> &'static str {
    match verdict {
        // Before the listener was there, or where there can't be one.
        Verdict::NoListener if reach == Some(Reach::Meter) => "container_unarmed",
        Verdict::NoListener if reach.is_some() => "container",
        Verdict::Redirected => "redirected",
        Verdict::Observed => "observe",
        Verdict::NoListener => "no_listener",
        Verdict::Stale => "stale",
        Verdict::Device => "device",
        Verdict::Unsaved => "unsaved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_share_an_address_are_all_said() {
        let names = |names: &[&str]| {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
            any_of(&names).map(|name| name.to_string())
        };
        assert_eq!(names(&[]), None);
        assert_eq!(names(&["openai", "openai"]).as_deref(), Some("openai"));
        assert_eq!(names(&["mistral", "openai", "mistral"]).as_deref(), Some("mistral|openai"));
        assert_eq!(names(&["a", "b", "c", "d"]).as_deref(), Some("a|b|c"));
    }

    #[test]
    fn no_listener_is_the_rule_in_a_container_and_a_fault_at_home() {
        for (reach, expected) in [
            (None, "no_listener"),
            (Some(Reach::Observe), "container"),
            (Some(Reach::Meter), "container_unarmed"),
        ] {
            assert_eq!(reason(Verdict::NoListener, reach), expected);
            assert_eq!(reason(Verdict::Stale, reach), "stale");
        }
    }
}
