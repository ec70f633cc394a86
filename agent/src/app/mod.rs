//! The composition root: everything is made here, started in the order in which it is safe to, and
//! stopped in the opposite one.

mod privileges;
mod start;
mod account_key;
mod alerts;
mod front;
mod rules;
mod reload;
mod watch;
mod takers;
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
mod warnings;
mod control;
mod upkeep;
mod rows;
mod standing;
mod trial;
pub(crate) mod log;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use self::start::{Launch, Started};

pub use self::rules::providers;

use crate::cli::Exit;
use crate::cli::daemon::Flags;
use crate::config::{Effective, Paths};
use crate::ledger::Ledger;

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
    let most = file_limit();
    let split = privileges::split(config, &paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let launch = Launch { flags, files: most, split, log: Arc::new(log) };
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
    let started = start::start(effective, &paths, launch).await?;
    for (name, address) in &started.running.listeners {
        tracing::info!(%address, "listening: {name}");
    }
    let mode = started.running.modes.effective();
    tracing::info!(mode = mode.mode.word(), reason = mode.reason, "ready");
    let mut stopping = std::pin::pin!(until_told_to_stop());
    loop {
        tokio::select! {
            told = &mut stopping => break told?,
            Some(()) = hangup.recv() => reload(&started).await,
        }
    }
    Ok(stop(started, grace).await)
}

async fn reload(started: &Started) {
    let running = Arc::clone(&started.running);
    let done = started.drain.spawn_blocking(move || running.take_config());
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
    let Started { running, ledger, drain } = started;
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
