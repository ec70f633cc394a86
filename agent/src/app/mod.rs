//! The composition root: everything is made here, started in the order in which it is safe to, and
//! stopped in the opposite one.

mod privileges;
mod service;
mod start;
mod account_key;
mod alerts;
mod front;
mod rules;
mod reload;
mod watch;
mod takers;
mod published;
mod restore;
mod freezer;
mod heard;
mod kernel;
mod direct;
mod namespaces;
mod modes;
mod kept;
mod pause;
mod bypass;
mod toggles;
mod sweep;
mod verdicts;
mod agent;
mod analytics;
mod warnings;
mod control;
mod upkeep;
mod rows;
mod prices;
mod standing;
mod trial;
pub(crate) mod log;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use self::agent::Running;
use self::kernel::ON_THE_WAY;
use self::service::Leave;
use self::start::{Launch, Started};

pub use self::rules::providers;
pub use self::service::Predecessor;

use crate::cli::Exit;
use crate::cli::daemon::Flags;
use crate::config::{Effective, Paths};
use crate::downstream::serve::LINGER;
use crate::drain::Drain;
use crate::ledger::Ledger;

/// How long the unit gives a stop (`TimeoutStopSec=`).
const PATIENCE: Duration = Duration::from_secs(75);
/// What a stop takes beside the time that calls are given.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// `weir daemon`: runs the agent in the foreground until it is told to stop.
pub fn main(effective: Effective, paths: Paths, flags: Flags) -> anyhow::Result<Exit> {
    let config = &effective.config;
    let log = log::start(config.log, "weir");
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another cryptography provider was installed before ours"))?;
    // Before anything is opened that could take their numbers.
    let sockets = service::Sockets::inherited();
    let most = file_limit();
    let split = privileges::split(config, &paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let launch = Launch { flags, files: most, split, sockets, log: Arc::new(log) };
    let ledger = runtime.block_on(run(effective, paths, launch))?;
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

async fn run(effective: Effective, paths: Paths, launch: Launch) -> anyhow::Result<Arc<Ledger>> {
    // From the first moment on: unasked for, this signal would end the process.
    let mut hangup = signal(SignalKind::hangup())?;
    let grace = effective.config.limits.drain_timeout;
    let helper = launch.split.helper.clone();
    let mut started = start::start(effective, &paths, launch).await?;
    for (name, address) in &started.running.listeners {
        tracing::info!(%address, "listening: {name}");
    }
    let mode = started.running.modes.effective();
    tracing::info!(mode = mode.mode.word(), reason = mode.reason, "ready");
    if service::is_told()
        && let Some(doors) = &*started.running.doors.lock()
    {
        doors.keep();
    }
    let status = service::status(&started.running);
    match started.followed.take() {
        None => service::ready(&status),
        Some(followed) => {
            followed.follow(&started.running)?;
            service::ready_as_main(&status);
        }
    }
    let watched = Arc::clone(&started.running);
    let leave = {
        let life = async {
            let mut stopping = std::pin::pin!(until_told_to_stop());
            loop {
                tokio::select! {
                    told = &mut stopping => break told.map(|()| None),
                    Some(leave) = started.leaves.recv() => break Ok(Some(leave)),
                    Some(()) = hangup.recv() => reload(&started.running, &started.drain).await,
                }
            }
        };
        tokio::select! {
            leave = life => leave?,
            never = service::watch(Arc::clone(&watched), helper.clone()) => match never {},
        }
    };
    if let Some(leave) = leave {
        // From here on the successor gives the signs of life.
        return hand_over(started, leave, grace).await;
    }
    tokio::select! {
        ledger = stop(started, grace) => Ok(ledger),
        // Until the last call has ended.
        never = service::watch(watched, helper) => match never {},
    }
}

async fn reload(running: &Arc<Running>, drain: &Drain) {
    let running = Arc::clone(running);
    let done = drain.spawn_blocking(move || running.take_config());
    if done.await.is_err() {
        tracing::error!("reading the configuration again failed: the old one holds");
    }
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
    service::stopping("stopping: calls in flight end, new connections go direct");
    if grace + LAST_STEPS > PATIENCE {
        service::wait_longer(grace + LAST_STEPS);
    }
    let Started { running, ledger, drain, .. } = started;
    if let Some(doors) = running.doors.lock().take() {
        // Where nobody keeps them, who connects from here on is refused at once instead of waiting.
        doors.close(service::is_told());
    }
    // A frozen workload's connections would keep the drain waiting, and nobody would be there to
    // let it go on afterwards.
    freezer::let_go(&running.freezer).await;
    if let Some(kernel) = running.kernel.clone() {
        // A panic in it has been reported; the programs go with the process in any case.
        drop(tokio::task::spawn_blocking(move || kernel.release()).await);
    }
    let left = drain.finish(grace).await;
    // And whatever was frozen meanwhile.
    freezer::let_go(&running.freezer).await;
    if left > 0 {
        tracing::warn!(left, "tasks did not finish in time");
    }
    ledger
}

/// Everything to the successor, in the order in which nothing falls between the two; then the calls
/// in flight end here, and are kept there.
async fn hand_over(started: Started, leave: Leave, grace: Duration) -> anyhow::Result<Arc<Ledger>> {
    let Started { running, ledger, drain, left, .. } = started;
    let Leave { successor, answer } = leave;
    tracing::info!(pid = successor.generation.pid, "handing over to the successor");
    freezer::let_go(&running.freezer).await;
    if let Some(kernel) = running.kernel.clone() {
        drop(tokio::task::spawn_blocking(move || kernel.give_way()).await);
    }
    left.cancel();
    if let Some(doors) = running.doors.lock().take() {
        doors.close(true);
    }
    drain.signal();
    // Then every connection has ended, or is in its last request.
    tokio::time::sleep(LINGER + ON_THE_WAY).await;
    let (successor, leaving) = (Arc::new(successor), Arc::clone(&running));
    let heir = Arc::clone(&successor);
    let bequeathed = tokio::task::spawn_blocking(move || {
        let now = leaving.front.runtime.clock.now();
        let policies = Arc::clone(&leaving.front.rules.load().policies);
        match heir.bequeath(&leaving, &policies, now) {
            Ok(settled) => heir.report(settled, &leaving.ledger),
            // What is recorded from here on has to go somewhere.
            Err(error) => {
                leaving.ledger.begin(true).map_err(anyhow::Error::from).and(Err(error.into()))
            }
        }
    });
    let bequeathed = bequeathed.await?;
    let told = match &bequeathed {
        Ok(()) => Ok(running.takers.in_flight()),
        Err(error) => {
            Err(format!("the successor failed to take over, and this agent ends: {error:#}"))
        }
    };
    // Whoever asked may have gone.
    drop(answer.send(told));
    let overstaying = drain.finish(grace).await;
    if overstaying > 0 {
        tracing::warn!(left = overstaying, "tasks did not finish in time");
    }
    bequeathed?;
    if let Err(error) = successor.count(&running) {
        tracing::warn!(%error, "the successor does not count the last calls");
    }
    Ok(ledger)
}
