//! The start: every part in the order in which it is safe to begin, the kernel last.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::agent::Running;
use super::analytics::Remembered;
use super::freezer::{self, Freezer};
use super::front::{PIPES, front};
use super::kernel::Kernel;
use super::log;
use super::modes::Modes;
use super::pause::Pause;
use super::privileges::Split;
use super::published::Teller;
use super::service::{Doors, Inheritance, Leave, Predecessor, Sockets, Tickets};
use super::sweep::sweep;
use super::takers::Takers;
use super::toggles::Toggles;
use super::{
    account_key, alerts, bypass, namespaces, published, restore, rules, telemetry, verdicts, watch,
    watching, webhooks,
};
use crate::admin::{self, Admin, Bound};
use crate::alerts::Dial;
use crate::capture::resolve::Resolver;
use crate::capture::{self, Helper};
use crate::cli::daemon::Flags;
use crate::clock::{Clock, System};
use crate::config::{Config, Effective, Fsync, OnAgentFailure, Paths, Toggle};
use crate::downstream::accept::{self, Gate, Limit, Pressure, Shares};
use crate::downstream::intercept::Accepted;
use crate::downstream::{Front, Runtime, explicit};
use crate::drain::Drain;
use crate::events::Bus;
use crate::ledger::{self, Ledger};
use crate::metrics::{self, Metrics};
use crate::pipeline::health;
use crate::record::Sink;

/// How long start-up waits for the first addresses of the providers; they are kept being asked for.
const FIRST_NAMES: Duration = Duration::from_secs(3);
/// Descriptors for everything that is no connection: maps, programs, files, admin clients.
const RESERVED: usize = 256;

/// What the start depends on beside the configuration.
pub(super) struct Launch {
    pub(super) flags: Flags,
    /// Files that may be open.
    pub(super) files: usize,
    /// How privileges are divided.
    pub(super) split: Split,
    /// Listeners that somebody has handed over.
    pub(super) sockets: Sockets,
    pub(super) log: Arc<log::Dial>,
}

/// The agent while it runs.
pub(super) struct Started {
    pub(super) running: Arc<Running>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) drain: Drain,
    /// When this agent is to hand over to another.
    pub(super) leaves: mpsc::Receiver<Leave>,
    /// Told when the listeners are another's.
    pub(super) left: CancellationToken,
    /// What it has of the one before it, until it has said that it follows.
    pub(super) followed: Option<Followed>,
}

/// The agent that is followed.
pub(super) struct Followed {
    predecessor: Arc<Predecessor>,
    tickets: Tickets,
}

impl Followed {
    /// Says so to it, and takes in what its last calls come to.
    pub(super) fn follow(self, running: &Arc<Running>) -> io::Result<()> {
        let front = &running.front;
        let policies = Arc::clone(&front.rules.load().policies);
        let kept = (Arc::clone(&running.ledger), policies, Arc::clone(&running.metrics));
        let told = (Arc::clone(&front.sink), Arc::clone(&front.runtime.clock));
        self.predecessor.follow(self.tickets, kept, told)
    }
}

