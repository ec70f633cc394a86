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
pub mod dns;
pub mod targets;
pub mod resolve;
pub mod workloads;
pub mod owner;
pub mod identity;
mod answers;
mod attach;
mod error;
mod attached;
mod cgroup;
mod capability;
mod chosen;
mod flows;
mod guard;
mod heartbeat;
mod hosts;
pub mod helper;
mod listen;
mod narration;
mod preflight;
mod netns;
mod query;
mod selftest;
mod stats;
mod table;

use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ipnet::IpNet;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use answers::Answers;
pub use capability::{Capabilities, Capability};
pub use chosen::ChosenSet;
pub use error::AttachError;
pub use events::{Closed, Event, Opened, Verdict};
pub use guard::{GuardError, leave_all as leave_guards};
pub use helper::{EnterError, Helper, Inhabited, Standing, TRUST_VARIABLE};
pub use listen::ListenError;
pub use netns::Inside;
pub use preflight::preflight;
pub use stats::{Measuring, ProgramStats};

use crate::drain::Drain;
use flows::Flows;
use origin::Origins;

/// Mark (`SO_MARK`) of every socket of the agent: the programs know our listeners by it and leave
/// our own connections alone. None of its bits is among those that Kubernetes (0x4000, 0x8000),
/// Cilium (0x0f00), Calico (0xffff0000) and Tailscale (0xff0000) give a meaning.
pub const MARK: u32 = 0x2057;

/// What to capture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The cgroup (v2) whose processes are captured; `None` for the root, that is everybody.
    pub cgroup: Option<PathBuf>,
    /// Ports captured; at most [`agent_common::MAX_PORTS`] count.
    pub ports: Vec<u16>,
    /// Whether QUIC to targets is refused while connections are redirected.
    pub refuse_quic: bool,
    /// Whether the programs log what they decide.
    pub log: bool,
    /// The program of a predecessor ([`Capture::program`]) that is still attached, and will give way.
    #[serde(default)]
    pub beside: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cgroup: None, ports: vec![443], refuse_quic: true, log: false, beside: None }
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
    answers: Mutex<Option<Answers>>,
    capabilities: Capabilities,
    counters: stats::Counters,
    netns: u64,
    second: heartbeat::Second,
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
        let attached = helper.attach(settings, attached::Doors::of(&listening))?;
        // Dropped on every way out but the last: it detaches.
        let mut this = Self {
            helper: helper.clone(),
            cgroup: settings.cgroup.clone(),
            attached: AtomicBool::new(true),
            listeners: Vec::new(),
            flows: Arc::new(Flows::new(attached.flows, attached.records, &listening)),
            events: Mutex::default(),
            answers: Mutex::default(),
            capabilities: attached.capabilities,
            counters: stats::Counters::new(attached.stats),
            netns: listening.netns,
            second: heartbeat::Second::default(),
            over: CancellationToken::new(),
        };
        let mut heart = heartbeat::Heart::new(attached.heartbeat, Arc::clone(&this.second));
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
        let answers = Answers::new(attached.answers, drain, this.over.clone())?;
        this.answers = Mutex::new(Some(answers));
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

    /// Puts the guard in place, which refuses connections to targets once the agent is gone or
    /// hangs, until the next one is there; or removes it, whoever put it there.
    pub fn guard(&self, on: bool) -> Result<(), AttachError> {
        let beat = self.helper.guard(on.then_some(self.netns))?;
        let beat = beat.map(aya::maps::MapData::from_fd).transpose()?;
        let beat = beat.map(aya::maps::Map::from_map_data).transpose()?;
        let mut beat = beat.map(aya::maps::Array::try_from).transpose()?;
        if let Some(beat) = &mut beat {
            let now = u64::try_from(crate::clock::since_boot().as_nanos()).unwrap_or(u64::MAX);
            aya::maps::Array::set(beat, 0, now, 0)?;
        }
        *self.second.lock() = beat;
        Ok(())
    }

    /// Replaces the targets. Returns how many did not fit into the kernel's tables: connections to
    /// those go direct, unseen.
    pub fn targets(&self, networks: &[IpNet]) -> Result<usize, AttachError> {
        self.helper.targets(networks)
    }

    /// Adds targets, for a client that is about to connect there; otherwise like
    /// [`Capture::targets`], which must be told of them too: it forgets what it is not told.
    pub fn add(&self, addrs: &[IpAddr]) -> Result<usize, AttachError> {
        self.helper.add(addrs)
    }

    /// Replaces the hosts that [`Capture::answers`] are about. Returns how many are left out.
    pub fn hosts(&self, hosts: &[Arc<str>]) -> Result<usize, AttachError> {
        self.helper.hosts(hosts)
    }

    /// Replaces whose connections are redirected wherever they go. Returns how much did not fit into
    /// the kernel's tables.
    pub fn choose(&self, wanted: &ChosenSet) -> Result<usize, AttachError> {
        self.helper.choose(wanted)
    }

    /// What name servers answer to processes of this machine about [`Capture::hosts`]. As of events,
    /// there is one stream. It must be taken from: while something waits there, connections to any
    /// address are redirected, lest one be faster than we are.
    pub fn answers(&self) -> Option<Answers> {
        self.answers.lock().take()
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

    /// The program by which a successor knows this capture.
    pub fn program(&self) -> Option<u32> {
        self.helper.program()
    }

    /// Leaves every connection to come to a successor that is attached as well, and the guard. Follow
    /// with [`Capture::detach`].
    pub fn give_way(&self) -> Result<(), AttachError> {
        // The last sign of life, on detaching, says that there is none any more.
        *self.second.lock() = None;
        self.helper.give_way()
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
