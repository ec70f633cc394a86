//! The composition root: everything is made here, started in the order in which it is safe to, and
//! stopped in the opposite one.

mod account_key;
mod agent;
mod alerts;
mod control;
mod kept;
mod freezer;
mod kernel;
mod log;
mod modes;
mod restore;
mod rows;
mod rules;
mod standing;
mod takers;
mod toggles;
mod trial;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use self::agent::Running;
use self::freezer::Freezer;
use self::kernel::Kernel;
use self::modes::Modes;
use self::takers::Takers;
use self::toggles::Toggles;

pub use self::rules::providers;

use crate::admin::{self, Admin};
use crate::alerts::Dial;
use crate::capture::helper::{Kind, Wish};
use crate::capture::identity::Identities;
use crate::capture::owner::Owners;
use crate::capture::resolve::Resolver;
use crate::capture::{self, Helper};
use crate::cli::Exit;
use crate::cli::daemon::Flags;
use crate::clock::{Clock, System, since_boot};
use crate::config::{Config, Fsync, OnUntrusted, Paths, Toggle};
use crate::downstream::accept::{self, Limit, Pressure};
use crate::downstream::ca::Authority;
use crate::downstream::certs::Leaves;
use crate::downstream::intercept::Accepted;
use crate::downstream::trust::{self, Trust, installed};
use crate::downstream::tunnel::Tunnels;
use crate::downstream::{ClientTls, Front, Limits, Runtime, Upstream, explicit};
use crate::drain::Drain;
use crate::ledger::{self, Ledger};
use crate::metrics::{self, Metrics};
use crate::pipeline::health;
use crate::record::Sink;
use crate::upstream::connect::{BoxFuture, Resolve, Sockets, Tcp};
use crate::upstream::{Pool, SocketOptions};

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);
/// How long start-up waits for the first addresses of the providers; they are kept being asked for.
const FIRST_NAMES: Duration = Duration::from_secs(3);
/// Pipes that tunnels may hold; beyond it they copy.
const PIPES: usize = 64;
/// Descriptors for everything that is no connection: maps, programs, files, admin clients.
const RESERVED: usize = 256;

/// `weir daemon`: runs the agent in the foreground until it is told to stop.
pub fn main(config: Config, paths: Paths, flags: Flags) -> anyhow::Result<Exit> {
    log::start(config.log);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another cryptography provider was installed before ours"))?;
    let most = file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ledger = runtime.block_on(run(config, paths, flags, most))?;
    // What did not finish in time is ended here, and settles: the ledger is the last to close.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ledger.close();
    Ok(Exit::Ok)
}

/// Raises the limit of open files as far as allowed, and returns it.
fn file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

async fn run(
    config: Config,
    paths: Paths,
    flags: Flags,
    files: usize,
) -> anyhow::Result<Arc<Ledger>> {
    let started = start(&config, &paths, Launch { flags, files }).await?;
    for (name, address) in &started.running.listeners {
        tracing::info!(%address, "listening: {name}");
    }
    let mode = started.running.modes.effective();
    tracing::info!(mode = mode.mode.word(), reason = mode.reason, "ready");
    until_told_to_stop().await?;
    Ok(stop(started, config.limits.drain_timeout).await)
}

/// What the start depends on beside the configuration.
#[derive(Debug, Clone, Copy)]
struct Launch {
    flags: Flags,
    /// Files that may be open.
    files: usize,
}

/// The agent while it runs.
struct Started {
    running: Arc<Running>,
    ledger: Arc<Ledger>,
    drain: Drain,
}