/// Makes and starts everything.
pub(super) async fn start(
    effective: Effective,
    paths: &Paths,
    mut launch: Launch,
) -> anyhow::Result<Started> {
    let config = &effective.config;
    let clock: Arc<dyn Clock> = Arc::new(System);
    let since = clock.now().wall;
    let drain = Drain::new();
    std::fs::create_dir_all(&paths.state)
        .with_context(|| format!("state directory {}", paths.state.display()))?;

    // Takers first: whatever happens from here on can be recorded.
    let settings = ledger::Settings {
        sync: match config.ledger.sync {
            Fsync::EverySecond => ledger::Fsync::EverySecond,
            Fsync::Always => ledger::Fsync::Always,
        },
        retention: config.ledger.retention,
    };
    let follows = launch.flags.predecessor.clone();
    let ledger = match follows {
        None => Ledger::open(&paths.state, settings, Arc::clone(&clock))?,
        Some(_) => Ledger::waiting(&paths.state, settings, Arc::clone(&clock)),
    };
    let ledger = Arc::new(ledger);
    let mut beside = None;
    if let Some(predecessor) = &follows {
        (launch.sockets, beside) = predecessor.welcome().context("the predecessor's listeners")?;
    }
    let gate = Gate::default();
    let metrics = Arc::new(Metrics::new(metrics::Settings { per_user: config.metrics.per_user })?);
    metrics.loaded(since);
    let (told, sender) = alerts::open(config, &paths.state, Arc::clone(&clock))?;
    let told = Arc::new(told);
    let telemetry = Arc::new(telemetry::silent(Arc::clone(&clock)));
    let teller = Teller::new(Bus::new(Arc::clone(&clock)));
    let keepers = (Arc::clone(&ledger), Arc::clone(&metrics), Arc::clone(&told));
    let (takers, to_freeze) = Takers::new(keepers, Arc::clone(&telemetry), teller.clone());
    let takers = Arc::new(takers);

    let runtime = Runtime { clock, drain: drain.clone() };
    let helper = launch.split.helper.clone();
    let resolver = Resolver::new(helper.clone());
    let front = Arc::new(front(config, paths, (&helper, &resolver), &runtime, &takers)?);

    verdicts::restore(&front, paths);
    drain.spawn(verdicts::keep(Arc::clone(&front), paths.clone()));

    // Receivers of alerts are reached as providers are.
    let upstream = &front.upstream;
    let dial = Dial { tcp: upstream.tcp.clone(), tls: (*upstream.pool.tls()).clone() };
    webhooks::open(config, &paths.state, &front, dial.clone());
    drain.spawn(sender.run(dial, drain.clone()));
    // And so is a collector.
    telemetry.replace(telemetry::state(config, &front));
    launch.log.tell(&telemetry);
    drain.spawn(Arc::clone(&telemetry).run(drain.clone()));
    // Before anything is served: limits and budgets begin where they stood.
    let policies = Arc::clone(&front.rules.load().policies);
    account_key::keep(&paths.state, &policies.accounts);
    if follows.is_none() {
        restore::restore(&ledger, &policies, front.runtime.clock.now());
    }
    let freezer = Arc::new(Freezer::new(&paths.state, helper.clone()));
    if follows.is_none() {
        freezer.begin();
    }
    let sink = Arc::clone(&takers) as Arc<dyn Sink>;
    drain.spawn(freezer::run(Arc::clone(&freezer), to_freeze, sink, runtime.clone()));

    // Every listener that others connect to by themselves, before the kernel leads anyone here.
    let (admin, explicit) = bind(config, paths, &mut launch.sockets).await?;
    // The socket's file is the predecessor's until it has let go: whatever fails before, it stays.
    let leave_file = admin.leave_file();
    leave_file.store(follows.is_some(), Relaxed);
    let doors = Doors::of(&admin, explicit.as_ref())?;
    let left = CancellationToken::new();

    let (kernel, no_kernel) =
        attach((config, beside), (&launch, &gate), &front, (&helper, &resolver))?;
    let modes = Modes::new(config.mode, &paths.state, Arc::clone(&front), kernel.clone());
    let toggles = Toggles::open(&paths.state);
    toggles.apply(&front.rules.load().policies);

    let mut listeners = Vec::new();
    listeners.extend(admin.addr().map(|address| ("admin", address)));
    if let Some(listener) = &explicit {
        listeners.push(("proxy", listener.local_addr()?));
    }
    front.upstream.tcp.own().fixed(listeners.iter().map(|(_, address)| *address).collect());
    if let Some(listener) = explicit {
        let permits = permits(config, &launch);
        let shares = Arc::new(Shares::of(permits.available_permits()));
        let limit = Limit { permits, pressure: Arc::new(NoPressure), gate: gate.clone() };
        let front = Arc::clone(&front);
        let serve = move |stream, client, permit| {
            let accepted = Accepted { stream, client, permit };
            explicit::serve(Arc::clone(&front), Arc::clone(&shares), accepted)
        };
        let (left, signal) = (left.clone(), drain.clone());
        drain.spawn(async move {
            tokio::select! {
                biased;
                // Whoever waits in the queue is the successor's.
                () = left.cancelled() => {}
                () = accept::run(listener, limit, signal, serve) => {}
            }
        });
    }

    let pause = Pause::open(&paths.state, kernel.as_ref(), &front.runtime);
    let bypass = bypass::Kept::open(&paths.state, since, &front.client.bypasses);
    // Last: from here on connections are led to us.
    modes.apply();
    if let Some(kernel) = &kernel {
        kernel.keep_targets();
        kernel.follow(&helper)?;
        let settled = tokio::time::timeout(FIRST_NAMES, kernel.settled()).await;
        if settled.is_err() {
            tracing::warn!("some providers' names do not resolve yet; they are asked for again");
        }
    }
    let followed = match follows {
        None => None,
        Some(predecessor) => {
            let (from, there) = (Arc::clone(&predecessor), Arc::clone(&ledger));
            let (front, paths) = (Arc::clone(&front), paths.clone());
            let metrics = Arc::clone(&metrics);
            let taking = drain.spawn_blocking(move || {
                let inheritance = from.inherit().context("the predecessor")?;
                take_over(inheritance, (&there, &metrics), &front, &paths)
            });
            let tickets = taking.await.context("taking over")??;
            leave_file.store(false, Relaxed);
            freezer.begin();
            Some(Followed { predecessor, tickets })
        }
    };
    let (restored, there) = (Arc::clone(&takers), Arc::clone(&ledger));
    let now = front.runtime.clock.now().wall;
    // Nobody is watched yet, so there is nothing to tell.
    drop(restored.watched().replace(&config.watching, now));
    let restoring = drain.spawn_blocking(move || restored.watched().restore(&there, now));
    restoring.await.context("the windows of the last calls")?;
    webhooks::remember(&front).await;
    gate.lift();
    webhooks::begin(&front);
    let (succession, leaves) = mpsc::channel(1);
    let running = Arc::new(Running {
        since,
        front,
        kernel,
        no_kernel,
        modes,
        toggles,
        paths: paths.clone(),
        config: Mutex::new(effective),
        ledger: Arc::clone(&ledger),
        metrics,
        freezer,
        takers,
        alerts: told,
        telemetry,
        listeners,
        socket: paths.socket(),
        root: paths.root_certificate(),
        remark: launch.split.remark,
        doors: Mutex::new(Some(doors)),
        succession: Mutex::new(succession),
        helper,
        log: launch.log,
        pause,
        bypass,
        teller,
        remembered: Remembered::default(),
    });
    drain.spawn(sweep(Arc::clone(&running), paths.clone()));
    let remembering = Arc::clone(&running);
    drain.spawn_blocking(move || remembering.remember_contacts());
    drain.spawn(watch::watch(Arc::clone(&running)));
    drain.spawn(watching::run(Arc::clone(&running)));
    drain.spawn(published::watch(Arc::clone(&running)));
    let front = &running.front;
    drain.spawn(health::watch(
        Arc::clone(&front.rules),
        Arc::clone(&front.upstream.pool),
        Arc::clone(&front.runtime.clock),
        drain.clone(),
    ));
    drain.spawn(admin.run(Arc::clone(&running) as Arc<dyn admin::Agent>, drain.clone()));
    Ok(Started { running, ledger, drain, leaves, left, followed })
}

