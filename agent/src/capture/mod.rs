//! The kernel's side of things: which connections are redirected, and who opened them.
//!
//! ```text
//! attach ─► listen · load · link ─► self-test ─► heartbeat, events      Targets::keep ─► targets
//!                                                                          ▲
//! connect(2) ─► [agent-ebpf] ─► listener ─► accept ─► origins().take()  resolve
//! ```
//! Whatever fails on the way, a connection goes where it was going: the programs redirect only to
//! a listener of ours that is alive, and they leave with this process, however it ends.

pub mod origin;
pub mod events;
pub mod targets;
pub mod resolve;
pub mod owner;
pub mod identity;
mod attach;
mod cgroup;
mod capability;
mod flows;
mod heartbeat;
pub mod helper;
mod listen;
mod netns;
mod query;
mod selftest;
mod stats;
mod table;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use attach::AttachError;
pub use capability::{Capabilities, Capability};
pub use events::{Closed, Event, Opened, Verdict};
pub use helper::{EnterError, Helper, Inhabited, TRUST_VARIABLE};
pub use listen::ListenError;
pub use netns::Inside;
pub use stats::{Measuring, ProgramStats};

use crate::drain::Drain;
use flows::Flows;
use origin::Origins;

/// Mark (`SO_MARK`) of every socket of the agent: the programs know our listeners by it and leave
/// our own connections alone. None of its bits is among those that Kubernetes (0x4000, 0x8000),
/// Cilium (0x0f00), Calico (0xffff0000) and Tailscale (0xff0000) give a meaning.
pub const MARK: u32 = 0x2057;

/// What to capture.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cgroup (v2) whose processes are captured; `None` for the root, that is everybody.
    pub cgroup: Option<PathBuf>,
    /// Ports captured; at most [`agent_common::MAX_PORTS`] count.
    pub ports: Vec<u16>,
    /// Whether the programs log what they decide.
    pub log: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cgroup: None, ports: vec![443], log: false }
    }
}

/// The programs, attached, and all that goes with them. Dropping it detaches.
pub struct Capture {
    helper: Helper,
    cgroup: Option<PathBuf>,
    attached: AtomicBool,
    listeners: Vec<TcpListener>,
    flows: Arc<Flows>,
    events: Mutex<Option<mpsc::Receiver<Event>>>,
    capabilities: Capabilities,
    counters: stats::Counters,
    /// Ends the heartbeat and the reading of events.
    over: CancellationToken,
}

impl Capture {
    /// Opens the listeners, loads and attaches the programs, and tries each of them out.
    ///
    /// Afterwards nothing is redirected yet: there are no targets, and [`Capture::redirect`] is off.
    /// Needs `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON`; must be called within a tokio runtime, in
    /// the network namespace to be captured.
    pub fn attach(
        settings: &Settings,
        helper: &Helper,
        drain: &Drain,
    ) -> Result<Self, AttachError> {
        let listening = helper.listen()?;
        let attached = helper.attach(settings, &listening)?;
        // Dropped on every way out but the last: it detaches.
        let mut this = Self {
            helper: helper.clone(),
            cgroup: settings.cgroup.clone(),
            attached: AtomicBool::new(true),
            listeners: Vec::new(),
            flows: Arc::new(Flows::new(attached.flows, attached.records, &listening)),
            events: Mutex::default(),
            capabilities: attached.capabilities,
            counters: stats::Counters::new(attached.stats),
            over: CancellationToken::new(),
        };
        let mut heart = heartbeat::Heart::new(attached.heartbeat);
        let mut ring = events::Ring::new(attached.events);
        let probe = selftest::Probe {
            settings,
            listening: &listening,
            flows: &this.flows,
            ring: &mut ring,
            spared: attached.spared,
        };
        probe.run(helper, &mut heart, &mut this.capabilities)?;

        heart.run(drain, this.over.clone());
        this.events = Mutex::new(Some(ring.run(drain, this.over.clone())?));
        if let Some(narration) = attached.narration {
            events::narrate(narration, drain, this.over.clone())?;
        }
        this.listeners = listening.into_sockets();
        Ok(this)
    }

    /// The sockets that redirected connections arrive at, one for each IP version the network
    /// namespace has. Non-blocking. While any copy of them is open, and nobody accepts, redirected
    /// connections hang: accept from them before [`Capture::redirect`].
    pub fn listeners(&self) -> std::io::Result<Vec<TcpListener>> {
        self.listeners.iter().map(listen::outermost).collect()
    }

    /// Cookie of the agent's own network namespace.
    pub fn netns(&self) -> u64 {
        self.flows.netns()
    }

    /// Other network namespaces that processes live in; those captured are named. `None` where
    /// that is not to be known.
    pub fn inhabited(&self) -> Option<Vec<Inhabited>> {
        self.helper.inhabited(self.cgroup.as_deref())
    }

    /// Opens listeners in the network namespace of the process with this pid and start, if it has
    /// the cookie `netns`: from then on connections to targets are redirected there too. Accept
    /// from them at once.
    pub fn enter(&self, process: (u32, u64), netns: Option<u64>) -> Result<Inside, EnterError> {
        Inside::enter(&self.helper, &self.flows, process, netns)
    }

    /// Tells where accepted connections were going.
    pub fn origins(&self) -> Arc<dyn Origins> {
        Arc::clone(&self.flows) as Arc<dyn Origins>
    }

    /// Whether connections to targets are redirected (true) or only watched (false).
    pub fn redirect(&self, on: bool) -> Result<(), AttachError> {
        self.helper.redirect(on)
    }

    /// Replaces the targets. Returns how many did not fit into the kernel's tables: connections to
    /// those go direct, unseen.
    pub fn targets(&self, networks: &[IpNet]) -> Result<usize, AttachError> {
        self.helper.targets(networks)
    }

    /// What happens to connections to targets. There is one stream of events: whoever asks second
    /// gets a receiver that is closed.
    pub fn events(&self) -> mpsc::Receiver<Event> {
        self.events.lock().take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// What works here, and what does not and why.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What the programs counted since they were attached, summed over CPUs, by metric name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.read()
    }

    /// Run time and number of runs of each program, counted while a [`Measuring`] is alive. Empty
    /// after [`Capture::detach`].
    pub fn program_stats(&self) -> Vec<ProgramStats> {
        self.helper.statistics().unwrap_or_default()
    }

    /// Detaches the programs: from here on connections go direct. Idempotent.
    pub fn detach(&self) {
        // Once: what the helper has attached later is somebody else's.
        if self.attached.swap(false, Relaxed) {
            self.helper.detach();
        }
        self.over.cancel();
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.detach();
    }
}