async fn start(config: &Config, paths: &Paths, launch: Launch) -> anyhow::Result<Started> {
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
    let ledger = Arc::new(Ledger::open(&paths.state, settings, Arc::clone(&clock))?);
    let metrics = Arc::new(Metrics::new(metrics::Settings { per_user: config.metrics.per_user })?);
    let (told, teller) = alerts::open(config, &paths.state, Arc::clone(&clock))?;
    let told = Arc::new(told);
    let (takers, to_freeze) =
        Takers::new(Arc::clone(&ledger), Arc::clone(&metrics), Arc::clone(&told));
    let takers = Arc::new(takers);

    let runtime = Runtime { clock, drain: drain.clone() };
    let helper = Helper::in_process();
    let resolver = Resolver::new(helper.clone());
    let front = Arc::new(front(config, paths, (&helper, &resolver), &runtime, &takers)?);

    // Receivers of alerts are reached as providers are.
    let upstream = &front.upstream;
    let dial = Dial { tcp: upstream.tcp.clone(), tls: upstream.pool.tls().clone() };
    drain.spawn(teller.run(dial, drain.clone()));
    // Before anything is served: limits and budgets begin where they stood.
    let policies = Arc::clone(&front.rules.load().policies);
    account_key::keep(&paths.state, &policies.accounts);
    restore::restore(&ledger, &policies, front.runtime.clock.now());
    let freezer = Arc::new(Freezer::open(&paths.state, helper.clone()));
    let sink = Arc::clone(&takers) as Arc<dyn Sink>;
    drain.spawn(freezer::run(Arc::clone(&freezer), to_freeze, sink, runtime.clone()));

    // Every listener that others connect to by themselves, before the kernel leads anyone here.
    let admin = Admin::bind(&admin::Settings {
        socket: paths.socket(),
        http: config.listen.admin,
        token_file: config.metrics.token_file.clone(),
    })?;
    let explicit = bind_explicit(config).await?;

    let (kernel, no_kernel) = attach(config, launch, &front, (&helper, &resolver))?;
    let modes = Modes::new(config.mode, &paths.state, Arc::clone(&front), kernel.clone());
    let toggles = Toggles::open(&paths.state);
    toggles.apply(&front.rules.load().policies);

    let mut listeners = Vec::new();
    listeners.extend(admin.addr().map(|address| ("admin", address)));
    for listener in &explicit {
        listeners.push(("proxy", listener.local_addr()?));
    }
    front.upstream.tcp.own().fixed(listeners.iter().map(|(_, address)| *address).collect());
    for listener in explicit {
        let limit = Limit { permits: permits(config, launch), pressure: Arc::new(NoPressure) };
        let front = Arc::clone(&front);
        let serve = move |stream, client, permit| {
            let accepted = Accepted { stream, client, permit };
            explicit::serve(Arc::clone(&front), accepted)
        };
        drain.spawn(accept::run(listener, limit, drain.clone(), serve));
    }

    // Last: from here on connections are led to us.
    modes.apply();
    if let Some(kernel) = &kernel {
        kernel.keep_targets();
        let settled = tokio::time::timeout(FIRST_NAMES, kernel.settled()).await;
        if settled.is_err() {
            tracing::warn!("some providers' names do not resolve yet; they are asked for again");
        }
    }
    let running = Arc::new(Running {
        since,
        front,
        kernel,
        no_kernel,
        modes,
        toggles,
        teams: config.policy.teams.clone(),
        ledger: Arc::clone(&ledger),
        metrics,
        freezer,
        takers,
        alerts: told,
        listeners,
        socket: paths.socket(),
        root: paths.root_certificate(),
    });
    drain.spawn(sweep(Arc::clone(&running), paths.clone()));
    let front = &running.front;
    drain.spawn(health::watch(
        Arc::clone(&front.rules),
        Arc::clone(&front.upstream.pool),
        Arc::clone(&front.runtime.clock),
        drain.clone(),
    ));
    drain.spawn(admin.run(Arc::clone(&running) as Arc<dyn admin::Agent>, drain.clone()));
    Ok(Started { running, ledger, drain })
}

fn front(
    config: &Config,
    paths: &Paths,
    (helper, resolver): (&Helper, &Resolver),
    runtime: &Runtime,
    takers: &Arc<Takers>,
) -> anyhow::Result<Front> {
    let now = runtime.clock.now();
    let rules = rules::rules(config, now)?;
    let hosts: Vec<_> = rules.providers.hosts().cloned().collect();
    let authority = Arc::new(Authority::open_or_create(&paths.state, &hosts, now.wall)?);
    let installed_at = installed::since("/".as_ref(), &paths.state, authority.root());
    let trusted = trust::Settings::new(config.trust_assumed, installed_at, now, since_boot());
    let tcp = Tcp::new(
        Arc::new(Names(resolver.clone())),
        Arc::new(Marked(helper.clone())),
        config.limits.connect_timeout,
    );
    let tls = rules::tls(config, Some(authority.root().certificate()))?;
    let pool =
        Pool::new(Arc::new(tcp.clone()), tls, Arc::clone(&runtime.clock), runtime.drain.clone());
    Ok(Front {
        identities: Identities::new(helper.clone(), config.apps.iter().map(ToString::to_string)),
        owners: Owners::new(helper.clone()),
        client: ClientTls {
            leaves: Some(Leaves::new(authority)?),
            trust: Trust::new(trusted),
            terminate: AtomicBool::new(false),
            block_untrusted: AtomicBool::new(config.on_untrusted == OnUntrusted::Block),
        },
        upstream: Upstream {
            pool: Arc::new(pool),
            tcp,
            tunnels: Tunnels::new(config.limits.idle_timeout, PIPES),
        },
        rules: Arc::new(ArcSwap::from_pointee(rules)),
        sink: Arc::clone(takers) as Arc<dyn Sink>,
        runtime: runtime.clone(),
        limits: Limits { handshake: config.limits.handshake_timeout },
    })
}