/// Goes on where another agent has let go.
fn take_over(
    inheritance: Inheritance,
    (ledger, metrics): (&Ledger, &Metrics),
    front: &Front,
    paths: &Paths,
) -> anyhow::Result<Tickets> {
    ledger.begin(true)?;
    let (policies, clock) = (Arc::clone(&front.rules.load().policies), &front.runtime.clock);
    let now = clock.now();
    policies.engine.lock().begin(now);
    restore::restore(ledger, &policies, now);
    // What it has learnt since this one read it.
    verdicts::restore(front, paths);
    Ok(inheritance.adopt(ledger, (&policies, metrics), &**clock))
}

/// The kernel half, or why there is none.
fn attach(
    (config, beside): (&Config, Option<u32>),
    (launch, gate): (&Launch, &Gate),
    front: &Arc<Front>,
    (helper, resolver): (&Helper, &Resolver),
) -> anyhow::Result<(Option<Arc<Kernel>>, Option<String>)> {
    if config.capture.enabled == Toggle::Off {
        return Ok((None, Some("capture.enabled is false".to_owned())));
    }
    let settings = capture::Settings {
        cgroup: config.capture.cgroup.clone(),
        ports: config.capture.all_ports().iter().map(|port| port.get()).collect(),
        refuse_quic: config.capture.refuse_quic,
        log: launch.flags.log_bpf,
        beside,
    };
    let closed = config.on_agent_failure == OnAgentFailure::Closed;
    let settings = (settings, closed, config.capture.all.clone());
    let kernel = Kernel::new(settings, Arc::clone(front), (helper.clone(), resolver.clone()));
    let pressure = Arc::clone(&kernel) as Arc<dyn Pressure>;
    let gate = gate.clone();
    kernel.bound(Limit { permits: permits(config, launch), pressure, gate });
    if let Err(error) = kernel.up() {
        if config.capture.enabled == Toggle::On {
            return Err(error).context("capture.enabled is true, but the kernel half cannot run");
        }
        tracing::warn!(%error, "without the kernel half: only the proxy and the base URLs work");
        return Ok((None, Some(error.to_string())));
    }
    for row in kernel.capabilities().rows.iter().filter(|row| !row.ok) {
        tracing::warn!(hook = row.hook, missing = row.missing, "{}", row.consequence);
    }
    let (hosts, networks) = rules::wanted(config, &front.rules.load().providers);
    kernel.want(hosts, networks);
    Ok((Some(kernel), None))
}

