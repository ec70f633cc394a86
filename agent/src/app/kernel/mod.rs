//! The kernel half's life: attached and detached while the agent runs, its targets kept, what it
//! reports taken down.

mod again;
mod events;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::heard::{listen_for, overhear};
use super::namespaces::{self, Namespaces};
use crate::capture::resolve::Resolver;
use crate::capture::targets::{Targets, Wanted};
use crate::capture::workloads::Workloads;
use crate::capture::{AttachError, Capabilities, Capture, ChosenSet, Helper, Settings};
use crate::downstream::accept::{self, Limit, Pressure};
use crate::downstream::{Front, intercept};
use crate::drain::Drain;
use crate::subject::Pick;

/// The kernel half and everything that hangs on it.
pub(super) struct Kernel {
    settings: Settings,
    /// Whether connections are refused while the agent is dead or hangs.
    closed: bool,
    helper: Helper,
    front: Arc<Front>,
    /// Captured wherever they connect to.
    picks: Vec<Pick>,
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
    /// The same of those captured wherever they connect to.
    chosen: ChosenSet,
    redirect: bool,
    /// How many accept loops wait for room.
    full: usize,
    capabilities: Capabilities,
    /// Why what should be captured is not, where the helper process is gone.
    lost: Option<String>,
    /// Why `on_agent_failure: closed` does not hold.
    unguarded: Option<String>,
}

/// How long a connect(2) may be on its way from the programs to a listener's queue.
pub(super) const ON_THE_WAY: Duration = Duration::from_millis(100);

impl Kernel {
    /// Nothing attached yet.
    pub(super) fn new(
        (settings, closed, picks): (Settings, bool, Vec<Pick>),
        front: Arc<Front>,
        (helper, resolver): (Helper, Resolver),
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            closed,
            picks,
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
        if self.picks.is_empty() {
            return;
        }
        let (this, drain) = (Arc::clone(self), self.front.runtime.drain.clone());
        let workloads = Workloads::new(self.helper.clone(), &self.picks);
        self.front.runtime.drain.spawn(async move {
            workloads.keep(|chosen| this.choose(chosen), drain).await;
        });
    }

    /// Why what should be captured is not.
    pub(super) fn lost(&self) -> Option<String> {
        self.state.lock().lost.clone()
    }

    /// What there is to capture, once [`Kernel::watch`] says so.
    pub(super) fn want(&self, hosts: BTreeSet<Arc<str>>, networks: BTreeSet<IpNet>) {
        *self.all.lock() = Arc::new(Wanted { hosts, networks });
    }

    /// Whether anything is captured or watched at all: not in mode `off`.
    pub(super) fn watch(&self, on: bool) {
        let wanted = if on { Arc::clone(&self.all.lock()) } else { Arc::default() };
        let state = self.state.lock();
        if let Some((capture, _)) = &state.capture {
            listen_for(capture, &wanted);
        }
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
        if let Some(answers) = capture.answers() {
            drain.spawn(overhear(answers, self.targets.clone(), Arc::clone(&capture)));
        }
        state.capabilities = capture.capabilities().clone();
        listen_for(&capture, &self.wanted.borrow());
        if !state.networks.is_empty() {
            capture.targets(&state.networks)?;
        }
        capture.choose(&state.chosen)?;
        capture.redirect(state.redirect && state.full == 0)?;
        state.capture = Some((capture, drain));
        state.lost = None;
        // One that an earlier agent left is removed where none is wanted. Where one is, it stays until
        // it is known whether connections are led here: nobody gets past in between.
        if !self.closed || state.redirect {
            state.guard(self.closed);
        }
        Ok(())
    }

    /// Detaches, and removes the guard: from here on connections go direct, and those already led
    /// here are served. Blocks for a moment.
    pub(super) fn down(&self) {
        {
            let mut state = self.state.lock();
            state.lost = None;
            state.guard(false);
        }
        self.release();
    }

    /// Detaches, and leaves the guard where it is: the agent ends, or is not what it should be.
    pub(super) fn release(&self) {
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

    /// Leaves connections to a successor whose programs are attached as well, then detaches: none goes
    /// direct, and none is seen twice. Blocks for a moment.
    pub(super) fn give_way(&self) {
        let state = self.state.lock();
        let Some((capture, _)) = &state.capture else { return };
        if let Err(error) = capture.give_way() {
            tracing::warn!(%error, "connections go direct for a moment");
        }
        drop(state);
        self.release();
    }

    /// The program by which a successor knows this agent's.
    pub(super) fn program(&self) -> Option<u32> {
        let state = self.state.lock();
        state.capture.as_ref().and_then(|(capture, _)| capture.program())
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
        state.guard(self.closed);
        self.namespaces.redirect(on);
    }

    /// How things stand in other network namespaces.
    pub(super) fn namespaces(&self) -> namespaces::Standing {
        self.namespaces.standing()
    }

    /// Why `on_agent_failure: closed` does not hold, where it should.
    pub(super) fn unguarded(&self) -> Option<String> {
        self.state.lock().unguarded.clone()
    }

    /// What works here.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.state.lock().capabilities.clone()
    }

    /// What the programs counted, by metric name.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = {
            let state = self.state.lock();
            state.capture.as_ref().map(|(capture, _)| capture.counters())
        };
        let mut counters = counters.unwrap_or_default();
        counters.push(("dns_addresses_dropped", self.targets.dropped()));
        counters
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

    fn choose(&self, chosen: &ChosenSet) {
        let mut state = self.state.lock();
        chosen.clone_into(&mut state.chosen);
        let Some((capture, _)) = &state.capture else { return };
        match capture.choose(chosen) {
            Ok(0) => {}
            Ok(left_out) => {
                tracing::warn!(left_out, "capture.all names more than the kernel holds");
            }
            Err(error) => tracing::error!(%error, "capture.all could not be set"),
        }
    }

    fn accept(self: &Arc<Self>, listener: TcpListener, capture: &Arc<Capture>, drain: &Drain) {
        let Some(limit) = self.limit.lock().clone() else { return };
        let (front, origins) = (Arc::clone(&self.front), capture.origins());
        let serve = move |stream, client, permit| {
            let accepted = intercept::Accepted { stream, client, permit };
            intercept::serve(Arc::clone(&front), Arc::clone(&origins), accepted)
        };
        let accepting = drain.spawn(accept::run(listener, limit, drain.clone(), serve));
        let (this, signal) = (Arc::clone(self), drain.clone());
        // Held no longer than it is attached: dropping it detaches.
        let capture = Arc::downgrade(capture);
        drain.spawn(async move {
            // However it ended, also by a panic: copies of the listener are still open, and who is
            // led there now would wait for nobody.
            drop(accepting.await);
            if !signal.is_signalled() {
                this.reopen(&capture).await;
            }
        });
    }
}

impl State {
    /// Puts the guard in place while connections are led here, and removes it otherwise: also one
    /// that another agent has left.
    fn guard(&mut self, closed: bool) {
        let Some((capture, _)) = &self.capture else { return };
        self.unguarded = match capture.guard(closed && self.redirect) {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(%error, "the guard");
                Some(error.to_string())
            }
        };
    }

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