/// The kernel half, or why there is none.
fn attach(
    config: &Config,
    launch: Launch,
    front: &Arc<Front>,
    (helper, resolver): (&Helper, &Resolver),
) -> anyhow::Result<(Option<Arc<Kernel>>, Option<String>)> {
    if config.capture.enabled == Toggle::Off {
        return Ok((None, Some("capture.enabled is false".to_owned())));
    }
    let settings = capture::Settings {
        cgroup: config.capture.cgroup.clone(),
        ports: config.capture.ports.iter().map(|port| port.get()).collect(),
        log: launch.flags.log_bpf,
    };
    let kernel = Kernel::new(settings, Arc::clone(front), (helper.clone(), resolver.clone()));
    let pressure = Arc::clone(&kernel) as Arc<dyn Pressure>;
    kernel.bound(Limit { permits: permits(config, launch), pressure });
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
    let hosts: BTreeSet<_> = front.rules.load().providers.hosts().cloned().collect();
    kernel.want(hosts, config.capture.cidrs.iter().copied().collect());
    Ok((Some(kernel), None))
}

/// Permits for one kind of listener: a connection takes a descriptor on either side, and there
/// are two kinds.
fn permits(config: &Config, launch: Launch) -> Arc<Semaphore> {
    let wanted = config.limits.connections.get() as usize;
    let room = launch.files.saturating_sub(2 * PIPES + RESERVED) / 4;
    if room < wanted {
        tracing::warn!(room, wanted, "limits.connections is more than the open files allow");
    }
    Arc::new(Semaphore::new(wanted.min(room.max(16))))
}

async fn bind_explicit(config: &Config) -> anyhow::Result<Vec<TcpListener>> {
    let Some(address) = config.listen.proxy else { return Ok(Vec::new()) };
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listen.proxy: {address}"))?;
    Ok(vec![listener])
}

/// What has to be looked at from time to time.
async fn sweep(running: Arc<Running>, paths: Paths) {
    let front = &running.front;
    let pool = &front.upstream.pool;
    let mut installed = front.client.trust.is_expected();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => pool.sweep(),
            () = front.runtime.drain.signalled() => return pool.close(),
        }
        // `weir trust install` and `uninstall` are done without asking the daemon.
        let (looking, paths) = (Arc::clone(&running), paths.clone());
        let look = front.runtime.drain.spawn_blocking(move || look_for_trust(&looking, &paths));
        if look.await.is_ok() && front.client.trust.is_expected() != installed {
            installed = !installed;
            tracing::info!(installed, "the CA was installed or removed");
            running.modes.apply();
        }
    }
}

/// Finds out whether the host trusts the CA now.
fn look_for_trust(running: &Running, paths: &Paths) {
    let client = &running.front.client;
    let Some(leaves) = &client.leaves else { return };
    let now = running.front.runtime.clock.now();
    let root = leaves.authority().root();
    let installed_at = installed::since("/".as_ref(), &paths.state, root);
    let assumed = client.trust.is_assumed();
    client.trust.set(trust::Settings::new(assumed, installed_at, now, since_boot()));
}

async fn until_told_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Hooks first, so that nobody is led to a door that closes; then the calls in flight; the ledger
/// last, when nobody has anything left to say.
async fn stop(started: Started, grace: Duration) -> Arc<Ledger> {
    tracing::info!("stopping");
    let Started { running, ledger, drain } = started;
    // A frozen workload's connections would keep the drain waiting, and nobody would be there to
    // let it go on afterwards.
    freezer::let_go(&running.freezer).await;
    if let Some(kernel) = running.kernel.clone() {
        // A panic in it has been reported; the programs go with the process in any case.
        drop(tokio::task::spawn_blocking(move || kernel.down()).await);
    }
    let left = drain.finish(grace).await;
    // And whatever was frozen meanwhile.
    freezer::let_go(&running.freezer).await;
    if left > 0 {
        tracing::warn!(left, "tasks did not finish in time");
    }
    ledger
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

/// The kernel capture's resolver, whose questions are not redirected, for our own dialling.
#[derive(Debug)]
struct Names(Resolver);

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<std::net::IpAddr>>> {
        Box::pin(async move {
            let answer = self.0.lookup(host).await.map_err(io::Error::other)?;
            Ok(answer.addrs)
        })
    }
}

/// The helper's sockets, which the programs leave alone, for our own dialling.
#[derive(Debug)]
struct Marked(Helper);

impl Sockets for Marked {
    fn stream(&self, to: SocketAddr, options: SocketOptions) -> io::Result<OwnedFd> {
        let SocketOptions { device, mark } = options;
        self.0.socket(Wish { kind: Kind::Stream, v6: to.is_ipv6(), mark, device })
    }
}