/// Permits for one kind of listener: a connection takes a descriptor on either side, and there
/// are two kinds.
fn permits(config: &Config, launch: &Launch) -> Arc<Semaphore> {
    let wanted = config.limits.connections.get() as usize;
    let inside = if config.containers.meters_any() { 4 * namespaces::MOST } else { 0 };
    let room = launch.files.saturating_sub(2 * PIPES + RESERVED + inside) / 4;
    if room < wanted {
        tracing::warn!(room, wanted, "limits.connections is more than the open files allow");
    }
    Arc::new(Semaphore::new(wanted.min(room.max(16))))
}

/// The listeners that others connect to by themselves: those handed over, where they fit.
async fn bind(
    config: &Config,
    paths: &Paths,
    sockets: &mut Sockets,
) -> anyhow::Result<(Admin, Option<TcpListener>)> {
    let settings = admin::Settings {
        socket: paths.socket(),
        http: config.listen.admin,
        token_file: config.metrics.token_file.clone(),
    };
    let socket = sockets.socket(&settings.socket);
    let admin = Admin::over(&settings, Bound { socket, http: sockets.admin(settings.http) })?;
    let Some(address) = config.listen.proxy else { return Ok((admin, None)) };
    let failed = || format!("listen.proxy: {address}");
    let explicit = match sockets.proxy(Some(address)) {
        Some(listener) => {
            listener.set_nonblocking(true).with_context(failed)?;
            TcpListener::from_std(listener).with_context(failed)?
        }
        None => TcpListener::bind(address).await.with_context(failed)?,
    };
    Ok((admin, Some(explicit)))
}

/// Explicit clients have nowhere else to go: they wait.
struct NoPressure;

impl Pressure for NoPressure {
    fn full(&self, full: bool) {
        if full {
            tracing::warn!("the connection limit of the explicit port is reached");
        }
    }
}
